//! One event of a timeline.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bounds;

/// Something that an agent did, or that happened to its session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number in the session's timeline, counted from 1; of a [`Gap`](EventType::Gap) the last of its numbers.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What an event says beside its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened; none where the provider does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The message that the agent worked on, by its name in `status.messages`; none where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// For people: what the agent said or did. At most [`TEXT_BYTES`](super::TEXT_BYTES), with an ellipsis where something was cut.
    #[serde(default)]
    pub text: String,
    /// For programs: the provider's own data. At most [`PAYLOAD_BYTES`](super::PAYLOAD_BYTES) as JSON; what was cut says so.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// The session or the message came into another state.
    Status,
    /// The agent said something; where the provider tells it word by word, a part of it.
    Assistant,
    /// The agent thought something; in parts as well.
    Thinking,
    /// The agent used a tool, or was done with it.
    ToolCall,
    /// The agent changed a file.
    FileEdit,
    /// Anything else: the output of a program, and what the provider tells in a word that is not known.
    Output,
    /// A message was worked on to its end.
    Result,
    /// Something went wrong, or an event cannot be read.
    Error,
    /// Here is something that the provider no longer has.
    Gap,
}

impl Entry {
    /// An entry without time and payload.
    pub fn new(kind: EventType, text: impl Into<String>) -> Self {
        Self {
            time: None,
            message: None,
            kind,
            text: text.into(),
            payload: Value::Null,
        }
    }

    /// An entry whose type in the provider's words, `name`, is not known.
    pub fn unknown(name: &str, data: Value) -> Self {
        Self {
            payload: json!({"event": name, "data": data}),
            ..Self::new(EventType::Output, name)
        }
    }

    /// The same, no longer than an event may be.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            text: bounds::text(&self.text, bounds::TEXT_BYTES),
            payload: bounds::payload(self.payload),
            ..self
        }
    }

    /// The same with this number.
    pub fn numbered(self, seq: u64) -> Event {
        Event { seq, entry: self }
    }
}

impl Event {
    /// Stands for the numbers from `first` to `last`, which belong to events that the provider no longer has.
    pub fn gap(first: u64, last: u64, message: Option<String>, why: &str) -> Self {
        Entry {
            message,
            payload: json!({"firstSeq": first, "lastSeq": last}),
            ..Entry::new(EventType::Gap, why)
        }
        .numbered(last)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_event_reads_as_documented() {
        let mut entry = Entry::new(EventType::ToolCall, "edit_file");
        entry.time = Some("2026-05-20T10:00:10Z".parse().unwrap());
        entry.message = Some("prompt".to_owned());
        entry.payload = json!({"path": "src/auth.ts"});
        let event = entry.numbered(7);
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(
            written,
            json!({
                "seq": 7,
                "time": "2026-05-20T10:00:10Z",
                "message": "prompt",
                "type": "ToolCall",
                "text": "edit_file",
                "payload": {"path": "src/auth.ts"},
            })
        );
        assert_eq!(serde_json::from_value::<Event>(written).unwrap(), event);
    }

    #[test]
    fn a_gap_says_which_numbers_it_stands_for() {
        let gap = Event::gap(3, 9, None, "gone");
        assert_eq!(
            serde_json::to_value(gap).unwrap(),
            json!({"seq": 9, "type": "Gap", "text": "gone", "payload": {"firstSeq": 3, "lastSeq": 9}})
        );
    }
}
