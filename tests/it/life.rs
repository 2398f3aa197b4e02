//! The life of a session in which nothing goes wrong.

use codeagent_operator::api::{
    AgentCondition, CodeSessionStatus, SendState, SessionCondition, SessionPhase,
};
use codeagent_simulator::{Provider, SessionView};
use kube::ResourceExt;
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::world::{World, agent_condition, agent_name, condition_of, pretty};

for_each_provider!(a_session_is_launched_once_and_told_completely);

/// A manifest is applied; what can be known of the session stands in its status, and it was paid for once.
async fn a_session_is_launched_once_and_told_completely(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let prompt =
        "sim: creating=400ms setup=100ms running=700ms result=\"Fixed the check.\"\nFix it";
    let settings = match provider {
        Provider::Firebender => {
            json!({"prompt": prompt, "pullRequest": {"branchName": "fix/login"}})
        }
        // They choose the branch themselves.
        Provider::Cursor | Provider::Flapjack => json!({"prompt": prompt}),
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    };
    let created = world.session_with(provider, "fix", settings).await;
    assert_eq!(created.status.unwrap().phase, SessionPhase::Pending);

    let running = world.until_phase("fix", SessionPhase::Running).await;
    assert_eq!(running.finalizers(), ["codeagents.dev/provider-session"]);
    assert_eq!(
        condition_of(&running, "Succeeded").unwrap().status.as_str(),
        "Unknown"
    );
    // kubectl wait returns, however the session ends.
    world
        .kubectl(&[
            "wait",
            "csess/fix",
            "--for=condition=Completed",
            "--timeout=30s",
        ])
        .await;
    let done = world.until_settled("fix").await;

    let truth = world.at_provider(&done);
    let status = done.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Finished, "{}", pretty(&done));
    tells_where_it_is(provider, &status, &truth);
    tells_of_its_message(provider, &status, &truth);
    tells_its_settings(&world, provider, &status);
    tells_its_conditions(&status);

    // Two events tell the story.
    world.until_event(&done, "Finished").await;
    let events = world.events(&done).await;
    let normal = events.iter().filter(|event| event.0 == "Normal").count();
    assert!((1..=2).contains(&normal), "{events:?}");
    assert_eq!(normal, events.len(), "{events:?}");

    is_printed(&world, provider, truth.pull_request.as_deref().unwrap()).await;

    // Its end can be told without an operator: nothing holds the object any more.
    assert_eq!(done.finalizers(), [""; 0]);
    let agent = world
        .until_agent(provider, "ready", |agent| {
            agent_condition(agent, AgentCondition::Ready.as_str())
                .is_some_and(|ready| ready.status.as_str() == "True")
        })
        .await;
    assert_eq!(
        agent.status.unwrap().provider.as_deref(),
        Some(provider.name())
    );
}

/// The session at the provider, and its pull request.
fn tells_where_it_is(provider: Provider, status: &CodeSessionStatus, truth: &SessionView) {
    let at = status.provider.as_ref().unwrap();
    assert_eq!(at.kind, provider.name());
    assert_eq!(at.session_id.as_deref(), Some(truth.id.as_str()));
    match provider {
        // Flapjack has no page for a session.
        Provider::Flapjack => assert_eq!(at.session_url, None),
        Provider::Cursor | Provider::Firebender | Provider::Firetiger | Provider::Http => {
            assert!(at.session_url.as_ref().unwrap().starts_with("https://"));
        }
    }
    assert_eq!(at.raw_status.as_deref(), Some(truth.status.as_str()));

    let pull_request = status.pull_request.as_ref().unwrap();
    assert!(truth.pull_request.is_some());
    assert_eq!(pull_request.url, truth.pull_request);
    assert!(
        pull_request
            .branch
            .as_ref()
            .is_some_and(|branch| !branch.is_empty())
    );
}

fn tells_of_its_message(provider: Provider, status: &CodeSessionStatus, truth: &SessionView) {
    let message = &status.messages[0];
    assert_eq!(message.name, "prompt");
    assert_eq!(message.phase, SessionPhase::Finished);
    assert_eq!(message.result.as_deref(), Some("Fixed the check."));
    assert!(message.started_at.is_some() && message.completed_at.is_some());
    match provider {
        Provider::Cursor => {
            assert_eq!(message.run_id, truth.prompts[0].run);
            assert!(message.run_id.is_some());
            assert!(message.duration_seconds.is_some());
            let usage = status.usage.as_ref().unwrap();
            assert!(usage.input_tokens > 0 && usage.output_tokens > 0);
        }
        // Firebender names no runs and tells no usage.
        Provider::Firebender => assert_eq!(status.usage, None),
        Provider::Flapjack => {
            assert!(message.run_id.is_some());
            assert!(message.duration_seconds.is_some());
            assert_eq!(status.usage, None);
        }
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    }
}

/// What the session was launched with, and how its launch went.
fn tells_its_settings(world: &World, provider: Provider, status: &CodeSessionStatus) {
    let effective = status.effective.as_ref().unwrap();
    assert_eq!(
        effective.repository.as_deref(),
        Some("https://github.com/acme/app")
    );
    assert_eq!(effective.reference.as_deref(), Some("main"));
    if provider == Provider::Firebender {
        let branch = effective.pull_request.branch_name.as_deref();
        assert_eq!(branch, Some("fix/login"));
    }
    assert_eq!(
        effective.credentials_ref.as_ref().unwrap().name,
        agent_name(provider)
    );
    assert_eq!(effective.agent_generation, 1);
    let launch = status.launch.as_ref().unwrap();
    assert_eq!(launch.state, SendState::Confirmed);
    assert_eq!((launch.attempt, launch.posts), (1, 1));
    assert_eq!(launch.target.endpoint, world.simulator.url(provider));
    assert!(!launch.target.account.is_empty());
}

fn tells_its_conditions(status: &CodeSessionStatus) {
    let expected = [
        ("Launched", "True", "Accepted"),
        ("Succeeded", "True", "Finished"),
        ("Completed", "True", "Finished"),
        ("Blocked", "False", "NotBlocked"),
        ("PullRequestCreated", "True", "Created"),
        ("Archived", "False", "NotArchived"),
        ("WebhookDelivered", "Unknown", "NothingReported"),
        ("Reconciling", "False", "Finished"),
        ("Stalled", "False", "Finished"),
    ];
    let conditions: Vec<(&str, &str, &str)> = status
        .conditions
        .iter()
        .map(|it| (it.kind.as_str(), it.status.as_str(), it.reason.as_str()))
        .collect();
    assert_eq!(conditions, expected);
    assert_eq!(conditions.len(), SessionCondition::ALL.len());
    assert_eq!(status.observed_generation, 1);
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, Some(1));
    }
    assert!(status.started_at.unwrap() <= status.completed_at.unwrap());
    assert_eq!(status.error, None);
    // A live view is live only while the session is.
    assert_eq!(
        status
            .links
            .as_ref()
            .and_then(|links| links.preview.as_ref()),
        None
    );
}

/// What `kubectl get` prints of the one session there is.
async fn is_printed(world: &World, provider: Provider, url: &str) {
    let table = world.kubectl(&["get", "csess"]).await;
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["NAME", "AGENT", "PHASE", "PR", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["fix", agent_name(provider), "Finished", url]);
}

for_each_provider!(what_the_provider_says_of_the_end_is_the_phase);

/// However a session ends, its status says what the provider says, and `kubectl wait` returns.
async fn what_the_provider_says_of_the_end_is_the_phase(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let endings = [
        ("error", SessionPhase::Error, "ProviderError"),
        ("expired", SessionPhase::Expired, "ProviderExpired"),
        ("cancelled", SessionPhase::Cancelled, "Cancelled"),
    ];
    // Firebender documents ERROR only, and reports a stopped session as finished.
    let endings = match provider {
        Provider::Cursor | Provider::Flapjack => &endings[..],
        Provider::Firebender => &endings[..1],
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    };
    for (outcome, _, _) in endings {
        let prompt = format!("sim: outcome={outcome}\nDo it");
        world.session(provider, outcome, &prompt).await;
    }
    for (outcome, phase, reason) in endings {
        let ended = world.until_settled(outcome).await;
        let status = ended.status.clone().unwrap();
        assert_eq!(status.phase, *phase, "{}", pretty(&ended));
        assert_eq!(world.launches(&ended).len(), 1);
        let told = |kind: &str| {
            let found = condition_of(&ended, kind).unwrap();
            (found.status.as_str().to_owned(), found.reason.clone())
        };
        assert_eq!(told("Completed"), ("True".to_owned(), (*reason).to_owned()));
        assert_eq!(
            told("Succeeded"),
            ("False".to_owned(), (*reason).to_owned())
        );
        // Nobody asked for it, so it failed in the eyes of kstatus.
        assert_eq!(told("Stalled").0, "True");
        world
            .kubectl(&[
                "wait",
                &format!("csess/{outcome}"),
                "--for=condition=Completed",
                "--timeout=5s",
            ])
            .await;
    }
}
