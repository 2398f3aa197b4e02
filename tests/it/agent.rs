//! What a CodeAgent says of itself.

use codeagent_operator::api::{ConditionStatus, Guarantee};
use codeagent_simulator::Provider;

use crate::support::for_each_provider;
use crate::support::world::{World, agent_condition, agent_is, agent_name, demo_key, pretty};

for_each_provider!(an_agent_says_who_it_is_and_what_it_can_do);

async fn an_agent_says_who_it_is_and_what_it_can_do(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let agent = world
        .until_agent(provider, "ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::True, "Ready")
        })
        .await;
    for (kind, status, reason) in [
        (
            "CredentialsValid",
            ConditionStatus::True,
            "CredentialsAccepted",
        ),
        (
            "ProviderReachable",
            ConditionStatus::True,
            "ProviderAnswers",
        ),
        ("Reconciling", ConditionStatus::False, "Ready"),
        ("Stalled", ConditionStatus::False, "Ready"),
    ] {
        assert!(agent_is(&agent, kind, status, reason), "{}", pretty(&agent));
    }
    let status = agent.status.unwrap();
    assert_eq!(status.observed_generation, 1);
    let account = status.account.unwrap();
    assert!(account.fingerprint.is_some());
    let can = |capability: &str| status.capabilities.iter().any(|it| it == capability);
    assert!(can("Cancel"), "{:?}", status.capabilities);
    match provider {
        Provider::Cursor => {
            assert_eq!(account.name.as_deref(), Some("demo"));
            assert_eq!(account.email.as_deref(), Some("demo@example.com"));
            assert!(!status.models.is_empty());
            assert!(!can("BranchName"));
        }
        Provider::Firebender => {
            assert!(can("BranchName"));
        }
        Provider::Flapjack => {
            assert!(can("Templates"));
            assert!(!can("BranchName"));
        }
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    }
    // Whether our id is used, or our marker shown, is seen with the first launch.
    assert_eq!(status.launch_guarantee, Some(Guarantee::AtMostOnce));

    world.session(provider, "one", "Do it").await;
    world
        .session(provider, "two", "sim: outcome=never\nGo on")
        .await;
    let agent = world
        .until_agent(provider, "proven, and has counted", |agent| {
            let status = agent.status.as_ref().unwrap();
            status.launch_guarantee == Some(Guarantee::ExactlyOnce)
                && status.sessions.is_some_and(|counts| {
                    (counts.pending, counts.active, counts.finished) == (0, 1, 1)
                })
        })
        .await;
    let table = world.kubectl(&["get", "cagent"]).await;
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        titles,
        ["NAME", "PROVIDER", "READY", "ACTIVE", "MODEL", "AGE"]
    );
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let name = agent_name(provider);
    assert_eq!(row[..5], [name, name, "True", "1", "auto"], "{table}");
    let generation = agent.metadata.generation;
    assert_eq!(generation, Some(1));
}

for_each_provider!(a_wrong_key_is_told_and_mends_by_itself);

async fn a_wrong_key_is_told_and_mends_by_itself(provider: Provider) {
    let world = World::new().await;
    world.agent_alone(provider, serde_json::json!({})).await;
    let _operator = world.operator().await;
    // First there is no Secret at all.
    let agent = world
        .until_agent(provider, "without a Secret", |agent| {
            agent_is(agent, "Stalled", ConditionStatus::True, "SecretNotFound")
        })
        .await;
    assert!(agent_is(
        &agent,
        "CredentialsValid",
        ConditionStatus::Unknown,
        "SecretNotFound"
    ));

    world.secret(provider, "not-a-key").await;
    let agent = world
        .until_agent(provider, "refused", |agent| {
            agent_is(
                agent,
                "CredentialsValid",
                ConditionStatus::False,
                "CredentialsInvalid",
            )
        })
        .await;
    for (kind, status) in [
        ("Ready", ConditionStatus::False),
        ("Stalled", ConditionStatus::True),
    ] {
        assert!(agent_is(&agent, kind, status, "CredentialsInvalid"));
    }
    // It is the provider that says so, and what to do is said with it.
    let message = &agent_condition(&agent, "CredentialsValid").unwrap().message;
    let said = match provider {
        Provider::Cursor => "Invalid",
        Provider::Firebender | Provider::Flapjack => "nvalid",
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    };
    assert!(message.contains(said), "{message}");
    assert!(message.contains("Put a valid key into it"), "{message}");
    assert!(!message.contains("not-a-key"), "{message}");
    world.session(provider, "one", "Do it").await;
    world
        .until_reason("one", "Stalled", "CredentialsInvalid")
        .await;

    world.secret(provider, demo_key(provider)).await;
    world
        .until_agent(provider, "ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::True, "Ready")
        })
        .await;
    world
        .until_phase("one", codeagent_operator::api::SessionPhase::Finished)
        .await;
    assert_eq!(world.simulator.launches(&Default::default()).len(), 1);
}
