//! Scripts: how a simulated session behaves.
//!
//! A script comes from three places; the first that sets a field wins:
//!
//! 1. a **directive**, a line of the prompt (Firetiger has none: its sessions get theirs from rules) that begins with `sim:`, e.g.
//!    `sim: creating=200ms running=1s outcome=error result="tests fail"`. Pairs are separated by spaces; values with spaces are quoted (`\"` and
//!    `\\` inside). A directive that cannot be read is answered with 400, so that a typing mistake never looks like a finished test;
//! 2. a **rule** of the control API (`POST /control/script`), for sessions whose prompt contains a text, or for a session that exists;
//! 3. the simulator's default script (`SimulatorOptions::script`), then the values in the table.
//!
//! | field | values | default | meaning |
//! |---|---|---|---|
//! | `latency` | duration | `0s` | how long the answer to the launch is held back; the session exists from the start |
//! | `pending` | duration | `300ms` | Flapjack only: time until a prompt is handed to Cursor |
//! | `creating` | duration | `300ms` | time until the sandbox is there |
//! | `setup` | duration | `300ms` | Firebender only: time in `SETUP` |
//! | `running` | duration | `2s` | working time |
//! | `outcome` | `finished` `error` `expired` `cancelled` `never` | `finished` | how it ends; `cancelled` is a stop by somebody else, `never` runs until cancelled |
//! | `pr` | `true` `false` | what the request asked for | whether a pull request is opened |
//! | `pr_after` | duration | at the end | pull request and branch appear this long after work began, also after a successful end |
//! | `result` | text | a sentence | the final assistant text |
//! | `cancel` | `accepted` `ignored` `fails` `too_late` `unsupported` | `accepted` | `ignored`: 2xx and it keeps running; `fails`: 5xx and it keeps running; `too_late`: it finishes just before, 409 (Cursor v0: 200); `unsupported`: 409 and it keeps running |
//! | `cancel_takes` | duration | `500ms` | Cursor v1 only: how long an accepted cancel leaves the run as it is; it may end by itself meanwhile |
//! | `error` | text | none | Cursor v1 only: what a run that ended with an error says of it |
//! | `error_code` | text | none | the code beside it |
//! | `artifacts` | number | `0` | files that the session leaves |
//! | `input_tokens` `output_tokens` `cache_read_tokens` `cache_write_tokens` | number | small | usage |
//! | `cost_cents` | number | `4.2` | usage, in cents |
//! | `charged_cents` | number | `cost_cents` | the part of it that is billed |
//! | `usage_lag` | duration | `0s` | how long after the end of a run its usage is complete; until then it has a part of the tokens and no cost |
//!
//! Durations are written as `200ms`, `1s`, `2m`, `1h30m`.

use std::collections::HashSet;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as friendly;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operation::Provider;

/// The word that begins a directive line.
pub const DIRECTIVE: &str = "sim:";

/// How a session behaves. A field that is `None` is decided by the next source; see the module's table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub pending: Option<Duration>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub creating: Option<Duration>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub setup: Option<Duration>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub running: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(rename = "pr", skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<bool>,
    #[serde(
        rename = "pr_after",
        with = "friendly",
        skip_serializing_if = "Option::is_none"
    )]
    pub pull_request_after: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelBehaviour>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub cancel_takes: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_cents: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_cents: Option<f64>,
    #[serde(with = "friendly", skip_serializing_if = "Option::is_none")]
    pub usage_lag: Option<Duration>,
}

/// How a scripted run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Finished,
    Error,
    Expired,
    /// Somebody else cancels it when its working time is over.
    Cancelled,
    /// It runs until it is cancelled.
    Never,
}

/// What a cancel meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelBehaviour {
    #[default]
    Accepted,
    /// Answered like an accepted one, and the run keeps running.
    Ignored,
    /// A server error, and the run keeps running (reported by users of Cursor, documented by Flapjack).
    Fails,
    /// A conflict, and the run keeps running (documented by Flapjack).
    Unsupported,
    /// The run finishes between the caller's last look and the cancel.
    TooLate,
}

impl Script {
    /// Phases of a few milliseconds, for tests.
    pub fn fast() -> Self {
        Self {
            pending: Some(Duration::from_millis(10)),
            creating: Some(Duration::from_millis(10)),
            setup: Some(Duration::from_millis(10)),
            running: Some(Duration::from_millis(30)),
            cancel_takes: Some(Duration::from_millis(20)),
            ..Self::default()
        }
    }

    /// This script, with what it leaves open taken from `fallback`.
    #[must_use]
    pub fn or(self, fallback: &Self) -> Self {
        Self {
            latency: self.latency.or(fallback.latency),
            pending: self.pending.or(fallback.pending),
            creating: self.creating.or(fallback.creating),
            setup: self.setup.or(fallback.setup),
            running: self.running.or(fallback.running),
            outcome: self.outcome.or(fallback.outcome),
            pull_request: self.pull_request.or(fallback.pull_request),
            pull_request_after: self.pull_request_after.or(fallback.pull_request_after),
            result: self.result.or_else(|| fallback.result.clone()),
            cancel: self.cancel.or(fallback.cancel),
            cancel_takes: self.cancel_takes.or(fallback.cancel_takes),
            error: self.error.or_else(|| fallback.error.clone()),
            error_code: self.error_code.or_else(|| fallback.error_code.clone()),
            artifacts: self.artifacts.or(fallback.artifacts),
            input_tokens: self.input_tokens.or(fallback.input_tokens),
            output_tokens: self.output_tokens.or(fallback.output_tokens),
            cache_read_tokens: self.cache_read_tokens.or(fallback.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.or(fallback.cache_write_tokens),
            cost_cents: self.cost_cents.or(fallback.cost_cents),
            charged_cents: self.charged_cents.or(fallback.charged_cents),
            usage_lag: self.usage_lag.or(fallback.usage_lag),
        }
    }

    /// The directives of a prompt, later lines winning.
    ///
    /// # Errors
    /// A line that begins with [`DIRECTIVE`] and cannot be read.
    pub fn from_prompt(prompt: &str) -> Result<Self, DirectiveError> {
        let mut script = Self::default();
        for line in prompt.lines() {
            if let Some(directive) = line.trim().strip_prefix(DIRECTIVE) {
                script = Self::from_directive(directive)?.or(&script);
            }
        }
        Ok(script)
    }

    /// The fields of one directive, without the word that begins its line.
    ///
    /// # Errors
    /// A directive that cannot be read.
    pub fn from_directive(directive: &str) -> Result<Self, DirectiveError> {
        let mut seen = HashSet::new();
        let mut script = Self::default();
        let mut rest = directive.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest
                .split_once('=')
                .ok_or_else(|| DirectiveError::NotAPair(rest.to_owned()))?;
            let (value, remaining) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (text, remaining) = unquote(quoted)?;
                    (Value::String(text), remaining)
                }
                None => {
                    let (word, remaining) =
                        after.split_once(char::is_whitespace).unwrap_or((after, ""));
                    (bare_value(word), remaining)
                }
            };
            if !seen.insert(name) {
                return Err(DirectiveError::Twice(name.to_owned()));
            }
            // One at a time, so that a mistake can be told with its field.
            let field = Value::Object(Map::from_iter([(name.to_owned(), value)]));
            let field: Self =
                serde_json::from_value(field).map_err(|source| DirectiveError::Field {
                    name: name.to_owned(),
                    source,
                })?;
            script = field.or(&script);
            rest = remaining.trim_start();
        }
        Ok(script)
    }

    pub(crate) fn latency(&self) -> Duration {
        self.latency.unwrap_or(Duration::ZERO)
    }

    pub(crate) fn pending(&self) -> Duration {
        self.pending.unwrap_or(Duration::from_millis(300))
    }

    pub(crate) fn creating(&self) -> Duration {
        self.creating.unwrap_or(Duration::from_millis(300))
    }

    pub(crate) fn setup(&self) -> Duration {
        self.setup.unwrap_or(Duration::from_millis(300))
    }

    pub(crate) fn running(&self) -> Duration {
        self.running.unwrap_or(Duration::from_secs(2))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.unwrap_or(Outcome::Finished)
    }

    /// The final assistant text. The default holds multi-byte characters, which streams may be cut in.
    pub(crate) fn result(&self) -> &str {
        self.result
            .as_deref()
            .unwrap_or("Done – the change is in place and the tests pass ✓")
    }

    pub(crate) fn cancel(&self) -> CancelBehaviour {
        self.cancel.unwrap_or_default()
    }

    pub(crate) fn cancel_takes(&self) -> Duration {
        self.cancel_takes.unwrap_or(Duration::from_millis(500))
    }

    pub(crate) fn usage_lag(&self) -> Duration {
        self.usage_lag.unwrap_or(Duration::ZERO)
    }

    pub(crate) fn cost_cents(&self) -> f64 {
        self.cost_cents.unwrap_or(4.2)
    }

    pub(crate) fn charged_cents(&self) -> f64 {
        self.charged_cents.unwrap_or_else(|| self.cost_cents())
    }
}

/// Numbers and booleans keep their type; everything else is text.
fn bare_value(word: &str) -> Value {
    match serde_json::from_str::<Value>(word) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(word.to_owned()),
    }
}

/// Reads up to the closing quote; returns the text and what follows.
fn unquote(quoted: &str) -> Result<(String, &str), DirectiveError> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((text, quoted.get(at + 1..).unwrap_or(""))),
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    Err(DirectiveError::Unterminated)
}

/// Why a directive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectiveError {
    #[error("simulator directive: expected key=value at {0:?}")]
    NotAPair(String),
    #[error("simulator directive: the closing quote is missing")]
    Unterminated,
    #[error("simulator directive: {0} is given twice")]
    Twice(String),
    #[error("simulator directive: {name} is unknown or has a wrong value")]
    Field {
        name: String,
        source: serde_json::Error,
    },
}

impl DirectiveError {
    /// The whole reason on one line, with the source's.
    pub fn explain(&self) -> String {
        match self {
            Self::Field { source, .. } => format!("{self}: {source}"),
            Self::NotAPair(_) | Self::Unterminated | Self::Twice(_) => self.to_string(),
        }
    }
}

/// A script for future sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptRule {
    /// Only sessions of this provider.
    pub provider: Option<Provider>,
    /// Only prompts that contain this text.
    pub prompt_contains: Option<String>,
    /// How many runs it applies to; `None`: all.
    pub times: Option<u32>,
    /// What it sets.
    pub script: Script,
}

/// All rules, and the default below them.
#[derive(Debug)]
pub(crate) struct ScriptBook {
    rules: Vec<ScriptRule>,
    default: Script,
}

impl ScriptBook {
    pub(crate) fn new(default: Script) -> Self {
        Self {
            rules: Vec::new(),
            default,
        }
    }

    pub(crate) fn add(&mut self, rule: ScriptRule) {
        self.rules.push(rule);
    }

    pub(crate) fn rules(&self) -> &[ScriptRule] {
        &self.rules
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The script of a run that is accepted now. Later rules win over earlier ones, and a use is counted: call it once per accepted run.
    pub(crate) fn script_for(
        &mut self,
        provider: Provider,
        prompt: &str,
        directive: Script,
    ) -> Script {
        let mut script = directive;
        for rule in self.rules.iter_mut().rev() {
            let applies = rule.provider.is_none_or(|only| only == provider)
                && rule
                    .prompt_contains
                    .as_ref()
                    .is_none_or(|text| prompt.contains(text));
            if !applies {
                continue;
            }
            match &mut rule.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            script = script.or(&rule.script);
        }
        script.or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_directive_line_sets_the_fields_it_names_and_leaves_the_rest_open() {
        let script = Script::from_prompt(
            "Fix the bug.\n  sim: creating=200ms running=1m30s outcome=error pr=false result=\"a \\\"b\\\" c\" cost_cents=12.5\nThanks",
        )
        .unwrap();
        assert_eq!(script.creating, Some(Duration::from_millis(200)));
        assert_eq!(script.running, Some(Duration::from_secs(90)));
        assert_eq!(script.outcome, Some(Outcome::Error));
        assert_eq!(script.pull_request, Some(false));
        assert_eq!(script.result.as_deref(), Some("a \"b\" c"));
        assert_eq!(script.cost_cents, Some(12.5));
        assert_eq!(script.cancel, None);
    }

    #[test]
    fn a_prompt_without_a_directive_decides_nothing() {
        assert_eq!(
            Script::from_prompt("Fix sim: no, not here").unwrap(),
            Script::default()
        );
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_reason() {
        for (prompt, reason) in [
            ("sim: faster", "key=value"),
            ("sim: creating=soon", "creating"),
            ("sim: outcome=great", "great"),
            ("sim: speed=1", "speed"),
            ("sim: result=\"open", "quote"),
            ("sim: pr=true pr=false", "twice"),
        ] {
            let error = Script::from_prompt(prompt).unwrap_err().explain();
            assert!(error.contains(reason), "{prompt}: {error}");
        }
    }

    #[test]
    fn directive_wins_over_rule_and_rule_over_default_and_a_rule_runs_out() {
        let mut book = ScriptBook::new(Script {
            outcome: Some(Outcome::Never),
            ..Script::fast()
        });
        book.add(ScriptRule {
            prompt_contains: Some("fix".into()),
            times: Some(1),
            script: Script {
                outcome: Some(Outcome::Error),
                artifacts: Some(3),
                ..Script::default()
            },
            ..ScriptRule::default()
        });
        let directive = Script {
            artifacts: Some(1),
            ..Script::default()
        };
        let first = book.script_for(Provider::Cursor, "fix it", directive.clone());
        assert_eq!(
            (first.outcome, first.artifacts),
            (Some(Outcome::Error), Some(1))
        );
        let second = book.script_for(Provider::Cursor, "fix it", directive);
        assert_eq!(second.outcome, Some(Outcome::Never));
    }
}
