//! What a session costs the API server and the provider, by their own books.

use std::time::Duration;

use codeagent_harness::{AuditedRequest, Verb};
use codeagent_operator::api::{CodeAgent, ConditionStatus, SessionPhase};
use codeagent_simulator::{OperationClass, Provider};
use kube::ResourceExt;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is};

/// Writes of a life to its object, when nothing can be seen on the way but the phases.
const MOST_WRITES: usize = 6;
/// Of these, what comes before the end: all but the release of the finalizer.
const MOST_WRITES_TO_THE_END: usize = 5;

for_each_provider!(a_life_costs_six_writes_and_the_reads_it_needs);

async fn a_life_costs_six_writes_and_the_reads_it_needs(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let log = world.audit_log().await;
    // As by default: what was read of a Secret is kept for a while, and keys are not checked all the time.
    let arguments = Arguments::calm()
        .with("--recheck", "10s")
        .with("--agent-recheck", "10m");
    let _operator = world.operator_with(arguments).await;
    until_ready(&world, provider).await;
    let prompt = "sim: creating=300ms setup=100ms running=600ms pr=true pr_after=300ms\nDo it";
    let created = world.session(provider, "one", prompt).await;
    world.until_phase("one", SessionPhase::Finished).await;
    world.until_settled("one").await;
    world
        .until_agent(provider, "counted", |agent| {
            let counts = agent.status.as_ref().and_then(|status| status.sessions);
            counts.is_some_and(|counts| counts.finished == 1)
        })
        .await;
    world.until_event(&created, "Finished").await;

    let requests = world.requests(&log);
    let of_session = |request: &&AuditedRequest| request.resource == "codesessions";
    let writes: Vec<&AuditedRequest> = requests
        .iter()
        .filter(of_session)
        .filter(|request| request.verb.is_write())
        .collect();
    // The pull request was there before the end, which a user can see: that is worth one more.
    assert!(writes.len() <= MOST_WRITES + 1, "{writes:#?}");
    let to_the_end = writes
        .iter()
        .rposition(|write| write.subresource == "status");
    let to_the_end = to_the_end.unwrap() + 1;
    assert!(to_the_end <= MOST_WRITES_TO_THE_END + 1, "{writes:#?}");
    for write in &writes {
        assert_eq!(write.code, 200, "no write was in vain: {writes:#?}");
    }

    let reads: Vec<&AuditedRequest> = requests
        .iter()
        .filter(|request| matches!(request.verb, Verb::Get | Verb::List))
        .collect();
    let count = |verb: Verb, resource: &str| {
        let of_kind = |it: &&&AuditedRequest| it.verb == verb && it.resource == resource;
        reads.iter().filter(of_kind).count()
    };
    assert_eq!(count(Verb::Get, "secrets"), 1, "{reads:#?}");
    assert_eq!(count(Verb::Get, "namespaces"), 1, "{reads:#?}");
    assert_eq!(count(Verb::Get, "leases"), 1, "{reads:#?}");
    let lists = count(Verb::List, "codesessions") + count(Verb::List, "codeagents");
    // A watch of a kind that is new to the API server may have to begin twice.
    assert!((2..=6).contains(&lists), "{reads:#?}");
    assert_eq!(reads.len(), lists + 3, "{reads:#?}");

    // From now on the session costs nothing any more.
    let quiet = world.audit_log().await;
    let asked = world.simulator.requests().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.requests(&quiet), []);
    let later = world.simulator.requests().split_off(asked);
    assert_eq!(later.len(), 0, "{later:#?}");
}

/// Waiting for the CodeAgent would be told, and cost one more.
async fn until_ready(world: &World, provider: Provider) {
    let ready = |agent: &CodeAgent| agent_is(agent, "Ready", ConditionStatus::True, "Ready");
    world.until_agent(provider, "ready", ready).await;
}

for_each_provider!(a_life_without_further_news_costs_six_writes);

/// Without a pull request on the way there is nothing that a user could see but the phases.
async fn a_life_without_further_news_costs_six_writes(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let log = world.audit_log().await;
    let _operator = world.operator().await;
    until_ready(&world, provider).await;
    let prompt = "sim: creating=300ms setup=100ms running=600ms pr=true\nDo it";
    let created = world.session(provider, "one", prompt).await;
    world.until_settled("one").await;
    world.until_event(&created, "Finished").await;

    let writes: Vec<AuditedRequest> = world
        .requests(&log)
        .into_iter()
        .filter(|request| request.resource == "codesessions" && request.verb.is_write())
        .collect();
    assert!(writes.len() <= MOST_WRITES, "{writes:#?}");
    let status = writes.iter().filter(|write| write.subresource == "status");
    // The finalizer is set before and released after.
    assert!(status.count() < MOST_WRITES_TO_THE_END, "{writes:#?}");
}

for_each_provider!(sessions_of_one_key_are_looked_at_together);

/// Twenty running sessions cost the provider lists, not twenty looks each round.
async fn sessions_of_one_key_are_looked_at_together(provider: Provider) {
    const SESSIONS: usize = 20;
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::calm()
        .with("--poll-min", "300ms")
        .with("--poll-max", "30s");
    let _operator = world.operator_with(arguments).await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let name = format!("s{number}");
        let prompt = "sim: outcome=never\nGo on";
        sessions.push(world.session(provider, &name, prompt).await);
    }
    for session in &sessions {
        world
            .until_phase(&session.name_any(), SessionPhase::Running)
            .await;
    }
    let before = world.simulator.requests().len();
    let lists = |of: &[codeagent_simulator::RequestRecord]| {
        of.iter()
            .filter(|request| request.class == Some(OperationClass::List))
            .count()
    };
    world
        .until_true("five rounds are over", || {
            lists(&world.simulator.requests()[before..]) >= 5
        })
        .await;
    let asked = world.simulator.requests().split_off(before);
    let looks = asked
        .iter()
        .filter(|request| request.class == Some(OperationClass::Get))
        .count();
    // Fewer than one round of looking at each of them alone would take.
    assert!(looks <= SESSIONS, "{looks} looks, {} lists", lists(&asked));
}

/// Who waits costs no more than who need not, but for what tells people that it waits: however many wait, and however often
/// another one ends.
#[tokio::test]
async fn forty_that_wait_cost_seven_writes_each() {
    const SESSIONS: usize = 40;
    const MOST_WRITES_WAITING: usize = 7;
    let provider = Provider::Cursor;
    let world = World::new().await;
    world
        .agent_with(provider, serde_json::json!({"maxConcurrentSessions": 1}))
        .await;
    let log = world.audit_log().await;
    // Positions change once a minute, as by default.
    let arguments = Arguments::calm().with("--poll-max", "30s");
    let _operator = world.operator_with(arguments).await;
    until_ready(&world, provider).await;
    for number in 0..SESSIONS {
        let prompt = "sim: creating=10ms setup=10ms running=50ms\nDo it";
        world.session(provider, &format!("s{number}"), prompt).await;
    }
    for number in 0..SESSIONS {
        world.until_settled(&format!("s{number}")).await;
    }
    let mut writes = std::collections::BTreeMap::<String, usize>::new();
    for request in world.requests(&log) {
        if request.resource == "codesessions" && request.verb.is_write() {
            *writes.entry(request.name.clone()).or_default() += 1;
        }
    }
    assert_eq!(writes.len(), SESSIONS);
    let most = writes.values().max().copied().unwrap_or_default();
    assert!(most <= MOST_WRITES_WAITING, "{writes:#?}");
}
