//! Gemini CLI (recorded with 0.61.0). A failure of the model's API is the HTTP status modulo 256 as exit code; SIGTERM is exit code 0
//! without a result.

use codeagent_runner_protocol::{EventType, Reason, Usage};
use serde_json::{Value, json};

use super::{
    Exit, Facts, Invocation, Start, Told, Verdict, Wish, api_reason, assemble, ended, failure,
    number, options, plain, text,
};

/// Trust in the working copy, without which it falls back to asking; and one process: its parent ignores SIGTERM.
const ENV: &[(&str, &str)] = &[
    ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
    ("GEMINI_CLI_NO_RELAUNCH", "true"),
];

pub fn invocation(wish: Wish<'_>, start: &Start) -> Invocation {
    let (option, id) = match start {
        Start::New(id) => ("--session-id", id),
        Start::Resume(id) => ("--resume", id),
    };
    let words = ["-o", "stream-json", "--approval-mode", "yolo", option, id];
    let options = options(&words, wish.model.map(|model| ("-m", model)));
    assemble(wish, "gemini", options, ENV)
}

/// What has to stand in `~/.gemini/settings.json`: the way of authentication (without it the variable of the key alone is "invalid"),
/// no calls but to the model's API, and an end of retries.
pub fn settings() -> Value {
    json!({
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {"enableAutoUpdate": false, "maxAttempts": 4},
    })
}

pub fn read(line: &Value, facts: &mut Facts) -> Vec<Told> {
    let told = match (text(line, "type"), text(line, "role")) {
        ("init", _) => {
            facts.conversation = Some(text(line, "session_id").to_owned());
            let said = format!("Gemini CLI began, model {}.", text(line, "model"));
            Told::new(EventType::Status, said)
        }
        // The prompt.
        ("message", "user") => return Vec::new(),
        ("message", "assistant") => {
            let said = text(line, "content");
            // A piece of a text that is told in pieces.
            match &mut facts.result {
                Some(result) if line.get("delta").and_then(Value::as_bool) == Some(true) => {
                    result.push_str(said);
                }
                result => *result = Some(said.to_owned()),
            }
            Told::new(EventType::Assistant, said)
        }
        ("tool_use", _) => {
            // The next text is another one.
            facts.result = None;
            tool(line)
        }
        ("tool_result", _) => {
            // "success" for a command that failed as well; there is no exit code.
            let failed = text(line, "status") != "success";
            let said = line.get("output").map(plain).unwrap_or_default();
            let payload = json!({"id": text(line, "tool_id"), "failed": failed});
            Told::new(EventType::ToolCall, said).with(payload)
        }
        ("error", _) => Told::new(EventType::Error, text(line, "message")),
        ("result", _) => result(line, facts),
        (other, _) => Told::unknown(other, line),
    };
    vec![told]
}

fn tool(line: &Value) -> Told {
    let name = text(line, "tool_name");
    let input = line.get("parameters").cloned().unwrap_or_default();
    let about = [text(&input, "command"), text(&input, "file_path")].concat();
    let kind = match name {
        "write_file" | "replace" => EventType::FileEdit,
        _ => EventType::ToolCall,
    };
    let gap = if about.is_empty() { "" } else { ": " };
    let payload = json!({"id": text(line, "tool_id"), "name": name, "input": input});
    Told::new(kind, format!("{name}{gap}{about}")).with(payload)
}

fn result(line: &Value, facts: &mut Facts) -> Told {
    if let Some(stats) = line.get("stats") {
        facts.usage = Some(Usage {
            input_tokens: number(stats, "input_tokens"),
            output_tokens: number(stats, "output_tokens"),
            total_tokens: number(stats, "total_tokens"),
            cumulative: false,
        });
    }
    if text(line, "status") == "success" {
        facts.verdict = Some(Verdict::Success);
        return Told::new(EventType::Result, facts.result.clone().unwrap_or_default());
    }
    let error = line.get("error").cloned().unwrap_or_default();
    let reason = match text(&error, "type") {
        "FatalTurnLimitedError" => Reason::TurnLimit,
        "FatalAuthenticationError" => Reason::AuthenticationFailed,
        _ => api_failure(text(&error, "message")),
    };
    let (reason, why) = failure(reason, text(&error, "message"));
    facts.verdict = Some(Verdict::Failure(reason, why.clone()));
    Told::new(EventType::Error, why)
}

/// `[API Error: {"error":{"code":401,…}}]`.
fn api_failure(message: &str) -> Reason {
    let Some((_, rest)) = message.split_once("[API Error: ") else {
        return Reason::AgentFailed;
    };
    let body = rest.trim_end().trim_end_matches(']');
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body.get("error").map_or(0, |error| number(error, "code"));
    api_reason(code)
}

pub fn conclude(facts: &Facts, exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
    match (&facts.verdict, exit) {
        (Some(Verdict::Failure(reason, why)), exit) => {
            let reason = match (reason, exit) {
                (Reason::AgentFailed, Exit::Code(code)) => by_code(code, *reason),
                _ => *reason,
            };
            Err((reason, why.clone()))
        }
        (Some(Verdict::Success), Exit::Code(0)) => Ok(()),
        (Some(Verdict::Success), exit) => Err(failure(
            Reason::AgentFailed,
            &ended("Gemini CLI said that it finished, but", exit, stderr),
        )),
        (None, Exit::Code(0)) => Err(failure(
            Reason::NoSuccessLine,
            "Gemini CLI ended with exit code 0 and no result: it was told to end by somebody else",
        )),
        (None, exit) => {
            let began = facts.conversation.is_some() || matches!(exit, Exit::Signal(_));
            let otherwise = if began {
                Reason::AgentFailed
            } else {
                Reason::AgentStartFailed
            };
            let reason = match exit {
                Exit::Code(code) => by_code(code, otherwise),
                Exit::Signal(_) => otherwise,
            };
            Err(failure(reason, &ended("Gemini CLI", exit, stderr)))
        }
    }
}

/// 41, 53: its own codes. 144 to 255: the HTTP statuses 400 to 511, modulo 256. 42 (a bad id or input) and 55 (a folder that is not
/// trusted) are errors of the start.
fn by_code(code: i32, otherwise: Reason) -> Reason {
    match code {
        41 => Reason::AuthenticationFailed,
        42 | 55 => Reason::AgentStartFailed,
        53 => Reason::TurnLimit,
        144..=255 => api_reason(u64::try_from(code).unwrap_or_default() + 256),
        _ => otherwise,
    }
}
