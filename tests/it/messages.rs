//! Follow-up messages, through the real interfaces: each is sent once, in order, one at a time, whatever breaks off on the way.

use codeagent_harness::Verb;
use codeagent_operator::api::{CodeSession, MessageStatus, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, LaunchFilter, LaunchKind, Matcher, OperationClass, Provider,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::support::for_each_provider;
use crate::support::operator::{Arguments, Operator};
use crate::support::world::{
    World, agent_name, condition_of, demo_key, phase_of, pretty, session_id,
};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";
const SHORT: &str = "sim: creating=100ms setup=100ms running=200ms\nDo it";

/// A session of this provider that has ended, and the operator that runs.
async fn ended(provider: Provider, arguments: Arguments) -> (World, Operator) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator_with(arguments).await;
    world.session(provider, "one", SHORT).await;
    world.until_settled("one").await;
    (world, operator)
}

/// Writes that a follow-up costs at most.
const MOST_WRITES: usize = 6;

/// Adds messages at the end, as a person does.
async fn add(world: &World, name: &str, messages: &[(&str, &str)]) {
    let session = world.sessions().get(name).await.unwrap();
    let mut all = serde_json::to_value(session.spec.messages.unwrap_or_default()).unwrap();
    for (name, prompt) in messages {
        let message = json!({"name": name, "prompt": prompt});
        all.as_array_mut().unwrap().push(message);
    }
    world.change_session(name, json!({"messages": all})).await;
}

fn message<'a>(session: &'a CodeSession, name: &str) -> Option<&'a MessageStatus> {
    let mut messages = session.status.as_ref()?.messages.iter();
    messages.find(|message| message.name == name)
}

fn phase_of_message(session: &CodeSession, name: &str) -> Option<SessionPhase> {
    message(session, name).map(|message| message.phase)
}

/// Waits until the message is in this phase.
async fn until_message(world: &World, name: &str, of: &str, phase: SessionPhase) -> CodeSession {
    let what = format!("message {of} is {phase:?}");
    world
        .until(name, &what, |session| {
            phase_of_message(session, of) == Some(phase)
        })
        .await
}

/// The messages that the provider took for this session, oldest first, by name.
fn sent(world: &World, session: &CodeSession) -> Vec<String> {
    let uid = session.uid().unwrap();
    let launches = world.simulator.launches(&LaunchFilter::marker(uid));
    let messages = launches
        .iter()
        .filter(|launch| launch.kind == LaunchKind::Message);
    messages
        .map(|launch| {
            let marker = launch.marker.as_deref().unwrap();
            let (_, name) = marker.trim_end_matches(" -->").rsplit_once("/m/").unwrap();
            name.to_owned()
        })
        .collect()
}

for_each_provider!(messages_are_sent_in_order_and_each_has_a_status_of_its_own);

async fn messages_are_sent_in_order_and_each_has_a_status_of_its_own(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let running = "sim: creating=100ms setup=100ms running=1s result=\"first\"\nDo it";
    world.session(provider, "one", running).await;
    world.until_phase("one", SessionPhase::Running).await;
    let second = "sim: creating=100ms running=300ms result=\"second\"\nAdd a test";
    add(&world, "one", &[("tests", second), ("docs", SHORT)]).await;
    until_message(&world, "one", "docs", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished);
    let completed = condition_of(&done, "Completed").unwrap();
    assert_eq!(
        (completed.status.as_str(), completed.reason.as_str()),
        ("True", "Finished")
    );
    assert_eq!(sent(&world, &done), ["tests", "docs"]);
    let status = done.status.as_ref().unwrap();
    let names: Vec<&str> = status.messages.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["prompt", "tests", "docs"]);
    for message in &status.messages {
        assert_eq!(message.phase, SessionPhase::Finished, "{}", pretty(&done));
        assert!(message.started_at <= message.completed_at);
    }
    assert_eq!(status.messages[0].result.as_deref(), Some("first"));
    assert_eq!(status.messages[1].result.as_deref(), Some("second"));
    assert!(status.messages[1].send.is_some());
    assert!(status.messages[2].pull_request_url.is_some());
    if provider == Provider::Cursor {
        let runs: Vec<_> = status.messages.iter().map(|it| &it.run_id).collect();
        assert!(runs[0].is_some() && runs[0] != runs[1] && runs[1] != runs[2]);
    }
    // What was sent never changes.
    let changed =
        json!([{"name": "tests", "prompt": "Another"}, {"name": "docs", "prompt": SHORT}]);
    let patch = kube::api::Patch::Merge(json!({"spec": {"messages": changed}}));
    let refused = world
        .sessions()
        .patch("one", &Default::default(), &patch)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("never changes"), "{refused}");
}

for_each_provider!(a_message_to_a_finished_session_costs_few_writes_and_no_reads);

async fn a_message_to_a_finished_session_costs_few_writes_and_no_reads(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::calm()
        .with("--recheck", "10m")
        .with("--agent-recheck", "10m");
    let _operator = world.operator_with(arguments).await;
    world.session(provider, "one", SHORT).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let first = world.until_settled("one").await;
    world.until_event(&first, "Finished").await;
    let log = world.audit_log().await;
    add(&world, "one", &[("more", SHORT)]).await;
    until_message(&world, "one", "more", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    let requests = world.requests(&log);
    let writes = requests
        .iter()
        .filter(|request| request.resource == "codesessions" && request.verb.is_write());
    // The user's own change is another user's request.
    // There it is another agent with another page: one more change that a user can see.
    let most = MOST_WRITES + usize::from(provider == Provider::Firebender);
    assert!(writes.count() <= most, "{requests:#?}");
    let reads = requests
        .iter()
        .filter(|request| request.verb == Verb::Get && request.resource != "leases");
    // Its Secret may have been forgotten with the session that was over.
    let reads: Vec<_> = reads.filter(|read| read.resource != "secrets").collect();
    assert!(reads.is_empty(), "{reads:#?}");
    assert_eq!(sent(&world, &done), ["more"]);
    for write in requests.iter().filter(|request| request.verb.is_write()) {
        assert!(write.code < 300, "no write was in vain: {requests:#?}");
    }
}

/// Sends a message with `fault` in the way; it must be sent once, and finish.
async fn survives(provider: Provider, fault: FaultKind) -> i32 {
    let (world, _operator) = ended(provider, Arguments::impatient()).await;
    let class = Matcher::class(OperationClass::FollowUp);
    world.simulator.inject(Fault::once(class, fault));
    add(&world, "one", &[("more", SHORT)]).await;
    until_message(&world, "one", "more", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(sent(&world, &done), ["more"], "{}", pretty(&done));
    assert_eq!(world.simulator.faults(), [], "the fault was met");
    assert_eq!(phase_of(&done), SessionPhase::Finished);
    message(&done, "more").unwrap().send.as_ref().unwrap().posts
}

for_each_provider!(
    a_message_that_is_lost_before_the_provider_has_it_is_sent_again,
    a_message_whose_answer_is_lost_is_found_again,
    a_message_whose_answer_is_an_error_is_found_again,
    a_message_whose_answer_is_late_is_found_again,
);

async fn a_message_that_is_lost_before_the_provider_has_it_is_sent_again(provider: Provider) {
    assert_eq!(survives(provider, FaultKind::DropBefore).await, 2);
}

async fn a_message_whose_answer_is_lost_is_found_again(provider: Provider) {
    assert_eq!(survives(provider, FaultKind::DropAfter).await, 1);
}

async fn a_message_whose_answer_is_an_error_is_found_again(provider: Provider) {
    let fault = FaultKind::ErrorAfter {
        status: 502,
        code: "bad_gateway".to_owned(),
    };
    assert_eq!(survives(provider, fault).await, 1);
}

async fn a_message_whose_answer_is_late_is_found_again(provider: Provider) {
    let fault = FaultKind::Delay {
        by: std::time::Duration::from_secs(10),
    };
    assert_eq!(survives(provider, fault).await, 1);
}

for_each_provider!(a_successor_finishes_what_a_crash_has_broken_off);

/// The operator dies while its request is under way; the next one finds it.
async fn a_successor_finishes_what_a_crash_has_broken_off(provider: Provider) {
    let (world, operator) = ended(provider, Arguments::impatient()).await;
    let class = Matcher::class(OperationClass::FollowUp);
    let fault = Fault::once(class, FaultKind::SilentAfter);
    world.simulator.inject(fault);
    add(&world, "one", &[("more", SHORT), ("last", SHORT)]).await;
    world
        .until_true("the provider has it", || {
            world.simulator.faults().is_empty()
        })
        .await;
    operator.crash().await;
    let _successor = world.operator_with(Arguments::impatient()).await;
    until_message(&world, "one", "last", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(sent(&world, &done), ["more", "last"], "{}", pretty(&done));
}

for_each_provider!(a_message_that_was_added_while_no_operator_ran_is_sent);

async fn a_message_that_was_added_while_no_operator_ran_is_sent(provider: Provider) {
    let (world, operator) = ended(provider, Arguments::calm()).await;
    operator.stop().await;
    add(&world, "one", &[("more", SHORT)]).await;
    let _successor = world.operator().await;
    until_message(&world, "one", "more", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(sent(&world, &done), ["more"]);
}

for_each_provider!(deleting_the_session_stops_the_message_that_runs);

async fn deleting_the_session_stops_the_message_that_runs(provider: Provider) {
    let (world, _operator) = ended(provider, Arguments::calm()).await;
    add(&world, "one", &[("more", ENDLESS), ("never", SHORT)]).await;
    let running = until_message(&world, "one", "more", SessionPhase::Running).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let id = session_id(&running);
    let sessions = world.simulator.sessions();
    let view = sessions.iter().find(|view| view.id == id).unwrap();
    assert!(!view.active, "{view:#?}");
    assert_eq!(sent(&world, &running), ["more"]);
}

for_each_provider!(cancelling_the_session_drops_what_waits);

async fn cancelling_the_session_drops_what_waits(provider: Provider) {
    let (world, _operator) = ended(provider, Arguments::calm()).await;
    add(&world, "one", &[("more", ENDLESS), ("never", SHORT)]).await;
    until_message(&world, "one", "more", SessionPhase::Running).await;
    let wish = json!({"desiredState": "Cancelled"});
    world.change_session("one", wish).await;
    let done = until_message(&world, "one", "never", SessionPhase::Cancelled).await;
    assert_eq!(
        phase_of_message(&done, "more"),
        Some(SessionPhase::Cancelled)
    );
    let error = message(&done, "never").unwrap().error.as_ref().unwrap();
    assert_eq!(error.reason, "MessageNotSent");
    assert_eq!(sent(&world, &done), ["more"]);
}

for_each_provider!(stopping_one_message_goes_on_with_the_next);

async fn stopping_one_message_goes_on_with_the_next(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "one", SHORT).await;
    let messages = [("endless", ENDLESS), ("dropped", SHORT), ("last", SHORT)];
    add(&world, "one", &messages).await;
    until_message(&world, "one", "endless", SessionPhase::Running).await;
    let stopped = json!([
        {"name": "endless", "prompt": ENDLESS, "cancel": true},
        {"name": "dropped", "prompt": SHORT, "cancel": true},
        {"name": "last", "prompt": SHORT},
    ]);
    world
        .change_session("one", json!({"messages": stopped}))
        .await;
    let done = until_message(&world, "one", "last", SessionPhase::Finished).await;
    for name in ["endless", "dropped"] {
        let phase = phase_of_message(&done, name);
        assert_eq!(phase, Some(SessionPhase::Cancelled), "{}", pretty(&done));
    }
    assert_eq!(sent(&world, &done), ["endless", "last"]);
}

/// A session of its own takes a slot for each of its messages, as a launch does.
#[tokio::test]
async fn a_message_waits_for_a_slot_as_a_launch_does() {
    let world = World::new().await;
    let provider = Provider::Cursor;
    let limit = json!({"maxConcurrentSessions": 1});
    world.agent_with(provider, limit).await;
    let _operator = world.operator().await;
    world.session(provider, "one", SHORT).await;
    world.until_settled("one").await;
    let other = world.session(provider, "two", ENDLESS).await;
    world.until_phase("two", SessionPhase::Running).await;
    add(&world, "one", &[("more", SHORT)]).await;
    let waits = world
        .until_reason("one", "Reconciling", "WaitingForCapacity")
        .await;
    assert_eq!(phase_of(&waits), SessionPhase::Finished);
    assert_eq!(
        condition_of(&waits, "Completed").unwrap().status.as_str(),
        "False"
    );
    assert!(sent(&world, &waits).is_empty());
    world.let_finish(
        provider,
        &world.sessions().get(&other.name_any()).await.unwrap(),
    );
    until_message(&world, "one", "more", SessionPhase::Finished).await;
}

#[tokio::test]
async fn a_suspended_session_holds_its_messages_and_resumes() {
    let world = World::new().await;
    let provider = Provider::Cursor;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let task = "sim: creating=100ms running=1s\nDo it";
    world.session(provider, "one", task).await;
    world.until_phase("one", SessionPhase::Running).await;
    let held = json!({"desiredState": "Suspended"});
    world.change_session("one", held).await;
    add(&world, "one", &[("more", SHORT)]).await;
    let held = world.until_reason("one", "Completed", "Suspended").await;
    assert_eq!(phase_of(&held), SessionPhase::Finished);
    assert!(sent(&world, &held).is_empty());
    let resumed = json!({"desiredState": "Running"});
    world.change_session("one", resumed).await;
    until_message(&world, "one", "more", SessionPhase::Finished).await;
}

#[tokio::test]
async fn a_provider_that_takes_no_messages_is_named_with_those_that_do_before_anything_is_sent() {
    let world = World::new().await;
    let provider = Provider::Firetiger;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let spec = json!({
        "issue": "issues/FT-42",
        "messages": [{"name": "more", "prompt": "Go on"}],
    });
    let session = world.session_with(provider, "one", spec).await;
    let refused = world.until_phase("one", SessionPhase::Error).await;
    let why = condition_of(&refused, "Succeeded").unwrap();
    assert_eq!(why.reason, "CapabilityMissing");
    assert!(
        why.message
            .contains("Firetiger cannot take further messages")
            && why.message.contains("Cursor"),
        "{}",
        why.message
    );
    assert!(world.launches(&session).is_empty());
}

/// A person's own client of the provider.
async fn write_as_a_person(world: &World, id: &str) {
    let url = format!("{}/v1/agents/{id}/runs", world.simulator.cursor_url());
    let body: Value = json!({"prompt": {"text": SHORT}});
    let client = reqwest::Client::new();
    let deadline = std::time::Instant::now() + crate::support::world::PATIENCE;
    loop {
        let answer = client
            .post(&url)
            .basic_auth(demo_key(Provider::Cursor), Some(""))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        if answer.status().is_success() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{}", answer.status());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Two new runs where one was expected: which of them is ours cannot be told, so nothing is sent again.
#[tokio::test]
async fn a_person_who_writes_to_the_same_agent_is_told_from_us_or_said_to_be_undecided() {
    let world = World::new().await;
    let provider = Provider::Cursor;
    world.agent(provider).await;
    let operator = world.operator_with(Arguments::impatient()).await;
    world.session(provider, "one", SHORT).await;
    let first = world.until_settled("one").await;
    let class = Matcher::class(OperationClass::FollowUp);
    let lost = Fault::once(class, FaultKind::SilentAfter);
    world.simulator.inject(lost);
    add(&world, "one", &[("more", SHORT)]).await;
    world
        .until_true("the provider has it", || {
            world.simulator.faults().is_empty()
        })
        .await;
    operator.crash().await;
    write_as_a_person(&world, &session_id(&first)).await;
    let _successor = world.operator_with(Arguments::impatient()).await;
    let told = world
        .until_reason("one", "Succeeded", "MessageOutcomeUnknown")
        .await;
    let error = message(&told, "more").unwrap().error.as_ref().unwrap();
    assert!(error.message.contains("2 new runs"), "{}", error.message);
    assert_eq!(sent(&world, &told), ["more"]);
    assert_eq!(agent_name(provider), "cursor");
}
