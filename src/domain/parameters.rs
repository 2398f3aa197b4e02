//! Parameters of prompts: what a CodeAgent declares, what a session gives, and the texts that the values are filled into.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::blocker::{Blocker, Cause};
use crate::api::{CodeAgentSpec, CodeSessionSpec, ParameterSpec, ParameterValue, Reason};

/// The value of each declared parameter by its name. Empty where the CodeAgent declares none: then texts stay as they are.
pub type Values = BTreeMap<String, String>;

/// The largest compiled pattern, in bytes. Compiling takes time in proportion to it, and whoever may create a CodeAgent writes the
/// pattern.
const PATTERN_BYTES: usize = 1 << 20;
/// The largest text that filling in may make, in bytes: a short text can name a long value again and again.
const FILLED_BYTES: usize = 1 << 20;
/// What a placeholder begins with, behind its braces and blanks.
const PREFIX: &str = ".params.";

fn declared(agent: &CodeAgentSpec) -> &[ParameterSpec] {
    agent.parameters.as_deref().unwrap_or_default()
}

fn given(session: &CodeSessionSpec) -> &[ParameterValue] {
    session.parameters.as_deref().unwrap_or_default()
}

/// What each declared parameter comes to: the session's value, or else its default, or else the empty text.
pub fn resolve(session: &CodeSessionSpec, agent: &CodeAgentSpec) -> Values {
    let value = |parameter: &ParameterSpec| {
        let mut given = given(session).iter();
        let own = given.find(|given| given.name == parameter.name);
        own.map(|own| own.value.clone())
            .or_else(|| parameter.default.clone())
            .unwrap_or_default()
    };
    declared(agent)
        .iter()
        .map(|parameter| (parameter.name.clone(), value(parameter)))
        .collect()
}

/// What speaks against a session's parameters, or those that its CodeAgent declares.
pub fn blocker(session: &CodeSessionSpec, agent: &CodeAgentSpec) -> Option<Blocker> {
    let refuse = |cause| {
        move |message| Blocker {
            reason: Reason::InvalidParameters,
            message,
            cause,
        }
    };
    misdeclared(agent)
        .map(refuse(Cause::Environment))
        .or_else(|| misgiven(session, agent).map(refuse(Cause::Spec)))
}

/// What is wrong with the parameters that a CodeAgent declares, and what to do.
pub fn misdeclared(agent: &CodeAgentSpec) -> Option<String> {
    declared(agent).iter().find_map(|parameter| {
        let name = &parameter.name;
        if let Some(Err(why)) = parameter.pattern.as_deref().map(compile) {
            return Some(format!(
                "the pattern of spec.parameters[{name}] cannot be used ({why}): correct it"
            ));
        }
        let default = parameter.default.as_deref()?;
        let why = mismatch(parameter, default)?;
        Some(format!(
            "the default of spec.parameters[{name}] {why}: correct the one or the other"
        ))
    })
}

/// What is wrong with the parameters that a session gives, and what to do.
fn misgiven(session: &CodeSessionSpec, agent: &CodeAgentSpec) -> Option<String> {
    let find = |name: &str| declared(agent).iter().find(|one| one.name == name);
    let names = || names(declared(agent).iter().map(|one| one.name.as_str()));
    for ParameterValue { name, value } in given(session) {
        let Some(parameter) = find(name) else {
            return Some(format!(
                "spec.parameters of the session names {name}, and the CodeAgent {}: create a CodeSession without it",
                names()
            ));
        };
        if let Some(why) = mismatch(parameter, value) {
            return Some(format!(
                "the value of spec.parameters[{name}] of the session {why}: create a CodeSession with another value"
            ));
        }
    }
    let is_given = |name: &str| given(session).iter().any(|given| given.name == name);
    let missing = declared(agent)
        .iter()
        .find(|one| one.required == Some(true) && !is_given(&one.name))?;
    Some(format!(
        "the CodeAgent requires a value for the parameter {}, and {}: create a CodeSession that gives it in spec.parameters",
        missing.name,
        names()
    ))
}

/// Which parameters there are, for people, behind "the CodeAgent".
fn names<'a>(declared: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = declared.collect();
    match names.is_empty() {
        true => "declares no parameters".to_owned(),
        false => format!("declares {}", names.join(", ")),
    }
}

/// Why this is no value of the parameter. The value itself is not repeated.
fn mismatch(parameter: &ParameterSpec, value: &str) -> Option<String> {
    if let Some(allowed) = &parameter.one_of
        && !allowed.iter().any(|one| one == value)
    {
        return Some(format!("is none of {}", allowed.join(", ")));
    }
    let pattern = parameter.pattern.as_deref()?;
    match compile(pattern) {
        Ok(regex) if regex.is_match(value) => None,
        Ok(_) => Some(format!("does not match the pattern {pattern}")),
        Err(why) => Some(format!(
            "cannot be compared with the pattern {pattern} ({why})"
        )),
    }
}

/// The pattern as one that the whole value must match. It is matched in time linear to the value, whatever it is.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
        // The library draws where the mistake is; its last line says what it is.
        built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
    };
    // By itself first: one with unmatched parentheses could become another one within a group.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// Why a text cannot be filled in. Of the text nothing is repeated but the name of a parameter: it may come from a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfillable {
    /// It names a parameter that is not declared.
    Unknown {
        /// The name.
        name: String,
        /// Those that are declared.
        declared: Vec<String>,
    },
    /// Something begins like a placeholder and is none.
    Malformed {
        /// In which line, from 1.
        line: usize,
    },
    /// The values would make it too large.
    TooLarge,
}

impl std::fmt::Display for Unfillable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { name, declared } => write!(
                f,
                "names the parameter {name}, and the CodeAgent {}: correct the name, or declare it",
                names(declared.iter().map(String::as_str))
            ),
            Self::Malformed { line } => write!(
                f,
                "has something in line {line} that begins like a placeholder and is none: write {{{{ .params.NAME }}}}, and nothing else between the braces"
            ),
            Self::TooLarge => write!(
                f,
                "is larger than {} KiB with its parameters filled in: use shorter values",
                FILLED_BYTES / 1024
            ),
        }
    }
}

/// Fills the values into the placeholders of a text, once: a value that looks like a placeholder stays as it is. Without any declared
/// parameter the text stays as it is, whatever it looks like.
///
/// # Errors
/// If the text names what is not declared, has a placeholder that is not one, or becomes too large.
pub fn fill<'a>(text: &'a str, values: &Values) -> Result<Cow<'a, str>, Unfillable> {
    if values.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, opened)) = split_at(rest, "{{") {
        filled.push_str(before);
        rest = match Placeholder::at_start_of(opened) {
            Placeholder::Absent => {
                filled.push('{');
                opened.strip_prefix('{').unwrap_or_default()
            }
            Placeholder::Malformed => {
                let read = text.len().saturating_sub(opened.len());
                let lines = text.bytes().take(read).filter(|byte| *byte == b'\n');
                return Err(Unfillable::Malformed {
                    line: lines.count() + 1,
                });
            }
            Placeholder::Named { name, behind } => {
                let value = values.get(name).ok_or_else(|| Unfillable::Unknown {
                    name: name.chars().take(63).collect(),
                    declared: values.keys().cloned().collect(),
                })?;
                filled.push_str(value);
                behind
            }
        };
        if filled.len() > FILLED_BYTES {
            return Err(Unfillable::TooLarge);
        }
    }
    filled.push_str(rest);
    if filled.len() > FILLED_BYTES {
        return Err(Unfillable::TooLarge);
    }
    Ok(Cow::Owned(filled))
}

/// What is before the first `mark`, and the rest with it.
fn split_at<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    text.find(mark).map(|at| text.split_at(at))
}

/// What a text that begins with two braces begins with.
enum Placeholder<'a> {
    /// Something else.
    Absent,
    /// A placeholder that is not one: what is not filled in must not be sent as if it were.
    Malformed,
    /// A placeholder.
    Named {
        /// The name of its parameter.
        name: &'a str,
        /// What comes behind it.
        behind: &'a str,
    },
}

impl<'a> Placeholder<'a> {
    fn at_start_of(text: &'a str) -> Self {
        const BLANKS: [char; 2] = [' ', '\t'];
        let inner = text.strip_prefix("{{").unwrap_or_default();
        // Where templates trim blanks, which is not done here.
        let trimming = inner.strip_prefix('-');
        let inner = trimming.unwrap_or(inner).trim_start_matches(BLANKS);
        let Some(path) = inner.strip_prefix(PREFIX) else {
            return Self::Absent;
        };
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let behind = path.trim_start_matches(is_part);
        let name = path.strip_suffix(behind).unwrap_or_default();
        match behind.trim_start_matches(BLANKS).strip_prefix("}}") {
            Some(behind) if trimming.is_none() && !name.is_empty() => Self::Named { name, behind },
            Some(_) | None => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn values<const N: usize>(values: [(&str, &str); N]) -> Values {
        let owned = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        owned.into()
    }

    #[test]
    fn a_placeholder_is_filled_in_once_and_everything_else_stays() {
        let values = values([
            ("ticket", "FT-42"),
            ("tool-name", "{{ .params.ticket }}"),
            ("none", ""),
        ]);
        for (text, filled) in [
            ("", ""),
            ("Fix it", "Fix it"),
            ("Fix {{ .params.ticket }}!", "Fix FT-42!"),
            ("{{.params.ticket}}", "FT-42"),
            ("{{\t.params.ticket  }}", "FT-42"),
            ("{{ .params.ticket }}{{ .params.ticket }}", "FT-42FT-42"),
            ("a{{ .params.none }}b", "ab"),
            // A value is text, whatever it looks like.
            ("{{ .params.tool-name }}", "{{ .params.ticket }}"),
            ("{{{ .params.ticket }}}", "{FT-42}"),
            ("{{{{ .params.ticket }}}}", "{{FT-42}}"),
            // Other templates.
            ("{{ .Values.image }}", "{{ .Values.image }}"),
            ("{{ params.ticket }}", "{{ params.ticket }}"),
            ("{{ .params }}", "{{ .params }}"),
            ("${{ github.ref }}", "${{ github.ref }}"),
            ("{{", "{{"),
            ("{ .params.ticket }", "{ .params.ticket }"),
            (".params.ticket", ".params.ticket"),
            ("{{\n.params.ticket }}", "{{\n.params.ticket }}"),
            ("ä{{ .params.ticket }}ö", "äFT-42ö"),
        ] {
            assert_eq!(fill(text, &values).unwrap(), filled, "{text}");
            // Nothing is a template where nothing is declared.
            assert_eq!(fill(text, &Values::new()).unwrap(), text);
        }
    }

    #[test]
    fn what_would_be_sent_unfilled_is_refused() {
        let values = values([("branch", "main"), ("ticket", "FT-42")]);
        for text in [
            "a\nb\n{{ .params.ticket | upper }}",
            "a\nb\n{{- .params.ticket -}}",
            "a\nb\n{{ .params. }}",
            "a\nb\n{{ .params.ticket",
            "a\nb\n{{ .params.ticket }",
            "a\nb\n{{ .params.ticket.id }}",
            "a\nb\n{{ .params.tick\u{e9}t }}",
            "a\nb\n{{ .params.ticket\n}}",
        ] {
            let refused = fill(text, &values).unwrap_err();
            assert_eq!(refused, Unfillable::Malformed { line: 3 }, "{text}");
        }
        assert_eq!(
            fill("Fix {{ .params.issue }}", &values)
                .unwrap_err()
                .to_string(),
            "names the parameter issue, and the CodeAgent declares branch, ticket: correct the name, or declare it"
        );
    }

    #[test]
    fn a_short_text_cannot_become_a_huge_one() {
        let long = "x".repeat(4096);
        let values = values([("long", &long)]);
        let text = "{{ .params.long }}".repeat(256);
        assert_eq!(fill(&text, &values).unwrap().len(), FILLED_BYTES);
        let more = format!("{text}!");
        assert_eq!(fill(&more, &values), Err(Unfillable::TooLarge));
        let much_more = "{{ .params.long }}".repeat(100_000);
        assert_eq!(fill(&much_more, &values), Err(Unfillable::TooLarge));
    }

    fn agent(parameters: Value) -> CodeAgentSpec {
        let spec = json!({"provider": {"cursor": {}}, "credentials": {"secretRef": {"name": "s"}}, "parameters": parameters});
        serde_json::from_value(spec).unwrap()
    }

    fn session(parameters: Value) -> CodeSessionSpec {
        let spec = json!({"agentRef": {"name": "a"}, "prompt": "Fix it", "parameters": parameters});
        serde_json::from_value(spec).unwrap()
    }

    fn one(name: &str, value: &str) -> Value {
        json!([{"name": name, "value": value}])
    }

    #[test]
    fn a_parameter_comes_to_what_the_session_gives_or_to_its_default() {
        let declared = agent(json!([
            {"name": "ticket", "required": true},
            {"name": "branch", "default": "main"},
            {"name": "note"},
        ]));
        assert_eq!(
            resolve(&session(one("ticket", "FT-42")), &declared),
            values([("ticket", "FT-42"), ("branch", "main"), ("note", "")])
        );
        let own = json!([{"name": "ticket", "value": "FT-1"}, {"name": "branch", "value": ""}]);
        assert_eq!(
            resolve(&session(own), &declared),
            values([("ticket", "FT-1"), ("branch", ""), ("note", "")])
        );
        assert!(resolve(&session(one("ticket", "FT-42")), &agent(json!(null))).is_empty());
    }

    #[test]
    fn what_is_missing_unknown_or_not_allowed_is_refused_with_what_is_declared() {
        let declared = agent(json!([
            {"name": "ticket", "required": true, "pattern": "FT-[0-9]+"},
            {"name": "env", "enum": ["staging", "production"], "default": "staging"},
        ]));
        let declares = "the CodeAgent declares ticket, env";
        for (given, words) in [
            (
                json!(null),
                vec![
                    "requires a value for the parameter ticket",
                    "declares ticket, env",
                ],
            ),
            (
                one("env", "staging"),
                vec!["requires a value for the parameter ticket"],
            ),
            (one("Ticket", "FT-42"), vec!["names Ticket", declares]),
            (
                one("ticket", "FT-42; rm"),
                vec![
                    "the value of spec.parameters[ticket] of the session does not match the pattern FT-[0-9]+",
                ],
            ),
            (one("ticket", "see FT-42"), vec!["does not match"]),
            (one("ticket", "FT-42\n"), vec!["does not match"]),
            (
                json!([{"name": "ticket", "value": "FT-42"}, {"name": "env", "value": "test"}]),
                vec!["spec.parameters[env] of the session is none of staging, production"],
            ),
        ] {
            let refused = blocker(&session(given.clone()), &declared).unwrap();
            assert_eq!(refused.reason, Reason::InvalidParameters);
            assert_eq!(refused.cause, Cause::Spec);
            for words in words {
                assert!(
                    refused.message.contains(words),
                    "{given}: {}",
                    refused.message
                );
            }
        }
        assert_eq!(blocker(&session(one("ticket", "FT-42")), &declared), None);
        let none = blocker(&session(one("ticket", "FT-42")), &agent(json!(null))).unwrap();
        assert!(
            none.message
                .contains("the CodeAgent declares no parameters")
        );
    }

    #[test]
    fn what_a_code_agent_declares_in_vain_is_told_as_its_mistake() {
        for (parameter, words) in [
            (
                json!({"name": "a", "pattern": "("}),
                "spec.parameters[a] cannot be used (unclosed group)",
            ),
            // Within a group it would be a pattern.
            (
                json!({"name": "a", "pattern": "a)|(b"}),
                "spec.parameters[a] cannot be used",
            ),
            // It needs memory that a tenant must not be able to ask for.
            (
                json!({"name": "a", "pattern": "(a{1000}){1000}"}),
                "exceeds size limit",
            ),
            (
                json!({"name": "a", "pattern": "[0-9]+", "default": "x"}),
                "the default of spec.parameters[a] does not match the pattern [0-9]+",
            ),
            (
                json!({"name": "a", "enum": ["b"], "default": "x"}),
                "the default of spec.parameters[a] is none of b",
            ),
        ] {
            let declared = agent(json!([{"name": "fine", "pattern": ".*"}, parameter]));
            let why = misdeclared(&declared).unwrap();
            assert!(why.contains(words), "{why}");
            let blocked = blocker(&session(json!(null)), &declared).unwrap();
            assert_eq!((blocked.message, blocked.cause), (why, Cause::Environment));
        }
        let fine = json!([{"name": "a", "pattern": "a|ab", "default": "ab"}]);
        assert_eq!(
            misdeclared(&agent(fine)),
            None,
            "the whole value is compared"
        );
    }

    /// A text of literal parts and placeholders, with what it comes to.
    fn texts() -> impl Strategy<Value = (String, String, Values)> {
        let value = "[a-z{}. ]{0,12}|\\{\\{ \\.params\\.(a|b) \\}\\}";
        let part = prop_oneof![
            "[a-z}. \n]{0,8}".prop_map(|text| (text.clone(), None)),
            Just(("{{ .params.a }}".to_owned(), Some("a"))),
            Just(("{{.params.b}}".to_owned(), Some("b"))),
        ];
        (value, value, prop::collection::vec(part, 0..12)).prop_map(|(a, b, parts)| {
            let values = values([("a", &a), ("b", &b)]);
            let text = parts.iter().map(|(text, _)| text.as_str()).collect();
            let filled = parts
                .iter()
                .map(|(text, name)| {
                    name.map_or(text.as_str(), |name| values.get(name).unwrap().as_str())
                })
                .collect();
            (text, filled, values)
        })
    }

    proptest! {
        #[test]
        fn a_value_is_never_looked_at_again((text, filled, values) in texts()) {
            prop_assert_eq!(fill(&text, &values).unwrap(), filled);
        }

        #[test]
        fn a_text_that_was_filled_in_stays_as_it_is(text in "[a-z{}.\n ]{0,60}", value in "[a-z]{0,9}") {
            let values = values([("a", &value)]);
            let placed = format!("{text} {{{{ .params.a }}}}");
            if let Ok(once) = fill(&placed, &values) {
                let twice = fill(&once, &values).unwrap();
                prop_assert_eq!(&*twice, &*once);
            }
        }

        #[test]
        fn no_text_makes_it_fail_in_another_way(text in "(\\{|\\}|-| |\\.params\\.|a|\n|é){0,40}") {
            let values = values([("a", "{{ .params.a }}")]);
            match fill(&text, &values) {
                Ok(_) | Err(Unfillable::Unknown { .. } | Unfillable::Malformed { .. }) => {}
                Err(Unfillable::TooLarge) => prop_assert!(false, "too large"),
            }
        }
    }
}
