//! The life of a session as tables: what is given, what happens, what must hold.
//!
//! [`Given`] holds everything a decision depends on, by default a session that can be launched at once on a provider
//! whose session ids we choose. Each decision made through it is checked against what holds always ([`always`]).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod active;
mod always;
mod archive;
mod ended;
mod messages;
mod outcome;
mod properties;
mod recover;
mod stage;
mod stop;
mod waiting;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::blocker::{Blocker, Cause, NotReady};
use super::super::ids::{AccountFingerprint, ClaimId, InstallationId, LaunchKey, RunId, SessionId};
use super::super::remote::{
    AdoptAnswer, CancelAnswer, CancelVisibility, Capability, ErrorClass, Found, Launched,
    MessageRecovery, ProviderError, Recovery, Sent,
};
use super::super::send::answer::LaunchOutcome;
use super::super::snapshot::{Links, RemotePhase, Snapshot};
use super::super::timing::Timing;
use super::*;
use crate::api::{
    CodeSessionSpec, CodeSessionStatus, Condition, ConditionStatus, DeletionPolicy, DesiredState,
    Effective, ProviderKind, QueueResource, Reason, SendRecord, SendState, SessionCondition,
    SessionPhase, condition,
};

const NAMESPACE_UID: &str = "ns-uid";
const UID: &str = "session-uid";

/// A session, its environment and one operator.
struct Given {
    now: Timestamp,
    uptime: Duration,
    spec: CodeSessionSpec,
    status: Option<CodeSessionStatus>,
    generation: i64,
    created_at: Timestamp,
    deleting: Option<Timestamp>,
    has_finalizer: bool,
    origin: Origin,
    adopt: Option<String>,
    older_than_process: bool,
    agent: AgentView,
    provider: Option<ProviderFacts>,
    readiness: Readiness,
    slot: Slot,
    lock: Lock,
    baseline_read: Option<BaselineRead>,
    in_flight: bool,
    claim_first_seen: Option<Duration>,
    /// Unless it is told, this process saw the deletion when it was asked for, or at its start.
    deletion_first_seen: Option<Duration>,
    lookups: Lookups,
    poll: Option<Poll>,
    last_stop: Option<Duration>,
    stop_taken: bool,
    polled_after_end: Option<Duration>,
    faults: i32,
    installation: InstallationId,
    timing: Timing,
    stopping: bool,
    claims: u32,
    /// Status writes so far.
    writes: u32,
}

fn effective() -> Effective {
    serde_json::from_value(json!({
        "provider": {"cursor": {}, "endpoint": "https://api.cursor.com"},
        "credentialsRef": {"name": "cursor", "key": "api-key"},
        "repository": "https://github.com/acme/app",
        "model": {"id": "auto"},
        "pullRequest": {"autoCreate": true},
        "activeDeadlineSeconds": 7200,
        "deletionPolicy": "Cancel",
        "onUnknownLaunch": "Recover",
        "agentGeneration": 1
    }))
    .unwrap()
}

fn account(name: &str) -> AccountFingerprint {
    AccountFingerprint::new(name)
}

fn connected(name: &str) -> Connected {
    Connected {
        account: account(name),
        verified: None,
        credential: format!("credential of {name}"),
        inputs: Some(Inputs {
            digest: "digest".into(),
            template_id: None,
        }),
    }
}

fn error(class: ErrorClass) -> ProviderError {
    ProviderError {
        class,
        subject: None,
        status: None,
        code: None,
        message: format!("the provider says {}", class.as_str()),
        retry_after: None,
        sent: Sent::Possibly,
    }
}

fn snapshot(phase: RemotePhase) -> Snapshot {
    Snapshot {
        session_id: SessionId::new(format!("bc-{}", key(1))),
        run_id: Some(RunId::new("run-1")),
        phase,
        raw_status: format!("{phase:?}").to_uppercase(),
        repository: Some("https://github.com/acme/app".into()),
        url: Some("https://cursor.com/agents/1".into()),
        branch: None,
        pull_request_url: None,
        blocked: None,
        result: None,
        error: None,
        links: Links::default(),
        usage: None,
        duration: None,
        created_at: None,
    }
}

fn key(attempt: i32) -> LaunchKey {
    LaunchKey::derive(NAMESPACE_UID, UID, attempt)
}

fn accepted() -> LaunchOutcome {
    LaunchOutcome::Accepted(Launched {
        id_honoured: Some(true),
        session_id: SessionId::new(format!("bc-{}", key(1))),
        run_id: Some(RunId::new("run-1")),
        url: Some("https://cursor.com/agents/1".into()),
        phase: RemotePhase::Creating,
        raw_status: "CREATING".into(),
    })
}

fn unknown() -> LaunchOutcome {
    LaunchOutcome::Unknown(error(ErrorClass::Timeout))
}

fn rejected(class: ErrorClass) -> LaunchOutcome {
    LaunchOutcome::Rejected(error(class))
}

fn found(phase: RemotePhase) -> AdoptAnswer {
    AdoptAnswer::Found(vec![Found {
        doubt: None,
        snapshot: snapshot(phase),
        attempt: Some(1),
    }])
}

fn blocked(reason: Reason, transient: bool) -> Readiness {
    Readiness::NotReady(NotReady {
        blocker: Blocker {
            reason,
            message: "say what to do".into(),
            cause: Cause::Environment,
        },
        transient,
        again: Duration::from_secs(10),
    })
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Given {
    fn launchable(recovery: Recovery) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            now,
            uptime: seconds(1000),
            spec: serde_json::from_value(
                json!({"agentRef": {"name": "bug-fixer"}, "prompt": "Fix the login bug"}),
            )
            .unwrap(),
            status: None,
            generation: 1,
            created_at: now,
            deleting: None,
            has_finalizer: true,
            origin: Origin::Own,
            adopt: None,
            older_than_process: false,
            agent: AgentView::Present {
                generation: 1,
                suspended: false,
                effective: Box::new(effective()),
                blocker: None,
                webhook: None,
                evidence_seen: true,
            },
            provider: Some(ProviderFacts {
                kind: ProviderKind::Cursor,
                api_version: "v1",
                recovery,
                environment_recovery: recovery,
                message_recovery: Some(MessageRecovery::Baseline),
                cancel_visibility: CancelVisibility::InStatus,
                // Templates are a matter of a few tests of their own.
                capabilities: Capability::ALL
                    .into_iter()
                    .filter(|capability| *capability != Capability::Templates)
                    .collect::<BTreeSet<_>>(),
            }),
            readiness: Readiness::Ready(connected("ours")),
            slot: Slot::Free,
            lock: match recovery {
                Recovery::ClientId | Recovery::Marker => Lock::Unneeded,
                Recovery::None => Lock::Ours {
                    since: seconds(1000),
                },
            },
            baseline_read: None,
            in_flight: false,
            claim_first_seen: None,
            deletion_first_seen: None,
            lookups: Lookups::default(),
            poll: None,
            last_stop: None,
            stop_taken: false,
            polled_after_end: None,
            faults: 0,
            installation: InstallationId::new("0a1b2c3d"),
            timing: Timing {
                // How long others get to mend something is a matter of a few tests of its own.
                stalled_after: Duration::ZERO,
                ..Timing::default()
            },
            stopping: false,
            claims: 0,
            writes: 0,
        }
    }

    /// A session that can be launched at once.
    fn ready() -> Self {
        Self::launchable(Recovery::ClientId)
    }

    /// A session whose launch was claimed and sent, and whose answer was lost.
    fn lost(recovery: Recovery) -> Self {
        let mut given = Self::launchable(recovery);
        given.launch(&unknown());
        given
    }

    /// A session whose launch was accepted.
    fn launched() -> Self {
        let mut given = Self::ready();
        given.launch(&accepted());
        given
    }

    /// A launched session that was seen to run.
    fn running() -> Self {
        let mut given = Self::launched();
        given.sees(snapshot(RemotePhase::Running));
        given.pass();
        given
    }

    fn observed<R>(&self, with: impl FnOnce(&Observed<'_>) -> R) -> R {
        let claim_id = ClaimId::new(format!("claim-{}", self.claims + 1));
        with(&Observed {
            now: self.now,
            uptime: self.uptime,
            session: SessionView {
                namespace: "team-a",
                name: "fix-login",
                uid: UID,
                namespace_uid: Some(NAMESPACE_UID),
                generation: self.generation,
                created_at: self.created_at,
                deleting: self.deleting,
                has_finalizer: self.has_finalizer,
                origin: self.origin,
                adopt: self.adopt.as_deref(),
                spec: &self.spec,
                status: self.status.as_ref(),
                older_than_process: self.older_than_process,
            },
            agent: self.agent.clone(),
            provider: self.provider.clone(),
            readiness: self.readiness.clone(),
            slot: self.slot.clone(),
            lock: self.lock.clone(),
            baseline_read: self.baseline_read.as_ref(),
            in_flight: self.in_flight,
            claim_first_seen: self.claim_first_seen,
            deletion_first_seen: self.deleting.map(|deleting| {
                self.deletion_first_seen.unwrap_or_else(|| {
                    let age = Duration::try_from(self.now.duration_since(deleting));
                    self.uptime.saturating_sub(age.unwrap_or_default())
                })
            }),
            lookups: &self.lookups,
            poll: self.poll.as_ref(),
            last_stop: self.last_stop,
            stop_taken: self.stop_taken,
            polled_after_end: self.polled_after_end,
            faults: self.faults,
            installation: &self.installation,
            fresh_claim_id: &claim_id,
            timing: &self.timing,
            stopping: self.stopping,
        })
    }

    /// Decides without doing anything, and checks what must always hold.
    fn decide(&self) -> Plan {
        let plan = self.observed(decide);
        always::of_plan(self, &plan);
        plan
    }

    fn store(&mut self, write: &StatusWrite) {
        always::of_write(self, write);
        let claimed = |status: Option<&CodeSessionStatus>| {
            newest_send(status).map(|record| record.claim_id.clone())
        };
        if claimed(self.status.as_ref()) != claimed(Some(&write.status)) {
            self.claims += 1;
            self.claim_first_seen = Some(self.uptime);
            self.lookups = Lookups::default();
            self.poll = None;
            self.baseline_read = None;
            self.last_stop = None;
            self.stop_taken = false;
        }
        self.status = Some((*write.status).clone());
        self.writes += 1;
    }

    /// Decides and stores what the plan stores; its effect is handed out.
    fn pass(&mut self) -> Plan {
        let plan = self.decide();
        if let Some(write) = &plan.before {
            self.store(write);
        }
        match &plan.effect {
            Some(Effect::AddFinalizer) => {
                self.has_finalizer = true;
                self.origin = Origin::Own;
            }
            Some(Effect::ReleaseFinalizer) => self.has_finalizer = false,
            Some(Effect::Cancel(_)) => self.last_stop = Some(self.uptime),
            Some(Effect::PollAgain(_)) => self.polled_after_end = Some(self.uptime),
            _ => {}
        }
        plan
    }

    /// Records what came of an effect.
    fn outcome(&mut self, effect: &Effect, outcome: &Outcome) -> Recorded {
        let recorded = self.observed(|o| record(o, effect, outcome));
        if let Some(write) = &recorded.write {
            self.store(write);
        }
        if let Some(lookups) = &recorded.lookups {
            self.lookups = lookups.clone();
        }
        if let Some(baseline_read) = &recorded.baseline_read {
            self.baseline_read = Some(baseline_read.clone());
        }
        self.faults = if recorded.fault { self.faults + 1 } else { 0 };
        recorded
    }

    /// Claims and sends, after the look before the launch where one is due.
    fn send(&mut self) -> Effect {
        let mut effect = self.pass().effect.expect("a launch");
        if matches!(effect, Effect::ReadBaseline { .. }) {
            self.looked_before(&effect, Ok(Some("what is there".into())));
            effect = self.pass().effect.expect("a launch");
        }
        assert!(matches!(effect, Effect::Launch(_)), "{effect:?}");
        effect
    }

    /// Claims, sends, and gets this answer.
    fn launch(&mut self, answer: &LaunchOutcome) -> Recorded {
        let effect = self.send();
        self.outcome(&effect, &Outcome::Launched(answer.clone()))
    }

    /// Looks before the launch and gets this answer.
    fn look_before(&mut self, result: Result<Option<String>, ProviderError>) -> Recorded {
        let effect = self.pass().effect.expect("a look before the launch");
        assert!(matches!(effect, Effect::ReadBaseline { .. }), "{effect:?}");
        self.looked_before(&effect, result)
    }

    fn looked_before(
        &mut self,
        effect: &Effect,
        result: Result<Option<String>, ProviderError>,
    ) -> Recorded {
        let outcome = Outcome::BaselineRead {
            begun: self.uptime,
            ended: self.uptime,
            result,
        };
        self.outcome(effect, &outcome)
    }

    /// The next effect; what the spec asks for while the launch is open is stored in a pass of its own.
    fn effect(&mut self) -> Option<Effect> {
        let plan = self.pass();
        match (plan.effect, plan.before) {
            (None, Some(_)) => self.pass().effect,
            (effect, _) => effect,
        }
    }

    /// Looks for the launch and gets this answer.
    fn look_for(&mut self, answer: AdoptAnswer) -> Recorded {
        let effect = self.effect().expect("a look for the launch");
        assert!(matches!(effect, Effect::Lookup(_)), "{effect:?}");
        let begun = self.uptime;
        self.outcome(
            &effect,
            &Outcome::LookedUp {
                begun,
                answer: Ok(answer),
            },
        )
    }

    /// Stops the session and gets this answer.
    fn stop(&mut self, answer: CancelAnswer) -> Recorded {
        let plan = self.pass();
        let effect = plan.effect.expect("a stop");
        assert!(matches!(effect, Effect::Cancel(_)), "{effect:?}");
        self.outcome(&effect, &Outcome::Stopped(Ok(answer)))
    }

    /// The newest look at the session shows this.
    fn sees(&mut self, snapshot: Snapshot) {
        let alike = self
            .poll
            .as_ref()
            .filter(|poll| poll.result.as_ref() == Ok(&snapshot));
        self.poll = Some(Poll {
            begun: self.uptime,
            account: account("ours"),
            unchanged_since: alike.map_or(self.uptime, |poll| poll.unchanged_since),
            result: Ok(snapshot),
        });
    }

    /// The provider accepts the key now.
    fn verified(&mut self) {
        let now = self.uptime;
        if let Readiness::Ready(connected) = &mut self.readiness {
            connected.verified = Some(now);
        }
    }

    /// The newest look at the session, by this account, fails.
    fn sees_error(&mut self, class: ErrorClass, by: &str) {
        let alike = self.poll.as_ref().filter(|poll| {
            let before = poll.result.as_ref().err();
            before.is_some_and(|before| before.class == class)
        });
        self.poll = Some(Poll {
            begun: self.uptime,
            result: Err(error(class)),
            account: account(by),
            unchanged_since: alike.map_or(self.uptime, |poll| poll.unchanged_since),
        });
    }

    fn wait(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).unwrap();
        self.uptime += time;
    }

    /// The operator dies and another process takes over: its memory is empty.
    fn restart(&mut self) {
        self.uptime = seconds(1);
        self.in_flight = false;
        self.claim_first_seen = self.record().map(|_| self.uptime);
        self.lookups = Lookups::default();
        self.baseline_read = None;
        if let Lock::Ours { since } = &mut self.lock {
            *since = self.uptime;
        }
        self.poll = None;
        self.last_stop = None;
        self.stop_taken = false;
        self.polled_after_end = None;
        self.faults = 0;
        self.older_than_process = true;
    }

    fn desires(&mut self, state: DesiredState) {
        self.spec.desired_state = Some(state);
        self.generation += 1;
    }

    fn agent_generation(&mut self, new: i64) {
        if let AgentView::Present { generation, .. } = &mut self.agent {
            *generation = new;
        }
    }

    fn lacks(&mut self, capability: Capability) {
        let provider = self.provider.as_mut().unwrap();
        provider.capabilities.remove(&capability);
    }

    fn effective(&mut self, change: impl FnOnce(&mut Effective)) {
        if let AgentView::Present { effective, .. } = &mut self.agent {
            change(effective);
        }
    }

    fn record(&self) -> Option<&SendRecord> {
        self.status.as_ref()?.launch.as_ref()
    }

    fn phase(&self) -> SessionPhase {
        self.status
            .as_ref()
            .map_or(SessionPhase::Pending, |status| status.phase)
    }

    fn condition(&self, kind: SessionCondition) -> &Condition {
        condition(&self.status.as_ref().unwrap().conditions, kind.as_str()).unwrap()
    }

    /// Asserts that a condition is True for this reason.
    #[track_caller]
    fn holds(&self, kind: SessionCondition, reason: Reason) {
        self.is(kind, ConditionStatus::True, reason);
    }

    #[track_caller]
    fn is(&self, kind: SessionCondition, status: ConditionStatus, reason: Reason) {
        let condition = self.condition(kind);
        assert_eq!(
            (condition.status, condition.reason.as_str()),
            (status, reason.as_str()),
            "{condition:?}"
        );
    }

    /// Asserts that nothing at all is planned but waiting.
    #[track_caller]
    fn rests(&self) {
        let plan = self.decide();
        assert_eq!((&plan.before, &plan.effect), (&None, &None));
    }
}
