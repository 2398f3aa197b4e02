//! The world around the operators: API server, provider, user, time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use codeagent_operator::api::{
    CodeSessionSpec, CodeSessionStatus, DesiredState, Effective, OnUnknownLaunch, ProviderKind,
    SendState,
};
use codeagent_operator::domain::ids::{InstallationId, LaunchKey};
use codeagent_operator::domain::remote::{Capability, Recovery, StopShown};
use codeagent_operator::domain::session::{AgentView, ProviderFacts};
use codeagent_operator::domain::timing::Timing;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::check::Violation;
use crate::operator::{Operator, Stage};

/// What one step of time stands for.
pub const TICK: Duration = Duration::from_secs(10);
pub const NAMESPACE_UID: &str = "namespace";

/// How many of each fault, and how many actions of the user, a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub crashes: u8,
    /// Processes stopped in the middle of a pass while time goes on.
    pub pauses: u8,
    /// Answers lost or refused, launches committed late, looks that show too little.
    pub losses: u8,
    pub user: u8,
    /// Passes on a view that others have overtaken.
    pub stale: u8,
    /// All of these together, and work that ends by itself.
    pub total: u8,
}

impl Bounds {
    pub const NONE: Self = Self {
        crashes: 0,
        pauses: 0,
        losses: 0,
        user: 0,
        stale: 0,
        total: 0,
    };

    /// What may still happen of one kind.
    fn rest(self, of_kind: u8) -> u8 {
        of_kind.min(self.total)
    }

    pub fn losses(self) -> u8 {
        self.rest(self.losses)
    }
}

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The claim is not written before the request.
    NoClaim,
    /// The claim is written whatever the resourceVersion.
    ClaimUnguarded,
    /// The outcome is written to whatever object has the name.
    RecordByName,
    /// The outcome is written over what others have settled under the same claim.
    RecordOverwrites,
    /// The claim does not say which account it was sent to.
    AccountPinDropped,
    /// Looks by one account count for another.
    LooksOfAnyAccount,
    /// A refusal settles although an earlier request with the key may have arrived.
    RefusalSettles,
    /// Request timeout and settle time are taken for zero.
    NoFence,
    /// Clocks are taken to agree.
    NoMargin,
    /// Looks count whenever they were begun.
    LooksBeforeTheFence,
    /// One look proves absence.
    OneLook,
    /// A scan with an unreadable candidate counts as complete.
    UnreadableIsAbsent,
    /// A lost answer is taken for a refusal.
    TimeoutIsFailure,
    /// The request leaves however long the process was stopped.
    NoLastCheck,
    /// The finalizer goes as soon as a stop was taken.
    FinalizerDroppedOnOk,
    /// The finalizer goes as soon as a deletion is seen.
    FinalizerDroppedOnDelete,
}

/// What does not change during a run.
pub struct World {
    pub recovery: Recovery,
    /// Whether the provider uses the ids that we choose.
    pub honours_ids: bool,
    pub on_unknown: OnUnknownLaunch,
    pub operators: usize,
    pub bounds: Bounds,
    /// Ticks after which nothing but the way to rest is explored.
    pub horizon: u8,
    /// From one in how many states the way to rest is followed.
    pub rest_every: u64,
    pub mutant: Option<Mutant>,
    /// How many ticks later than assumed a launch may become visible.
    pub later_than_assumed: u8,
    /// Whether every request after an accepted one is refused (the account's budget is used up).
    pub refuses_again: bool,
    /// How far each operator's wall clock is ahead, in ticks.
    pub skew: [u8; 2],
    pub timing: Timing,
    pub installation: InstallationId,
    pub agent: AgentView,
    pub facts: ProviderFacts,
    running: CodeSessionSpec,
    cancelled: CodeSessionSpec,
}

impl World {
    pub fn new(recovery: Recovery) -> Self {
        let running: CodeSessionSpec =
            serde_json::from_value(json!({"agentRef": {"name": "agent"}, "prompt": "Fix it"}))
                .unwrap();
        let cancelled = CodeSessionSpec {
            desired_state: DesiredState::Cancelled,
            ..running.clone()
        };
        let timing = Timing {
            send_window: TICK,
            post_timeout: TICK,
            settle: TICK,
            consistency_window: TICK,
            clock_margin: TICK * 2,
            deletion_bound: TICK * 5,
            deletion_slack: TICK * 2,
            unknown_patience: TICK * 3,
            refusal_wait_min: TICK * 2,
            refusal_wait_max: TICK * 2,
            fault_wait_min: TICK,
            fault_wait_max: TICK,
            recheck: TICK,
            stale_age: TICK * 60,
            poll_min: TICK,
            poll_max: TICK,
            stop_again: TICK,
            stop_silence: TICK * 2,
        };
        timing.validate().unwrap();
        Self {
            recovery,
            honours_ids: true,
            on_unknown: OnUnknownLaunch::Recover,
            operators: 2,
            bounds: Bounds {
                crashes: 1,
                pauses: 1,
                losses: 1,
                user: 1,
                stale: 1,
                total: 1,
            },
            horizon: 2,
            rest_every: 8,
            mutant: None,
            later_than_assumed: 0,
            refuses_again: false,
            skew: [0, 2],
            timing,
            installation: InstallationId::new("0a1b2c3d"),
            agent: agent(OnUnknownLaunch::Recover, true),
            facts: ProviderFacts {
                kind: ProviderKind::Cursor,
                api_version: "v1",
                recovery,
                stop_shown: StopShown::InStatus,
                // A template is not part of the model: it decides nothing about what is paid.
                capabilities: Capability::ALL
                    .into_iter()
                    .filter(|capability| *capability != Capability::Templates)
                    .collect::<BTreeSet<_>>(),
            },
            running,
            cancelled,
        }
    }

    /// What the operator does after an unknown outcome.
    pub fn on_unknown(mut self, on_unknown: OnUnknownLaunch) -> Self {
        self.on_unknown = on_unknown;
        self.agent = agent(on_unknown, self.honours_ids);
        self
    }

    /// The provider chooses its own ids.
    pub fn ignoring_ids(mut self) -> Self {
        self.honours_ids = false;
        self.agent = agent(self.on_unknown, false);
        self
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The durations the operators believe in.
    pub fn believed_timing(&self) -> Timing {
        let mut timing = self.timing.clone();
        if self.is(Mutant::NoFence) {
            timing.post_timeout = Duration::ZERO;
            timing.settle = Duration::ZERO;
        }
        if self.is(Mutant::NoMargin) {
            timing.clock_margin = Duration::ZERO;
        }
        timing
    }

    pub fn spec(&self, object: &Object) -> &CodeSessionSpec {
        if object.cancelled {
            &self.cancelled
        } else {
            &self.running
        }
    }

    /// Ticks that an accepted request may take to become visible, from the moment it left.
    pub fn visible_within(&self) -> u8 {
        let ticks = (self.timing.post_timeout + self.timing.settle).as_secs() / TICK.as_secs();
        u8::try_from(ticks).unwrap() + self.later_than_assumed
    }
}

fn agent(on_unknown: OnUnknownLaunch, client_id_honoured: bool) -> AgentView {
    let effective: Effective = serde_json::from_value(json!({
        "provider": {"cursor": {}, "endpoint": "https://provider"},
        "credentialsRef": {"name": "secret", "key": "api-key"},
        "repository": "https://github.com/acme/app",
        "model": {"id": "auto"},
        "pullRequest": {"autoCreate": false},
        "activeDeadlineSeconds": 604_800,
        "deletionPolicy": "Cancel",
        "onUnknownLaunch": on_unknown,
        "agentGeneration": 1
    }))
    .unwrap();
    AgentView::Present {
        generation: 1,
        suspended: false,
        effective: Box::new(effective),
        objection: None,
        client_id_honoured,
    }
}

/// The object at the API server, at one version.
#[derive(Clone)]
pub struct Object {
    pub uid: u8,
    pub version: u16,
    pub generation: i64,
    pub created: u8,
    pub cancelled: bool,
    pub deleting: Option<u8>,
    pub finalizer: bool,
    pub status: Option<Rc<CodeSessionStatus>>,
    /// Of what a decision depends on in the status; texts and transition times are not part of it.
    pub digest: u64,
}

impl Object {
    pub fn uid_text(&self) -> &'static str {
        uid_text(self.uid)
    }

    pub fn launch_state(&self) -> Option<SendState> {
        Some(self.status.as_ref()?.launch.as_ref()?.state)
    }

    pub fn claim_id(&self) -> Option<&str> {
        Some(&self.status.as_ref()?.launch.as_ref()?.claim_id)
    }

    pub fn session_id(&self) -> Option<&str> {
        self.status
            .as_ref()?
            .provider
            .as_ref()?
            .session_id
            .as_deref()
    }

    pub fn is_terminal(&self) -> bool {
        self.status.as_ref().is_some_and(|s| s.phase.is_terminal())
    }

    pub fn with_status(&self, status: &CodeSessionStatus) -> Self {
        Self {
            version: self.version + 1,
            digest: digest(status),
            status: Some(Rc::new(status.clone())),
            ..self.clone()
        }
    }
}

pub fn uid_text(uid: u8) -> &'static str {
    ["uid-0", "uid-1", "uid-2", "uid-3"][usize::from(uid)]
}

fn digest(status: &CodeSessionStatus) -> u64 {
    let mut h = DefaultHasher::new();
    status.observed_generation.hash(&mut h);
    status.phase.hash(&mut h);
    status.started_at.hash(&mut h);
    for condition in &status.conditions {
        (condition.status.as_str(), &condition.reason).hash(&mut h);
    }
    if let Some(launch) = &status.launch {
        (&launch.claim_id, launch.attempt, launch.posts).hash(&mut h);
        (
            launch.state as u8,
            launch.claimed_at,
            &launch.target.account,
        )
            .hash(&mut h);
        if let Some(refusal) = &launch.refusal {
            (&refusal.class, refusal.count, refusal.retry_at).hash(&mut h);
        }
    }
    if let Some(provider) = &status.provider {
        provider.session_id.hash(&mut h);
    }
    if let Some(cancel) = &status.cancel {
        (cancel.reason as u8, cancel.sent_at, cancel.accepted_at).hash(&mut h);
    }
    h.finish()
}

/// What a session at the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Running,
    Finished,
    Stopped,
}

/// A session at the provider: somebody pays for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    pub uid: u8,
    pub attempt: i32,
    pub account: u8,
    pub id: String,
    /// `None` once it is visible, before that the last tick at which it may still be invisible.
    pub visible_by: Option<u8>,
    pub work: Work,
}

/// Everything that changes.
#[derive(Clone)]
pub struct State {
    pub tick: u8,
    pub object: Option<Rc<Object>>,
    pub uids: u8,
    pub operators: Vec<Operator>,
    pub sessions: Vec<Session>,
    /// Which account the Secret's key belongs to.
    pub account: u8,
    pub left: Bounds,
    /// Whether a list has been incomplete without saying so; at most once, within the consistency window.
    pub glitched: bool,
    /// Objects about which somebody was warned, by uid.
    pub reported: BTreeSet<u8>,
    pub claims: u8,
    /// Once set, nothing goes wrong any more.
    pub calm: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An operator gathers and decides, on what is stored now or on what it knew.
    Pass {
        operator: usize,
        fresh: bool,
    },
    /// An operator goes on with its pass.
    Step {
        operator: usize,
        luck: Luck,
    },
    Crash {
        operator: usize,
    },
    Tick,
    /// A late launch becomes visible.
    Appear {
        session: usize,
    },
    Finish {
        session: usize,
    },
    Cancel,
    Delete,
    Recreate,
    RotateKey,
}

/// How an exchange with the provider goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// As it should.
    Good,
    /// Refused for a reason that somebody has to mend.
    Refused,
    /// 429.
    RateLimited,
    /// Done, but the answer is lost.
    LostDone,
    /// Will be done, late; the answer is lost.
    LostLate,
    /// Not done, and the answer is lost.
    LostUndone,
    /// Answered as if done, and not done.
    OnlySaid,
    /// A list without a session that is there.
    Glitch,
    /// A candidate that cannot be judged.
    Unreadable,
}

impl State {
    pub fn first(world: &World) -> Self {
        let mut state = Self {
            tick: 0,
            object: None,
            uids: 0,
            operators: (0..world.operators)
                .map(|_| Operator::new(0, None))
                .collect(),
            sessions: Vec::new(),
            account: 0,
            left: world.bounds,
            glitched: false,
            reported: BTreeSet::new(),
            claims: 0,
            calm: false,
        };
        state.create();
        state
    }

    fn create(&mut self) {
        self.object = Some(Rc::new(Object {
            uid: self.uids,
            version: 1,
            generation: 1,
            created: self.tick,
            cancelled: false,
            deleting: None,
            finalizer: false,
            status: None,
            digest: 0,
        }));
        self.uids += 1;
    }

    /// The wall clock of an operator.
    pub fn wall(&self, world: &World, operator: usize) -> Timestamp {
        at(i64::from(self.tick) + i64::from(world.skew[operator]))
    }

    /// Whether two objects are the same version of the same object.
    pub fn is_current(&self, object: &Object) -> bool {
        self.object
            .as_ref()
            .is_some_and(|now| (now.uid, now.version) == (object.uid, object.version))
    }

    pub fn visible(&self, id: &str, account: u8) -> Option<usize> {
        self.sessions
            .iter()
            .position(|s| s.id == id && s.account == account && s.visible_by.is_none())
    }

    /// Identity of the state.
    pub fn digest(&self) -> u64 {
        let mut h = DefaultHasher::new();
        (self.tick, self.uids, self.account, self.left, self.glitched).hash(&mut h);
        (&self.sessions, &self.reported, self.claims, self.calm).hash(&mut h);
        hash_object(self.object.as_deref(), &mut h);
        for operator in &self.operators {
            operator.hash(&mut h);
        }
        h.finish()
    }

    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for (index, operator) in self.operators.iter().enumerate() {
            if let Stage::Idle = operator.stage {
                actions.push(Action::Pass {
                    operator: index,
                    fresh: true,
                });
                let behind = operator
                    .view()
                    .is_some_and(|object| !self.is_current(object));
                if behind && self.left.rest(self.left.stale) > 0 {
                    actions.push(Action::Pass {
                        operator: index,
                        fresh: false,
                    });
                }
            } else {
                actions.extend(
                    operator
                        .lucks(self, world)
                        .into_iter()
                        .map(|luck| Action::Step {
                            operator: index,
                            luck,
                        }),
                );
            }
            if self.left.rest(self.left.crashes) > 0 && operator.has_memory() {
                actions.push(Action::Crash { operator: index });
            }
        }
        for (index, session) in self.sessions.iter().enumerate() {
            if session.visible_by.is_some() {
                actions.push(Action::Appear { session: index });
            } else if session.work == Work::Running && self.left.total > 0 {
                actions.push(Action::Finish { session: index });
            }
        }
        if self.left.rest(self.left.user) > 0 {
            match &self.object {
                Some(object) => {
                    if object.deleting.is_none() {
                        actions.push(Action::Delete);
                        if !object.cancelled {
                            actions.push(Action::Cancel);
                        }
                    }
                    actions.push(Action::RotateKey);
                }
                None => actions.push(Action::Recreate),
            }
        }
        if self.tick < world.horizon && self.can_tick() {
            actions.push(Action::Tick);
        }
        actions
    }

    /// Whether time may pass: what must be visible is, and who is in the middle of a pass is paused.
    pub fn can_tick(&self) -> bool {
        let stopped = self
            .operators
            .iter()
            .filter(|operator| !matches!(operator.stage, Stage::Idle) && !operator.paused)
            .count();
        stopped <= usize::from(self.left.rest(self.left.pauses))
            && self
                .sessions
                .iter()
                .all(|s| s.visible_by.is_none_or(|by| self.tick < by))
    }

    pub fn apply(&self, world: &World, action: Action) -> Result<Self, Violation> {
        let mut next = self.clone();
        match action {
            Action::Pass { operator, fresh } => {
                if !fresh {
                    next.left.stale -= 1;
                    next.left.total -= 1;
                }
                next.pass(world, operator, fresh)?;
            }
            Action::Step { operator, luck } => next.step(world, operator, luck)?,
            Action::Crash { operator } => {
                next.left.crashes -= 1;
                next.left.total -= 1;
                let known = next.operators[operator].delivered.clone();
                next.operators[operator] = Operator::new(self.tick, known);
            }
            Action::Tick => {
                for operator in &mut next.operators {
                    if !matches!(operator.stage, Stage::Idle) && !operator.paused {
                        operator.paused = true;
                        next.left.pauses -= 1;
                        next.left.total -= 1;
                    }
                }
                next.tick += 1;
            }
            Action::Appear { session } => next.sessions[session].visible_by = None,
            Action::Finish { session } => {
                next.sessions[session].work = Work::Finished;
                next.left.total = next.left.total.saturating_sub(1);
            }
            Action::Cancel => {
                next.left.user -= 1;
                next.left.total -= 1;
                next.change(|object| {
                    object.cancelled = true;
                    object.generation += 1;
                });
            }
            Action::Delete => {
                next.left.user -= 1;
                next.left.total -= 1;
                let tick = self.tick;
                next.change(|object| object.deleting = Some(tick));
                next.collect();
            }
            Action::Recreate => {
                next.left.user -= 1;
                next.left.total -= 1;
                next.create();
            }
            Action::RotateKey => {
                next.left.user -= 1;
                next.left.total -= 1;
                next.account = 1 - next.account;
            }
        }
        next.normalise();
        next.check(world)?;
        Ok(next)
    }

    /// Changes the object without a condition.
    pub fn change(&mut self, change: impl FnOnce(&mut Object)) {
        if let Some(object) = &self.object {
            let mut new = (**object).clone();
            change(&mut new);
            new.version += 1;
            self.object = Some(Rc::new(new));
        }
    }

    /// Removes an object that is being deleted and that nothing holds.
    pub fn collect(&mut self) {
        if self
            .object
            .as_ref()
            .is_some_and(|object| object.deleting.is_some() && !object.finalizer)
        {
            self.object = None;
        }
    }

    /// A launch request arrives.
    pub fn create_session(
        &mut self,
        world: &World,
        uid: u8,
        attempt: i32,
        account: u8,
        late: bool,
    ) {
        let key = LaunchKey::derive(NAMESPACE_UID, uid_text(uid), attempt);
        let id = if world.recovery == Recovery::ClientId && world.honours_ids {
            format!("bc-{key}")
        } else {
            format!("session-{}", self.sessions.len())
        };
        self.sessions.push(Session {
            uid,
            attempt,
            account,
            id,
            visible_by: late.then(|| self.tick + world.visible_within()),
            work: Work::Running,
        });
    }
}

pub fn hash_object(object: Option<&Object>, h: &mut DefaultHasher) {
    match object {
        None => 0_u8.hash(h),
        Some(o) => {
            (1_u8, o.uid, o.version, o.generation, o.created).hash(h);
            (o.cancelled, o.deleting, o.finalizer, o.digest).hash(h);
        }
    }
}

pub fn at(tick: i64) -> Timestamp {
    let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    base + SignedDuration::from_secs(tick * i64::try_from(TICK.as_secs()).unwrap())
}
