//! The repository: cloned with the token, kept, pushed to, its pull request opened.

use std::fs;

use codeagent_runner_protocol::Reason;
use serde_json::json;

use crate::server::{Mood, Pull};
use crate::world::World;

/// A script that changes a file and leaves it uncommitted.
fn edit(world: &World, text: &str) -> String {
    format!(
        "echo '{text}' >> README.md\n{}",
        world.replay("claude-tool")
    )
}

#[test]
fn work_is_committed_pushed_and_its_pull_request_opened() {
    let world = World::new();
    for (host, number, url) in [
        ("GitHub", 1, "/acme/app/pull/1"),
        ("GitLab", 1, "/acme/app/-/merge_requests/1"),
        ("Gitea", 1, "/acme/app/pulls/1"),
    ] {
        let world = World::new();
        let ended = world.run(
            &world.task_with_repository("Claude", host),
            "begin",
            &edit(&world, "more"),
        );
        let report = &ended.report;
        assert_eq!(
            report.reason,
            Reason::Completed,
            "{host}: {}",
            report.message
        );
        assert!(report.pushed);
        assert_eq!(report.branch.as_deref(), Some("codeagent/fix"));
        assert_eq!(world.at_host("codeagent/fix"), report.commit);
        let opened = report.pull_request.as_ref().unwrap();
        assert_eq!(opened.number, Some(number));
        assert!(opened.url.ends_with(url), "{}", opened.url);
        let log = world.git(
            &world.bare(),
            &["log", "-1", "--format=%an <%ae>|%s|%b", "codeagent/fix"],
        );
        assert_eq!(
            log,
            "Agent <agent@example.com>|Changes of the session fix|Session: team/fix\nMessage: first"
        );
        let pull = Pull {
            number: 1,
            branch: "codeagent/fix".into(),
            base: "main".into(),
            title: "Changes of the session fix".into(),
            body: "All done.".into(),
            draft: false,
        };
        assert_eq!(world.server.seen().pulls, [pull]);
        // Asked for, then given; never in the address.
        let seen = world.server.seen();
        assert!(seen.git.iter().flatten().count() > 0);
        drop(seen);
        world.shutdown();
    }
    world.shutdown();
}

#[test]
fn the_open_pull_request_of_the_branch_is_taken() {
    for host in ["GitHub", "GitLab", "Gitea"] {
        let world = World::new();
        let mut task = world.task_with_repository("Claude", host);
        task["pullRequest"]["draft"] = json!(true);
        task["pullRequest"]["title"] = json!("Mend it");
        let first = world.run(&task, "begin", &edit(&world, "more"));
        assert!(
            first.report.pull_request.is_some(),
            "{host}: {}",
            first.report.message
        );
        assert!(world.server.seen().pulls[0].draft, "{host}");
        let second = world.run(&task, "begin", &edit(&world, "still more"));
        assert_eq!(
            second.report.pull_request, first.report.pull_request,
            "{host}"
        );
        assert_ne!(second.report.commit, first.report.commit);
        assert_eq!(world.server.seen().pulls.len(), 1, "{host}");
        world.shutdown();
    }
}

#[test]
fn a_creation_whose_answer_is_lost_is_looked_for() {
    for host in ["GitHub", "GitLab", "Gitea"] {
        let world = World::new();
        world.server.seen().mood = Mood::LosesAnswers;
        let ended = world.run(
            &world.task_with_repository("Claude", host),
            "begin",
            &edit(&world, "more"),
        );
        assert_eq!(
            ended.report.reason,
            Reason::Completed,
            "{host}: {}",
            ended.report.message
        );
        assert_eq!(world.server.seen().pulls.len(), 1);
        world.shutdown();
    }
}

#[test]
fn a_pull_request_that_is_refused_leaves_the_branch_pushed() {
    for host in ["GitHub", "GitLab", "Gitea"] {
        let world = World::new();
        world.server.seen().mood = Mood::Forbids;
        let ended = world.run(
            &world.task_with_repository("Claude", host),
            "begin",
            &edit(&world, "more"),
        );
        assert_eq!(ended.report.reason, Reason::PullRequestFailed, "{host}");
        assert!(
            ended.report.pushed && ended.report.message.contains("HTTP 403"),
            "{}",
            ended.report.message
        );
        assert_eq!(world.at_host("codeagent/fix"), ended.report.commit);
        world.shutdown();
    }
}

#[test]
fn a_host_of_no_known_kind_gets_the_branch_alone() {
    let world = World::new();
    let ended = world.run(
        &world.task_with_repository("Claude", "Other"),
        "begin",
        &edit(&world, "more"),
    );
    assert_eq!(ended.report.reason, Reason::Completed);
    assert!(ended.report.pushed && ended.report.pull_request.is_none());
    assert!(
        ended.report.message.contains("No pull request"),
        "{}",
        ended.report.message
    );
    assert!(world.server.seen().requests.is_empty());
    world.shutdown();
}

#[test]
fn nothing_changed_is_nothing_pushed() {
    let world = World::new();
    let ended = world.run(
        &world.task_with_repository("Claude", "GitHub"),
        "begin",
        &world.replay("claude-tool"),
    );
    assert_eq!(ended.report.reason, Reason::Completed);
    assert!(!ended.report.pushed);
    assert!(
        ended.report.message.contains("changed nothing"),
        "{}",
        ended.report.message
    );
    assert_eq!(world.at_host("codeagent/fix"), None);
    assert!(world.server.seen().requests.is_empty());
    world.shutdown();
}

#[test]
fn an_agent_that_failed_leaves_its_work_in_the_workspace_for_the_next_message() {
    let world = World::new();
    let task = world.task_with_repository("Process", "GitHub");
    let ended = world.run(&task, "begin", "echo half >> README.md; git add -A; git commit -qm 'Half of it'; echo rest > rest; touch .git/index.lock; exit 1");
    assert_eq!(ended.report.reason, Reason::AgentFailed);
    assert_eq!(world.at_host("codeagent/fix"), None);
    let ended = world.run(&task, "go on", "cat README.md rest");
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    let subjects = world.git(
        &world.bare(),
        &["log", "--format=%an: %s", "main..codeagent/fix"],
    );
    assert_eq!(
        subjects,
        "Agent: Changes of the session fix\nAgent: Half of it"
    );
    world.shutdown();
}

#[test]
fn commits_of_others_are_taken_in_or_said_never_overwritten() {
    let world = World::new();
    let task = world.task_with_repository("Claude", "GitHub");
    world.run(&task, "begin", &edit(&world, "more"));
    let others = |text: &str| {
        let dir = world.path(text);
        world.git(
            world.dir.path(),
            &[
                "clone",
                "-q",
                "-b",
                "codeagent/fix",
                world.bare().to_str().unwrap(),
                text,
            ],
        );
        fs::write(dir.join(text), text).unwrap();
        world.git(&dir, &["add", "-A"]);
        world.git(&dir, &["commit", "-q", "-m", text]);
        world.git(&dir, &["push", "-q", "origin", "HEAD:codeagent/fix"]);
    };
    others("review");
    let ended = world.run(
        &task,
        "go on",
        &format!("cat review; {}", edit(&world, "and more")),
    );
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    // While the agent works.
    let push = format!(
        "git clone -q -b codeagent/fix '{0}' \"$FAKE/c\" && cd \"$FAKE/c\" && git -c user.name=S -c user.email=s@e commit -q --allow-empty -m meanwhile && git push -q '{0}' HEAD:codeagent/fix; cd - >/dev/null\n",
        world.bare().display()
    );
    let ended = world.run(&task, "go on", &format!("{push}{}", edit(&world, "late")));
    assert_eq!(
        ended.report.reason,
        Reason::PushFailed,
        "{}",
        ended.report.message
    );
    assert!(
        ended.report.message.contains("nothing was overwritten"),
        "{}",
        ended.report.message
    );
    let newest = world.git(
        &world.bare(),
        &["log", "-1", "--format=%s", "codeagent/fix"],
    );
    assert_eq!(newest, "meanwhile");
    // Before it begins: nothing is spent.
    fs::remove_file(world.path("fake/args")).unwrap();
    let ended = world.run(&task, "go on", "echo started");
    assert_eq!(ended.report.reason, Reason::BranchConflict);
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}

#[test]
fn the_base_branch_is_never_worked_on() {
    let world = World::new();
    let before = world.at_host("main");
    for (branch, base) in [
        ("main", None),
        ("main", Some("develop")),
        ("develop", Some("develop")),
    ] {
        let mut task = world.task_with_repository("Claude", "GitHub");
        task["repository"]["branch"] = json!(branch);
        task["pullRequest"]["base"] = json!(base);
        let ended = world.run(&task, "begin", "echo started");
        assert_eq!(
            ended.report.reason,
            Reason::InvalidTask,
            "{branch} {base:?}"
        );
    }
    assert_eq!(world.at_host("main"), before);
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}

#[test]
fn a_token_that_is_refused_or_missing_is_said_and_never_shown() {
    let world = World::new();
    world.set_token("wrong-0123456789");
    let task = world.task_with_repository("Claude", "GitHub");
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::RepositoryRefused);
    let said = format!("{:?}{:?}", ended.report, ended.events);
    assert!(
        said.contains("refuses the token") && !said.contains("wrong-0123456789"),
        "{said}"
    );
    // Asked twice at most: without, and with it.
    assert!(
        world.server.seen().git.len() <= 3,
        "{:?}",
        world.server.seen().git
    );
    fs::remove_file(world.path("git/token")).unwrap();
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::RepositoryRefused);
    assert!(
        ended.report.message.contains("wants a token"),
        "{}",
        ended.report.message
    );
    assert!(!world.path("fake/args").exists());
    world.shutdown();
}

#[test]
fn a_host_that_is_not_there_is_a_failed_clone() {
    let world = World::new();
    let mut task = world.task_with_repository("Claude", "GitHub");
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    task["repository"]["url"] = json!(format!("https://{closed}/acme/app"));
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::CloneFailed);
    let mut task = world.task_with_repository("Claude", "GitHub");
    task["repository"]["ref"] = json!("no-such-branch");
    let ended = world.run(&task, "begin", "echo started");
    assert_eq!(ended.report.reason, Reason::CloneFailed);
    assert!(ended.report.message.contains("no-such-branch"));
    world.shutdown();
}

/// The branch went on while the agent, which changed nothing, worked: there is nothing to push, and so no conflict.
#[test]
fn an_agent_that_changed_nothing_has_no_conflict() {
    let world = World::new();
    let task = world.task_with_repository("Claude", "GitHub");
    let first = world.run(&task, "begin", &edit(&world, "more"));
    let push = format!(
        "git clone -q -b codeagent/fix '{0}' \"$FAKE/c\" && cd \"$FAKE/c\" && git -c user.name=S -c user.email=s@e commit -q --allow-empty -m meanwhile && git push -q '{0}' HEAD:codeagent/fix; cd - >/dev/null\n",
        world.bare().display()
    );
    let script = format!("{push}{}", world.replay("claude-tool"));
    let ended = world.run(&task, "only look", &script);
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    assert_eq!(ended.report.commit, first.report.commit);
    assert!(ended.report.pushed && ended.report.pull_request == first.report.pull_request);
    world.shutdown();
}

/// The agent may push itself, with a credential of its own.
#[test]
fn what_the_agent_pushed_itself_is_taken() {
    let world = World::new();
    let script = format!(
        "git commit -q --allow-empty -m 'Mine'; git push -q '{}' HEAD:codeagent/fix\n{}",
        world.bare().display(),
        world.replay("claude-tool")
    );
    let task = world.task_with_repository("Claude", "GitHub");
    let ended = world.run(&task, "begin", &script);
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    assert!(ended.report.pushed);
    assert_eq!(world.server.seen().pulls[0].title, "Mine");
    world.shutdown();
}

/// Branch, tag, commit, pull request.
#[test]
fn a_session_begins_where_its_task_says() {
    let world = World::new();
    let source = world.path("source");
    let bare = world.bare();
    let bare = bare.to_str().unwrap();
    let mut commits = Vec::new();
    for name in ["develop", "tagged", "proposed"] {
        world.git(&source, &["commit", "-q", "--allow-empty", "-m", name]);
        commits.push(world.git(&source, &["rev-parse", "HEAD"]));
    }
    let [develop, tagged, proposed] = [0, 1, 2].map(|at: usize| commits[at].clone());
    world.git(
        &source,
        &[
            "push",
            "-q",
            bare,
            &format!("{develop}:refs/heads/develop"),
            &format!("{tagged}:refs/tags/v1"),
            &format!("{proposed}:refs/pull/7/head"),
        ],
    );
    let first = world.at_host("main").unwrap();
    for (member, value, begun, base) in [
        ("ref", json!("develop"), &develop, "develop"),
        ("ref", json!("v1"), &tagged, "main"),
        ("ref", json!(first), &first, "main"),
        (
            "fromPullRequest",
            json!("https://127.0.0.1/acme/app/pull/7"),
            &proposed,
            "main",
        ),
    ] {
        let branch = format!("codeagent/{}", world.server.seen().pulls.len());
        fs::remove_dir_all(world.path("workspace")).unwrap();
        let mut task = world.task_with_repository("Claude", "GitHub");
        task["repository"][member] = value.clone();
        task["repository"]["branch"] = json!(branch);
        let ended = world.run(&task, "begin", &edit(&world, "more"));
        assert_eq!(
            ended.report.reason,
            Reason::Completed,
            "{value}: {}",
            ended.report.message
        );
        let parent = world.git(&world.bare(), &["rev-parse", &format!("{branch}^")]);
        assert_eq!(&parent, begun, "{value}");
        assert_eq!(
            world.server.seen().pulls.last().unwrap().base,
            base,
            "{value}"
        );
    }
    world.shutdown();
}

/// What lies in the working copy is not run by the runner's git, and gets nothing of the token.
#[test]
fn hooks_and_helpers_of_the_working_copy_are_not_run() {
    let world = World::new();
    let script = format!(
        "for hook in pre-commit pre-push post-checkout; do printf '#!/bin/sh\\ntouch \"$HOME/ran\"\\nexit 1\\n' > .git/hooks/$hook; chmod +x .git/hooks/$hook; done\ngit config credential.helper 'store --file stolen'\ngit config --global credential.helper 'store --file stolen'\n{}",
        edit(&world, "more")
    );
    let ended = world.run(
        &world.task_with_repository("Claude", "GitHub"),
        "begin",
        &script,
    );
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    assert!(!world.path("home/ran").exists() && !world.path("workspace/stolen").exists());
    assert!(!world.path("home/stolen").exists());
    world.shutdown();
}

#[test]
fn a_repository_without_a_commit_gets_its_first_branch() {
    let world = World::new();
    let bare = world.bare();
    fs::remove_dir_all(&bare).unwrap();
    world.git(
        world.dir.path(),
        &["init", "-q", "--bare", bare.to_str().unwrap()],
    );
    let ended = world.run(
        &world.task_with_repository("Claude", "GitHub"),
        "begin",
        &edit(&world, "first"),
    );
    assert_eq!(
        ended.report.reason,
        Reason::Completed,
        "{}",
        ended.report.message
    );
    assert!(ended.report.pushed && ended.report.pull_request.is_none());
    assert_eq!(world.at_host("codeagent/fix"), ended.report.commit);
    world.shutdown();
}
