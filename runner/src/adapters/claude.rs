//! Claude Code (recorded with 2.1.332). Its final line is `result`, of which there can be several; `subtype` is `success` even where
//! the model's API failed, so only `is_error` and `num_turns` are believed.

use codeagent_runner_protocol::{EventType, Reason, Usage};
use serde_json::{Value, json};

use super::{
    Exit, Facts, Invocation, Start, Told, Verdict, Wish, api_reason, assemble, ended, failure,
    number, options, plain, text,
};

/// No calls but to the model's API (a network policy that drops them costs seconds each), no updates, no commands that outlive the
/// answer and make a second one; and an end of retries: ten, the default, take minutes.
const ENV: &[(&str, &str)] = &[
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "4"),
];

pub fn invocation(wish: Wish<'_>, start: &Start) -> Invocation {
    let (option, id) = match start {
        Start::New(id) => ("--session-id", id),
        Start::Resume(id) => ("--resume", id),
    };
    let words = [
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        // The Pod is the sandbox.
        "--permission-mode",
        "bypassPermissions",
        option,
        id,
    ];
    let options = options(&words, wish.model.map(|model| ("--model", model)));
    assemble(wish, "claude", options, ENV)
}

pub fn read(line: &Value, facts: &mut Facts) -> Vec<Told> {
    match (text(line, "type"), text(line, "subtype")) {
        ("system", "init") => {
            facts.conversation = Some(text(line, "session_id").to_owned());
            let version = text(line, "claude_code_version");
            let model = text(line, "model");
            let said = format!("Claude Code {version} began, model {model}.");
            vec![Told::new(EventType::Status, said)]
        }
        ("system", "api_retry") => vec![retry(line)],
        (
            "system",
            name @ ("task_started"
            | "task_updated"
            | "task_notification"
            | "background_tasks_changed"
            | "status"),
        ) => {
            let about = [text(line, "description"), text(line, "summary")].concat();
            let gap = if about.is_empty() { "" } else { ": " };
            vec![Told::new(EventType::Status, format!("{name}{gap}{about}"))]
        }
        ("assistant", _) => said(line, facts),
        ("user", _) => answered(line),
        ("result", _) => vec![result(line, facts)],
        (kind, "") => vec![Told::unknown(kind, line)],
        (kind, subtype) => vec![Told::unknown(&format!("{kind}/{subtype}"), line)],
    }
}

fn retry(line: &Value) -> Told {
    let status = number(line, "error_status");
    let said = format!(
        "The model's API failed ({} {}), attempt {} of {}; again in {} ms.",
        status,
        text(line, "error"),
        number(line, "attempt"),
        number(line, "max_retries"),
        number(line, "retry_delay_ms"),
    );
    Told::new(EventType::Error, said).with(json!({"status": status, "retry": true}))
}

/// The parts of a message of the model.
pub fn said(line: &Value, facts: &mut Facts) -> Vec<Told> {
    let mut told = Vec::new();
    for part in parts(line) {
        told.push(match text(part, "type") {
            "text" => {
                let words = text(part, "text");
                facts.result = Some(words.to_owned());
                Told::new(EventType::Assistant, words)
            }
            "thinking" => Told::new(EventType::Thinking, text(part, "thinking")),
            "redacted_thinking" => Told::new(EventType::Thinking, ""),
            "tool_use" => tool(part),
            other => Told::unknown(&format!("assistant/{other}"), part),
        });
    }
    told
}

fn tool(part: &Value) -> Told {
    let name = text(part, "name");
    let input = part.get("input").cloned().unwrap_or_default();
    let file = [text(&input, "file_path"), text(&input, "notebook_path")].concat();
    let payload = json!({"id": text(part, "id"), "name": name, "input": input});
    if matches!(name, "Edit" | "MultiEdit" | "Write" | "NotebookEdit") {
        return Told::new(EventType::FileEdit, format!("{name} {file}")).with(payload);
    }
    let command = text(payload.get("input").unwrap_or(&Value::Null), "command");
    let gap = if command.is_empty() { "" } else { ": " };
    Told::new(EventType::ToolCall, format!("{name}{gap}{command}")).with(payload)
}

/// What tools answered, as messages of the user.
pub fn answered(line: &Value) -> Vec<Told> {
    let mut told = Vec::new();
    for part in parts(line) {
        match text(part, "type") {
            "tool_result" => {
                let failed = part.get("is_error").and_then(Value::as_bool) == Some(true);
                let said = part.get("content").map(tool_text).unwrap_or_default();
                let payload = json!({"id": text(part, "tool_use_id"), "failed": failed});
                told.push(Told::new(EventType::ToolCall, said).with(payload));
            }
            "text" => told.push(Told::new(EventType::Status, text(part, "text"))),
            other => told.push(Told::unknown(&format!("user/{other}"), part)),
        }
    }
    told
}

/// The content of a tool's answer: text, or a list of parts of which the texts count.
fn tool_text(content: &Value) -> String {
    match content {
        Value::Array(parts) => {
            let texts: Vec<_> = parts.iter().map(|part| text(part, "text")).collect();
            texts.join("\n")
        }
        other => plain(other),
    }
}

fn parts(line: &Value) -> impl Iterator<Item = &Value> {
    let content = line
        .get("message")
        .and_then(|message| message.get("content"));
    content.and_then(Value::as_array).into_iter().flatten()
}

/// Takes a final line into account.
pub fn result(line: &Value, facts: &mut Facts) -> Told {
    if let Some(id) = line.get("session_id").and_then(Value::as_str) {
        facts.conversation = Some(id.to_owned());
    }
    let said = text(line, "result");
    add_usage(line, facts);
    facts.cost_usd = cost(line);
    if line.get("is_error").and_then(Value::as_bool) == Some(false) {
        // Without a single turn no model was asked: a command of the CLI itself.
        if line.get("num_turns").and_then(Value::as_u64) == Some(0) {
            let why = "The agent took the prompt for a command of its own and asked no model";
            let (reason, why) = failure(Reason::AgentFailed, why);
            facts.verdict = Some(Verdict::Failure(reason, why.clone()));
            return Told::new(EventType::Error, why);
        }
        facts.result = Some(said.to_owned());
        facts.verdict = Some(Verdict::Success);
        return Told::new(EventType::Result, said);
    }
    let errors = line.get("errors").and_then(Value::as_array);
    let errors: Vec<_> = errors.into_iter().flatten().map(plain).collect();
    let why = if said.is_empty() {
        errors.join("; ")
    } else {
        said.to_owned()
    };
    let (reason, why) = failure(failed(line, &why), &why);
    facts.verdict = Some(Verdict::Failure(reason, why.clone()));
    Told::new(EventType::Error, why)
}

fn failed(line: &Value, why: &str) -> Reason {
    match text(line, "subtype") {
        "error_max_turns" => return Reason::TurnLimit,
        "error_max_budget_usd" => return Reason::BudgetExceeded,
        _ if why.contains("No conversation found") => return Reason::ConversationLost,
        _ => {}
    }
    if let Some(status) = line.get("api_error_status").and_then(Value::as_u64) {
        return api_reason(status);
    }
    if text(line, "terminal_reason") != "api_error" {
        return Reason::AgentFailed;
    }
    // Without a key no request is made, and so no status is told.
    if why.contains("/login") || why.contains("API key") {
        Reason::AuthenticationFailed
    } else {
        Reason::ModelApiFailed
    }
}

/// Each final line tells the tokens since the one before.
fn add_usage(line: &Value, facts: &mut Facts) {
    let Some(told) = line.get("usage").filter(|usage| usage.is_object()) else {
        return;
    };
    let before = facts
        .usage
        .map_or((0, 0), |usage| (usage.input_tokens, usage.output_tokens));
    let input = before.0
        + number(told, "input_tokens")
        + number(told, "cache_creation_input_tokens")
        + number(told, "cache_read_input_tokens");
    let output = before.1 + number(told, "output_tokens");
    facts.usage = Some(Usage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: input + output,
        cumulative: false,
    });
}

/// `total_cost_usd`, which counts the whole conversation. A model that is not known is priced like the default one: then there is no
/// cost that could be told.
fn cost(line: &Value) -> Option<String> {
    let models = line.get("modelUsage").and_then(Value::as_object);
    let guessed = models.into_iter().flatten().any(|(_, model)| {
        let basis = text(model, "costBasis");
        !basis.is_empty() && basis != "list"
    });
    let dollars = line.get("total_cost_usd").and_then(Value::as_f64)?;
    (!guessed).then(|| decimal(dollars))
}

/// Up to a millionth of a dollar, without what binary fractions add.
fn decimal(dollars: f64) -> String {
    let text = format!("{dollars:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub fn conclude(facts: &Facts, exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
    match (&facts.verdict, exit) {
        (Some(Verdict::Failure(reason, why)), _) => Err((*reason, why.clone())),
        (Some(Verdict::Success), Exit::Code(0)) => Ok(()),
        // It waits for commands in the background after its answer; ending it then takes nothing back.
        (Some(Verdict::Success), exit) if exit.is_sigterm() => Ok(()),
        (Some(Verdict::Success), exit) => Err(failure(
            Reason::AgentFailed,
            &ended("Claude Code said that it finished, but", exit, stderr),
        )),
        (None, Exit::Code(0)) => Err(failure(
            Reason::NoSuccessLine,
            "Claude Code ended with exit code 0 and no result: it was interrupted, or its output is not read",
        )),
        (None, exit) if exit.is_sigterm() || matches!(exit, Exit::Signal(_)) => Err(failure(
            Reason::AgentFailed,
            &ended("Claude Code", exit, stderr),
        )),
        (None, exit) => {
            let reason = if facts.conversation.is_some() {
                Reason::AgentFailed
            } else if stderr.contains("No conversation found") {
                Reason::ConversationLost
            } else {
                Reason::AgentStartFailed
            };
            Err(failure(reason, &ended("Claude Code", exit, stderr)))
        }
    }
}
