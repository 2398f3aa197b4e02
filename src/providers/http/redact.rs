//! Takes credentials out of what is shown to people.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::providers::credential::Credential;

/// What stands where a credential stood.
const REDACTED: &str = "[redacted]";
/// Shorter values are no keys, and to replace every "a" would leave nothing to read.
const SHORTEST_SECRET: usize = 4;
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
        let mut forms = Vec::new();
        for value in plain {
            for encoded in [
                STANDARD_NO_PAD.encode(value.as_bytes()),
                URL_SAFE_NO_PAD.encode(value.as_bytes()),
                url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
            ] {
                forms.push(Zeroizing::new(encoded));
            }
            forms.push(value);
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self { forms }
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
        let line: String = text
            .split(['\n', '\r', '\t'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        self.redact(&line).chars().take(LONGEST_MESSAGE).collect()
    }
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
    fn short_values_shred_nothing() {
        assert_eq!(redactor().message("abc"), "abc");
    }

    #[test]
    fn lines_become_one_line() {
        assert_eq!(redactor().message(" a\r\n\n\tb \u{1b}[31m"), "a b [31m");
    }
}
