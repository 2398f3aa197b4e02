//! How answers read: dotted paths and tables of words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::misfit::Misfit;
use crate::api::{HttpField, HttpSession};
use crate::domain::snapshot::RemotePhase;

/// What stands for the whole answer.
const WHOLE: &str = "the answer";

/// A place in an answer: names of members and positions in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Vec<String>);

impl Place {
    /// The place that is written like this; without one the whole answer.
    pub fn new(dotted: Option<&str>) -> Self {
        let dotted = dotted.unwrap_or_default();
        let steps = dotted.split('.').filter(|step| !step.is_empty());
        Self(steps.map(str::to_owned).collect())
    }

    /// What stands there. `null` is nothing.
    pub fn find<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        let found = self.0.iter().try_fold(answer, |value, step| match value {
            Value::Object(members) => members.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })?;
        (!found.is_null()).then_some(found)
    }

    /// As it is written.
    pub fn dotted(&self) -> String {
        match self.0.is_empty() {
            true => WHOLE.to_owned(),
            false => self.0.join("."),
        }
    }
}

/// An answer does not hold what the mapping looks for. Nothing of what it holds is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not understood: {field}: {why}")]
pub struct NotUnderstood {
    /// The field of the mapping, such as `session.id`.
    pub field: String,
    /// What the matter is.
    pub why: String,
}

impl NotUnderstood {
    /// What the matter is with this field.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// How one value reads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    place: Place,
    detail: Option<Place>,
    values: BTreeMap<String, String>,
    default: Option<String>,
}

impl Field {
    fn new(field: &HttpField) -> Self {
        Self {
            place: Place::new(Some(&field.path)),
            detail: field.detail.as_deref().map(|path| Place::new(Some(path))),
            values: field.values.clone(),
            default: field.default.clone(),
        }
    }

    /// The word that stands there, with its detail as people read it, and what the table makes of it.
    fn word(&self, session: &Value) -> Result<(String, Option<String>), String> {
        let found = self.place.find(session);
        let Some(found) = found else {
            return Err(format!("nothing stands at {}", self.place.dotted()));
        };
        let Some(word) = text(found) else {
            return Err(format!(
                "{} is neither a text nor a number",
                self.place.dotted()
            ));
        };
        let detail = self.detail.as_ref().and_then(|place| place.find(session));
        let exact = detail
            .and_then(text)
            .map(|detail| format!("{word}/{detail}"));
        if self.values.is_empty() {
            return Ok((word.clone(), Some(word)));
        }
        let meaning = exact
            .as_ref()
            .and_then(|exact| self.values.get(exact))
            .or_else(|| self.values.get(&word))
            .or(self.default.as_ref());
        let meaning = meaning.cloned();
        Ok((exact.unwrap_or(word), meaning))
    }

    /// A value that need not be there: what cannot be read is none.
    fn optional(field: Option<&Self>, session: &Value) -> Option<String> {
        field?.word(session).ok()?.1
    }
}

/// A text, a number or a truth value as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How a session reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReader {
    id: Field,
    phase: Field,
    url: Option<Field>,
    repository: Option<Field>,
    branch: Option<Field>,
    pull_request: Option<Field>,
    result: Option<Field>,
    error: Option<Field>,
    blocked: Option<Field>,
    busy: Option<Field>,
    created_at: Option<Field>,
    input_tokens: Option<Field>,
    output_tokens: Option<Field>,
    cost_cents: Option<Field>,
}

/// What a session says, as it stands there: nothing of it is to be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub phase: RemotePhase,
    /// The same in the service's words.
    pub raw_status: String,
    /// Its page.
    pub url: Option<String>,
    /// Its repository.
    pub repository: Option<String>,
    /// Its branch.
    pub branch: Option<String>,
    /// Its pull request.
    pub pull_request: Option<String>,
    /// The closing words.
    pub result: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Why it waits for a person.
    pub blocked: Option<String>,
    /// Whether it takes no message now.
    pub busy: bool,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Tokens read.
    pub input_tokens: Option<i64>,
    /// Tokens written.
    pub output_tokens: Option<i64>,
    /// Its cost.
    pub cost_cents: Option<i64>,
}

/// The phase that is written like this.
fn phase_named(word: &str) -> Option<RemotePhase> {
    Some(match word {
        "Creating" => RemotePhase::Creating,
        "Running" => RemotePhase::Running,
        "Finished" => RemotePhase::Finished,
        "Error" => RemotePhase::Error,
        "Cancelled" => RemotePhase::Cancelled,
        "Expired" => RemotePhase::Expired,
        _ => return None,
    })
}

impl SessionReader {
    /// Reads the mapping.
    ///
    /// # Errors
    /// If the table of phases holds something else, or ends sessions by words that it does not know.
    pub fn new(session: &HttpSession) -> Result<Self, Misfit> {
        let phase = &session.phase;
        const FIELD: &str = "session.phase";
        for (word, meaning) in &phase.values {
            if phase_named(meaning).is_none() {
                let why = format!(
                    "{meaning} is no phase; there are Creating, Running, Finished, Error, Cancelled and Expired"
                );
                return Err(Misfit::new(format!("{FIELD}.values[{word}]"), why));
            }
        }
        if !phase.values.is_empty() && !phase.values.values().any(|meaning| meaning == "Finished") {
            let why = "no word means Finished, so that no session would ever end well: name the one that does";
            return Err(Misfit::new(format!("{FIELD}.values"), why));
        }
        if let Some(default) = &phase.default
            && !matches!(default.as_str(), "Creating" | "Running")
        {
            let why = format!(
                "{default} is no phase for a word that the table lacks: only Creating and Running are, so that an unknown word ends no session"
            );
            return Err(Misfit::new(format!("{FIELD}.default"), why));
        }
        let read = |field: &Option<HttpField>| field.as_ref().map(Field::new);
        Ok(Self {
            id: Field::new(&session.id),
            phase: Field::new(phase),
            url: read(&session.url),
            repository: read(&session.repository),
            branch: read(&session.branch),
            pull_request: read(&session.pull_request),
            result: read(&session.result),
            error: read(&session.error),
            blocked: read(&session.blocked),
            busy: read(&session.busy),
            created_at: read(&session.created_at),
            input_tokens: read(&session.input_tokens),
            output_tokens: read(&session.output_tokens),
            cost_cents: read(&session.cost_cents),
        })
    }

    /// Whether the closing words are told.
    pub fn tells_result(&self) -> bool {
        self.result.is_some()
    }

    /// Whether tokens are told.
    pub fn tells_usage(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }

    /// Whether the cost is told.
    pub fn tells_cost(&self) -> bool {
        self.cost_cents.is_some()
    }

    /// Whether it is told that a session takes no message.
    pub fn tells_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// What a session says.
    ///
    /// # Errors
    /// If its id or its phase cannot be read. Whatever else cannot be read is left out: it holds nobody up.
    pub fn read(&self, session: &Value) -> Result<Reading, NotUnderstood> {
        let not = |field: &str, why| NotUnderstood::new(field, why);
        let (_, id) = self
            .id
            .word(session)
            .map_err(|why| not("session.id", why))?;
        let id =
            id.ok_or_else(|| not("session.id", "the table lacks what stands there".to_owned()))?;
        let (raw_status, meaning) = self
            .phase
            .word(session)
            .map_err(|why| not("session.phase", why))?;
        let number = |field: &Option<Field>| {
            let text = Field::optional(field.as_ref(), session)?;
            // A cost may have a fraction: it is rounded up.
            let number: f64 = text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())?;
            (0.0..9e15)
                .contains(&number)
                .then_some(number.ceil() as i64)
        };
        let words = |field: &Option<Field>| {
            Field::optional(field.as_ref(), session).filter(|text| !text.is_empty())
        };
        Ok(Reading {
            id,
            phase: meaning
                .as_deref()
                .and_then(phase_named)
                .unwrap_or(RemotePhase::Unrecognised),
            raw_status,
            url: words(&self.url),
            repository: words(&self.repository),
            branch: words(&self.branch),
            pull_request: words(&self.pull_request),
            result: words(&self.result),
            error: words(&self.error),
            blocked: words(&self.blocked),
            busy: Field::optional(self.busy.as_ref(), session).as_deref() == Some("true"),
            created_at: words(&self.created_at).as_deref().and_then(moment),
            input_tokens: number(&self.input_tokens),
            output_tokens: number(&self.output_tokens),
            cost_cents: number(&self.cost_cents),
        })
    }
}

/// A date and time, or seconds since 1970.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let seconds: f64 = text.parse().ok()?;
    // Milliseconds of any time since 1973 are more than seconds of the next 3000 years.
    let seconds = if seconds > 1e11 {
        seconds / 1000.0
    } else {
        seconds
    };
    (0.0..1e11)
        .contains(&seconds)
        .then(|| Timestamp::from_second(seconds as i64).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn reader(session: Value) -> Result<SessionReader, String> {
        let session: HttpSession = serde_json::from_value(session).unwrap();
        SessionReader::new(&session).map_err(|misfit| misfit.to_string())
    }

    fn devin() -> SessionReader {
        reader(json!({
            "id": {"path": "session_id"},
            "phase": {
                "path": "status", "detail": "status_detail",
                "values": {"new": "Creating", "running": "Running", "running/finished": "Finished", "exit": "Finished", "error": "Error"},
            },
            "pullRequest": {"path": "pull_requests.0.pr_url"},
            "createdAt": {"path": "created_at"},
            "result": {"path": "structured_output"},
            "costCents": {"path": "cost"},
        }))
        .unwrap()
    }

    #[test]
    fn a_word_with_its_detail_is_asked_for_before_the_word_alone() {
        for (status, detail, phase, raw) in [
            (
                "running",
                json!("working"),
                RemotePhase::Running,
                "running/working",
            ),
            (
                "running",
                json!("finished"),
                RemotePhase::Finished,
                "running/finished",
            ),
            ("running", json!(null), RemotePhase::Running, "running"),
            ("running", json!({"a": 1}), RemotePhase::Running, "running"),
            (
                "exit",
                json!("finished"),
                RemotePhase::Finished,
                "exit/finished",
            ),
            (
                "thinking",
                json!(null),
                RemotePhase::Unrecognised,
                "thinking",
            ),
            (
                "Finished",
                json!(null),
                RemotePhase::Unrecognised,
                "Finished",
            ),
        ] {
            let session = json!({"session_id": "s-1", "status": status, "status_detail": detail});
            let reading = devin().read(&session).unwrap();
            assert_eq!((reading.phase, reading.raw_status.as_str()), (phase, raw));
        }
    }

    #[test]
    fn without_id_or_phase_an_answer_is_not_understood_and_quoted_nowhere() {
        for (session, why) in [
            (json!({}), "session.id: nothing stands at session_id"),
            (json!("<html>"), "session.id: nothing stands at session_id"),
            (json!([1]), "session.id: nothing stands at session_id"),
            (json!(null), "session.id: nothing stands at session_id"),
            (
                json!({"session_id": ["secret"]}),
                "session.id: session_id is neither a text nor a number",
            ),
            (
                json!({"session_id": "a"}),
                "session.phase: nothing stands at status",
            ),
            (
                json!({"session_id": "a", "status": null}),
                "session.phase: nothing stands at status",
            ),
            (
                json!({"session_id": "a", "status": {"secret": 1}}),
                "session.phase: status is neither a text nor a number",
            ),
        ] {
            let error = devin().read(&session).unwrap_err().to_string();
            assert_eq!(error, format!("the answer is not understood: {why}"));
        }
    }

    #[test]
    fn what_else_cannot_be_read_is_left_out() {
        for (pull_requests, read) in [
            (json!([]), None),
            (json!([{"pr_url": "https://x/1"}]), Some("https://x/1")),
            (json!({"0": {"pr_url": "https://x/2"}}), Some("https://x/2")),
            (json!([{"pr_url": {}}]), None),
            (json!("text"), None),
        ] {
            let session = json!({"session_id": 7, "status": "new", "pull_requests": pull_requests, "created_at": 1767225600, "cost": 1.25});
            let reading = devin().read(&session).unwrap();
            assert_eq!(
                (reading.id.as_str(), reading.pull_request.as_deref()),
                ("7", read)
            );
            assert_eq!(
                reading.created_at.unwrap().to_string(),
                "2026-01-01T00:00:00Z"
            );
            assert_eq!(reading.cost_cents, Some(2));
        }
    }

    #[test]
    fn a_table_that_ends_sessions_by_chance_or_never_is_refused() {
        for (phase, why) in [
            (
                json!({"path": "s", "values": {"a": "Done"}}),
                "session.phase.values[a]: Done is no phase",
            ),
            (
                json!({"path": "s", "values": {"a": "Running"}}),
                "session.phase.values: no word means Finished",
            ),
            (
                json!({"path": "s", "values": {"a": "Finished"}, "default": "Error"}),
                "session.phase.default: Error is no phase for",
            ),
        ] {
            let error = reader(json!({"id": {"path": "id"}, "phase": phase})).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn times_are_read_in_every_common_form() {
        for (text, read) in [
            ("2026-01-01T00:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("1767225600", Some("2026-01-01T00:00:00Z")),
            ("1767225600000", Some("2026-01-01T00:00:00Z")),
            ("-5", None),
            ("NaN", None),
            ("soon", None),
        ] {
            let read = read.map(str::to_owned);
            assert_eq!(
                moment(text).map(|moment| moment.to_string()),
                read,
                "{text}"
            );
        }
    }
}
