//! Codex (recorded with 0.171.0). `turn.completed` and `turn.failed` are final; `error` is not, it also tells retries.

use codeagent_runner_protocol::{EventType, Reason, Usage};
use serde_json::{Value, json};

use super::{
    Exit, Facts, Invocation, Start, Told, Verdict, Wish, api_reason, assemble, ended, failure,
    number, options, plain, text,
};

pub fn invocation(wish: Wish<'_>, start: &Start) -> Invocation {
    let words = [
        "exec",
        "--json",
        "--skip-git-repo-check",
        // Its own sandbox needs user namespaces, which a container does not have; commands then fail and the turn completes.
        "--dangerously-bypass-approvals-and-sandbox",
        // Its snapshots hold the key of the API, and would stay in the workspace's volume.
        "-c",
        "features.shell_snapshot=false",
        "-c",
        "shell_environment_policy.ignore_default_excludes=false",
        // No calls but to the model's API.
        "-c",
        "analytics.enabled=false",
        "-c",
        "check_for_update_on_startup=false",
        "-c",
        "features.plugins=false",
    ];
    let options = options(&words, wish.model.map(|model| ("-m", model)));
    let mut invocation = assemble(wish, "codex", options, &[]);
    // Never `--last` or a name: what is not found begins a new conversation, silently.
    if let Start::Resume(id) = start {
        invocation.args.extend(["resume".to_owned(), id.clone()]);
    }
    // The prompt is on the standard input.
    invocation.args.push("-".to_owned());
    invocation
}

pub fn read(line: &Value, facts: &mut Facts) -> Vec<Told> {
    let null = Value::Null;
    let item = line.get("item").unwrap_or(&null);
    match text(line, "type") {
        "thread.started" => {
            facts.conversation = Some(text(line, "thread_id").to_owned());
            vec![Told::new(EventType::Status, "Codex began.")]
        }
        "turn.started" => vec![Told::new(EventType::Status, "The turn began.")],
        "turn.completed" => {
            facts.usage = line.get("usage").map(usage);
            facts.verdict = Some(Verdict::Success);
            let said = facts.result.clone().unwrap_or_default();
            vec![Told::new(EventType::Result, said)]
        }
        "turn.failed" => {
            let error = line.get("error").unwrap_or(&null);
            let why = text(error, "message");
            let (reason, why) = failure(failed(why), why);
            facts.verdict = Some(Verdict::Failure(reason, why.clone()));
            vec![Told::new(EventType::Error, why)]
        }
        "error" => vec![Told::new(EventType::Error, text(line, "message"))],
        kind @ ("item.started" | "item.updated" | "item.completed") => {
            item_told(kind, item, facts).into_iter().collect()
        }
        other => vec![Told::unknown(other, line)],
    }
}

fn item_told(kind: &str, item: &Value, facts: &mut Facts) -> Option<Told> {
    let done = kind == "item.completed";
    let told = match text(item, "type") {
        // Whole texts come at the end; before it, parts of them.
        "agent_message" | "reasoning" if !done => return None,
        "agent_message" => {
            facts.result = Some(text(item, "text").to_owned());
            Told::new(EventType::Assistant, text(item, "text"))
        }
        "reasoning" => Told::new(EventType::Thinking, text(item, "text")),
        "command_execution" => return command(kind, item),
        "file_change" if !done => return None,
        "file_change" => {
            let changes = item.get("changes").and_then(Value::as_array);
            let changes = changes.into_iter().flatten();
            let files =
                changes.map(|change| format!("{} {}", text(change, "kind"), text(change, "path")));
            let files: Vec<_> = files.collect();
            Told::new(EventType::FileEdit, files.join(", ")).with(item.clone())
        }
        "mcp_tool_call" => {
            let name = format!("{}.{}", text(item, "server"), text(item, "tool"));
            Told::new(EventType::ToolCall, name).with(item.clone())
        }
        "web_search" => Told::new(EventType::ToolCall, text(item, "query")).with(item.clone()),
        "todo_list" => Told::new(EventType::Status, "The plan changed.").with(item.clone()),
        "error" => Told::new(EventType::Error, text(item, "message")),
        other => Told::unknown(&format!("{kind}/{other}"), item),
    };
    Some(told)
}

fn command(kind: &str, item: &Value) -> Option<Told> {
    let id = text(item, "id");
    let command = text(item, "command");
    match kind {
        "item.started" => {
            let payload = json!({"id": id, "name": "command", "input": {"command": command}});
            Some(Told::new(EventType::ToolCall, command).with(payload))
        }
        "item.completed" => {
            let failed = text(item, "status") == "failed";
            let payload = json!({"id": id, "failed": failed, "exitCode": item.get("exit_code")});
            let output = item.get("aggregated_output").map(plain).unwrap_or_default();
            Some(Told::new(EventType::ToolCall, output).with(payload))
        }
        _ => None,
    }
}

/// Of the whole conversation, resumed or not.
fn usage(told: &Value) -> Usage {
    let input = number(told, "input_tokens");
    let output = number(told, "output_tokens");
    Usage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: input + output,
        cumulative: true,
    }
}

fn failed(why: &str) -> Reason {
    if why.starts_with("Missing environment variable") {
        return Reason::AuthenticationFailed;
    }
    for before in ["unexpected status ", "last status: "] {
        let status = why.split_once(before).and_then(|(_, rest)| rest.get(..3));
        if let Some(status) = status.and_then(|status| status.parse().ok()) {
            return api_reason(status);
        }
    }
    let api = [
        "high demand",
        "stream ",
        "usage limit",
        "error sending request",
        "timed out",
    ];
    if api.iter().any(|word| why.contains(word)) {
        Reason::ModelApiFailed
    } else {
        Reason::AgentFailed
    }
}

pub fn conclude(facts: &Facts, exit: Exit, stderr: &str) -> Result<(), (Reason, String)> {
    match (&facts.verdict, exit) {
        (Some(Verdict::Failure(reason, why)), _) => Err((*reason, why.clone())),
        (Some(Verdict::Success), Exit::Code(0)) => Ok(()),
        (Some(Verdict::Success), exit) => Err(failure(
            Reason::AgentFailed,
            &ended("Codex completed the turn, but", exit, stderr),
        )),
        (None, Exit::Code(0)) => Err(failure(
            Reason::NoSuccessLine,
            "Codex ended with exit code 0 and did not complete its turn",
        )),
        (None, exit) => {
            let reason = if stderr.contains("no rollout found") {
                Reason::ConversationLost
            } else if facts.conversation.is_some() || matches!(exit, Exit::Signal(_)) {
                Reason::AgentFailed
            } else {
                Reason::AgentStartFailed
            };
            Err(failure(reason, &ended("Codex", exit, stderr)))
        }
    }
}
