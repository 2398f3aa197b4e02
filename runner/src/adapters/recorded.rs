//! Every recorded run of the real programs, and what has to be made of it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;

use codeagent_runner_protocol::{Adapter, EventType, Reason};
use serde_json::Value;

use super::{Exit, Reader, Told};

fn recorded(name: &str) -> (Reader, Vec<Told>, Exit, String) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let index = fs::read_to_string(dir.join("index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let entry = index.get(name).unwrap();
    let code = entry.get("exit_code").and_then(Value::as_i64).unwrap();
    let stderr = entry.get("stderr_head").and_then(Value::as_array).unwrap();
    let stderr: Vec<_> = stderr.iter().filter_map(Value::as_str).collect();
    let adapter = match name.split('-').next() {
        Some("claude") => Adapter::Claude,
        Some("codex") => Adapter::Codex,
        Some("gemini") => Adapter::Gemini,
        other => panic!("no adapter for {other:?}"),
    };
    let mut reader = Reader::new(adapter);
    let lines = fs::read_to_string(dir.join(format!("{name}.jsonl"))).unwrap();
    let told = lines.lines().flat_map(|line| reader.line(line)).collect();
    let exit = Exit::Code(i32::try_from(code).unwrap());
    (reader, told, exit, stderr.join("\n"))
}

/// Reason, the agent's last text, tokens (input, output, whole conversation), cost.
type Expected = (
    Reason,
    Option<&'static str>,
    Option<(u64, u64, bool)>,
    Option<&'static str>,
);

const DONE: Option<&str> = Some("All done.");

/// Each recording.
const RUNS: &[(&str, Expected)] = &[
    (
        "claude-success",
        (
            Reason::Completed,
            DONE,
            Some((1000, 100, false)),
            Some("0.006"),
        ),
    ),
    (
        "claude-tool",
        (
            Reason::Completed,
            DONE,
            Some((2000, 200, false)),
            Some("0.012"),
        ),
    ),
    (
        "claude-tool-failed",
        (
            Reason::Completed,
            DONE,
            Some((2000, 200, false)),
            Some("0.012"),
        ),
    ),
    // Two results: the tokens of both, the cost of the last, which holds the first.
    (
        "claude-background-two-results",
        (
            Reason::Completed,
            DONE,
            Some((3000, 300, false)),
            Some("0.018"),
        ),
    ),
    (
        "claude-api-401",
        (
            Reason::AuthenticationFailed,
            Some("Failed to authenticate. API Error: 401 fake authentication_error"),
            Some((0, 0, false)),
            Some("0"),
        ),
    ),
    (
        "claude-no-key",
        (
            Reason::AuthenticationFailed,
            Some("Not logged in · Please run /login"),
            Some((0, 0, false)),
            Some("0"),
        ),
    ),
    (
        "claude-max-turns",
        (
            Reason::TurnLimit,
            None,
            Some((2000, 200, false)),
            Some("0.012"),
        ),
    ),
    (
        "claude-resume-unknown",
        (
            Reason::ConversationLost,
            None,
            Some((0, 0, false)),
            Some("0"),
        ),
    ),
    (
        "claude-sigint",
        (
            Reason::AgentFailed,
            Some("word0 word1 word2 word3 word4 "),
            Some((0, 0, false)),
            Some("0.0042"),
        ),
    ),
    (
        "codex-success",
        (Reason::Completed, DONE, Some((1000, 100, true)), None),
    ),
    (
        "codex-tool",
        (Reason::Completed, DONE, Some((2000, 200, true)), None),
    ),
    (
        "codex-tool-failed",
        (Reason::Completed, DONE, Some((2000, 200, true)), None),
    ),
    (
        "codex-sandbox-denied",
        (Reason::Completed, DONE, Some((2000, 200, true)), None),
    ),
    (
        "codex-sandbox-impossible",
        (Reason::Completed, DONE, Some((2000, 200, true)), None),
    ),
    (
        "codex-api-401",
        (Reason::AuthenticationFailed, None, None, None),
    ),
    (
        "codex-no-key",
        (Reason::AuthenticationFailed, None, None, None),
    ),
    (
        "gemini-success",
        (Reason::Completed, DONE, Some((1000, 100, false)), None),
    ),
    (
        "gemini-tool",
        (Reason::Completed, DONE, Some((2000, 200, false)), None),
    ),
    (
        "gemini-tool-failed",
        (Reason::Completed, DONE, Some((2000, 200, false)), None),
    ),
    (
        "gemini-api-401",
        (
            Reason::AuthenticationFailed,
            None,
            Some((0, 0, false)),
            None,
        ),
    ),
    (
        "gemini-max-turns",
        (Reason::TurnLimit, None, Some((2000, 200, false)), None),
    ),
];

#[test]
fn each_recording_is_concluded_by_exit_code_and_last_line() {
    for (name, (reason, result, usage, cost)) in RUNS {
        let (reader, _, exit, stderr) = recorded(name);
        let concluded = reader.conclude(exit, &stderr);
        let concluded = concluded.map_or_else(|(reason, _)| reason, |()| Reason::Completed);
        assert_eq!(concluded, *reason, "{name}");
        let facts = reader.facts();
        assert_eq!(facts.result.as_deref(), *result, "{name}");
        let told = facts
            .usage
            .map(|usage| (usage.input_tokens, usage.output_tokens, usage.cumulative));
        assert_eq!(told, *usage, "{name}");
        assert_eq!(facts.cost_usd.as_deref(), *cost, "{name}");
        assert!(facts.conversation.is_some(), "{name}");
    }
}

#[test]
fn no_recording_is_left_out() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let recordings = files.filter(|file| file.extension().is_some_and(|end| end == "jsonl"));
    assert_eq!(recordings.count(), RUNS.len());
}

#[test]
fn every_recorded_line_is_of_a_known_type() {
    for (name, _) in RUNS {
        let (_, told, _, _) = recorded(name);
        assert!(!told.is_empty(), "{name}");
        for event in told {
            assert_ne!(event.kind, EventType::Output, "{name}: {event:?}");
        }
    }
}

/// Exit code 0 is not success, and a success line is not either.
#[test]
fn neither_exit_code_nor_line_is_enough() {
    let reason = |reader: &Reader, exit: Exit| {
        reader
            .conclude(exit, "")
            .map_or_else(|(reason, _)| reason, |()| Reason::Completed)
    };
    let term = Exit::Signal(15);
    for (name, terminated) in [
        // A success before it counts: it had only waited for a command in the background.
        ("claude-success", Reason::Completed),
        ("codex-success", Reason::AgentFailed),
        ("gemini-success", Reason::AgentFailed),
    ] {
        let (whole, _, _, _) = recorded(name);
        assert_eq!(reason(&whole, Exit::Code(1)), Reason::AgentFailed, "{name}");
        assert_eq!(reason(&whole, term), terminated, "{name}");
        let empty = Reader::new(whole.adapter);
        assert_eq!(
            reason(&empty, Exit::Code(0)),
            Reason::NoSuccessLine,
            "{name}"
        );
        assert_eq!(
            reason(&empty, Exit::Code(1)),
            Reason::AgentStartFailed,
            "{name}"
        );
        assert_eq!(reason(&empty, term), Reason::AgentFailed, "{name}");
    }
    let (failed, _, _, _) = recorded("claude-sigint");
    assert_eq!(reason(&failed, term), Reason::AgentFailed);
    let gemini = Reader::new(Adapter::Gemini);
    for (code, expected) in [
        (41, Reason::AuthenticationFailed),
        (42, Reason::AgentStartFailed),
        (53, Reason::TurnLimit),
        (55, Reason::AgentStartFailed),
        (144, Reason::ModelApiFailed),
        (145, Reason::AuthenticationFailed),
        (147, Reason::AuthenticationFailed),
        (173, Reason::ModelApiFailed),
        (244, Reason::ModelApiFailed),
    ] {
        assert_eq!(reason(&gemini, Exit::Code(code)), expected, "{code}");
    }
    let lost = "Error: no rollout found for thread id 0";
    let codex = Reader::new(Adapter::Codex).conclude(Exit::Code(1), lost);
    assert!(matches!(codex, Err((Reason::ConversationLost, said)) if said.contains(lost)));
}

#[test]
fn a_line_that_is_not_understood_is_output() {
    for adapter in [
        Adapter::Claude,
        Adapter::Codex,
        Adapter::Gemini,
        Adapter::CursorCLI,
    ] {
        let mut reader = Reader::new(adapter);
        for line in [
            "npm warn old lockfile",
            "{\"type\":",
            "[1]",
            "\"text\"",
            "{\"type\":\"new\",\"a\":1}",
            "{}",
        ] {
            let told = reader.line(line);
            assert!(
                matches!(
                    told.as_slice(),
                    [Told {
                        kind: EventType::Output,
                        ..
                    }]
                ),
                "{told:?}"
            );
        }
        assert!(reader.line("  ").is_empty());
    }
}

/// No recording of Cursor's agent exists: the lines of its documentation.
#[test]
fn cursors_lines_are_read_as_documented() {
    let mut reader = Reader::new(Adapter::CursorCLI);
    let lines = [
        r#"{"type":"system","subtype":"init","session_id":"c1","model":"auto","cwd":"/workspace"}"#,
        r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"the prompt"}]},"session_id":"c1"}"#,
        r#"{"type":"tool_call","subtype":"started","call_id":"t","tool_call":{"writeToolCall":{"args":{"path":"a.rs"}}},"session_id":"c1"}"#,
        r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"Done."}]},"session_id":"c1"}"#,
    ];
    let told: Vec<_> = lines.iter().flat_map(|line| reader.line(line)).collect();
    let kinds: Vec<_> = told.iter().map(|told| told.kind).collect();
    assert_eq!(
        kinds,
        [EventType::Status, EventType::FileEdit, EventType::Assistant]
    );
    assert!(reader.conclude(Exit::Code(0), "").is_err());
    reader.line(r#"{"type":"result","subtype":"success","is_error":false,"result":"Done.","session_id":"c1"}"#);
    assert!(reader.conclude(Exit::Code(0), "").is_ok());
    assert!(reader.conclude(Exit::Code(1), "").is_err());
}

/// The prompt stands in no argument; a model's price that was guessed is not told; a command of the CLI is no success.
#[test]
fn command_lines_are_those_that_were_recorded() {
    use super::{Start, Wish, invocation, prompt};
    let wish = Wish {
        command: &[],
        args: &["--more".to_owned()],
        model: Some("m"),
    };
    let line = |adapter, start: &Start| {
        let made = invocation(adapter, wish, start);
        format!("{} {}", made.program, made.args.join(" "))
    };
    let (new, resume) = (Start::New("U".into()), Start::Resume("U".into()));
    assert_eq!(
        line(Adapter::Claude, &new),
        "claude -p --output-format stream-json --verbose --permission-mode bypassPermissions --session-id U --model m --more"
    );
    assert!(line(Adapter::Claude, &resume).contains(" --resume U "));
    assert_eq!(
        line(Adapter::Codex, &resume),
        "codex exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -c features.shell_snapshot=false -c shell_environment_policy.ignore_default_excludes=false -c analytics.enabled=false -c check_for_update_on_startup=false -c features.plugins=false -m m --more resume U -"
    );
    assert!(line(Adapter::Codex, &new).ends_with("--more -"));
    assert_eq!(
        line(Adapter::Gemini, &new),
        "gemini -o stream-json --approval-mode yolo --session-id U -m m --more"
    );
    assert_eq!(
        line(Adapter::CursorCLI, &resume),
        "agent -p --output-format stream-json --force --trust --model m --resume U --more"
    );
    let command = ["node".to_owned(), "cli.js".to_owned()];
    let wish = Wish {
        command: &command,
        args: &[],
        model: None,
    };
    let own = invocation(Adapter::Gemini, wish, &resume);
    assert_eq!(
        (own.program.as_str(), own.args.join(" ").as_str()),
        (
            "node",
            "cli.js -o stream-json --approval-mode yolo --resume U"
        )
    );
    assert_eq!(prompt(Adapter::Claude, " /clear"), "The task:\n\n /clear");
    assert_eq!(prompt(Adapter::Claude, "fix it"), "fix it");
    assert_eq!(prompt(Adapter::Process, "/clear"), "/clear");
}

#[test]
fn guessed_costs_are_not_told_and_commands_of_the_cli_are_no_success() {
    let mut reader = Reader::new(Adapter::Claude);
    reader.line(r#"{"type":"result","is_error":false,"num_turns":1,"result":"x","total_cost_usd":0.006,"modelUsage":{"m":{"costBasis":"unknown"}},"session_id":"u"}"#);
    assert_eq!(reader.facts().cost_usd, None);
    reader.line(r#"{"type":"result","is_error":false,"num_turns":0,"result":"","session_id":"u"}"#);
    assert!(matches!(
        reader.conclude(Exit::Code(0), ""),
        Err((Reason::AgentFailed, _))
    ));
}
