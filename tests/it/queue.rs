//! The queue of an account (`--max-concurrent-per-credential`), over the namespaces that one operator serves.

use codeagent_operator::api::{CodeSession, QueueResource, SessionPhase};
use codeagent_simulator::Provider;
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, condition_of, phase_of, pretty};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// Two namespaces whose CodeAgents use one account, and the operator of both.
struct Tenants {
    alpha: World,
    beta: World,
    arguments: Arguments,
}

impl Tenants {
    async fn new(provider: Provider, limit: &str) -> Self {
        let (alpha, beta) = (World::new().await, World::new().await);
        alpha.serves(&beta).await;
        alpha.agent(provider).await;
        beta.agent(provider).await;
        let arguments = Arguments::calm()
            .with("--max-concurrent-per-credential", limit)
            .and("--namespace", beta.name());
        Self {
            alpha,
            beta,
            arguments,
        }
    }

    async fn operator(&self) -> Operator {
        self.alpha.operator_with(self.arguments.clone()).await
    }

    /// How many sessions the provider runs.
    fn active(&self) -> usize {
        let sessions = self.alpha.simulator.sessions();
        sessions.iter().filter(|session| session.active).count()
    }

    fn launches(&self) -> usize {
        self.alpha.simulator.launches(&Default::default()).len()
    }
}

async fn waits_for_account(world: &World, name: &str) -> CodeSession {
    world
        .until_reason(name, "Reconciling", "WaitingForAccountCapacity")
        .await
}

fn position(session: &CodeSession) -> Option<i32> {
    let queue = session.status.as_ref()?.queue.as_ref()?;
    assert_eq!(queue.of, QueueResource::Account, "{}", pretty(session));
    queue.position
}

async fn stop(world: &World, name: &str) {
    world
        .change_session(name, json!({"desiredState": "Cancelled"}))
        .await;
}

for_each_provider!(namespaces_of_one_account_take_turns);

/// The namespace that filled the queue first does not keep the other one waiting, and nothing of it is told to the other.
async fn namespaces_of_one_account_take_turns(provider: Provider) {
    let tenants = Tenants::new(provider, "1").await;
    let (alpha, beta) = (&tenants.alpha, &tenants.beta);
    let _operator = tenants.operator().await;
    alpha.session(provider, "alpha-0", ENDLESS).await;
    alpha.until_phase("alpha-0", SessionPhase::Running).await;
    for name in ["alpha-1", "alpha-2"] {
        alpha.session(provider, name, ENDLESS).await;
        waits_for_account(alpha, name).await;
    }
    beta.session(provider, "beta-1", ENDLESS).await;
    let waiting = waits_for_account(beta, "beta-1").await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    assert_eq!(position(&waiting), Some(1));
    let told = &condition_of(&waiting, "Reconciling").unwrap().message;
    assert!(told.contains("--max-concurrent-per-credential"), "{told}");
    let status = pretty(&waiting.status);
    for foreign in [alpha.name(), "alpha"] {
        assert!(!status.contains(foreign), "{status}");
    }
    assert_eq!(tenants.launches(), 1);

    // Each end lets one start, of the namespace whose turn it is.
    stop(alpha, "alpha-0").await;
    beta.until_phase("beta-1", SessionPhase::Running).await;
    assert_eq!(tenants.active(), 1);
    let still = waits_for_account(alpha, "alpha-1").await;
    assert_eq!(phase_of(&still), SessionPhase::Pending);
    stop(beta, "beta-1").await;
    let runs = alpha.until_phase("alpha-1", SessionPhase::Running).await;
    assert_eq!(position(&runs), None, "{}", pretty(&runs));
    assert_eq!((tenants.active(), tenants.launches()), (1, 3));
    stop(alpha, "alpha-1").await;
    alpha.until_phase("alpha-2", SessionPhase::Running).await;
    assert_eq!((tenants.active(), tenants.launches()), (1, 4));
}

/// A process that starts anew counts what is stored, of every namespace, before it launches anything.
#[tokio::test]
async fn a_restart_keeps_the_limit_and_the_order() {
    let provider = Provider::Cursor;
    let tenants = Tenants::new(provider, "2").await;
    let (alpha, beta) = (&tenants.alpha, &tenants.beta);
    let operator = tenants.operator().await;
    for (world, running) in [(alpha, "alpha-0"), (beta, "beta-0")] {
        world.session(provider, running, ENDLESS).await;
        world.until_phase(running, SessionPhase::Running).await;
    }
    for name in ["alpha-1", "alpha-2"] {
        alpha.session(provider, name, ENDLESS).await;
        waits_for_account(alpha, name).await;
    }
    operator.crash().await;
    let urgent = json!({"prompt": ENDLESS, "priority": 5});
    beta.session_with(provider, "beta-1", urgent).await;
    let _operator = tenants.operator().await;
    waits_for_account(beta, "beta-1").await;
    assert_eq!((tenants.active(), tenants.launches()), (2, 2));
    stop(alpha, "alpha-0").await;
    beta.until_phase("beta-1", SessionPhase::Running).await;
    stop(beta, "beta-0").await;
    alpha.until_phase("alpha-1", SessionPhase::Running).await;
    assert_eq!((tenants.active(), tenants.launches()), (2, 4));
    let last = waits_for_account(alpha, "alpha-2").await;
    assert_eq!(phase_of(&last), SessionPhase::Pending);
}

for_each_provider!(a_message_takes_a_slot_of_its_account);

/// As a launch does: while another namespace has the only slot, a session that has ended waits with its next message.
async fn a_message_takes_a_slot_of_its_account(provider: Provider) {
    let tenants = Tenants::new(provider, "1").await;
    let (alpha, beta) = (&tenants.alpha, &tenants.beta);
    let _operator = tenants.operator().await;
    alpha.session(provider, "talks", "Do it").await;
    alpha.until_phase("talks", SessionPhase::Finished).await;
    beta.session(provider, "long", ENDLESS).await;
    beta.until_phase("long", SessionPhase::Running).await;
    let messages = json!({"messages": [{"name": "more", "prompt": "Do more"}]});
    alpha.change_session("talks", messages).await;
    let waiting = waits_for_account(alpha, "talks").await;
    assert_eq!(position(&waiting), Some(1));
    assert_eq!(tenants.active(), 1);
    stop(beta, "long").await;
    let sent = |session: &CodeSession| {
        let messages = session.status.iter().flat_map(|status| &status.messages);
        messages
            .filter(|message| message.name == "more")
            .any(|message| message.phase == SessionPhase::Finished)
    };
    let done = alpha.until("talks", "done with its message", sent).await;
    assert_eq!(position(&done), None, "{}", pretty(&done));
}

/// However many are let go at once, no more run than the account allows.
#[tokio::test]
async fn resuming_many_keeps_the_limit() {
    const EACH: usize = 6;
    let provider = Provider::Cursor;
    let tenants = Tenants::new(provider, "2").await;
    let _operator = tenants.operator().await;
    let worlds = [&tenants.alpha, &tenants.beta];
    for world in worlds {
        world.change_agent(provider, json!({"suspend": true})).await;
        for number in 0..EACH {
            let prompt = "sim: creating=50ms setup=10ms running=150ms\nDo it";
            world.session(provider, &format!("s{number}"), prompt).await;
        }
    }
    for world in worlds {
        for number in 0..EACH {
            let name = format!("s{number}");
            world
                .until_reason(&name, "Reconciling", "AgentSuspended")
                .await;
        }
    }
    assert_eq!(tenants.launches(), 0, "who is held holds no slot");
    for world in worlds {
        world
            .change_agent(provider, json!({"suspend": false}))
            .await;
    }
    let mut most = 0;
    tenants
        .alpha
        .until_true("all have ended", || {
            most = most.max(tenants.active());
            tenants.launches() == 2 * EACH && tenants.active() == 0
        })
        .await;
    assert!((1..=2).contains(&most), "{most} at once");
    for world in worlds {
        for number in 0..EACH {
            let done = world.until_settled(&format!("s{number}")).await;
            assert_eq!(phase_of(&done), SessionPhase::Finished);
        }
    }
}

for_each_provider!(a_freed_slot_wakes_whoever_is_next);

/// Nothing else would wake it for ten minutes.
async fn a_freed_slot_wakes_whoever_is_next(provider: Provider) {
    const EACH: usize = 5;
    let mut tenants = Tenants::new(provider, "1").await;
    tenants.arguments = tenants
        .arguments
        .with("--recheck", "10m")
        .with("--agent-recheck", "10m");
    let _operator = tenants.operator().await;
    let worlds = [&tenants.alpha, &tenants.beta];
    for number in 0..EACH {
        for world in worlds {
            let prompt = "sim: creating=50ms setup=10ms running=150ms\nDo it";
            world.session(provider, &format!("s{number}"), prompt).await;
        }
    }
    for world in worlds {
        for number in 0..EACH {
            world.until_settled(&format!("s{number}")).await;
        }
    }
    let sessions = tenants.alpha.simulator.sessions();
    assert_eq!(sessions.len(), 2 * EACH);
    let mut gaps = Vec::new();
    for (one, next) in sessions.iter().zip(sessions.iter().skip(1)) {
        let ended = one
            .prompts
            .first()
            .and_then(|prompt| prompt.ended_at)
            .unwrap();
        assert!(next.created_at >= ended, "{} beside {}", next.id, one.id);
        gaps.push(next.created_at.duration_since(ended).as_millis());
    }
    gaps.sort_unstable();
    println!("from an end at the provider to the next launch, ms: {gaps:?}");
}
