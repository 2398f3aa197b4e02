//! Signals, children, floods: whatever the agent does, the runner ends, and nothing of the agent is left.

use std::fs;
use std::os::unix::process::CommandExt as _;

use codeagent_runner_protocol::{EventType, Outcome, Reason};
use rustix::process::Signal;
use serde_json::json;

use crate::world::{BOUND, World, runs};

/// A command line that is this test's alone.
fn sleeper(number: u32) -> String {
    format!("sleep 100000.{}{number}", std::process::id())
}

#[test]
fn an_agent_that_is_told_to_stop_is_cancelled_whatever_it_says() {
    let world = World::new();
    let sleeper = sleeper(1);
    // It ends with exit code 0 and a success.
    let done = world.replay("claude-tool");
    let script = format!("trap '{done}exit 0' TERM\n{sleeper} &\necho waiting\nwait\n");
    let mut running = world.start(&world.task("Claude"), "begin", &script);
    running.wait_for("waiting");
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!((ended.code, ended.report.outcome), (40, Outcome::Cancelled));
    assert_eq!(ended.report.cost_usd.as_deref(), Some("0.012"));
    assert!(!runs(&sleeper));
    world.shutdown();
}

#[test]
fn an_agent_that_ignores_the_signal_is_killed_with_its_whole_group() {
    let world = World::new();
    let sleeper = sleeper(2);
    let script = format!("trap '' TERM\n{sleeper} &\necho waiting\nwhile :; do wait; done\n");
    let mut task = world.task("Process");
    task["limits"]["gracePeriodSeconds"] = json!(1);
    let mut running = world.start(&task, "begin", &script);
    running.wait_for("waiting");
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!(ended.report.reason, Reason::Cancelled);
    assert!(!runs(&sleeper));
    world.shutdown();
}

#[test]
fn children_that_the_agent_leaves_are_ended_before_the_report() {
    let world = World::new();
    let sleeper = sleeper(3);
    // In sessions of their own, with the output open; one ignores SIGTERM; one would write after the end.
    let script = format!(
        "setsid {sleeper} &\nsetsid sh -c \"trap '' TERM; while :; do {sleeper}; done\" &\n(setsid sh -c 'sleep 0.1; {sleeper}' &)\necho done\n"
    );
    let ended = world.run(&world.task("Process"), "begin", &script);
    assert_eq!(
        (ended.code, ended.texts(EventType::Output)),
        (0, vec!["done"])
    );
    assert!(!runs(&sleeper));
    world.shutdown();
}

#[test]
fn an_agent_that_says_nothing_is_ended_and_one_that_had_answered_has_finished() {
    let world = World::new();
    let mut task = world.task("Claude");
    task["limits"]["idleSeconds"] = json!(1);
    let ended = world.run(&task, "begin", "sleep 100000");
    assert_eq!(ended.report.reason, Reason::IdleTimeout);
    // It waits for a command in the background. It has this long to answer before, on the slowest machine.
    task["limits"]["idleSeconds"] = json!(20);
    let script = format!("{}sleep 100000", world.replay("claude-tool"));
    let ended = world.run(&task, "begin", &script);
    assert_eq!(ended.report.reason, Reason::Completed);
    world.shutdown();
}

#[test]
fn a_stop_before_the_agent_runs_is_a_stop() {
    let mut world = World::new();
    // git waits, as for a host that does not answer.
    let git = world.path("bin/git");
    let sleeper = sleeper(4);
    fs::write(&git, format!("#!/bin/sh\n{sleeper}\n")).unwrap();
    fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bin = world.path("bin").display().to_string();
    world
        .env
        .insert("PATH".into(), format!("{bin}:/usr/bin:/bin"));
    let mut running = world.start(&world.task_with_repository("Codex", "GitHub"), "begin", "");
    running.wait_for("Fetching");
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!(ended.report.reason, Reason::Cancelled);
    assert!(!world.path("fake/args").exists());
    assert!(!runs(&sleeper));
    world.shutdown();
}

#[test]
fn an_agent_that_was_killed_is_told_of_memory() {
    let world = World::new();
    let ended = world.run(&world.task("Claude"), "begin", "kill -9 $$");
    assert_eq!(ended.report.reason, Reason::AgentFailed);
    assert!(
        ended.report.message.contains("memory limit"),
        "{}",
        ended.report.message
    );
    world.shutdown();
}

/// 80 MB in lines, a line of 5 MB that is understood, and bytes that are no text.
#[test]
fn a_flood_is_passed_on_in_bounded_memory() {
    let world = World::new();
    let long = "head -c 5000000 /dev/zero | tr '\\0' x";
    let script = format!(
        "printf '\\377\\303'; printf '{{\"type\":\"result\",\"is_error\":false,\"num_turns\":1,\"session_id\":\"{}\",\"result\":\"'; {long}; echo '\"}}'\nhead -c 80000000 /dev/zero | tr '\\0' y | fold -w 10000; echo\nprintf 'end\\303'",
        crate::world::CLAUDE
    );
    // The first line has to begin with its brace.
    let script = script.replacen("printf '\\377\\303'; ", "printf '\\377\\303\\n'; ", 1);
    let mut running = world.start(&world.task("Claude"), "begin", &script);
    let status = format!("/proc/{}/status", running.child.id());
    let mut peak = 0;
    let mut lines = 0;
    let mut last = String::new();
    while let Ok(line) = running.lines.recv_timeout(BOUND) {
        lines += 1;
        if line.contains("yyy") {
            if lines % 500 == 0 {
                let status = fs::read_to_string(&status).unwrap_or_default();
                let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let high = high.and_then(|high| high.trim().strip_suffix(" kB")?.parse().ok());
                peak = peak.max(high.unwrap_or(0));
            }
        } else {
            last = line.clone();
            running.seen.push(line);
        }
    }
    assert!(lines > 8000, "{lines}");
    assert!(
        running.seen.iter().any(|line| line.contains("end\u{fffd}")),
        "{last}"
    );
    let code = running.child.wait().unwrap().code();
    assert_eq!(code, Some(0), "{last}");
    // The line of 5 MB is held a few times over; the flood adds nothing.
    assert!(peak > 0 && peak < 90_000, "{peak} kB");
    world.shutdown();
}

/// As in a Pod: the runner is PID 1, where signals without a handler are ignored and orphans are its own.
#[test]
fn as_first_process_of_a_namespace_it_collects_and_stops() {
    let world = World::new();
    let sleeper = sleeper(5);
    let mut task = world.task("Process");
    task["command"] = json!([
        "sh",
        "-c",
        "cat >/dev/null; echo pid $PPID; for i in 1 2 3; do (true &); done; setsid $0 $1 & wait",
        "sleep",
        sleeper.trim_start_matches("sleep ")
    ]);
    fs::write(world.path("task/task.json"), task.to_string()).unwrap();
    fs::write(world.path("task/prompt"), "begin").unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ]);
    command
        .arg(env!("CARGO_BIN_EXE_codeagent-runner"))
        .arg("run");
    for (option, below) in [
        ("--task", "task"),
        ("--workspace", "workspace"),
        ("--git-token", "git/token"),
        ("--report", "report"),
    ] {
        command.arg(option).arg(world.path(below));
    }
    let output = command
        .env("HOME", world.path("home"))
        .process_group(0)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = output.spawn().unwrap();
    let mut said = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    while !said.contains("pid 1\"") {
        if std::io::BufRead::read_line(&mut out, &mut said).unwrap() == 0 {
            break;
        }
    }
    if !said.contains("pid 1\"") {
        let mut why = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut why).unwrap();
        child.wait().unwrap();
        // Not allowed in every container. What is the same everywhere is tested above, below a subreaper.
        assert!(why.starts_with("unshare:"), "{said} {why}");
        eprintln!("no namespace of processes can be made here: {why}");
        return;
    }
    // The runner is the child of unshare, and PID 1 of its namespace.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let runner: i32 = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(runner).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(40));
    assert!(!runs(&sleeper));
    world.shutdown();
}
