//! A volume that is full: a small file system, mounted in a namespace of its own.

use std::process::Command;

use codeagent_runner_protocol::Reason;

use crate::world::World;

/// A world whose workspace holds this many KiB; `None` where no file system can be mounted.
fn small(kib: u32) -> Option<World> {
    let mut world = World::new();
    let unshare = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
    ];
    let mount = format!(
        "mount -t tmpfs -o size={kib}k none '{}'",
        world.path("workspace").display()
    );
    let [program, options @ ..] = unshare;
    let tried = Command::new(program).args(options).arg(&mount).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        // What git says of a full disk is tested beside the code.
        eprintln!("no file system can be mounted here: {tried:?}");
        world.shutdown();
        return None;
    }
    let start = format!("{mount} && exec \"$@\"");
    world.starter = unshare.map(str::to_owned).into();
    world.starter.extend([start, "sh".to_owned()]);
    Some(world)
}

#[test]
fn an_agent_that_fills_the_workspace_failed_for_that() {
    let Some(world) = small(4096) else { return };
    let task = world.task_with_repository("Process", "GitHub");
    let ended = world.run(&task, "begin", "head -c 10000000 /dev/zero > big");
    assert_eq!(
        ended.report.reason,
        Reason::WorkspaceFull,
        "{}",
        ended.report.message
    );
    assert!(
        ended.report.message.contains("larger one"),
        "{}",
        ended.report.message
    );
    // It says that it succeeded, and nothing of it can be committed.
    let ended = world.run(
        &task,
        "begin",
        "head -c 10000000 /dev/urandom > big || true",
    );
    assert_eq!(
        ended.report.reason,
        Reason::WorkspaceFull,
        "{}",
        ended.report.message
    );
    assert_eq!(world.at_host("codeagent/fix"), None);
    world.shutdown();
}

#[test]
fn a_repository_that_does_not_fit_is_said() {
    // The first does not even hold what the runner tries, the second git's own files but not the repository's.
    for kib in [8, 512] {
        let Some(world) = small(kib) else { return };
        let source = world.path("source");
        let large = "head -c 1000000 /dev/urandom > large";
        let made = Command::new("sh")
            .args(["-c", large])
            .current_dir(&source)
            .status();
        assert!(made.unwrap().success());
        world.git(&source, &["add", "-A"]);
        world.git(&source, &["commit", "-q", "-m", "Large"]);
        world.git(
            &source,
            &["push", "-q", world.bare().to_str().unwrap(), "main"],
        );
        let task = world.task_with_repository("Claude", "GitHub");
        let ended = world.run(&task, "begin", "echo started");
        assert_eq!(
            ended.report.reason,
            Reason::WorkspaceFull,
            "{kib}: {}",
            ended.report.message
        );
        assert!(!world.path("fake/args").exists());
        world.shutdown();
    }
}
