//! What the examples of a mapping read as, for people.

use serde_json::Value;

use super::checked::Mapping;
use super::misfit::Misfit;
use super::read::{NotUnderstood, Place, Reading};
use crate::api::{HttpExample, HttpExampleOf, HttpSpec};
use crate::domain::status::clip;

/// The longest outcome of an example, in bytes.
const LONGEST: usize = 512;

/// Checks a mapping and reads its examples: a line for each.
///
/// # Errors
/// If the mapping is wrong, or does not understand one of its own examples.
pub fn dry_run(spec: &HttpSpec) -> Result<Vec<String>, Misfit> {
    let mapping = Mapping::new(spec)?;
    let outcomes = spec.examples.iter().enumerate().map(|(place, example)| {
        let told = told(&mapping, example)
            .map_err(|error| Misfit::new(format!("examples[{place}]"), error.to_string()))?;
        Ok(clip(&format!("{}: {told}", example.of.as_str()), LONGEST))
    });
    outcomes.collect()
}

fn told(mapping: &Mapping, example: &HttpExample) -> Result<String, NotUnderstood> {
    let answer = &example.answer;
    match example.of {
        HttpExampleOf::Launch => session(mapping, &mapping.launched, answer),
        HttpExampleOf::Get => session(mapping, &mapping.got, answer),
        HttpExampleOf::List => {
            let Some(list) = &mapping.list else {
                return Err(NotUnderstood::new("list", "the mapping has none"));
            };
            let items = items("list.items", &list.items, answer)?;
            let sessions = items.iter().map(|item| mapping.session.read(item));
            let sessions: Vec<Reading> = sessions.collect::<Result<_, _>>()?;
            let more = list.token(answer);
            let ids: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
            Ok(format!(
                "{} sessions ({}), {}",
                ids.len(),
                ids.join(", "),
                if more.is_some() {
                    "more to come"
                } else {
                    "no further page"
                }
            ))
        }
        HttpExampleOf::Conversation => {
            let Some(told) = &mapping.conversation else {
                return Err(NotUnderstood::new("conversation", "the mapping has none"));
            };
            let items = items("conversation.items", &told.items, answer)?;
            let by = |word: &str| {
                let theirs =
                    |item: &&Value| told.by.find(item).and_then(Value::as_str) == Some(word);
                items.iter().filter(theirs).count()
            };
            Ok(format!(
                "{} messages, {} of the user, {} of the agent",
                items.len(),
                by(&told.user),
                by(&told.agent)
            ))
        }
    }
}

/// The list that stands at `place`.
pub fn items<'a>(
    field: &str,
    place: &Place,
    answer: &'a Value,
) -> Result<&'a Vec<Value>, NotUnderstood> {
    let found = place.find(answer).and_then(Value::as_array);
    found.ok_or_else(|| NotUnderstood::new(field, format!("no list stands at {}", place.dotted())))
}

fn session(mapping: &Mapping, place: &Place, answer: &Value) -> Result<String, NotUnderstood> {
    let found = place
        .find(answer)
        .ok_or_else(|| NotUnderstood::new("at", format!("nothing stands at {}", place.dotted())))?;
    let reading = mapping.session.read(found)?;
    let mut told = vec![
        ("id", Some(reading.id)),
        (
            "phase",
            Some(format!("{:?} ({})", reading.phase, reading.raw_status)),
        ),
        ("url", reading.url),
        ("branch", reading.branch),
        ("pullRequest", reading.pull_request),
        ("blocked", reading.blocked),
        ("error", reading.error),
        ("result", reading.result),
    ];
    let numbers = [
        ("inputTokens", reading.input_tokens),
        ("outputTokens", reading.output_tokens),
        ("costCents", reading.cost_cents),
    ];
    told.extend(numbers.map(|(name, number)| (name, number.map(|number| number.to_string()))));
    let told = told
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    Ok(told.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::template::{Name, Values};
    use super::*;

    /// A small mapping with these members in place of its own.
    fn spec(changes: Value) -> HttpSpec {
        let mut spec = json!({
            "endpoint": "https://agents.example.com",
            "launch": {"path": "/sessions", "body": {"prompt": "{prompt}"}},
            "get": {"path": "/sessions/{sessionId}"},
            "list": {"path": "/sessions", "items": "items"},
            "session": {"id": {"path": "id"}, "phase": {"path": "phase"}},
        });
        for (member, value) in changes.as_object().unwrap() {
            let spec = spec.as_object_mut().unwrap();
            spec.insert(member.clone(), value.clone());
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        for (changes, why) in [
            (
                json!({"launch": {"path": "/s", "body": {"p": "x"}}}),
                "launch: it has no {prompt}",
            ),
            (
                json!({"launch": {"path": "/s", "body": {"p": "{prompt}", "a": ["{promt}"]}}}),
                "launch.body.a[0], column 1: {promt} is no name here",
            ),
            (
                json!({"launch": {"path": "/s", "body": {"p": "{prompt}{repository}"}}}),
                "launch: it names only one of {repository} and {ref}",
            ),
            (
                json!({"launch": {"path": "/s", "key": "SessionId", "body": {"p": "{prompt}"}}}),
                "launch: it has no {key}",
            ),
            (
                json!({"launch": {"path": "/s/{key}", "key": "SessionId", "refused": [409], "body": {"p": "{prompt}"}}}),
                "launch.refused: with key: SessionId a 409",
            ),
            (json!({"get": {"path": "/s"}}), "get: it has no {sessionId}"),
            (
                json!({"get": {"path": "//evil.example/{sessionId}"}}),
                "get.path, column 2: a segment that is empty",
            ),
            (
                json!({"get": {"path": "/a/../{sessionId}"}}),
                "get.path, column 4: a segment that is empty, . or ..",
            ),
            (
                json!({"get": {"path": "/a/x{nothing}/{sessionId}"}}),
                "get.path, column 5: {nothing} is no name here",
            ),
            (
                json!({"get": {"path": "/a/%2e%2e/{sessionId}"}}),
                "get.path, column 4: a path holds no",
            ),
            (
                json!({"get": {"path": "s/{sessionId}"}}),
                "get.path, column 1: a path begins with a slash",
            ),
            (
                json!({"list": {"path": "/s", "next": "cursor"}}),
                "list: next and {page} belong together",
            ),
            (
                json!({"list": {"path": "/s", "query": {"after": "{page}"}}}),
                "list: next and {page} belong together",
            ),
            (
                json!({"message": {"path": "/s/{sessionId}", "body": {}, "taken": "id"}}),
                "message: it has no {message}",
            ),
            (
                json!({"cancel": {"path": "/s/stop"}}),
                "cancel: it has no {sessionId}",
            ),
            (
                json!({"conversation": {"path": "/s/{sessionId}", "text": "t", "by": "b", "user": "u", "agent": "u"}}),
                "conversation.agent: user and agent",
            ),
            (
                json!({"verify": {"path": "/me/{sessionId}"}}),
                "verify.path, column 5: {sessionId} is no name here: there is none",
            ),
            (
                json!({"examples": [{"of": "Get", "answer": {"phase": "Running"}}]}),
                "examples[0]: the answer is not understood: session.id: nothing stands at id",
            ),
            (
                json!({"examples": [{"of": "List", "answer": {"items": 1}}]}),
                "examples[0]: the answer is not understood: list.items: no list stands at items",
            ),
        ] {
            let misfit = dry_run(&spec(changes.clone())).unwrap_err().to_string();
            assert!(misfit.starts_with(why), "{changes}: {misfit}");
        }
    }

    #[test]
    fn examples_are_read_as_the_service_would_be() {
        let examples = json!({"examples": [
            {"of": "Get", "answer": {"id": "s-1", "phase": "Finished"}},
            {"of": "Launch", "answer": {"id": 7, "phase": "thinking"}},
            {"of": "List", "answer": {"items": [{"id": "a", "phase": "Running"}]}},
        ]});
        assert_eq!(
            dry_run(&spec(examples)).unwrap(),
            [
                "Get: id s-1, phase Finished (Finished)",
                "Launch: id 7, phase Unrecognised (thinking)",
                "List: 1 sessions (a), no further page",
            ]
        );
    }

    #[test]
    fn a_value_never_leads_to_another_path() {
        let mapping = Mapping::new(&spec(json!({}))).unwrap();
        for id in ["", ".", ".."] {
            let values = Values::from([(Name::SessionId, json!(id))]);
            assert!(mapping.get.fill(&values).is_err(), "{id}");
        }
        for id in ["../me", "a/b", "a?b#c", "//evil.example"] {
            let values = Values::from([(Name::SessionId, json!(id))]);
            let filled = mapping.get.fill(&values).unwrap();
            assert_eq!(filled.path, ["sessions", id], "one segment, to be encoded");
        }
    }
}
