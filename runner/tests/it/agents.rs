//! Each agent: how it is called, what of it is told, what a run comes to.

use std::fs;

use codeagent_runner_protocol::{EventType, Outcome, Reason};
use serde_json::{Value, json};

use crate::world::{CLAUDE, CODEX, GEMINI, World};

#[test]
fn claude_is_called_as_recorded_and_told() {
    let mut world = World::new();
    world
        .env
        .insert("ANTHROPIC_API_KEY".into(), "sk-ant-0123456789".into());
    let script = format!(
        "{}echo not json >&2; echo \"key $ANTHROPIC_API_KEY\"",
        world.replay("claude-tool")
    );
    let prompt = format!("{}\n", "long ".repeat(60_000));
    let ended = world.run(&world.task("Claude"), &prompt, &script);
    assert_eq!((ended.code, ended.report.outcome), (0, Outcome::Finished));
    assert_eq!(ended.report.result.as_deref(), Some("All done."));
    assert_eq!(ended.report.cost_usd.as_deref(), Some("0.012"));
    assert_eq!(ended.report.conversation_id.as_deref(), Some(CLAUDE));
    // 300 KB: no argument could hold it.
    assert_eq!(world.called("prompt"), prompt);
    assert!(
        world
            .called("args")
            .contains(&format!("--session-id\n{CLAUDE}"))
    );
    let env = world.called("env");
    for set in [
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        "DISABLE_AUTOUPDATER=1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1",
        "CLAUDE_CODE_MAX_RETRIES=4",
        "GIT_CONFIG_KEY_0=safe.directory",
    ] {
        assert!(env.lines().any(|line| line == set), "{set}: {env}");
    }
    assert_eq!(
        ended.texts(EventType::ToolCall),
        ["Bash: echo tool-ran; id -u", "tool-ran\n65532"]
    );
    assert_eq!(ended.texts(EventType::Result), ["All done."]);
    let mut output = ended.texts(EventType::Output);
    output.sort_unstable();
    assert_eq!(output, ["key [redacted]", "not json"]);
    world.shutdown();
}

/// Also where the message is the first one: a first try that was cut off has used the id up.
#[test]
fn a_conversation_that_is_stored_is_resumed() {
    let world = World::new();
    let project = world.path("home/.claude/projects/-workspace");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join(format!("{CLAUDE}.jsonl")), "{}\n").unwrap();
    for resume in [false, true] {
        let mut task = world.task("Claude");
        task["conversation"]["resume"] = json!(resume);
        let ended = world.run(&task, "go on", &world.replay("claude-tool"));
        assert_eq!(ended.code, 0);
        assert!(
            world
                .called("args")
                .contains(&format!("--resume\n{CLAUDE}"))
        );
    }
    world.shutdown();
}

#[test]
fn a_conversation_that_is_gone_is_said_before_anything_runs() {
    let world = World::new();
    for adapter in ["Claude", "Codex", "Gemini", "CursorCLI"] {
        let mut task = world.task(adapter);
        task["conversation"]["resume"] = json!(true);
        let ended = world.run(&task, "go on", "echo started");
        assert_eq!(ended.report.reason, Reason::ConversationLost, "{adapter}");
        assert!(!world.path("fake/args").exists(), "{adapter}");
    }
    world.shutdown();
}

#[test]
fn codex_is_resumed_with_its_own_id_and_no_other() {
    let world = World::new();
    let replay = world.replay("codex-tool");
    let ended = world.run(&world.task("Codex"), "begin", &replay);
    assert_eq!(ended.code, 0);
    assert_eq!(ended.report.conversation_id.as_deref(), Some(CODEX));
    assert!(world.called("args").ends_with("\n-\n"));
    assert!(!world.called("args").contains("resume"));
    let usage = ended.report.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.total_tokens, usage.cumulative),
        (2000, 2200, true)
    );

    let day = world.path("home/.codex/sessions/2026/11/30");
    fs::create_dir_all(&day).unwrap();
    fs::write(
        day.join(format!("rollout-2026-11-30T02-50-56-{CODEX}.jsonl")),
        "{}\n",
    )
    .unwrap();
    let mut task = world.task("Codex");
    task["conversation"]["resume"] = json!(true);
    let ended = world.run(&task, "go on", &replay);
    assert_eq!(ended.code, 0);
    assert!(
        world
            .called("args")
            .ends_with(&format!("\nresume\n{CODEX}\n-\n"))
    );

    // It began another thread: ended at once, and not remembered.
    let other = format!("{}sleep 100000\n", world.replay("codex-success"));
    let ended = world.run(&task, "go on", &other);
    assert_eq!(ended.report.reason, Reason::ConversationLost);
    let ended = world.run(&task, "go on", &replay);
    assert_eq!(ended.code, 0);
    world.shutdown();
}

#[test]
fn codex_without_a_key_is_not_started() {
    let mut world = World::new();
    world.env.insert("CODEX_API_KEY".into(), String::new());
    world
        .env
        .insert("OPENAI_API_KEY".into(), "sk-0123456789".into());
    let ended = world.run(&world.task("Codex"), "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::AuthenticationFailed);
    assert!(ended.report.message.contains("CODEX_API_KEY"));
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}

#[test]
fn gemini_gets_its_settings_and_its_exit_code_is_read() {
    let world = World::new();
    let task = world.task("Gemini");
    let ended = world.run(&task, "begin", &world.replay("gemini-tool"));
    assert_eq!(
        (ended.code, ended.report.result.as_deref()),
        (0, Some("All done."))
    );
    assert!(
        world
            .called("args")
            .contains(&format!("--session-id\n{GEMINI}"))
    );
    let settings = fs::read_to_string(world.path("home/.gemini/settings.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(
        settings["security"]["auth"]["selectedType"],
        json!("gemini-api-key")
    );
    let env = world.called("env");
    assert!(
        env.contains("GEMINI_CLI_TRUST_WORKSPACE=true")
            && env.contains("GEMINI_CLI_NO_RELAUNCH=true")
    );
    // The prompt is not told again.
    assert!(
        !ended
            .events
            .iter()
            .any(|event| event.text.contains("PROMPTMARK"))
    );

    let mut other = task;
    other["conversation"]["id"] = json!("335897fb-6704-467d-a404-7a11921e916c");
    let ended = world.run(
        &other,
        "begin",
        &format!("{}exit 145", world.replay("gemini-api-401")),
    );
    assert_eq!(ended.report.reason, Reason::AuthenticationFailed);
    // SIGTERM of somebody else: exit code 0 without a result.
    let ended = world.run(&other, "begin", "exit 0");
    assert_eq!(ended.report.reason, Reason::NoSuccessLine);
    world.shutdown();
}

#[test]
fn any_program_gets_the_prompt_and_its_lines_are_output() {
    let world = World::new();
    let mut task = world.task("Process");
    task["args"] = json!(["--fast"]);
    let ended = world.run(&task, "/do it", "printf 'one\\ntwo'");
    assert_eq!((ended.code, ended.report.result), (0, None));
    assert_eq!(world.called("prompt"), "/do it");
    assert_eq!(world.called("args"), "--fast\n");
    let output = ended
        .events
        .iter()
        .filter(|event| event.kind == EventType::Output);
    assert_eq!(
        output.map(|event| event.text.as_str()).collect::<Vec<_>>(),
        ["one", "two"]
    );
    let ended = world.run(&task, "do it", "echo broken >&2; exit 3");
    assert_eq!(ended.report.reason, Reason::AgentFailed);
    assert!(
        ended.report.message.contains("exit code 3: broken"),
        "{}",
        ended.report.message
    );
    world.shutdown();
}

#[test]
fn a_prompt_is_never_a_command_of_the_agent() {
    let world = World::new();
    let ended = world.run(
        &world.task("Claude"),
        "/clear",
        &world.replay("claude-tool"),
    );
    assert_eq!(ended.code, 0);
    assert_eq!(world.called("prompt"), "The task:\n\n/clear");
    world.shutdown();
}

#[test]
fn tasks_that_cannot_be_done_are_refused() {
    let world = World::new();
    let mut task = world.task("Claude");
    task["sandbox"] = json!(true);
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::InvalidTask);
    assert!(ended.report.message.contains("sandbox"));
    let ended = world.run(&world.task("Claude"), " \n", "echo started");
    assert_eq!(ended.report.reason, Reason::InvalidTask);
    let mut task = world.task_with_repository("Claude", "GitHub");
    task["repository"]["url"] = json!("git@github.com:acme/app.git");
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::InvalidTask);
    assert!(ended.report.message.contains("SSH"));
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}

#[test]
fn what_an_image_does_not_hold_is_said() {
    let mut world = World::new();
    fs::remove_file(world.path("bin/claude")).unwrap();
    let ended = world.run(&world.task("Claude"), "begin", "");
    assert_eq!(ended.report.reason, Reason::CommandNotFound);
    assert!(
        ended.report.message.contains("claude"),
        "{}",
        ended.report.message
    );
    // A PATH with a shell and the agent alone, as in an image without git.
    let bin = world.path("bin");
    for program in ["sh", "env", "cat"] {
        let found = ["/usr/bin", "/bin"].map(|dir| format!("{dir}/{program}"));
        let found = found.iter().find(|file| fs::exists(file).unwrap()).unwrap();
        std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
    }
    world.env.insert("PATH".into(), bin.display().to_string());
    let ended = world.run(&world.task_with_repository("Codex", "GitHub"), "begin", "");
    assert_eq!(ended.report.reason, Reason::CommandNotFound);
    assert!(
        ended.report.message.contains("program git"),
        "{}",
        ended.report.message
    );
    // A home that cannot be written: by nobody, root included.
    let file = world.path("a-file");
    fs::write(&file, "").unwrap();
    world
        .env
        .insert("HOME".into(), file.join("home").display().to_string());
    let ended = world.run(&world.task("Codex"), "begin", "");
    assert_eq!(ended.report.reason, Reason::AgentStartFailed);
    assert!(
        ended.report.message.contains("fsGroup"),
        "{}",
        ended.report.message
    );
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}
