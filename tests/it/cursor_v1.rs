//! What Cursor's API v1 shows only in use: ids in any case, one set of agents for both versions, figures that come late, and why a run failed.

use std::time::Duration;

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, pretty, session_id};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// Two objects on one session: the end of one would stop the other.
#[tokio::test]
async fn an_id_in_capitals_is_still_another_sessions() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let arguments = Arguments::impatient().with("--unknown-patience", "1s");
    let _operator = world.operator_with(arguments).await;
    world.session(Provider::Cursor, "victim", ENDLESS).await;
    let victim = world.until_phase("victim", SessionPhase::Running).await;

    // A launch whose outcome nobody can find out.
    let refused = || FaultKind::ErrorBefore {
        status: 500,
        code: "internal_error".to_owned(),
    };
    for (class, fault) in [
        (OperationClass::Launch, FaultKind::DropBefore),
        (OperationClass::Get, refused()),
        (OperationClass::List, refused()),
    ] {
        world
            .simulator
            .inject(Fault::always(Matcher::class(class), fault));
    }
    world.session(Provider::Cursor, "thief", "Do it").await;
    world
        .until_reason("thief", "Succeeded", "LaunchOutcomeUnknown")
        .await;
    world.simulator.clear_faults();
    let id = session_id(&victim).to_uppercase().replace("BC-", "bc-");
    let adopt = json!({"metadata": {"annotations": {"codeagents.dev/adopt": id}}});
    world
        .sessions()
        .patch("thief", &PatchParams::default(), &Patch::Merge(adopt))
        .await
        .unwrap();
    let refused = world
        .until("thief", "refused the session of another", |session| {
            condition_of(session, "Stalled")
                .is_some_and(|stalled| stalled.message.contains("belongs to CodeSession victim"))
        })
        .await;
    assert_eq!(refused.status.unwrap().provider.unwrap().session_id, None);
    assert!(world.at_provider(&victim).active);
}

/// The cost is told a while after the end, and looked for until it is.
#[tokio::test]
async fn a_cost_that_comes_late_is_told() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let arguments = Arguments::calm().with("--after-end", "1s");
    let _operator = world.operator_with(arguments).await;
    let prompt = "sim: usage_lag=1500ms cost_cents=7.25 charged_cents=2.5\nDo it";
    world.session(Provider::Cursor, "one", prompt).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world
        .until("one", "told with its cost", |session| {
            let usage = session.status.as_ref().and_then(|status| status.usage);
            usage.is_some_and(|usage| usage.cost_cents.is_some())
        })
        .await;
    // What was billed, not what it was worth; a cent that was begun counts.
    let usage = done.status.unwrap().usage.unwrap();
    assert_eq!(usage.cost_cents, Some(3));
    assert_eq!((usage.input_tokens, usage.output_tokens), (6890, 340));
}

#[tokio::test]
async fn a_run_that_failed_says_why() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator().await;
    let prompt =
        "sim: outcome=error error=\"the setup script failed\" error_code=setup_failed\nDo it";
    world.session(Provider::Cursor, "one", prompt).await;
    world.until_phase("one", SessionPhase::Error).await;
    let done = world.until_settled("one").await;
    let error = done.status.as_ref().unwrap().error.as_ref().unwrap();
    assert!(
        error.message.contains("the setup script failed"),
        "{}",
        pretty(&done)
    );
    let succeeded = condition_of(&done, "Succeeded").unwrap();
    assert!(
        succeeded.message.contains("the setup script failed"),
        "{}",
        pretty(&done)
    );
}

/// Each version lists the agents of the other, with our marker in their prompts: they have their owners.
#[tokio::test]
async fn sessions_of_both_versions_on_one_key_are_nobodys_orphans() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    world
        .apply(json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeAgent",
            "metadata": {"name": "older"},
            "spec": {
                "provider": {"cursor": {"apiVersion": "v0"}},
                "credentials": {"secretRef": {"name": "cursor"}},
                "repository": {"url": "https://github.com/acme/app", "ref": "main"},
                "orphanPolicy": "Cancel",
            },
        }))
        .await;
    let arguments = Arguments::impatient().with("--sweep-interval", "400ms");
    let _operator = world.operator_with(arguments).await;
    world.session(Provider::Cursor, "new", ENDLESS).await;
    let older = json!({"prompt": ENDLESS, "agentRef": {"name": "older"}});
    world.session_with(Provider::Cursor, "old", older).await;
    let new = world.until_phase("new", SessionPhase::Running).await;
    let old = world.until_phase("old", SessionPhase::Running).await;
    // Longer than the time before which nothing is judged.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for agent in ["cursor", "older"] {
        let agent = world.agents().get(agent).await.unwrap();
        let orphans = agent
            .status
            .map(|status| status.orphans)
            .unwrap_or_default();
        assert!(orphans.is_empty(), "{orphans:?}");
    }
    assert!(world.at_provider(&new).active && world.at_provider(&old).active);
}
