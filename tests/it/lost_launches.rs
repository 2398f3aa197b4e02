//! A launch that goes wrong on its way, at each point where it can. What must hold: one session at the provider, and it is
//! the one in the status.

use std::time::Duration;

use codeagent_operator::api::{ConditionStatus, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, FirebenderBranch, Matcher, OperationClass, Provider, SimulatorOptions, Urls,
};
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is, condition_of, pretty, session_id};

/// Long enough to be seen while it is looked for.
const TASK: &str = "sim: creating=200ms setup=100ms running=500ms\nDo it";

/// Launches with `fault` in the way; the session must finish, paid once.
async fn survives(provider: Provider, fault: FaultKind, prompt: &str) -> (World, Found) {
    survives_at(SimulatorOptions::for_tests(), provider, fault, prompt).await
}

/// How the operator came to know of the session.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// By the answer to a request, the n-th with this key.
    Answered(i32),
    /// By looking for it.
    Adopted,
}

async fn survives_at(
    options: SimulatorOptions,
    provider: Provider,
    fault: FaultKind,
    prompt: &str,
) -> (World, Found) {
    let world = World::with(options).await;
    world.agent(provider).await;
    let launch = Matcher::class(OperationClass::Launch);
    world.simulator.inject(Fault::once(launch, fault));
    let operator = world.operator_with(Arguments::impatient()).await;
    world.session(provider, "one", prompt).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    // Exactly one, and it is the one that is recorded.
    let truth = world.at_provider(&done);
    assert_eq!(session_id(&done), truth.id, "{}", pretty(&done));
    assert_eq!(world.simulator.faults(), [], "the fault was met");
    let launched = condition_of(&done, "Launched").unwrap();
    assert_eq!(launched.status.as_str(), "True");
    let found = match launched.reason.as_str() {
        "Accepted" => Found::Answered(done.status.unwrap().launch.unwrap().posts),
        "Adopted" => Found::Adopted,
        other => panic!("Launched because of {other}"),
    };
    operator.stop().await;
    (world, found)
}

for_each_provider!(the_connection_is_lost_before_the_provider_has_it);

async fn the_connection_is_lost_before_the_provider_has_it(provider: Provider) {
    let (_, found) = survives(provider, FaultKind::DropBefore, TASK).await;
    // Proven absent, and only then sent again.
    assert_eq!(found, Found::Answered(2));
}

for_each_provider!(the_connection_is_lost_after_the_provider_has_it);

async fn the_connection_is_lost_after_the_provider_has_it(provider: Provider) {
    let (_, found) = survives(provider, FaultKind::DropAfter, TASK).await;
    assert_eq!(found, Found::Adopted);
}

for_each_provider!(the_provider_accepts_and_answers_with_an_error);

async fn the_provider_accepts_and_answers_with_an_error(provider: Provider) {
    let fault = FaultKind::ErrorAfter {
        status: 502,
        code: "bad_gateway".to_owned(),
    };
    let (_, found) = survives(provider, fault, TASK).await;
    assert_eq!(found, Found::Adopted);
}

for_each_provider!(the_provider_accepts_and_its_answer_is_cut);

async fn the_provider_accepts_and_its_answer_is_cut(provider: Provider) {
    let (_, found) = survives(provider, FaultKind::TruncatedBody, TASK).await;
    assert_eq!(found, Found::Adopted);
}

for_each_provider!(the_provider_accepts_and_its_answer_is_too_late);

async fn the_provider_accepts_and_its_answer_is_too_late(provider: Provider) {
    let fault = FaultKind::Delay {
        by: Duration::from_secs(10),
    };
    let (_, found) = survives(provider, fault, TASK).await;
    assert_eq!(found, Found::Adopted);
}

for_each_provider!(the_provider_takes_it_and_does_nothing);

async fn the_provider_takes_it_and_does_nothing(provider: Provider) {
    let fault = FaultKind::Hang {
        duration: Duration::from_secs(10),
    };
    let (_, found) = survives(provider, fault, TASK).await;
    assert_eq!(found, Found::Answered(2));
}

for_each_provider!(the_provider_acts_long_after_the_connection_was_lost);

async fn the_provider_acts_long_after_the_connection_was_lost(provider: Provider) {
    let fault = FaultKind::LateCommit {
        after: Duration::from_millis(2000),
        close_after: Duration::from_millis(100),
    };
    let (_, found) = survives(provider, fault, TASK).await;
    assert_eq!(found, Found::Adopted);
}

for_each_provider!(the_provider_asks_for_patience);

async fn the_provider_asks_for_patience(provider: Provider) {
    let fault = FaultKind::RateLimited {
        retry_after: Some(1),
    };
    let (_, found) = survives(provider, fault, TASK).await;
    // A refusal of the only request ever claimed settles it; the next one is counted anew.
    assert_eq!(found, Found::Answered(1));
}

for_each_provider!(a_session_that_is_not_in_the_list_yet_is_not_absent);

/// The answer is lost, and for a while the new session is in no list and has no messages.
async fn a_session_that_is_not_in_the_list_yet_is_not_absent(provider: Provider) {
    let fault = FaultKind::Lag {
        duration: Duration::from_millis(4500),
    };
    let prompt = "sim: latency=10s running=500ms\nDo it";
    let (_, found) = survives(provider, fault, prompt).await;
    assert_eq!(found, Found::Adopted);
}

/// An older server takes no ids from its clients: the session has another one, and is found by its name.
#[tokio::test]
async fn cursor_ignores_the_id_and_the_answer_is_lost() {
    let prompt = "sim: latency=10s running=500ms\nDo it";
    let (_, found) = survives(Provider::Cursor, FaultKind::IgnoreAgentId, prompt).await;
    assert_eq!(found, Found::Adopted);
}

#[tokio::test]
async fn cursor_ignores_the_id_and_says_so() {
    let (world, found) = survives(Provider::Cursor, FaultKind::IgnoreAgentId, TASK).await;
    assert_eq!(found, Found::Answered(1));
    let done = world.sessions().get("one").await.unwrap();
    let key = done
        .status
        .as_ref()
        .unwrap()
        .launch
        .as_ref()
        .unwrap()
        .key
        .clone();
    assert!(!session_id(&done).contains(&key));
    let events = world.events(&done).await;
    let warned = events.iter().any(|event| {
        event.0 == "Warning"
            && event
                .2
                .contains("did not use the session id that was asked for")
    });
    assert!(warned, "{events:?}");
}

/// A user's branch is no evidence, whether the provider keeps it or not.
#[tokio::test]
async fn firebender_keeps_or_rewrites_the_branch() {
    for branch in [FirebenderBranch::Kept, FirebenderBranch::Rewritten] {
        let mut options = SimulatorOptions::for_tests();
        options.firebender.branch = branch;
        let fault = FaultKind::DropAfter;
        let (_, found) = survives_at(options, Provider::Firebender, fault, TASK).await;
        assert_eq!(found, Found::Adopted, "{branch:?}");
    }
}

for_each_provider!(the_operator_dies_between_the_launch_and_its_record);

async fn the_operator_dies_between_the_launch_and_its_record(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator_with(Arguments::impatient()).await;
    let prompt = "sim: latency=30s creating=200ms running=500ms\nDo it";
    let session = world.session(provider, "one", prompt).await;
    world
        .until_true("the launch has arrived", || {
            !world.launches(&session).is_empty()
        })
        .await;
    operator.crash().await;
    let left = world.sessions().get("one").await.unwrap().status.unwrap();
    assert_eq!(left.provider.unwrap().session_id, None);

    let _operator = world.operator_with(Arguments::impatient()).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(session_id(&done), world.at_provider(&done).id);
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
}

for_each_provider!(the_operator_dies_again_and_again);

/// Whenever it dies, the session is paid once.
async fn the_operator_dies_again_and_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let mut session = None;
    for round in 0..6 {
        let operator = world.operator_with(Arguments::impatient()).await;
        if session.is_none() {
            let prompt = "sim: latency=150ms creating=300ms running=2s\nDo it";
            session = Some(world.session(provider, "one", prompt).await);
        }
        // A little later in each life.
        tokio::time::sleep(Duration::from_millis(60 * round)).await;
        operator.crash().await;
    }
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(session_id(&done), world.at_provider(&done).id);
}

for_each_provider!(two_operators_at_once_pay_once);

/// A Lease is an optimisation: even two that both believe to lead pay once for each session.
async fn two_operators_at_once_pay_once(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _one = world.operator_with(Arguments::impatient()).await;
    let _two = world.operator_with(Arguments::impatient()).await;
    for number in 0..5 {
        world.session(provider, &format!("s{number}"), TASK).await;
    }
    for number in 0..5 {
        let name = format!("s{number}");
        world.until_phase(&name, SessionPhase::Finished).await;
        let done = world.until_settled(&name).await;
        assert_eq!(session_id(&done), world.at_provider(&done).id);
    }
}

for_each_provider!(a_provider_that_is_down_is_waited_for);

async fn a_provider_that_is_down_is_waited_for(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let (listen, urls) = free_ports();
    let arguments = Arguments::impatient();
    let _operator = world.operator_against(arguments, &urls).await;
    world
        .until_agent(provider, "without its provider", |agent| {
            let unreachable = ConditionStatus::False;
            agent_is(
                agent,
                "ProviderReachable",
                unreachable,
                "ProviderUnavailable",
            )
        })
        .await;
    world.session(provider, "one", TASK).await;
    let waiting = world
        .until_reason("one", "Reconciling", "ProviderUnavailable")
        .await;
    assert_eq!(waiting.status.unwrap().phase, SessionPhase::Pending);

    let options = SimulatorOptions {
        listen,
        ..SimulatorOptions::for_tests()
    };
    let back = codeagent_simulator::Simulator::start(options)
        .await
        .unwrap();
    world.until_phase("one", SessionPhase::Finished).await;
    assert_eq!(back.launches(&Default::default()).len(), 1);
    world
        .until_agent(provider, "ready again", |agent| {
            agent_is(agent, "Ready", ConditionStatus::True, "Ready")
        })
        .await;
}

/// Addresses where nobody listens, for a simulator that starts later.
fn free_ports() -> (std::net::SocketAddr, Urls) {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    // Below what the system hands out by itself.
    loop {
        let first = 15_000 + rand::random::<u16>() % 15_000;
        let address = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, first + offset));
        let free = (0..6).all(|offset| TcpListener::bind(address(offset)).is_ok());
        if free {
            let url = |offset| format!("http://{}", address(offset));
            let urls = Urls {
                control: url(0),
                cursor: url(1),
                firebender: url(2),
                flapjack: url(3),
                firetiger: url(4),
                http: url(5),
            };
            return (address(0), urls);
        }
    }
}

for_each_provider!(on_unknown_launch_fail_never_sends_twice);

async fn on_unknown_launch_fail_never_sends_twice(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let launch = Matcher::class(OperationClass::Launch);
    let fault = Fault::once(launch, FaultKind::DropBefore);
    world.simulator.inject(fault);
    let _operator = world.operator_with(Arguments::impatient()).await;
    let settings = json!({"prompt": TASK, "onUnknownLaunch": "Fail"});
    world.session_with(provider, "one", settings).await;
    let ended = world.until_settled("one").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Error, "{}", pretty(&ended));
    assert_eq!(status.error.unwrap().reason, "LaunchOutcomeUnknown");
    let sent = world.simulator.requests();
    let sent = sent
        .iter()
        .filter(|request| request.class == Some(OperationClass::Launch));
    assert_eq!(sent.count(), 1);
}
