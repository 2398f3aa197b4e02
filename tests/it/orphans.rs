//! Sessions at the provider that no CodeSession accounts for: found by the sweep, reported, and stopped only where they are
//! ours beyond doubt and the CodeAgent asks for it.

use std::time::Duration;

use codeagent_operator::api::{CodeAgent, OrphanReason, OrphanStatus, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, LaunchKind, Matcher, OperationClass, Outcome, Provider, Script,
};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::for_each_provider;
use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, agent_name, demo_key, session_id};

/// A task that goes on until somebody ends it.
const ENDLESS: &str = "sim: outcome=never\nGo on";
/// Longer than the fence and its margin, with [`arguments`].
const GROWN_UP: Duration = Duration::from_millis(8500);

fn arguments() -> Arguments {
    Arguments::impatient().with("--sweep-interval", "400ms")
}

/// What the CodeAgent says of orphans.
fn orphans(agent: &CodeAgent) -> &[OrphanStatus] {
    agent
        .status
        .as_ref()
        .map(|status| status.orphans.as_slice())
        .unwrap_or_default()
}

fn lists(agent: &CodeAgent, session: &str, reason: OrphanReason) -> bool {
    orphans(agent)
        .iter()
        .any(|orphan| orphan.session_id == session && orphan.reason == reason)
}

/// The events about the provider's CodeAgent with this reason, as notes.
async fn notes(world: &World, provider: Provider, reason: &str) -> Vec<String> {
    let agent = world.agents().get(agent_name(provider)).await.unwrap();
    let events: Api<Event> = world.namespace.api();
    let events = events.list(&ListParams::default()).await.unwrap().items;
    events
        .into_iter()
        .filter(|event| {
            event.regarding.as_ref().and_then(|it| it.uid.clone()) == agent.uid()
                && event.reason.as_deref() == Some(reason)
        })
        .map(|event| event.note.unwrap_or_default())
        .collect()
}

/// The gauge of the provider's CodeAgent.
async fn gauge(operator: &Operator, world: &World, provider: Provider) -> Option<String> {
    let line = format!(
        "codeagent_orphan_sessions{{namespace=\"{}\",agent=\"{}\"}} ",
        world.name(),
        agent_name(provider)
    );
    let metrics = operator.metrics().await;
    metrics
        .lines()
        .find_map(|text| text.strip_prefix(&line).map(str::to_owned))
}

/// The installation, as the operator says itself.
fn installation(operator: &Operator) -> String {
    let log = operator.log();
    let (_, rest) = log.split_once("installation=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Whether the session runs at the provider.
fn runs(world: &World, session: &str) -> bool {
    let all = world.simulator.sessions();
    all.iter().find(|view| view.id == session).unwrap().active
}

/// Stops that the provider was asked for.
fn stops(world: &World) -> usize {
    let requests = world.simulator.requests();
    let stops = requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Cancel));
    stops.count()
}

/// Starts a session as a person would, with the marks of a launch of `uid` by `installation`.
async fn start_by_hand(world: &World, provider: Provider, installation: &str, uid: &str) -> String {
    let prompt = format!("{ENDLESS}\n\n<!-- codeagents.dev/{installation}/{uid}/1 -->");
    let key = demo_key(provider);
    let url = world.simulator.url(provider);
    let client = reqwest::Client::new();
    let repository = "https://github.com/acme/app";
    let request = match provider {
        Provider::Cursor => client
            .post(format!("{url}/v1/agents"))
            .basic_auth(key, Some(""))
            .json(&json!({
                "name": format!("by hand [0123abcd {installation}]"),
                "prompt": {"text": prompt},
                "repos": [{"url": repository}],
            })),
        Provider::Firebender => client
            .post(format!("{url}/v0/agents"))
            .header("x-api-key", key)
            .json(&json!({
                "prompt": {"text": prompt},
                "source": {"repository": repository, "ref": "main"},
            })),
        Provider::Flapjack => {
            let template = client
                .post(format!("{url}/api/code-agents"))
                .bearer_auth(key)
                .json(&json!({"name": "by hand"}));
            let template: Value = template.send().await.unwrap().json().await.unwrap();
            client
                .post(format!("{url}/api/code-sessions"))
                .bearer_auth(key)
                .json(&json!({
                    "codeAgentId": template["id"],
                    "prompt": prompt,
                    "cursorApiKey": "cursor-demo-key",
                    "repoUrl": repository,
                }))
        }
        Provider::Firetiger | Provider::Http => {
            unreachable!("sessions of {provider:?} carry no marker")
        }
    };
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{answer}");
    let id = [&answer["agent"]["id"], &answer["id"], &answer["session_id"]];
    id.into_iter().find_map(Value::as_str).unwrap().to_owned()
}

for_each_provider!(a_session_whose_object_was_removed_by_force_is_reported);

/// Somebody removes the finalizer while no operator is there: nobody stops the session, nobody follows it.
async fn a_session_whose_object_was_removed_by_force_is_reported(provider: Provider) {
    let world = World::new().await;
    let policy = json!({"orphanPolicy": "Cancel"});
    world.agent_with(provider, policy).await;
    let operator = world.operator_with(arguments()).await;
    world.session(provider, "one", ENDLESS).await;
    let running = world.until_phase("one", SessionPhase::Running).await;
    let id = session_id(&running);
    operator.stop().await;
    let no_finalizer = r#"{"metadata":{"finalizers":null}}"#;
    world
        .kubectl(&["patch", "csess", "one", "--type=merge", "-p", no_finalizer])
        .await;
    world.delete_session("one").await;
    world.until_gone("one").await;

    let operator = world.operator_with(arguments()).await;
    let agent = world
        .until_agent(provider, "reporting it", |agent| {
            lists(agent, &id, OrphanReason::NoCodeSession)
        })
        .await;
    assert_eq!(orphans(&agent).len(), 1);
    assert_eq!(
        gauge(&operator, &world, provider).await.as_deref(),
        Some("1")
    );
    // Whose it is cannot be said beyond doubt, so that nothing is stopped; and one event is enough.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(runs(&world, &id));
    assert_eq!(stops(&world), 0);
    let told = notes(&world, provider, "Orphaned").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&id), "{told:?}");

    // A restarted operator remembers by the status that people know, also while it cannot look.
    let since = orphans(&agent)[0].since;
    operator.stop().await;
    let down = FaultKind::ErrorBefore {
        status: 503,
        code: "unavailable".to_owned(),
    };
    let lists = Matcher::class(OperationClass::List);
    world.simulator.inject(Fault::always(lists, down));
    let operator = world.operator_with(arguments()).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let agent = world.agents().get(agent_name(provider)).await.unwrap();
        assert_eq!(orphans(&agent).len(), 1);
        assert_eq!(orphans(&agent)[0].since, since);
        assert_eq!(notes(&world, provider, "Orphaned").await.len(), 1);
        world.simulator.clear_faults();
    }

    // Once it has ended there is nothing to report any more.
    let finished = Script {
        outcome: Some(Outcome::Finished),
        ..Script::fast()
    };
    assert!(world.simulator.rescript(provider, &id, finished));
    world
        .until_agent(provider, "without orphans", |agent| {
            orphans(agent).is_empty()
        })
        .await;
    assert_eq!(
        gauge(&operator, &world, provider).await.as_deref(),
        Some("0")
    );
}

for_each_provider!(a_session_that_was_left_running_on_purpose_stays_so);

async fn a_session_that_was_left_running_on_purpose_stays_so(provider: Provider) {
    let world = World::new().await;
    let policy = json!({"orphanPolicy": "Cancel"});
    world.agent_with(provider, policy).await;
    let operator = world.operator_with(arguments()).await;
    let settings = json!({"prompt": ENDLESS, "deletionPolicy": "Orphan"});
    world.session_with(provider, "one", settings).await;
    let running = world.until_phase("one", SessionPhase::Running).await;
    let id = session_id(&running);
    world.delete_session("one").await;
    world.until_gone("one").await;
    let released = |agent: &CodeAgent| lists(agent, &id, OrphanReason::Released);
    world
        .until_agent(provider, "showing what was released", released)
        .await;
    // Nobody needs to look at it.
    assert_eq!(
        gauge(&operator, &world, provider).await.as_deref(),
        Some("0")
    );
    // Nor is it forgotten by the next process.
    operator.stop().await;
    let operator = world.operator_with(arguments()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let agent = world.agents().get(agent_name(provider)).await.unwrap();
    assert!(released(&agent), "{:?}", orphans(&agent));
    assert_eq!(
        gauge(&operator, &world, provider).await.as_deref(),
        Some("0")
    );
    assert_eq!(notes(&world, provider, "Orphaned").await, [""; 0]);
    assert!(runs(&world, &id));
    assert_eq!(stops(&world), 0);
}

for_each_provider!(what_is_not_ours_beyond_doubt_is_never_stopped);

/// Another installation shares the account, and a person has copied a prompt of ours together with its marker.
async fn what_is_not_ours_beyond_doubt_is_never_stopped(provider: Provider) {
    let world = World::new().await;
    let policy = json!({"orphanPolicy": "Cancel"});
    world.agent_with(provider, policy).await;
    let operator = world.operator_with(arguments()).await;
    let running = world.session(provider, "one", ENDLESS).await;
    world.until_phase("one", SessionPhase::Running).await;
    let uid = running.uid().unwrap();
    let theirs = start_by_hand(&world, provider, "ffffffff", &uid).await;
    let ours = installation(&operator);
    let copied = start_by_hand(&world, provider, &ours, "11111111-2222").await;
    world
        .until_agent(provider, "reporting the copy", |agent| {
            lists(agent, &copied, OrphanReason::NoCodeSession)
        })
        .await;
    // The other one is as old, and was looked at in the same rounds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let agent = world.agents().get(agent_name(provider)).await.unwrap();
    assert_eq!(orphans(&agent).len(), 1, "{:?}", orphans(&agent));
    for id in [&theirs, &copied] {
        assert!(runs(&world, id));
    }
    assert_eq!(stops(&world), 0);
    let told = notes(&world, provider, "Orphaned").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].contains(&theirs), "{told:?}");
}

/// A request is given up, proven absent and sent again, and takes effect after all that: outside the assumption that the
/// promise rests on. Answers with the recorded session and the extra one.
async fn launched_twice(policy: Value) -> (World, Operator, String, String) {
    let provider = Provider::Firebender;
    let world = World::new().await;
    world.agent_with(provider, policy).await;
    let launch = Matcher::class(OperationClass::Launch);
    let late = FaultKind::LateCommit {
        after: Duration::from_secs(14),
        close_after: Duration::from_millis(100),
    };
    world.simulator.inject(Fault::once(launch, late));
    let operator = world.operator_with(arguments()).await;
    let session = world.session(provider, "one", ENDLESS).await;
    let running = world.until_phase("one", SessionPhase::Running).await;
    let recorded = session_id(&running);
    world
        .until_true("the late launch has taken effect", || {
            world.launches(&session).len() == 2
        })
        .await;
    let launches = world.launches(&session);
    assert!(launches.iter().all(|it| it.kind == LaunchKind::Session));
    let extra = launches.into_iter().find(|it| it.session != recorded);
    (world, operator, recorded, extra.unwrap().session)
}

#[tokio::test]
async fn a_launch_that_takes_effect_too_late_is_reported() {
    let (world, operator, recorded, extra) = launched_twice(json!({})).await;
    let provider = Provider::Firebender;
    let agent = world
        .until_agent(provider, "reporting the extra session", |agent| {
            lists(agent, &extra, OrphanReason::Duplicate)
        })
        .await;
    assert_eq!(orphans(&agent)[0].session.as_deref(), Some("one"));
    let session = world.sessions().get("one").await.unwrap();
    let note = world.until_event(&session, "DuplicateLaunch").await;
    assert!(note.contains(&extra), "{note}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = notes(&world, provider, "DuplicateLaunch").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(runs(&world, &extra) && runs(&world, &recorded));
    assert_eq!(stops(&world), 0);
    let metrics = operator.metrics().await;
    let counted = "codeagent_unaccounted_sessions_total{why=\"Duplicate\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    // Whoever reads the note and asks for it gets it stopped.
    world
        .change_agent(provider, json!({"orphanPolicy": "Cancel"}))
        .await;
    world
        .until_true("the extra session has ended", || !runs(&world, &extra))
        .await;
    assert!(runs(&world, &recorded));
    world
        .until_agent(provider, "without orphans", |agent| {
            orphans(agent).is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_launch_that_takes_effect_too_late_is_stopped_where_the_agent_asks_for_it() {
    let (world, _operator, recorded, extra) =
        launched_twice(json!({"orphanPolicy": "Cancel"})).await;
    world
        .until_true("the extra session has ended", || !runs(&world, &extra))
        .await;
    let session = world.sessions().get("one").await.unwrap();
    assert_eq!(session_id(&session), recorded);
    let note = world.until_event(&session, "DuplicateLaunch").await;
    assert!(note.contains("it is being stopped"), "{note}");
    world
        .until_agent(Provider::Firebender, "without orphans", |agent| {
            orphans(agent).is_empty()
        })
        .await;
    assert!(runs(&world, &recorded));
}

for_each_provider!(a_sweep_finds_nothing_where_everything_has_an_owner);

/// Running, finished and deleted sessions: none is taken for an orphan, and sessions that are known cost no looks.
async fn a_sweep_finds_nothing_where_everything_has_an_owner(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator_with(arguments()).await;
    world.session(provider, "long", ENDLESS).await;
    world.session(provider, "kept", "Do it").await;
    world.session(provider, "deleted", "Do it").await;
    world.until_phase("long", SessionPhase::Running).await;
    world.until_settled("kept").await;
    world.until_settled("deleted").await;
    world.delete_session("deleted").await;
    world.until_gone("deleted").await;
    tokio::time::sleep(GROWN_UP + Duration::from_secs(2)).await;
    assert_eq!(
        gauge(&operator, &world, provider).await.as_deref(),
        Some("0")
    );
    let agent = world.agents().get(agent_name(provider)).await.unwrap();
    assert_eq!(orphans(&agent), []);
    assert_eq!(notes(&world, provider, "Orphaned").await, [""; 0]);
    let looks = || {
        let requests = world.simulator.requests();
        let looks = requests
            .iter()
            .filter(|request| request.path.ends_with("/conversation"));
        looks.count()
    };
    let so_far = looks();
    if provider == Provider::Firebender {
        assert!(
            so_far > 0,
            "nobody but the list knows whose the deleted one was"
        );
    }
    // Several more rounds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(looks(), so_far);
}
