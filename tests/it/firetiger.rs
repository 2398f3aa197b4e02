//! Firetiger: sessions on issues, of which nothing of ours can be read again. A lost launch is found by what is new at its
//! issue, or not at all, and then it is not paid twice unless somebody asked for that.

use std::collections::BTreeSet;
use std::time::Duration;

use codeagent_operator::api::{CodeSession, ConditionStatus, SendState, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, IssueLinks, Launch, LaunchFilter, Matcher, Operation, OperationClass,
    Provider, Script, ScriptRule, SessionView, SimulatorOptions,
};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, agent_is, condition_of, phase_of, pretty, session_id};

const FIRETIGER: Provider = Provider::Firetiger;
const ISSUE: &str = "issues/FT-42";

/// A world with a CodeAgent of Firetiger, and the operator in it.
async fn world(options: SimulatorOptions) -> (World, Operator) {
    let world = World::with(options).await;
    world.agent(FIRETIGER).await;
    let operator = world.operator_with(Arguments::impatient()).await;
    (world, operator)
}

async fn plain_world() -> (World, Operator) {
    world(SimulatorOptions::for_tests()).await
}

async fn on_issue(world: &World, name: &str, issue: &str) -> CodeSession {
    world
        .session_with(FIRETIGER, name, json!({"issue": issue}))
        .await
}

/// The next launch meets this.
fn meets(world: &World, fault: FaultKind) {
    let launch = Matcher::class(OperationClass::Launch);
    world.simulator.inject(Fault::once(launch, fault));
}

/// How sessions on any issue behave from now on.
fn scripted(world: &World, directive: &str) {
    world.simulator.script(ScriptRule {
        provider: Some(FIRETIGER),
        prompt_contains: None,
        times: None,
        script: Script::from_directive(directive).unwrap(),
    });
}

/// What was paid for.
fn launches(world: &World) -> Vec<Launch> {
    world.simulator.launches(&LaunchFilter::default())
}

/// How many launches were sent, whatever became of them.
fn sent(world: &World) -> usize {
    let requests = world.simulator.requests();
    let launches = requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Launch));
    launches.count()
}

fn at_firetiger(world: &World, session: &CodeSession) -> SessionView {
    let id = session_id(session);
    let mut all = world.simulator.sessions().into_iter();
    all.find(|view| view.id == id).unwrap()
}

/// Somebody launches a session on the same issue, without the operator.
async fn somebody_launches(world: &World, issue: &str) {
    let url = format!(
        "{}/v1/coding-agents/cursor-prod/sessions:launch",
        world.simulator.firetiger_url()
    );
    let answer = reqwest::Client::new()
        .post(url)
        .basic_auth("demo", Some("firetiger-demo-password"))
        .json(&json!({"issue": issue}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
}

/// Waits until nobody looks for the launch any more.
async fn until_unknown(world: &World, name: &str) -> CodeSession {
    world.until_phase(name, SessionPhase::Error).await;
    let ended = world.until_settled(name).await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.error.unwrap().reason, "LaunchOutcomeUnknown");
    let launched = condition_of(&ended, "Launched").unwrap();
    assert_eq!(launched.status, ConditionStatus::Unknown);
    assert!(launched.message.contains("codeagents.dev/adopt"));
    ended
}

#[tokio::test]
async fn a_session_on_an_issue_is_launched_once_and_told_completely() {
    let world = World::new().await;
    let inspect = json!({"provider": {"firetiger": {"codingAgentId": "inspect-prod"}}});
    world.agent_with(FIRETIGER, inspect).await;
    let _operator = world.operator().await;
    scripted(&world, "creating=400ms running=700ms");
    let settings = json!({"issue": ISSUE, "onBehalfOf": "jane@acme.com"});
    world.session_with(FIRETIGER, "fix", settings).await;
    world.until_phase("fix", SessionPhase::Running).await;
    world.until_phase("fix", SessionPhase::Finished).await;
    let done = world.until_settled("fix").await;

    assert_eq!(launches(&world).len(), 1);
    let truth = at_firetiger(&world, &done);
    assert_eq!(truth.on_behalf_of.as_deref(), Some("jane@acme.com"));
    let status = done.status.clone().unwrap();
    let at = status.provider.unwrap();
    assert_eq!(at.kind, "firetiger");
    assert_eq!(at.raw_status.as_deref(), Some("FINISHED"));
    assert!(at.session_url.unwrap().starts_with("https://inspect."));
    let launch = status.launch.unwrap();
    assert_eq!(launch.state, SendState::Confirmed);
    assert_eq!(launch.target.issue.as_deref(), Some(ISSUE));
    assert!(launch.baseline.unwrap().starts_with(ISSUE));
    let conditions: Vec<(&str, &str, &str)> = status
        .conditions
        .iter()
        .map(|it| (it.kind.as_str(), it.status.as_str(), it.reason.as_str()))
        .collect();
    let expected = [
        ("Launched", "True", "Accepted"),
        ("Succeeded", "True", "Finished"),
        ("Completed", "True", "Finished"),
        ("Blocked", "False", "NotBlocked"),
        ("PullRequestCreated", "Unknown", "NotReported"),
        ("Archived", "False", "NotArchived"),
        ("WebhookDelivered", "Unknown", "NothingReported"),
        ("Reconciling", "False", "Finished"),
        ("Stalled", "False", "Finished"),
    ];
    assert_eq!(conditions, expected);
    // What is there was read before the launch was claimed.
    let requests = world.simulator.requests();
    let place = |operation: Operation| {
        let mut all = requests.iter();
        all.position(|request| request.operation == Some(operation))
            .unwrap()
    };
    assert!(place(Operation::FiretigerGetIssue) < place(Operation::FiretigerLaunchSession));
}

#[tokio::test]
async fn a_session_that_fails_is_an_error() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "outcome=error");
    on_issue(&world, "fix", ISSUE).await;
    let failed = world.until_phase("fix", SessionPhase::Error).await;
    let error = failed.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "ProviderError");
}

#[tokio::test]
async fn a_lost_launch_is_found_by_the_new_link() {
    for fault in [
        FaultKind::DropAfter,
        FaultKind::ErrorAfter {
            status: 502,
            code: "unavailable".to_owned(),
        },
        FaultKind::TruncatedBody,
        FaultKind::Delay {
            by: Duration::from_secs(10),
        },
        FaultKind::LateCommit {
            after: Duration::from_millis(1500),
            close_after: Duration::from_millis(100),
        },
    ] {
        let (world, _operator) = plain_world().await;
        // Links that were there before are not ours.
        somebody_launches(&world, ISSUE).await;
        assert!(
            world
                .simulator
                .link_issue(ISSUE, "https://acme.slack.com/archives/1")
        );
        meets(&world, fault.clone());
        on_issue(&world, "fix", ISSUE).await;
        world.until_phase("fix", SessionPhase::Finished).await;
        let done = world.until_settled("fix").await;
        assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
        let paid = launches(&world);
        assert_eq!(paid.len(), 2, "{fault:?}: {paid:#?}");
        assert_eq!(session_id(&done), paid[1].session);
    }
}

#[tokio::test]
async fn a_link_that_comes_late_is_waited_for() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "latency=10s");
    let fault = FaultKind::Lag {
        duration: Duration::from_millis(4500),
    };
    meets(&world, fault);
    on_issue(&world, "fix", ISSUE).await;
    world.until_phase("fix", SessionPhase::Finished).await;
    let done = world.until_settled("fix").await;
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
    assert_eq!(sent(&world), 1);
}

#[tokio::test]
async fn a_launch_that_never_arrived_stays_unknown_and_is_not_sent_again() {
    let (world, _operator) = plain_world().await;
    meets(&world, FaultKind::DropBefore);
    on_issue(&world, "fix", ISSUE).await;
    let ended = until_unknown(&world, "fix").await;
    assert_eq!(sent(&world), 1);
    assert_eq!(launches(&world).len(), 0);
    world.until_event(&ended, "LaunchOutcomeUnknown").await;
}

/// Firetiger adds the link if it can. The user finds the session and hands it over.
#[tokio::test]
async fn a_launch_whose_link_is_missing_stays_unknown_until_somebody_hands_it_over() {
    let mut options = SimulatorOptions::for_tests();
    options.firetiger.issue_links = IssueLinks::Lost;
    let (world, _operator) = world(options).await;
    meets(&world, FaultKind::DropAfter);
    on_issue(&world, "fix", ISSUE).await;
    until_unknown(&world, "fix").await;
    let paid = launches(&world);
    assert_eq!((sent(&world), paid.len()), (1, 1));
    let adopt = json!({"metadata": {"annotations": {"codeagents.dev/adopt": paid[0].session}}});
    world
        .sessions()
        .patch("fix", &PatchParams::default(), &Patch::Merge(adopt))
        .await
        .unwrap();
    world
        .until("fix", "finished", |session| {
            phase_of(session) == SessionPhase::Finished
        })
        .await;
    assert_eq!(sent(&world), 1);
}

/// Ours is lost and shows late; meanwhile somebody launches another one and puts a link beside it.
#[tokio::test]
async fn two_new_links_tell_nothing() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "latency=10s running=3s");
    let late = FaultKind::Lag {
        duration: Duration::from_millis(4500),
    };
    meets(&world, late);
    on_issue(&world, "fix", ISSUE).await;
    world
        .until_true("the launch has arrived", || launches(&world).len() == 1)
        .await;
    world.simulator.clear_script();
    // From the first to the last there is more than one link that is new.
    assert!(
        world
            .simulator
            .link_issue(ISSUE, "https://acme.slack.com/archives/1")
    );
    somebody_launches(&world, ISSUE).await;
    until_unknown(&world, "fix").await;
    assert_eq!(launches(&world).len(), 2);
}

#[tokio::test]
async fn a_link_that_somebody_adds_meanwhile_is_no_session() {
    let (world, _operator) = plain_world().await;
    meets(&world, FaultKind::DropBefore);
    on_issue(&world, "fix", ISSUE).await;
    world
        .until_reason("fix", "Reconciling", "RecoveringLaunch")
        .await;
    assert!(
        world
            .simulator
            .link_issue(ISSUE, "https://acme.slack.com/archives/1")
    );
    until_unknown(&world, "fix").await;
    assert_eq!((sent(&world), launches(&world).len()), (1, 0));
}

#[tokio::test]
async fn two_sessions_on_one_issue_take_turns() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "latency=3s");
    on_issue(&world, "first", ISSUE).await;
    world
        .until_true("the first launch has arrived", || {
            launches(&world).len() == 1
        })
        .await;
    on_issue(&world, "second", ISSUE).await;
    let waiting = world
        .until_reason("second", "Reconciling", "WaitingForIssue")
        .await;
    let message = &condition_of(&waiting, "Reconciling").unwrap().message;
    assert!(message.contains("CodeSession first"), "{message}");
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    // Another issue is another matter.
    on_issue(&world, "elsewhere", "issues/FT-43").await;
    for name in ["first", "second", "elsewhere"] {
        world.until_phase(name, SessionPhase::Finished).await;
    }
    assert_eq!(launches(&world).len(), 3);
}

/// All at once, and every other answer is lost: each CodeSession ends up with a session of its own.
#[tokio::test]
async fn sessions_on_one_issue_that_start_together_never_take_each_other_s_sessions() {
    let (world, _operator) = plain_world().await;
    for skip in [0, 1] {
        world.simulator.inject(Fault {
            skip,
            ..Fault::once(Matcher::class(OperationClass::Launch), FaultKind::DropAfter)
        });
    }
    let names = ["a", "b", "c", "d"];
    for name in names {
        on_issue(&world, name, ISSUE).await;
    }
    let mut ids = BTreeSet::new();
    for name in names {
        world.until_phase(name, SessionPhase::Finished).await;
        ids.insert(session_id(&world.until_settled(name).await));
    }
    let paid: BTreeSet<String> = launches(&world)
        .into_iter()
        .map(|launch| launch.session)
        .collect();
    assert_eq!(ids, paid);
    assert_eq!((ids.len(), sent(&world)), (4, 4));
}

#[tokio::test]
async fn a_restarted_operator_knows_whose_turn_it_is() {
    let (world, operator) = plain_world().await;
    meets(&world, FaultKind::DropBefore);
    on_issue(&world, "first", ISSUE).await;
    world
        .until_reason("first", "Reconciling", "RecoveringLaunch")
        .await;
    operator.crash().await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    on_issue(&world, "second", ISSUE).await;
    world
        .until_reason("second", "Reconciling", "WaitingForIssue")
        .await;
    assert_eq!(sent(&world), 1);
    until_unknown(&world, "first").await;
    world.until_phase("second", SessionPhase::Finished).await;
    assert_eq!((sent(&world), launches(&world).len()), (2, 1));
}

#[tokio::test]
async fn the_operator_dies_between_the_launch_and_its_record() {
    let (world, operator) = plain_world().await;
    scripted(&world, "latency=30s running=500ms");
    on_issue(&world, "fix", ISSUE).await;
    world
        .until_true("the launch has arrived", || launches(&world).len() == 1)
        .await;
    operator.crash().await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.until_phase("fix", SessionPhase::Finished).await;
    let done = world.until_settled("fix").await;
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
    assert_eq!(sent(&world), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_is_met_before_anything_is_claimed() {
    let (world, _operator) = plain_world().await;
    let down = FaultKind::ErrorBefore {
        status: 503,
        code: "unavailable".to_owned(),
    };
    let read = Matcher::operation(Operation::FiretigerGetIssue);
    world.simulator.inject(Fault::always(read, down));
    on_issue(&world, "fix", ISSUE).await;
    let waiting = world
        .until_reason("fix", "Reconciling", "ProviderUnavailable")
        .await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = world.sessions().get("fix").await.unwrap();
    assert!(waiting.status.unwrap().launch.is_none(), "nothing claimed");
    assert_eq!(sent(&world), 0);
    world.simulator.clear_faults();
    world.until_phase("fix", SessionPhase::Finished).await;
    assert_eq!(sent(&world), 1);
}

/// That an issue can be read is an assumption: without it there is nothing to compare, and sessions run all the same.
#[tokio::test]
async fn where_issues_cannot_be_read_sessions_run_and_a_lost_one_stays_unknown() {
    let (world, _operator) = plain_world().await;
    let unknown = FaultKind::ErrorBefore {
        status: 404,
        code: "not_found".to_owned(),
    };
    let read = Matcher::operation(Operation::FiretigerGetIssue);
    world.simulator.inject(Fault::always(read, unknown));
    on_issue(&world, "well", ISSUE).await;
    world.until_phase("well", SessionPhase::Finished).await;
    meets(&world, FaultKind::DropAfter);
    on_issue(&world, "lost", ISSUE).await;
    let ended = until_unknown(&world, "lost").await;
    assert_eq!(ended.status.unwrap().launch.unwrap().baseline, None);
    assert_eq!(sent(&world), 2);
}

#[tokio::test]
async fn whoever_says_retry_pays_at_most_twice() {
    let (world, _operator) = plain_world().await;
    let launch = Matcher::class(OperationClass::Launch);
    let fault = Fault::always(launch, FaultKind::DropBefore);
    world.simulator.inject(fault);
    let retry = json!({"issue": ISSUE, "onUnknownLaunch": "Retry"});
    world.session_with(FIRETIGER, "never", retry.clone()).await;
    until_unknown(&world, "never").await;
    assert_eq!(sent(&world), 2);

    world.simulator.clear_faults();
    meets(&world, FaultKind::DropBefore);
    world.session_with(FIRETIGER, "once", retry).await;
    world.until_phase("once", SessionPhase::Finished).await;
    let done = world.until_settled("once").await;
    let record = done.status.unwrap().launch.unwrap();
    assert_eq!((record.attempt, record.posts), (2, 1));
    assert_eq!((sent(&world), launches(&world).len()), (4, 1));
}

#[tokio::test]
async fn an_issue_that_firetiger_does_not_know_ends_the_session() {
    let (world, _operator) = plain_world().await;
    on_issue(&world, "fix", "issues/FT-99").await;
    let ended = world.until_phase("fix", SessionPhase::Error).await;
    let error = ended.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "InvalidRequest");
    let known = error.message.contains("Firetiger knows no issues/FT-99");
    assert!(known, "{}", error.message);
    assert_eq!(launches(&world).len(), 0);
}

#[tokio::test]
async fn a_connection_that_is_no_coding_agent_is_told_on_the_agent_and_mends_with_it() {
    let world = World::new().await;
    let wrong = json!({"provider": {"firetiger": {"codingAgentId": "docs-http"}}});
    world.agent_with(FIRETIGER, wrong).await;
    let _operator = world.operator().await;
    on_issue(&world, "fix", ISSUE).await;
    let refused = |agent: &_| {
        agent_is(
            agent,
            "Ready",
            ConditionStatus::False,
            "CodingAgentNotFound",
        ) && agent_is(
            agent,
            "Stalled",
            ConditionStatus::True,
            "CodingAgentNotFound",
        )
    };
    let agent = world.until_agent(FIRETIGER, "refused", refused).await;
    let conditions = pretty(&agent.status);
    assert!(conditions.contains("docs-http"), "{conditions}");
    world
        .until_reason("fix", "Stalled", "CodingAgentNotFound")
        .await;
    assert_eq!(sent(&world), 0);
    let right = json!({"provider": {"firetiger": {"codingAgentId": "cursor-prod"}}});
    world.change_agent(FIRETIGER, right).await;
    world.until_phase("fix", SessionPhase::Finished).await;
}

async fn ends_for_want_of(world: &World, provider: Provider, settings: Value, field: &str) {
    world.session_with(provider, "fix", settings).await;
    let ended = world.until_phase("fix", SessionPhase::Error).await;
    let error = ended.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "CapabilityMissing");
    assert!(error.message.contains(field), "{}", error.message);
    assert_eq!(sent(world), 0);
}

#[tokio::test]
async fn a_prompt_is_refused_at_firetiger_and_an_issue_elsewhere() {
    let (world, _operator) = plain_world().await;
    ends_for_want_of(&world, FIRETIGER, json!({"prompt": "Do it"}), "spec.prompt").await;

    for provider in [Provider::Cursor, Provider::Firebender] {
        let world = World::new().await;
        world.agent(provider).await;
        let _operator = world.operator().await;
        ends_for_want_of(&world, provider, json!({"issue": ISSUE}), "spec.issue").await;
    }
}

#[tokio::test]
async fn a_running_session_cannot_be_cancelled_and_that_is_said() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "outcome=never");
    on_issue(&world, "long", ISSUE).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    world
        .until_reason("long", "Stalled", "CancelUnsupported")
        .await;
    let view = at_firetiger(&world, &running);
    assert!(view.active);
    // It is followed on until it ends by itself.
    let done = Script::from_directive("outcome=finished running=0s").unwrap();
    assert!(world.simulator.rescript(FIRETIGER, &view.id, done));
    world
        .until("long", "finished", |session| {
            phase_of(session) == SessionPhase::Finished
        })
        .await;
}

#[tokio::test]
async fn a_deleted_session_goes_at_once_and_is_reported_as_left_running() {
    let (world, _operator) = plain_world().await;
    scripted(&world, "outcome=never");
    on_issue(&world, "long", ISSUE).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_session(&running.name_any()).await;
    world.until_gone("long").await;
    let note = world.until_event(&running, "Orphaned").await;
    assert!(note.contains(&session_id(&running)), "{note}");
    assert!(at_firetiger(&world, &running).active);
}

#[tokio::test]
async fn a_session_cancelled_while_its_launch_is_looked_for_ends_cancelled_and_reported() {
    let (world, _operator) = plain_world().await;
    meets(&world, FaultKind::DropBefore);
    let retry = json!({"issue": ISSUE, "onUnknownLaunch": "Retry"});
    world.session_with(FIRETIGER, "fix", retry).await;
    world
        .until_reason("fix", "Reconciling", "RecoveringLaunch")
        .await;
    world
        .change_session("fix", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("fix").await;
    assert_eq!(
        phase_of(&ended),
        SessionPhase::Cancelled,
        "{}",
        pretty(&ended)
    );
    let launched = condition_of(&ended, "Launched").unwrap();
    assert_eq!(launched.status, ConditionStatus::Unknown);
    world.until_event(&ended, "LaunchOutcomeUnknown").await;
    assert_eq!(sent(&world), 1);
}
