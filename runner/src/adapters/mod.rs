//! The command-line agents: how each is started, and what its lines mean. Nothing here starts or reads anything; [`crate::agent`]
//! does.

mod claude;
mod codex;
mod cursor;
mod gemini;
mod process;

#[cfg(test)]
mod recorded;

use codeagent_runner_protocol::{Adapter, EventType, Reason, Usage};
use serde_json::Value;

/// How the agent is told which conversation this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new one; under this id, where the agent lets its caller choose.
    New(String),
    /// The one that the agent has stored under this id.
    Resume(String),
}

/// What the adapter makes of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The program, looked for in `PATH`, and its arguments. Never the prompt: an argument is limited to 128 KiB, and one that
    /// begins with `-` is an option.
    pub program: String,
    pub args: Vec<String>,
    /// Variables that are set where the Pod does not set them itself.
    pub env: &'static [(&'static str, &'static str)],
}

pub use gemini::settings as gemini_settings;

/// What the task says of the program.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The program and its first arguments; empty: the adapter's own.
    pub command: &'a [String],
    pub args: &'a [String],
    pub model: Option<&'a str>,
}

/// Something that a line told, for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub kind: EventType,
    pub text: String,
    pub payload: Option<Value>,
}

impl Told {
    pub fn new(kind: EventType, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            payload: None,
        }
    }

    pub fn with(self, payload: Value) -> Self {
        Self {
            payload: Some(payload),
            ..self
        }
    }

    /// A line of a type that is not known: nothing of it is lost.
    fn unknown(name: &str, line: &Value) -> Self {
        Self::new(EventType::Output, name).with(line.clone())
    }
}

/// What the agent has said of the whole run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The agent's id of the conversation.
    pub conversation: Option<String>,
    /// The last text that the agent said to its user.
    pub result: Option<String>,
    /// The last of its final lines. There may be several.
    pub verdict: Option<Verdict>,
    pub usage: Option<Usage>,
    /// US dollars of the whole conversation, a decimal number.
    pub cost_usd: Option<String>,
}

/// What a final line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure(Reason, String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// By this signal.
    Signal(i32),
}

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

impl Exit {
    /// Ended by SIGTERM, or by a shell's or a program's own account of it.
    fn is_sigterm(self) -> bool {
        self == Self::Signal(SIGTERM) || self == Self::Code(128 + SIGTERM)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// Reads an agent's lines: pure, one line after the other.
#[derive(Debug)]
pub struct Reader {
    adapter: Adapter,
    facts: Facts,
}

impl Reader {
    pub fn new(adapter: Adapter) -> Self {
        Self {
            adapter,
            facts: Facts::default(),
        }
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes one line of the agent's standard output, without its newline.
    pub fn line(&mut self, line: &str) -> Vec<Told> {
        if line.trim().is_empty() {
            return Vec::new();
        }
        let output = || vec![Told::new(EventType::Output, line)];
        if self.adapter == Adapter::Process {
            return output();
        }
        let Some(value) = serde_json::from_str::<Value>(line)
            .ok()
            .filter(Value::is_object)
        else {
            return output();
        };
        match self.adapter {
            Adapter::Claude => claude::read(&value, &mut self.facts),
            Adapter::Codex => codex::read(&value, &mut self.facts),
            Adapter::Gemini => gemini::read(&value, &mut self.facts),
            Adapter::CursorCLI => cursor::read(&value, &mut self.facts),
            Adapter::Process => output(),
        }
    }

    /// What the run came to, by the exit code **and** the last final line: neither is enough. `stderr` is the end of what the agent
    /// wrote there, where the errors of a start stand.
    pub fn conclude(&self, exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
        let facts = &self.facts;
        match self.adapter {
            Adapter::Claude => claude::conclude(facts, exit, stderr),
            Adapter::Codex => codex::conclude(facts, exit, stderr),
            Adapter::Gemini => gemini::conclude(facts, exit, stderr),
            Adapter::CursorCLI => cursor::conclude(facts, exit, stderr),
            Adapter::Process => process::conclude(exit, stderr),
        }
    }
}

/// The command line of an adapter.
pub fn invocation(adapter: Adapter, wish: Wish<'_>, start: &Start) -> Invocation {
    match adapter {
        Adapter::Claude => claude::invocation(wish, start),
        Adapter::Codex => codex::invocation(wish, start),
        Adapter::Gemini => gemini::invocation(wish, start),
        Adapter::CursorCLI => cursor::invocation(wish, start),
        Adapter::Process => process::invocation(wish),
    }
}

/// The prompt as the agent gets it on its standard input. One that begins with `/` is a command of the agent's own, which asks no
/// model and succeeds, so a line is put before it.
pub fn prompt(adapter: Adapter, prompt: &str) -> String {
    if adapter != Adapter::Process && prompt.trim_start().starts_with('/') {
        format!("The task:\n\n{prompt}")
    } else {
        prompt.to_owned()
    }
}

/// The program and all arguments: the task's command or the adapter's program, the adapter's options, the task's further arguments.
fn assemble(
    wish: Wish<'_>,
    program: &str,
    options: Vec<String>,
    env: &'static [(&'static str, &'static str)],
) -> Invocation {
    let (program, first) = match wish.command.split_first() {
        Some((program, first)) => (program.clone(), first),
        None => (program.to_owned(), [].as_slice()),
    };
    let args = [first, &options, wish.args].concat();
    Invocation { program, args, env }
}

/// `words`, then `--model NAME` in the agent's spelling if the task names one.
fn options(words: &[&str], model: Option<(&str, &str)>) -> Vec<String> {
    let model = model.into_iter().flat_map(|(option, name)| [option, name]);
    words
        .iter()
        .copied()
        .chain(model)
        .map(str::to_owned)
        .collect()
}

/// The member `name` of `value` as text; empty if it is not there.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A JSON value as a person reads it: text as it is.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The sentence of an agent that ended without saying why.
fn ended(agent: &str, exit: Exit, stderr: &str) -> String {
    let said: Vec<_> = stderr.split_whitespace().collect();
    let said = said.join(" ");
    let said = match said.as_str() {
        "" => "it wrote no error",
        said => said,
    };
    let hint = if exit == Exit::Signal(SIGKILL) {
        ". It was killed, most often for want of memory: raise the memory limit of the agent"
    } else {
        ""
    };
    format!("{agent} ended with {exit}: {said}{hint}")
}

/// The reason of an error of the model's API, if the HTTP status that it answered is known.
fn api_reason(status: u64) -> Reason {
    match status {
        401 | 403 => Reason::AuthenticationFailed,
        _ => Reason::ModelApiFailed,
    }
}

/// What a person can do about it; behind the agent's own words.
fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::AuthenticationFailed => {
            "Check the key of the model's API in the environment of the agent."
        }
        Reason::ModelApiFailed => {
            "Send the message again when the model's API answers; the workspace is kept."
        }
        Reason::TurnLimit => "Raise the limit, or send a further message to go on.",
        Reason::BudgetExceeded => "Raise the budget, or send a further message to go on.",
        Reason::ConversationLost => "Start a new session.",
        _ => "",
    }
}

/// A whole sentence, with what can be done behind it.
fn failure(reason: Reason, what: &str) -> (Reason, String) {
    let advice = advice(reason);
    let stop = if what.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    let gap = if advice.is_empty() { "" } else { " " };
    (reason, format!("{what}{stop}{gap}{advice}"))
}
