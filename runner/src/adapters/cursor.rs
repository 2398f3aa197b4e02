//! Cursor's command-line agent, from its documentation; it was not run. Its lines are like Claude's, with `tool_call` lines of their
//! own; a failure has no `result` line, only an exit code and text on the standard error. That it reads the prompt from its standard
//! input is not documented.

use codeagent_runner_protocol::{EventType, Reason};
use serde_json::{Value, json};

use super::{
    Exit, Facts, Invocation, Start, Told, Verdict, Wish, assemble, claude, ended, failure, options,
    text,
};

pub fn invocation(wish: Wish<'_>, start: &Start) -> Invocation {
    let words = ["-p", "--output-format", "stream-json", "--force", "--trust"];
    let mut options = options(&words, wish.model.map(|model| ("--model", model)));
    // It chooses the id of a new conversation itself.
    if let Start::Resume(id) = start {
        options.extend(["--resume".to_owned(), id.clone()]);
    }
    assemble(wish, "agent", options, &[])
}

pub fn read(line: &Value, facts: &mut Facts) -> Vec<Told> {
    match (text(line, "type"), text(line, "subtype")) {
        ("system", "init") => {
            facts.conversation = Some(text(line, "session_id").to_owned());
            let said = format!("Cursor's agent began, model {}.", text(line, "model"));
            vec![Told::new(EventType::Status, said)]
        }
        // The prompt.
        ("user", _) => Vec::new(),
        ("assistant", _) => claude::said(line, facts),
        ("tool_call", step) => vec![tool(line, step)],
        ("result", _) => vec![result(line, facts)],
        (kind, "") => vec![Told::unknown(kind, line)],
        (kind, subtype) => vec![Told::unknown(&format!("{kind}/{subtype}"), line)],
    }
}

/// `{"tool_call": {"NAMEToolCall": {"args": {}, "result": {}}}}`.
fn tool(line: &Value, step: &str) -> Told {
    let call = line.get("tool_call").and_then(Value::as_object);
    let (name, call) = call
        .and_then(|call| call.iter().next())
        .map_or(("", Value::Null), |(name, call)| {
            (name.as_str(), call.clone())
        });
    let name = name.trim_end_matches("ToolCall");
    let args = call.get("args").cloned().unwrap_or_default();
    let about = [text(&args, "command"), text(&args, "path")].concat();
    let kind = match name {
        "edit" | "write" | "delete" => EventType::FileEdit,
        _ => EventType::ToolCall,
    };
    let gap = if about.is_empty() { "" } else { ": " };
    let payload = json!({"id": text(line, "call_id"), "name": name, "step": step, "input": args});
    Told::new(kind, format!("{name}{gap}{about}")).with(payload)
}

fn result(line: &Value, facts: &mut Facts) -> Told {
    let said = text(line, "result");
    if line.get("is_error").and_then(Value::as_bool) == Some(false) {
        facts.result = Some(said.to_owned());
        facts.verdict = Some(Verdict::Success);
        return Told::new(EventType::Result, said);
    }
    let (reason, why) = failure(Reason::AgentFailed, said);
    facts.verdict = Some(Verdict::Failure(reason, why.clone()));
    Told::new(EventType::Error, why)
}

pub fn conclude(facts: &Facts, exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
    match (&facts.verdict, exit) {
        (Some(Verdict::Failure(reason, why)), _) => Err((*reason, why.clone())),
        (Some(Verdict::Success), Exit::Code(0)) => Ok(()),
        (Some(Verdict::Success), exit) => Err(failure(
            Reason::AgentFailed,
            &ended("Cursor's agent said that it finished, but", exit, stderr),
        )),
        (None, Exit::Code(0)) => Err(failure(
            Reason::NoSuccessLine,
            "Cursor's agent ended with exit code 0 and no result",
        )),
        (None, exit) => {
            let began = facts.conversation.is_some() || matches!(exit, Exit::Signal(_));
            let reason = if began {
                Reason::AgentFailed
            } else {
                Reason::AgentStartFailed
            };
            Err(failure(reason, &ended("Cursor's agent", exit, stderr)))
        }
    }
}
