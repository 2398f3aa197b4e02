//! What faults change in an answer's JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The most bytes or items that a fault may ask for.
pub(crate) const MAX_HUGE: usize = 256 * 1024 * 1024;

/// How prompts are given back where a conversation or a session is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// HTML comments are taken out, as tools do that keep hidden instructions from a model.
    CommentsStripped,
    /// Only so many characters at the beginning are kept.
    CutAt(usize),
    /// `<`, `>` and `&` are HTML entities.
    Escaped,
    /// The Markdown was rendered: each line is a paragraph, comments are gone.
    Rendered,
    /// Every run of blanks and line breaks is one space.
    WhitespaceCollapsed,
    /// The last line is a system message of its own, before the prompt.
    SystemMessage,
}

impl Echo {
    fn of(self, prompt: &str) -> String {
        match self {
            Self::CommentsStripped => without_comments(prompt),
            Self::CutAt(characters) => prompt.chars().take(characters).collect(),
            Self::Escaped => escaped(prompt),
            Self::Rendered => without_comments(prompt)
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(|line| format!("<p>{}</p>\n", escaped(line)))
                .collect(),
            Self::WhitespaceCollapsed => prompt.split_whitespace().collect::<Vec<_>>().join(" "),
            Self::SystemMessage => split_last_line(prompt).0.to_owned(),
        }
    }
}

fn split_last_line(prompt: &str) -> (&str, &str) {
    prompt
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", prompt.trim_end()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn without_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        kept.push_str(before);
        match comment.split_once("-->") {
            Some((_, after)) => rest = after,
            None => {
                rest = "";
                break;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// Changes the prompts of a conversation (Cursor v0, Firebender: `messages[].text`) or of a session (Flapjack: `messages[].prompt`).
pub(crate) fn echo(body: &mut Value, echo: Echo) {
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else {
        return;
    };
    let mut echoed = Vec::new();
    for mut message in messages.drain(..) {
        let member = match (
            message.get("type").and_then(Value::as_str),
            message.get("role").and_then(Value::as_str),
        ) {
            (Some("user_message"), _) => "text",
            (_, Some("user")) => "prompt",
            _ => {
                echoed.push(message);
                continue;
            }
        };
        let prompt = message
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        if let Echo::SystemMessage = echo {
            let mut system = message.clone();
            set(&mut system, member, json!(split_last_line(&prompt).1));
            if member == "text" {
                set(&mut system, "type", json!("system_message"));
            } else {
                set(&mut system, "role", json!("system"));
            }
            echoed.push(system);
        }
        set(&mut message, member, json!(echo.of(&prompt)));
        echoed.push(message);
    }
    *messages = echoed;
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

/// Replaces every `status` member, at any depth.
pub(crate) fn overwrite_status(body: &mut Value, word: &str) {
    each_object(body, &mut |members| {
        if let Some(status) = members.get_mut("status")
            && status.is_string()
        {
            *status = json!(word);
        }
    });
}

/// Replaces every member of this name, at any depth, or adds it to the outermost object.
pub(crate) fn overwrite_member(body: &mut Value, name: &str, value: &Value) {
    let mut found = false;
    each_object(body, &mut |members| {
        if let Some(member) = members.get_mut(name) {
            *member = value.clone();
            found = true;
        }
    });
    if !found {
        set(body, name, value.clone());
    }
}

fn each_object(body: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match body {
        Value::Object(members) => {
            change(members);
            for (_, member) in members {
                each_object(member, change);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds one more member, or item, of this many bytes.
pub(crate) fn pad(body: &mut Value, bytes: usize) {
    let padding = Value::String("x".repeat(bytes.min(MAX_HUGE)));
    match body {
        Value::Object(members) => {
            members.insert("padding".to_owned(), padding);
        }
        Value::Array(items) => items.push(padding),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The members that hold a list's items, with the one that leads to its next page.
const LISTS: [(&str, &str); 4] = [
    ("items", "nextCursor"),
    ("agents", "nextCursor"),
    ("codingAgents", "nextPageToken"),
    ("coding_agents", "next_page_token"),
];

/// Points a list to a further page by this token, also from its last page.
pub(crate) fn overwrite_page_token(body: &mut Value, token: &str) {
    let next = body.as_object().and_then(|members| {
        LISTS
            .into_iter()
            .find(|(list, _)| members.contains_key(*list))
            .map(|(_, next)| next)
    });
    if let Some(next) = next {
        set(body, next, json!(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_given_back_in_each_altered_way() {
        let prompt = "Fix  a < b\n\n<!-- codeagents.dev/a/b/1 -->\nref a/b/1";
        for (echo, expected) in [
            (Echo::CommentsStripped, "Fix  a < b\n\n\nref a/b/1"),
            (Echo::CutAt(5), "Fix  "),
            (
                Echo::Escaped,
                "Fix  a &lt; b\n\n&lt;!-- codeagents.dev/a/b/1 --&gt;\nref a/b/1",
            ),
            (Echo::Rendered, "<p>Fix  a &lt; b</p>\n<p>ref a/b/1</p>\n"),
            (
                Echo::WhitespaceCollapsed,
                "Fix a < b <!-- codeagents.dev/a/b/1 --> ref a/b/1",
            ),
            (
                Echo::SystemMessage,
                "Fix  a < b\n\n<!-- codeagents.dev/a/b/1 -->",
            ),
        ] {
            assert_eq!(echo.of(prompt), expected, "{echo:?}");
        }
    }
}
