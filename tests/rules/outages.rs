//! The provider cannot be used for a while, or answers nonsense: the session waits, says so, and goes on. Nothing is paid for twice.

use std::time::Duration;

use codeagent_operator::api::{
    ALLOWED_HOSTS_ANNOTATION, ConditionStatus, Reason, SessionPhase, condition,
};
use codeagent_simulator::{Fault, FaultKind, Matcher, Operation, OperationClass, Provider};

use serde_json::json;

use crate::world::{CURSOR_KEY, World, agent, agent_is, is, of, secret, session};

const FIREBENDER: &str =
    "{provider: {firebender: {}}, credentials: {secretRef: {name: firebender}}}";

fn launches() -> Matcher {
    Matcher::class(OperationClass::Launch)
}

#[tokio::test]
async fn a_launch_that_fails_for_a_while_is_recovered_and_paid_for_once() {
    let cases = [
        (
            "too-many",
            FaultKind::RateLimited {
                retry_after: Some(1),
            },
            2,
        ),
        (
            "unavailable",
            FaultKind::ErrorBefore {
                status: 503,
                code: "unavailable".to_owned(),
            },
            2,
        ),
        (
            "unavailable-after",
            FaultKind::ErrorAfter {
                status: 503,
                code: "unavailable".to_owned(),
            },
            1,
        ),
        (
            "internal-after",
            FaultKind::ErrorAfter {
                status: 500,
                code: "internal".to_owned(),
            },
            1,
        ),
        (
            "timeout-after",
            FaultKind::Delay {
                by: Duration::from_secs(3),
            },
            1,
        ),
        ("dropped-before", FaultKind::DropBefore, 2),
        ("dropped-after", FaultKind::DropAfter, 1),
        ("cut-after", FaultKind::TruncatedBody, 1),
    ];
    for (provider, settings) in [(Provider::Cursor, "{}"), (Provider::Firebender, FIREBENDER)] {
        let world = World::start(&format!("launch-{provider}")).await;
        for (name, fault, posts) in &cases {
            world
                .simulator
                .inject(Fault::once(launches(), fault.clone()));
            world.apply(&agent(name, settings)).await;
            world.apply(&session(name, "{}")).await;
            // One after the other: the fault is for the next launch, whoever's it is.
            let finished = world.finished(name).await;
            println!("{provider}, {name}: {:?}", of(&finished, "Launched").reason);
            assert_eq!(
                world.requests_of(&finished).len(),
                *posts,
                "{provider}, {name}"
            );
        }
        world.end().await;
    }
}

#[tokio::test]
async fn while_the_provider_is_down_everything_waits_and_says_so() {
    for (provider, settings, kind) in [
        (Provider::Cursor, "{}", FaultKind::DropBefore),
        (
            Provider::Firebender,
            FIREBENDER,
            FaultKind::ErrorBefore {
                status: 503,
                code: "unavailable".to_owned(),
            },
        ),
    ] {
        let world = World::start(&format!("down-{provider}")).await;
        world.simulator.inject(Fault::always(Matcher::any(), kind));
        world.apply(&agent("a", settings)).await;
        world.apply(&session("a", "{}")).await;
        let waits = |session: &_| is(session, "Reconciling", "True", Reason::ProviderUnavailable);
        let waiting = world.until("a", "waiting for the provider", waits).await;
        assert_eq!(
            waiting.status.as_ref().unwrap().phase,
            SessionPhase::Pending
        );
        println!("{provider}: {}", of(&waiting, "Reconciling").message);
        let away = |agent: &_| {
            agent_is(
                agent,
                "ProviderReachable",
                "False",
                Reason::ProviderUnavailable,
            )
        };
        let agent = world.until_agent("a", "cut off", away).await;
        assert!(agent_is(
            &agent,
            "Reconciling",
            "True",
            Reason::ProviderUnavailable
        ));
        assert!(agent_is(
            &agent,
            "Stalled",
            "False",
            Reason::ProviderUnavailable
        ));
        assert_eq!(
            world.posts().len(),
            0,
            "{provider}: a launch was tried without a verified key"
        );
        world.simulator.clear_faults();
        world.finished("a").await;
        let ready = |agent: &_| agent_is(agent, "Ready", "True", Reason::Ready);
        world.until_agent("a", "ready again", ready).await;
        world.end().await;
    }
}

/// The provider goes away after the agent was found ready: the agent notices at its next check.
#[tokio::test]
async fn an_agent_notices_an_outage_and_its_end() {
    let world = World::start("agent-outage").await;
    world.apply(&agent("a", "{}")).await;
    let ready = |agent: &_| agent_is(agent, "Ready", "True", Reason::Ready);
    world.until_agent("a", "ready", ready).await;
    let me = Matcher::operation(Operation::CursorV1GetMe);
    for fault in [
        FaultKind::DropBefore,
        FaultKind::ErrorBefore {
            status: 502,
            code: "bad_gateway".to_owned(),
        },
        FaultKind::RateLimited {
            retry_after: Some(1),
        },
        FaultKind::Respond {
            status: 200,
            headers: vec![],
            body: "<html>maintenance</html>".to_owned(),
        },
        FaultKind::TruncatedBody,
        FaultKind::HugeBody { bytes: 32 << 20 },
    ] {
        println!("{fault:?}");
        world.simulator.inject(Fault::always(me.clone(), fault));
        let away = |agent: &codeagent_operator::api::CodeAgent| {
            let status = agent.status.as_ref().unwrap();
            let reachable = condition(&status.conditions, "ProviderReachable");
            reachable.is_some_and(|condition| condition.status == ConditionStatus::False)
        };
        let agent = world.until_agent("a", "cut off", away).await;
        // The key was accepted when it was last asked about.
        assert!(agent_is(
            &agent,
            "CredentialsValid",
            "True",
            Reason::CredentialsAccepted
        ));
        assert!(agent.status.unwrap().account.is_some());
        world.simulator.clear_faults();
        world.until_agent("a", "ready again", ready).await;
    }
    world.end().await;
}

#[tokio::test]
async fn nonsense_about_a_running_session_changes_nothing_but_what_is_said() {
    let get_run = Matcher::operation(Operation::CursorV1GetRun);
    let get_agent = Matcher::operation(Operation::FirebenderGetAgent);
    let respond = |body: &str| FaultKind::Respond {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_owned(),
    };
    let cases = [
        (
            "unknown",
            FaultKind::UnknownStatus {
                value: "MEDITATING".to_owned(),
            },
            Reason::UnknownProviderStatus,
            "MEDITATING",
        ),
        (
            "huge",
            FaultKind::HugeBody { bytes: 32 << 20 },
            Reason::ProviderProtocolError,
            "cannot be read",
        ),
        (
            "cut",
            FaultKind::TruncatedBody,
            Reason::ProviderProtocolError,
            "cannot be read",
        ),
        (
            "broken",
            respond("{\"id\": "),
            Reason::ProviderProtocolError,
            "cannot be read",
        ),
        (
            "page",
            respond("<html>maintenance</html>"),
            Reason::ProviderUnavailable,
            "cannot be asked about it",
        ),
        (
            "list",
            respond("[]"),
            Reason::ProviderProtocolError,
            "cannot be read",
        ),
        (
            "nothing",
            respond("null"),
            Reason::ProviderProtocolError,
            "cannot be read",
        ),
    ];
    for (provider, settings, looks) in [
        (Provider::Cursor, "{}", get_run),
        (Provider::Firebender, FIREBENDER, get_agent),
    ] {
        let world = World::start(&format!("nonsense-{provider}")).await;
        for (name, fault, reason, words) in &cases {
            world.apply(&agent(name, settings)).await;
            world
                .apply(&session(
                    name,
                    "{prompt: \"Fix the bug\\nsim: outcome=never\"}",
                ))
                .await;
            let runs = |session: &_| is(session, "Reconciling", "True", Reason::Running);
            let running = world.until(name, "running", runs).await;
            world
                .simulator
                .inject(Fault::always(looks.clone(), fault.clone()));
            let puzzled = |session: &_| is(session, "Reconciling", "True", *reason);
            let puzzled = world.until(name, reason.as_str(), puzzled).await;
            let message = of(&puzzled, "Reconciling").message;
            println!("{provider}, {name}: {message}");
            assert!(message.contains(words), "{provider}, {name}: {message}");
            let (before, now) = (running.status.unwrap(), puzzled.status.unwrap());
            assert_eq!(now.phase, SessionPhase::Running, "{provider}, {name}");
            assert_eq!(
                now.provider.map(|p| p.session_id),
                before.provider.map(|p| p.session_id)
            );
            world.simulator.clear_faults();
            world.let_finish(provider, name).await;
            world.finished(name).await;
        }
        world.end().await;
    }
}

/// Errors while following are no news: the session runs on, and its end is seen once the provider answers again.
#[tokio::test]
async fn a_session_runs_on_through_an_outage() {
    let world = World::start("runs-on").await;
    world.apply(&agent("a", "{}")).await;
    world
        .apply(&session(
            "a",
            "{prompt: \"Fix the bug\\nsim: outcome=never\"}",
        ))
        .await;
    let runs = |session: &_| is(session, "Reconciling", "True", Reason::Running);
    world.until("a", "running", runs).await;
    world
        .simulator
        .inject(Fault::always(Matcher::any(), FaultKind::DropBefore));
    world.let_finish(Provider::Cursor, "a").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = world.session("a").await.status.unwrap();
    assert_eq!(status.phase, SessionPhase::Running);
    world.simulator.clear_faults();
    world.finished("a").await;
    world.end().await;
}

/// Nobody listens there: it may be a restart, so it is waited for; the endpoint may be corrected meanwhile.
#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_waited_for() {
    let world = World::start("nobody").await;
    let mut key = secret("key", CURSOR_KEY);
    key["metadata"]["annotations"] = json!({ALLOWED_HOSTS_ANNOTATION: "127.0.0.1:1"});
    world.apply(&key).await;
    let at = |endpoint: &str| {
        agent(
            "a",
            &format!(
                "{{provider: {{cursor: {{endpoint: '{endpoint}'}}}}, credentials: {{secretRef: {{name: key}}}}}}"
            ),
        )
    };
    world.apply(&at("http://127.0.0.1:1")).await;
    world.apply(&session("a", "{}")).await;
    let waits = |session: &_| is(session, "Reconciling", "True", Reason::ProviderUnavailable);
    let waiting = world.until("a", "waiting for the provider", waits).await;
    println!("{}", of(&waiting, "Reconciling").message);
    let away = |agent: &_| {
        agent_is(
            agent,
            "ProviderReachable",
            "False",
            Reason::ProviderUnavailable,
        )
    };
    world.until_agent("a", "cut off", away).await;
    world.apply(&at(world.simulator.cursor_url())).await;
    world.finished("a").await;
    world.end().await;
}
