use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::VERSION;
use crate::text::clip_to_fit;

/// The longest line that the runner prints, its newline included. A container runtime splits longer ones: it writes at most 16 KiB at
/// once.
pub const MAX_EVENT_BYTES: usize = 16 * 1024;

/// One line of the runner's standard output: what happened, in the same form whatever agent runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`VERSION`].
    pub v: u32,
    /// Dense from 1 within one Pod. A reader that misses a number knows that it missed a line.
    pub seq: u64,
    /// When the runner saw it, RFC 3339 in UTC.
    pub time: String,
    #[serde(rename = "type")]
    pub kind: EventType,
    /// For people; cut with a mark if the line would be too long.
    #[serde(default)]
    pub text: String,
    /// Members that belong to the type, such as the name and the arguments of a tool; left out of a line that would be too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// What an [`Event`] tells. The words are those of the operator's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// The runner or the agent came into another state.
    Status,
    /// The agent said something, or a part of it.
    Assistant,
    /// The agent thought something.
    Thinking,
    /// The agent used a tool, or was done with it.
    ToolCall,
    /// The agent changed files.
    FileEdit,
    /// A line of a program, and every line of an agent that is not understood.
    Output,
    /// The agent worked on the message to its end.
    Result,
    /// Something went wrong; not always for good.
    Error,
}

impl Event {
    /// The line, with its newline, of at most [`MAX_EVENT_BYTES`]. What does not fit is cut: first the payload goes, then the end of
    /// the text.
    #[must_use]
    pub fn to_line(&self) -> String {
        if let Some(line) = self.line_within() {
            return line;
        }
        let bare = Self {
            payload: None,
            ..self.clone()
        };
        if let Some(line) = bare.line_within() {
            return line;
        }
        let with_text = |text: &str| Self {
            text: text.to_owned(),
            ..bare.clone()
        };
        let text = clip_to_fit(&self.text, |text| with_text(text).line_within().is_some());
        with_text(&text).line_within().unwrap_or_default()
    }

    /// The event in a line of a Pod's log; `None` if it is not one of this version, and so a line of another program.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let event: Self = serde_json::from_str(line.trim_end()).ok()?;
        (event.v == VERSION).then_some(event)
    }

    fn line_within(&self) -> Option<String> {
        let mut line = serde_json::to_string(self).ok()?;
        line.push('\n');
        (line.len() <= MAX_EVENT_BYTES).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(text: &str, payload: Option<Value>) -> Event {
        Event {
            v: VERSION,
            seq: u64::MAX,
            time: "2026-11-30T02:50:56.897123456Z".into(),
            kind: EventType::ToolCall,
            text: text.into(),
            payload,
        }
    }

    #[test]
    fn a_line_is_what_was_said_and_read_back() {
        let said = event("ls", Some(json!({"name": "Bash"})));
        let line = said.to_line();
        assert!(
            line.starts_with(r#"{"v":1,"seq":18446744073709551615,"time":"#),
            "{line}"
        );
        assert!(line.contains(r#""type":"ToolCall""#));
        assert_eq!(Event::parse(&line), Some(said));
        assert_eq!(Event::parse("npm warn deprecated"), None);
        assert_eq!(Event::parse(&line.replacen("\"v\":1", "\"v\":2", 1)), None);
    }

    #[test]
    fn a_line_is_bounded_and_valid_whatever_it_holds() {
        // A control character is six bytes in JSON, a quotation mark two.
        for text in ["a", "\u{1}", "\"", "ü", "🦀"] {
            let line =
                event(&text.repeat(40_000), Some(json!({"a": "b".repeat(20_000)}))).to_line();
            assert!(line.len() <= MAX_EVENT_BYTES);
            assert!(
                line.len() > MAX_EVENT_BYTES - 64,
                "{text:?}: {}",
                line.len()
            );
            assert!(Event::parse(&line).is_some_and(|read| read.text.ends_with("…[cut]")));
        }
        let line = event("short", Some(json!({"a": "b".repeat(20_000)}))).to_line();
        assert_eq!(Event::parse(&line), Some(event("short", None)));
    }
}
