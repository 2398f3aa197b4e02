//! Takes credentials out of what is shown to people.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::providers::credential::Credential;

/// What stands where a credential stood.
const REDACTED: &str = "[redacted]";
/// Shorter values are no keys, and to replace every "a" would leave nothing to read.
const SHORTEST_SECRET: usize = 4;
/// What stands where content of the request stood.
const OMITTED: &str = "[omitted]";
/// Shorter runs may be words.
const SHORTEST_CONTENT: usize = 40;
/// The longest message for people, in characters.
const LONGEST_MESSAGE: usize = 512;

/// Knows every form in which one credential may turn up.
pub(super) struct Redactor {
    /// Longest first, so that no form hides a part of a longer one.
    forms: Vec<Zeroizing<String>>,
}

impl Redactor {
    pub(super) fn new(credential: &Credential) -> Self {
        let mut plain: Vec<Zeroizing<String>> = credential
            .values()
            .filter(|value| value.len() >= SHORTEST_SECRET)
            .map(|value| Zeroizing::new(value.to_owned()))
            .collect();
        // What Basic authentication encodes: a key without a password, or any two of the values.
        for user in credential.values().filter(|value| !value.is_empty()) {
            for password in credential.values().chain([""]) {
                let pair = Zeroizing::new(format!("{user}:{password}"));
                if pair.len() > SHORTEST_SECRET {
                    plain.push(pair);
                }
            }
        }
        Self::of(plain.iter().flat_map(|value| forms_of(value)))
    }

    fn of(forms: impl Iterator<Item = Zeroizing<String>>) -> Self {
        let mut forms: Vec<_> = forms.collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { forms }
    }

    /// The same, which knows these secrets as well: texts of any kind, of several lines perhaps.
    pub(super) fn and<'a>(&self, secrets: impl Iterator<Item = &'a str>) -> Self {
        let ours = secrets.flat_map(|secret| {
            let shown = plain_forms(secret).into_iter();
            let shown = shown.filter(|form| form.len() >= SHORTEST_SECRET);
            shown.flat_map(|form| forms_of(&form))
        });
        Self::of(self.forms.iter().cloned().chain(ours))
    }

    /// `text` without any form of the credential.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), REDACTED);
            }
        }
        text
    }

    /// `text` as it may be shown: on one line, without control characters or credentials, at most 512 characters.
    pub(super) fn message(&self, text: &str) -> String {
        // Control characters go first, or taking them out could put a key together again; cutting comes last, or it
        // could leave a part of one.
        let line = one_line(text);
        self.redact(&line).chars().take(LONGEST_MESSAGE).collect()
    }
}

impl Redactor {
    /// `text` without control characters, but line breaks and tabs, and without credentials.
    pub(super) fn printable(&self, text: &str) -> String {
        let clean: String = text
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .collect();
        self.redact(&clean)
    }

    /// The same with every text in `value`, names of members included.
    pub(super) fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.printable(&text).into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, member)| (self.printable(&name), self.value(member)))
                .collect(),
        }
    }
}

/// `text` on one line, without control characters.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r', '\t'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

/// The value and what encodings make of it.
fn forms_of(value: &str) -> [Zeroizing<String>; 4] {
    [
        value.to_owned(),
        STANDARD_NO_PAD.encode(value.as_bytes()),
        URL_SAFE_NO_PAD.encode(value.as_bytes()),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
    ]
    .map(Zeroizing::new)
}

/// A text as it may be quoted: as it is, without white space around it, as part of a JSON document, on one line as messages are, and
/// line by line.
fn plain_forms(text: &str) -> Vec<Zeroizing<String>> {
    let escaped = serde_json::to_string(text).unwrap_or_default();
    let escaped = escaped.trim_matches('"').to_owned();
    let lines = text.lines().map(|line| line.trim().to_owned());
    let whole = [
        text.to_owned(),
        text.trim().to_owned(),
        one_line(text),
        escaped,
    ];
    whole.into_iter().chain(lines).map(Zeroizing::new).collect()
}

/// `text` of a refusal without what it repeats of the content that was sent: a long run of base64 that stands in the request.
pub(super) fn without_sent_content(text: &str, sent: &[u8]) -> String {
    let Ok(sent) = std::str::from_utf8(sent) else {
        return text.to_owned();
    };
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    text.split_inclusive(|c| !of_base64(c))
        .map(|piece| {
            let run = piece.trim_end_matches(|c| !of_base64(c));
            if run.len() >= SHORTEST_CONTENT && sent.contains(run) {
                format!("{OMITTED}{}", piece.get(run.len()..).unwrap_or_default())
            } else {
                piece.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const KEY: &str = "key_0123456789/abc+def";

    fn redactor() -> Redactor {
        Redactor::new(&Credential::new().with("api-key", KEY).with("pin", "abc"))
    }

    #[test]
    fn a_key_goes_in_every_form_it_can_take() {
        for form in [
            KEY.to_owned(),
            STANDARD.encode(KEY),
            format!("Basic {}", STANDARD.encode(format!("{KEY}:"))),
            format!("Basic {}", STANDARD.encode(format!("{KEY}:abc"))),
            "key_0123456789%2Fabc%2Bdef".to_owned(),
        ] {
            let shown = redactor().message(&format!("no such key: '{form}', sorry"));
            assert!(!shown.contains("0123456789"), "{shown}");
            assert!(
                !shown.contains(&STANDARD_NO_PAD.encode("key_0123")),
                "{shown}"
            );
            assert!(
                shown.contains(REDACTED) && shown.ends_with("', sorry"),
                "{shown}"
            );
        }
    }

    #[test]
    fn control_characters_cannot_hide_a_key_and_the_cut_cannot_leave_half_of_one() {
        let hidden: String = KEY.chars().flat_map(|c| [c, '\u{7}']).collect();
        assert_eq!(redactor().message(&hidden), REDACTED);

        let long = format!("{}{KEY}", "x".repeat(LONGEST_MESSAGE - 10));
        let shown = redactor().message(&long);
        assert_eq!(shown.chars().count(), LONGEST_MESSAGE);
        assert!(!shown.contains("key_"));
    }

    #[test]
    fn content_that_was_sent_is_not_repeated_and_all_else_is() {
        let content = STANDARD.encode([7; 60]);
        let sent =
            format!(r#"{{"prompt": {{"text": "Fix it", "images": [{{"data": "{content}"}}]}}}}"#);
        let (beginning, _) = content.split_at(48);
        let strange = "A".repeat(60);
        let said = |text: &str| without_sent_content(text, sent.as_bytes());
        assert_eq!(
            said(&format!("images[0].data: '{content}' is odd")),
            "images[0].data: '[omitted]' is odd"
        );
        assert_eq!(said(beginning), "[omitted]");
        for kept in [strange.as_str(), "Fix it: prompt, images", "", "é, ü"] {
            assert_eq!(said(kept), kept);
        }
    }

    #[test]
    fn a_key_goes_from_every_text_of_a_value() {
        let hidden: String = KEY.chars().flat_map(|c| [c, '\u{1b}']).collect();
        let value = serde_json::json!({KEY: [{"out": format!("{hidden}\n\tdone")}, 1, null]});
        assert_eq!(
            redactor().value(value),
            serde_json::json!({REDACTED: [{"out": format!("{REDACTED}\n\tdone")}, 1, null]})
        );
    }

    #[test]
    fn short_values_shred_nothing() {
        assert_eq!(redactor().message("abc"), "abc");
    }

    #[test]
    fn lines_become_one_line() {
        assert_eq!(redactor().message(" a\r\n\n\tb \u{1b}[31m"), "a b [31m");
    }
}
