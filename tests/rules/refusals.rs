//! What the provider refuses. Others' mistakes keep the session waiting, with the provider's own words and without a second request,
//! until they are mended; its own mistakes end it.

use std::time::{Duration, Instant};

use codeagent_operator::api::{Reason, SessionPhase};
use codeagent_simulator::{Key, Provider, RepositoryAccess};
use serde_json::Value;

use crate::world::{
    CURSOR_KEY, FIREBENDER_KEY, SECOND_CURSOR_KEY, Setup, WRONG_KEY, World, agent, agent_is, is,
    of, secret, session,
};

/// Waiting times after a refusal that no test waits for, being longer than a test waits for anything: what goes on goes on because it was mended.
fn patient() -> Setup {
    Setup {
        flags: vec!["--refusal-wait=1h".to_owned()],
        ..Setup::default()
    }
}

const QUIET: Duration = Duration::from_millis(1500);

fn with_secret(name: &str, secret: &str) -> Value {
    agent(
        name,
        &format!("{{credentials: {{secretRef: {{name: {secret}}}}}}}"),
    )
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_never_used_for_a_launch() {
    let world = World::start_with("keys", patient()).await;
    world.apply(&secret("wrong", WRONG_KEY)).await;
    world.apply(&with_secret("wrong", "wrong")).await;
    world.apply(&session("wrong", "{}")).await;
    // The key was accepted once, then revoked before the session came.
    world.apply(&secret("revoked", SECOND_CURSOR_KEY)).await;
    world.apply(&with_secret("revoked", "revoked")).await;
    let ready = |agent: &_| agent_is(agent, "Ready", "True", Reason::Ready);
    world.until_agent("revoked", "ready", ready).await;
    assert!(world.simulator.revoke(Provider::Cursor, "second"));
    let refused = |agent: &_| {
        agent_is(
            agent,
            "CredentialsValid",
            "False",
            Reason::CredentialsInvalid,
        )
    };
    world
        .until_agent("revoked", "told that its key is refused", refused)
        .await;
    world.apply(&session("revoked", "{}")).await;
    // A Secret of the session's own; Firebender has no operation that shows the account.
    world.apply(&secret("wrong-firebender", WRONG_KEY)).await;
    world
        .apply(&agent(
            "firebender",
            "{provider: {firebender: {}}, credentials: {secretRef: {name: firebender}}}",
        ))
        .await;
    world
        .apply(&session(
            "firebender",
            "{credentials: {secretRef: {name: wrong-firebender}}}",
        ))
        .await;
    for (name, key) in [
        ("wrong", "wrong"),
        ("revoked", "revoked"),
        ("firebender", "wrong-firebender"),
    ] {
        world.stalled(name, Reason::CredentialsInvalid, key).await;
    }
    world
        .until_agent("wrong", "told that its key is refused", refused)
        .await;
    world.no_more_posts(QUIET).await;
    assert_eq!(world.posts().len(), 0);
    world.apply(&secret("wrong", CURSOR_KEY)).await;
    world.apply(&secret("revoked", CURSOR_KEY)).await;
    world
        .apply(&secret("wrong-firebender", FIREBENDER_KEY))
        .await;
    for name in ["wrong", "revoked", "firebender"] {
        world.finished(name).await;
    }
    for name in ["wrong", "revoked"] {
        world.until_agent(name, "ready", ready).await;
    }
    world.end().await;
}

struct Refusal {
    name: &'static str,
    agent: &'static str,
    /// The answer to the launch, where the simulator would not refuse by itself.
    answer: Option<(u16, &'static str)>,
    reason: Reason,
    words: &'static str,
    /// What mends it: the agent, or a Secret.
    mend: Value,
}

#[tokio::test]
async fn what_others_have_to_mend_keeps_the_session_waiting_with_the_providers_words() {
    let mut setup = patient();
    setup.simulator.cursor.repository_access = RepositoryAccess::Listed;
    let world = World::start_with("mendable", setup).await;
    let other_description = |name: &str| agent(name, "{description: Paid the bill}");
    let cases = [
        Refusal {
            name: "repository",
            agent: "{repository: {url: 'https://github.com/acme/private'}}",
            answer: None,
            reason: Reason::RepositoryInaccessible,
            words: "No access to repository https://github.com/acme/private",
            mend: agent("repository", "{}"),
        },
        Refusal {
            name: "model",
            agent: "{model: {id: gpt-0}}",
            answer: None,
            reason: Reason::ModelUnavailable,
            words: "Model 'gpt-0' is not available",
            mend: agent("model", "{model: {id: composer-2}}"),
        },
        Refusal {
            name: "bill",
            agent: "{}",
            answer: Some((402, "payment_required")),
            reason: Reason::QuotaExhausted,
            words: "words of payment_required",
            mend: other_description("bill"),
        },
        Refusal {
            name: "limit",
            agent: "{}",
            answer: Some((429, "usage_limit_exceeded")),
            reason: Reason::QuotaExhausted,
            words: "words of usage_limit_exceeded",
            mend: other_description("limit"),
        },
        Refusal {
            name: "plan",
            agent: "{}",
            answer: Some((403, "plan_required")),
            reason: Reason::QuotaExhausted,
            words: "words of plan_required",
            mend: other_description("plan"),
        },
        Refusal {
            name: "role",
            agent: "{}",
            answer: Some((403, "role_forbidden")),
            reason: Reason::CredentialsInvalid,
            words: "words of role_forbidden",
            mend: other_description("role"),
        },
        Refusal {
            name: "integration",
            agent: "{}",
            answer: Some((403, "integration_not_connected")),
            reason: Reason::RepositoryInaccessible,
            // With the page on which it is mended.
            words: "words of integration_not_connected (https://cursor.com/dashboard?tab=integrations)",
            mend: other_description("integration"),
        },
        // The key is refused by the launch itself; another key of the same account mends it.
        Refusal {
            name: "rotated",
            agent: "{credentials: {secretRef: {name: rotated}}}",
            answer: Some((401, "unauthorized")),
            reason: Reason::CredentialsInvalid,
            words: "words of unauthorized",
            mend: secret("rotated", SECOND_CURSOR_KEY),
        },
    ];
    world.apply(&secret("rotated", CURSOR_KEY)).await;
    // A quota is the account's: while one is used up, no other session of the key is launched.
    let (of_account, of_session): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .partition(|case| case.reason == Reason::QuotaExhausted);
    refused_until_mended(&world, &of_session).await;
    for case in of_account {
        refused_until_mended(&world, &[case]).await;
    }
    world.end().await;
}

/// Each session waits with the provider's words, nothing is sent meanwhile, and once it is mended it is launched by one more request.
async fn refused_until_mended(world: &World, cases: &[Refusal]) {
    for case in cases {
        if let Some((status, code)) = case.answer {
            world.refuse_next_launch(status, code, &format!("words of {code}"));
        }
        world.apply(&agent(case.name, case.agent)).await;
        world.apply(&session(case.name, "{}")).await;
        // One after the other: the answer is for the next launch, whoever's it is.
        let stalled = world.stalled(case.name, case.reason, case.words).await;
        assert_eq!(world.requests_of(&stalled).len(), 1, "{}", case.name);
        assert_eq!(
            of(&stalled, "Launched").status.as_str(),
            "Unknown",
            "{}",
            case.name
        );
    }
    world.no_more_posts(QUIET).await;
    for case in cases {
        let begun = Instant::now();
        world.apply(&case.mend).await;
        let finished = world.finished(case.name).await;
        println!(
            "{}: finished {:?} after it was mended",
            case.name,
            begun.elapsed()
        );
        assert_eq!(world.requests_of(&finished).len(), 2, "{}", case.name);
        let launch = finished.status.unwrap().launch.unwrap();
        assert_eq!((launch.attempt, launch.refusal), (1, None), "{}", case.name);
    }
}

/// Nobody mends anything: the launch is tried again after a while, and then once more only after a longer one.
#[tokio::test]
async fn a_refused_launch_is_tried_again_after_a_while() {
    let setup = Setup {
        flags: vec!["--refusal-wait=2s".to_owned()],
        ..Setup::default()
    };
    let world = World::start_with("again", setup).await;
    for _ in 0..2 {
        world.refuse_next_launch(402, "payment_required", "pay first");
    }
    world.apply(&agent("a", "{}")).await;
    world.apply(&session("a", "{}")).await;
    let finished = world.finished("a").await;
    let at: Vec<_> = world
        .requests_of(&finished)
        .iter()
        .map(|request| request.at)
        .collect();
    assert_eq!(at.len(), 3);
    let pauses: Vec<f64> = at
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64())
        .collect();
    println!("pauses: {pauses:?}");
    assert!(
        pauses[0] >= 1.5 && pauses[1] >= 1.5 * pauses[0],
        "{pauses:?}"
    );
    world.end().await;
}

/// Between refusal and mending the session is paused, and its Secret is away for a while: each is said while it lasts, and then the
/// refusal again. Nothing is sent.
#[tokio::test]
async fn a_refusal_is_said_again_when_what_came_between_is_over() {
    let world = World::start_with("between", patient()).await;
    world.refuse_next_launch(402, "payment_required", "pay first");
    world
        .apply(&agent("a", "{credentials: {secretRef: {name: away}}}"))
        .await;
    world.apply(&secret("away", CURSOR_KEY)).await;
    world.apply(&session("a", "{}")).await;
    world
        .stalled("a", Reason::QuotaExhausted, "pay first")
        .await;

    world
        .apply(&session("a", "{desiredState: Suspended}"))
        .await;
    let held = |session: &_| is(session, "Stalled", "False", Reason::Suspended);
    world.until("a", "suspended", held).await;
    world.apply(&session("a", "{desiredState: Running}")).await;
    world
        .stalled("a", Reason::QuotaExhausted, "pay first")
        .await;

    let secrets = world.namespace.api::<k8s_openapi::api::core::v1::Secret>();
    secrets.delete("away", &Default::default()).await.unwrap();
    // Something makes the session look again.
    world.apply(&session("a", "{priority: 1}")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.apply(&secret("away", CURSOR_KEY)).await;
    world.apply(&session("a", "{priority: 2}")).await;
    let evaluated = |session: &codeagent_operator::api::CodeSession| {
        session
            .status
            .as_ref()
            .map(|status| status.observed_generation)
            == session.metadata.generation
            && is(session, "Stalled", "True", Reason::QuotaExhausted)
    };
    let session_now = world.until("a", "refused again", evaluated).await;
    assert_eq!(world.requests_of(&session_now).len(), 1);

    world
        .apply(&agent(
            "a",
            "{credentials: {secretRef: {name: away}}, description: Paid}",
        ))
        .await;
    world.finished("a").await;
    world.end().await;
}

#[tokio::test]
async fn what_the_session_itself_asks_for_wrongly_ends_it() {
    let world = World::start_with("own-fault", patient()).await;
    world.apply(&agent("model", "{}")).await;
    world.apply(&session("model", "{model: {id: gpt-0}}")).await;
    world
        .failed(
            "model",
            Reason::InvalidRequest,
            "Model 'gpt-0' is not available",
        )
        .await;

    world
        .apply(&agent("params", "{model: {id: composer-2}}"))
        .await;
    world
        .apply(&session("params", "{model: {params: {fast: perhaps}}}"))
        .await;
    world
        .failed(
            "params",
            Reason::InvalidRequest,
            "has no variant with these params",
        )
        .await;

    // Neither a change of the agent nor time sends anything again.
    for name in ["model", "params"] {
        world
            .apply(&agent(name, "{description: Another one}"))
            .await;
    }
    world.no_more_posts(QUIET).await;
    for name in ["model", "params"] {
        let session = world.ended(name, SessionPhase::Error).await;
        assert_eq!(world.requests_of(&session).len(), 1, "{name}");
        assert_eq!(world.launches_of(&session).len(), 0);
        assert_eq!(of(&session, "Launched").status.as_str(), "False");
    }
    world.end().await;
}

/// A refusal that names no setting may pass, as when the provider cannot verify a branch for a moment: it is the last word only when it was
/// given three times.
#[tokio::test]
async fn a_refusal_of_unclear_cause_ends_the_session_at_the_third_time() {
    let setup = Setup {
        flags: vec!["--refusal-wait=1s".to_owned()],
        ..Setup::default()
    };
    let world = World::start_with("unclear", setup).await;
    for (name, status, code) in [
        ("value", 400, "validation_error"),
        ("body", 422, "unprocessable"),
        ("large", 413, "too_large"),
    ] {
        for _ in 0..3 {
            world.refuse_next_launch(status, code, &format!("words of {code}"));
        }
        world.apply(&agent(name, "{}")).await;
        world.apply(&session(name, "{}")).await;
        let failed = world
            .failed(name, Reason::InvalidRequest, &format!("words of {code}"))
            .await;
        assert_eq!(world.requests_of(&failed).len(), 3, "{name}");
        assert_eq!(world.launches_of(&failed).len(), 0);
        assert_eq!(of(&failed, "Launched").status.as_str(), "False");
    }
    world.end().await;
}

/// An override that overrides nothing leaves the agent's mistake the agent's.
#[tokio::test]
async fn an_empty_override_of_the_model_is_not_the_sessions_mistake() {
    let world = World::start_with("empty-model", patient()).await;
    world.apply(&agent("a", "{model: {id: gpt-0}}")).await;
    world.apply(&session("a", "{model: {}}")).await;
    world
        .stalled(
            "a",
            Reason::ModelUnavailable,
            "Model 'gpt-0' is not available",
        )
        .await;
    world.apply(&agent("a", "{}")).await;
    world.finished("a").await;
    world.end().await;
}

/// A key that is revoked while its session runs: the session goes on, which is said, and its end is seen once the key is mended.
#[tokio::test]
async fn a_key_that_is_revoked_while_the_session_runs_is_said_and_can_be_mended() {
    let world = World::start_with("revoked", patient()).await;
    world.apply(&secret("key", SECOND_CURSOR_KEY)).await;
    world.apply(&with_secret("a", "key")).await;
    world
        .apply(&session(
            "a",
            "{prompt: \"Fix the bug\\nsim: outcome=never\"}",
        ))
        .await;
    world
        .until("a", "running", |session| {
            is(session, "Reconciling", "True", Reason::Running)
        })
        .await;
    world.simulator.revoke(Provider::Cursor, "second");
    let stalled = |session: &_| is(session, "Stalled", "True", Reason::CredentialsInvalid);
    let session = world
        .until("a", "told that its key is refused", stalled)
        .await;
    assert_eq!(session.status.unwrap().phase, SessionPhase::Running);
    world.simulator.add_key(Key {
        name: "third".to_owned(),
        secret: "cursor-key-canary-3".to_owned(),
        ..Key::user(Provider::Cursor, "demo", "")
    });
    world.apply(&secret("key", "cursor-key-canary-3")).await;
    world.let_finish(Provider::Cursor, "a").await;
    world.finished("a").await;
    world.end().await;
}

/// The session's own credentials may be changed for others until a launch is under way, also after a refusal.
#[tokio::test]
async fn another_secret_named_by_the_session_after_a_refusal_is_used_at_once() {
    let world = World::start_with("own-secret", patient()).await;
    world.apply(&secret("second", SECOND_CURSOR_KEY)).await;
    world.refuse_next_launch(402, "payment_required", "pay first");
    world.apply(&agent("a", "{}")).await;
    world.apply(&session("a", "{}")).await;
    world
        .stalled("a", Reason::QuotaExhausted, "pay first")
        .await;
    world
        .apply(&session("a", "{credentials: {secretRef: {name: second}}}"))
        .await;
    let finished = world.finished("a").await;
    let keys: Vec<Option<String>> = world
        .requests_of(&finished)
        .into_iter()
        .map(|request| request.key)
        .collect();
    assert_eq!(keys, [Some("demo".to_owned()), Some("second".to_owned())]);
    world.end().await;
}
