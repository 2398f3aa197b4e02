//! The world around the operators: API server, provider, user, time. States are small and copied; what is long (statuses,
//! plans) is kept once, in [`crate::tables`].

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use codeagent_operator::api::{
    CodeSessionSpec, DesiredState, Effective, OnUnknownLaunch, ProviderKind,
};
use codeagent_operator::domain::ids::InstallationId;
use codeagent_operator::domain::remote::{CancelVisibility, Capability, Recovery};
use codeagent_operator::domain::session::{AgentView, ProviderFacts};
use codeagent_operator::domain::timing::Timing;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::check::Violation;
use crate::operator::{Operator, Stage};
use crate::tables::{IdNo, StatusNo, Tables};

/// What one step of time stands for.
pub const TICK: Duration = Duration::from_secs(10);
pub const NAMESPACE_UID: &str = "namespace";

/// How many of each fault, and how many actions of people, a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub crashes: u8,
    /// Processes stopped in the middle of a pass while time goes on.
    pub pauses: u8,
    /// Answers lost, refused or wrong: of the provider and of the API server.
    pub losses: u8,
    /// Cancel, delete, force, re-create, change the key, the Secret or the CodeAgent.
    pub user: u8,
    /// Passes on a view that others have overtaken.
    pub stale: u8,
    /// All of these together.
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

    /// `total` faults of any kind.
    pub const fn any(total: u8) -> Self {
        Self {
            crashes: total,
            pauses: total,
            losses: total,
            user: total,
            stale: total,
            total,
        }
    }

    /// No kind may happen more often than all together.
    fn tidy(&mut self) {
        for kind in [
            &mut self.crashes,
            &mut self.pauses,
            &mut self.losses,
            &mut self.user,
            &mut self.stale,
        ] {
            *kind = (*kind).min(self.total);
        }
    }
}

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The claim is not written before the request.
    NoClaim,
    /// The claim is written whatever the resourceVersion.
    ClaimUnguarded,
    /// The outcome is written by a merge patch: to whatever object has the name.
    MergePatchOnReborn,
    /// The outcome is written over what others have settled under the same claim.
    RecordOverwrites,
    /// The outcome is tried to be written once.
    RecordOnce,
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
    /// The key comes from the time of the attempt instead of its number.
    AttemptsBySeconds,
    /// A marker of another installation is taken for ours when a session is looked for.
    ForeignMarkerAdopted,
    /// A stop goes to every session with a marker of this uid, whose installation it may be.
    ForeignMarkerCancelled,
    /// The finalizer is written by server-side apply, which creates what is not there.
    ServerSideApply,
    /// The finalizer goes as soon as a stop was taken.
    FinalizerDroppedOnOk,
    /// The finalizer goes as soon as a deletion is seen.
    FinalizerDroppedOnDelete,
    /// A launch is looked for, and sent again, at the endpoint that is the default now.
    EndpointNotPinned,
    /// A session whose object is gone counts as stopped once the provider says that it took the stop.
    StopBelieved,
    /// What holds back a first request does not hold back another one.
    SuspendedOnlyAtFirst,
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
    /// Whether operators look for long enough to keep what rule 12 promises.
    pub promised: bool,
    /// How many ticks later than assumed a launch may become visible.
    pub later_than_assumed: u8,
    /// Whether what was accepted and answered may show late.
    pub shows_late: bool,
    /// Whether people suspend the session and the CodeAgent, and resume them.
    pub suspends: bool,
    /// Whether the operators may be started again with another default endpoint, once.
    pub moves: bool,
    /// Whether every request after an accepted one is refused (the account's budget is used up).
    pub refuses_again: bool,
    /// How far each operator's wall clock is ahead, in ticks.
    pub skew: [u8; 2],
    pub timing: Timing,
    pub installation: InstallationId,
    pub facts: ProviderFacts,
    /// The CodeAgent, by default endpoint and by what there is of it: see [`State::agent`].
    pub agents: [[AgentView; 4]; 2],
    pub tables: Tables,
    pub running: CodeSessionSpec,
    pub suspended: CodeSessionSpec,
    pub cancelled: CodeSessionSpec,
}

/// The CodeAgent is there, and suspended.
pub const SUSPENDED: u8 = 3;
/// The base URLs of the provider, of which either may be the default of an installation.
pub const ENDPOINTS: [&str; 2] = ["https://provider", "https://other.provider"];

impl World {
    pub fn new(recovery: Recovery) -> Self {
        let running: CodeSessionSpec =
            serde_json::from_value(json!({"agentRef": {"name": "agent"}, "prompt": "Fix it"}))
                .unwrap();
        let cancelled = CodeSessionSpec {
            desired_state: Some(DesiredState::Cancelled),
            ..running.clone()
        };
        let suspended = CodeSessionSpec {
            desired_state: Some(DesiredState::Suspended),
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
            unknown_patience: TICK * 8,
            refusal_wait_min: TICK * 2,
            refusal_wait_max: TICK * 2,
            fault_wait_min: TICK,
            fault_wait_max: TICK,
            recheck: TICK,
            stale_age: TICK * 120,
            poll_min: TICK,
            poll_max: TICK,
            stop_again: TICK,
            queue_interval: TICK,
            stop_silence: TICK * 2,
            stalled_after: Duration::ZERO,
            lost_after: TICK,
            after_end: [TICK; 3],
            ..Timing::default()
        };
        timing.validate().unwrap();
        // What cannot be looked for cannot be stopped either (Firetiger).
        let capabilities: BTreeSet<Capability> = Capability::ALL
            .into_iter()
            .filter(|capability| *capability != Capability::Cancel || recovery != Recovery::None)
            // A template is not part of the model: it decides nothing about what is paid.
            .filter(|capability| *capability != Capability::Templates)
            // Nor is what a provider tells only after the end.
            .filter(|capability| {
                !matches!(
                    capability,
                    Capability::AutoCreatePullRequest
                        | Capability::Result
                        | Capability::Usage
                        | Capability::Cost
                        | Capability::Links
                )
            })
            .collect();
        Self {
            recovery,
            honours_ids: true,
            on_unknown: OnUnknownLaunch::Recover,
            operators: 2,
            bounds: Bounds::any(1),
            horizon: 4,
            rest_every: 1,
            mutant: None,
            promised: true,
            later_than_assumed: 0,
            shows_late: true,
            suspends: false,
            moves: false,
            refuses_again: false,
            skew: [0, 2],
            timing,
            installation: InstallationId::new("0a1b2c3d"),
            facts: ProviderFacts {
                kind: ProviderKind::Cursor,
                api_version: "v1",
                recovery,
                environment_recovery: recovery,
                message_recovery: None,
                cancel_visibility: CancelVisibility::InStatus,
                capabilities,
            },
            agents: agents(OnUnknownLaunch::Recover, true),
            tables: Tables::default(),
            running,
            suspended,
            cancelled,
        }
    }

    /// What the operator does after an unknown outcome.
    pub fn on_unknown(mut self, on_unknown: OnUnknownLaunch) -> Self {
        self.on_unknown = on_unknown;
        self.agents = agents(on_unknown, self.honours_ids);
        self
    }

    /// The provider chooses its own ids.
    pub fn ignoring_ids(mut self) -> Self {
        self.honours_ids = false;
        self.agents = agents(self.on_unknown, false);
        self
    }

    /// The operator looks no longer than this, in ticks.
    pub fn patient_for(mut self, ticks: u32) -> Self {
        self.timing.unknown_patience = TICK * ticks;
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
        } else if object.suspended {
            &self.suspended
        } else {
            &self.running
        }
    }

    /// Ticks that an accepted request may take to become visible, from the moment it left.
    fn visible_within(&self) -> u8 {
        let ticks = (self.timing.post_timeout + self.timing.settle).as_secs() / TICK.as_secs();
        u8::try_from(ticks).unwrap() + self.later_than_assumed
    }
}

fn agents(on_unknown: OnUnknownLaunch, evidence_seen: bool) -> [[AgentView; 4]; 2] {
    ENDPOINTS.map(|endpoint| agents_at(endpoint, on_unknown, evidence_seen))
}

fn agents_at(endpoint: &str, on_unknown: OnUnknownLaunch, evidence_seen: bool) -> [AgentView; 4] {
    let effective: Effective = serde_json::from_value(json!({
        "provider": {"cursor": {}, "endpoint": endpoint},
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
    let present = |generation, suspended| AgentView::Present {
        generation,
        suspended,
        effective: Box::new(effective.clone()),
        blocker: None,
        webhook: None,
        evidence_seen,
    };
    [
        AgentView::Missing,
        present(1, false),
        present(2, false),
        present(3, true),
    ]
}

/// The object at the API server, at one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub uid: u8,
    pub version: u16,
    pub generation: u8,
    pub created: u8,
    pub cancelled: bool,
    pub suspended: bool,
    pub deleting: Option<u8>,
    pub finalizer: bool,
    pub status: StatusNo,
}

pub fn uid_text(uid: u8) -> &'static str {
    ["uid-0", "uid-1", "uid-2", "uid-3"][usize::from(uid)]
}

/// What a session at the provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Running,
    Finished,
    Stopped,
}

/// A session at the provider: somebody pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    pub uid: u8,
    pub attempt: u8,
    /// The account, and the endpoint where it is.
    pub site: Site,
    pub id: IdNo,
    /// `None` once it was seen or must be, before that the last tick at which it may still be invisible.
    pub visible_by: Option<u8>,
    pub work: Work,
    /// Whether the provider said that it took a stop.
    pub told_stopped: bool,
    /// Its marker names another installation (a cluster restored beside this one, on the same account).
    pub foreign: bool,
}

/// What the Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    First,
    /// Another key of the same account.
    Second,
    /// The key of another account.
    Other,
    /// There is no Secret.
    Gone,
}

impl Key {
    /// The account it belongs to.
    pub fn account(self) -> u8 {
        match self {
            Self::First | Self::Second | Self::Gone => 0,
            Self::Other => 1,
        }
    }
}

/// Where a request goes: what is seen at one is not seen at another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Site {
    pub account: u8,
    /// Place in [`ENDPOINTS`].
    pub endpoint: u8,
}

/// Everything that changes.
#[derive(Clone, Hash)]
pub struct State {
    pub tick: u8,
    pub object: Option<Object>,
    pub uids: u8,
    pub operators: [Operator; 2],
    pub sessions: Vec<Session>,
    pub key: Key,
    /// Generation of the CodeAgent; 0 is none, [`SUSPENDED`] one that is suspended.
    pub agent: u8,
    /// The default endpoint of the installation.
    pub endpoint: u8,
    pub left: Bounds,
    /// Whether the provider has denied a session that is there without saying that the answer is incomplete; at most once,
    /// within the consistency window.
    pub glitched: bool,
    /// Objects about which somebody was warned, one bit a uid.
    pub reported: u8,
    /// Objects that people removed by hand after a claim, one bit a uid: what runs of them is in their hands.
    pub forced: u8,
    pub claims: u8,
    /// Once set, nothing goes wrong any more, and this operator alone begins passes.
    pub leader: Option<usize>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operator gathers and decides on what is stored now, and stores what comes before the effect.
    Pass {
        operator: usize,
        luck: Luck,
    },
    /// The same on what it knew, although that is no longer so.
    StalePass {
        operator: usize,
    },
    /// An operator decides and is stopped before its write leaves.
    Hold {
        operator: usize,
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
    Cancel,
    Delete,
    /// Somebody removes the finalizer, as `kubectl replace` and impatient people do.
    Strip,
    Recreate,
    RotateKeyOfAccount,
    RotateAccount,
    DeleteSecret,
    DeleteAgent,
    CreateAgent,
    /// People suspend the session, or let it run again.
    Suspend,
    /// People suspend the CodeAgent.
    SuspendAgent,
    /// Every process is started again with another default endpoint.
    MoveEndpoint,
    /// What came of a request is tried to be stored again, or undone, while passes go on.
    Recording {
        operator: usize,
        luck: Luck,
    },
}

/// How an exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Luck {
    /// As it should.
    Good,
    /// As it should, and the session has just ended by itself.
    Ended,
    /// As it should, but what was accepted does not show yet.
    NotYet,
    /// Accepted and answered, and shown late.
    ShownLate,
    /// Refused until somebody mends the account.
    Quota,
    /// Refused because of the session's own fields.
    Invalid,
    /// 429.
    RateLimited,
    /// The connection failed before anything was sent.
    Unsent,
    /// Done, but the answer is lost.
    LostDone,
    /// Will be done, late; the answer is lost.
    LostLate,
    /// Not done, and the answer is lost.
    LostUndone,
    /// Answered as if done, and not done.
    OnlySaid,
    /// The answer denies a session that is there.
    Denied,
    /// A candidate that cannot be judged.
    Unreadable,
    /// The API server refuses the write (conflict, overload).
    WriteRefused,
    /// The API server stores the write, the answer is lost.
    WriteLost,
}

impl Luck {
    /// Whether nothing went wrong.
    pub fn is_free(self) -> bool {
        matches!(self, Self::Good | Self::Ended | Self::NotYet)
    }
}

impl Action {
    /// The kind of fault it is; `None` if it is none.
    pub fn fault(self) -> Option<Self> {
        match self {
            Self::Pass { luck, .. } | Self::Step { luck, .. } | Self::Recording { luck, .. } => {
                (!luck.is_free()).then_some(self)
            }
            Self::Tick => None,
            _ => Some(self),
        }
    }
}

impl State {
    pub fn first(world: &World) -> Self {
        let mut state = Self {
            tick: 0,
            object: None,
            uids: 0,
            operators: [Operator::new(None), Operator::new(None)],
            sessions: Vec::new(),
            key: Key::First,
            agent: 1,
            endpoint: 0,
            left: world.bounds,
            glitched: false,
            reported: 0,
            forced: 0,
            claims: 0,
            leader: None,
        };
        if world.recovery == Recovery::Marker {
            state.sessions.push(Session {
                uid: 0,
                attempt: 1,
                site: Site::default(),
                id: world.tables.id("of-another-installation"),
                visible_by: None,
                work: Work::Running,
                told_stopped: false,
                foreign: true,
            });
        }
        state.create();
        state
    }

    fn create(&mut self) {
        self.object = Some(Object {
            uid: self.uids,
            version: 1,
            generation: 1,
            created: self.tick,
            cancelled: false,
            suspended: false,
            deleting: None,
            finalizer: false,
            status: StatusNo::NONE,
        });
        self.uids += 1;
        for operator in &mut self.operators {
            operator.restarted = false;
        }
    }

    /// The wall clock of an operator, in ticks.
    pub fn wall(&self, world: &World, operator: usize) -> u8 {
        self.tick + world.skew[operator]
    }

    /// Whether this is what is stored now.
    pub fn is_current(&self, object: &Object) -> bool {
        self.object
            .is_some_and(|now| (now.uid, now.version) == (object.uid, object.version))
    }

    pub fn own_sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|s| !s.foreign)
    }

    /// Identity of the state.
    pub fn digest(&self) -> u64 {
        let mut h = Mixer::default();
        self.hash(&mut h);
        h.finish()
    }

    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::with_capacity(24);
        for (index, operator) in self.operators.iter().enumerate().take(world.operators) {
            if operator.stage == Stage::Idle {
                self.passes(world, index, &mut actions);
            } else {
                operator.lucks(self, world, &mut |luck| {
                    actions.push(Action::Step {
                        operator: index,
                        luck,
                    });
                });
            }
            operator.recording_lucks(self, world, &mut |luck| {
                actions.push(Action::Recording {
                    operator: index,
                    luck,
                });
            });
            if self.left.crashes > 0 && operator.has_memory() {
                actions.push(Action::Crash { operator: index });
            }
        }
        if self.left.user > 0 {
            self.actions_of_people(world, &mut actions);
        }
        if self.tick < world.horizon && self.can_tick(world) {
            actions.push(Action::Tick);
        }
        actions
    }

    fn passes(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let pass = |luck| Action::Pass {
            operator: index,
            luck,
        };
        actions.push(pass(Luck::Good));
        if let Some(followed) = self.followed(world, index) {
            let session = self.sessions[followed];
            if session.visible_by.is_some() {
                actions.push(pass(Luck::NotYet));
            }
            if session.work == Work::Running {
                actions.push(pass(Luck::Ended));
            }
            if self.left.losses > 0 && !self.glitched {
                actions.push(pass(Luck::Denied));
            }
        }
        if self.left.total == 0 {
            return;
        }
        if self.writes_next(world, index) {
            if self.left.losses > 0 {
                actions.extend([pass(Luck::WriteRefused), pass(Luck::WriteLost)]);
            }
            if self.left.pauses > 0 {
                actions.push(Action::Hold { operator: index });
            }
        }
        let behind = self.operators[index]
            .view()
            .is_some_and(|object| !self.is_current(object));
        if behind && self.left.stale > 0 {
            actions.push(Action::StalePass { operator: index });
        }
    }

    fn actions_of_people(&self, world: &World, actions: &mut Vec<Action>) {
        let Some(object) = &self.object else {
            if usize::from(self.uids) < 3 {
                actions.push(Action::Recreate);
            }
            return;
        };
        if object.finalizer {
            actions.push(Action::Strip);
        }
        if object.deleting.is_none() {
            actions.push(Action::Delete);
            if !object.cancelled {
                actions.push(Action::Cancel);
            }
        }
        let stored = world.tables.status(object.status);
        if stored.terminal {
            return;
        }
        match self.key {
            Key::First if stored.refused => actions.push(Action::RotateKeyOfAccount),
            _ => {}
        }
        actions.push(Action::RotateAccount);
        if self.key != Key::Gone {
            actions.push(Action::DeleteSecret);
        }
        actions.push(match self.agent {
            0 | SUSPENDED => Action::CreateAgent,
            _ => Action::DeleteAgent,
        });
        if world.suspends {
            actions.push(Action::Suspend);
            if self.agent != SUSPENDED {
                actions.push(Action::SuspendAgent);
            }
        }
        if world.moves && self.endpoint == 0 {
            actions.push(Action::MoveEndpoint);
        }
    }

    /// Whether time may pass: who is in the middle of a pass is paused.
    pub fn can_tick(&self, world: &World) -> bool {
        let stopped = self
            .operators
            .iter()
            .take(world.operators)
            .filter(|operator| operator.stage != Stage::Idle && !operator.paused)
            .count();
        stopped <= usize::from(self.left.pauses)
    }

    pub fn apply(&self, world: &World, action: Action) -> Result<(Self, Writes), Violation> {
        let mut next = self.clone();
        let mut writes = Writes::default();
        match action {
            Action::Pass { operator, luck } => {
                next.spend_luck(luck);
                writes = next.pass(world, operator, luck)?;
            }
            Action::StalePass { operator } => {
                next.spend(|left| &mut left.stale);
                writes = next.stale_pass(world, operator)?;
            }
            Action::Hold { operator } => {
                next.spend(|left| &mut left.pauses);
                next.hold(world, operator);
            }
            Action::Step { operator, luck } => {
                next.spend_luck(luck);
                writes = next.step(world, operator, luck)?;
            }
            Action::Crash { operator } => {
                next.spend(|left| &mut left.crashes);
                next.operators[operator].crash();
            }
            Action::Tick => {
                for operator in 0..world.operators {
                    let operator = &mut next.operators[operator];
                    if operator.stage != Stage::Idle && !operator.paused {
                        operator.paused = true;
                        next.left.pauses -= 1;
                        next.left.total -= 1;
                    }
                }
                next.tick += 1;
            }
            Action::Cancel => {
                next.spend(|left| &mut left.user);
                next.change(|object| {
                    object.cancelled = true;
                    object.generation += 1;
                });
            }
            Action::Delete => {
                next.spend(|left| &mut left.user);
                let tick = self.tick;
                next.change(|object| object.deleting = Some(tick));
                next.remove_by_hand(world);
            }
            Action::Strip => {
                next.spend(|left| &mut left.user);
                next.change(|object| object.finalizer = false);
                next.remove_by_hand(world);
            }
            Action::Recreate => {
                next.spend(|left| &mut left.user);
                next.create();
                writes.reborn = true;
            }
            Action::RotateKeyOfAccount => {
                next.spend(|left| &mut left.user);
                next.key = Key::Second;
            }
            Action::RotateAccount => {
                next.spend(|left| &mut left.user);
                next.key = if self.key == Key::First || self.key == Key::Second {
                    Key::Other
                } else {
                    Key::First
                };
            }
            Action::DeleteSecret => {
                next.spend(|left| &mut left.user);
                next.key = Key::Gone;
            }
            Action::DeleteAgent => {
                next.spend(|left| &mut left.user);
                next.agent = 0;
            }
            Action::CreateAgent => {
                next.spend(|left| &mut left.user);
                next.agent = 2;
            }
            Action::Suspend => {
                next.spend(|left| &mut left.user);
                next.change(|object| {
                    object.suspended = !object.suspended;
                    object.generation += 1;
                });
            }
            Action::SuspendAgent => {
                next.spend(|left| &mut left.user);
                next.agent = SUSPENDED;
            }
            Action::MoveEndpoint => {
                next.spend(|left| &mut left.user);
                next.endpoint = 1;
                for operator in &mut next.operators {
                    operator.crash();
                }
            }
            Action::Recording { operator, luck } => {
                next.spend_luck(luck);
                writes = next.go_on_recording(world, operator, luck)?;
            }
        }
        next.normalise(world);
        next.check(world)?;
        Ok((next, writes))
    }

    fn spend(&mut self, kind: impl FnOnce(&mut Bounds) -> &mut u8) {
        *kind(&mut self.left) -= 1;
        self.left.total -= 1;
    }

    fn spend_luck(&mut self, luck: Luck) {
        if !luck.is_free() {
            self.spend(|left| &mut left.losses);
        }
        if luck == Luck::Denied {
            self.glitched = true;
        }
    }

    /// Changes the object without a condition.
    pub fn change(&mut self, change: impl FnOnce(&mut Object)) {
        if let Some(object) = &mut self.object {
            change(object);
            object.version += 1;
        }
    }

    /// Removes an object that is being deleted and that nothing holds.
    pub fn collect(&mut self) {
        if self
            .object
            .is_some_and(|object| object.deleting.is_some() && !object.finalizer)
        {
            self.object = None;
        }
    }

    /// The same, where people did it.
    fn remove_by_hand(&mut self, world: &World) {
        let before = self.object;
        self.collect();
        if let (Some(object), None) = (before, self.object) {
            let launched = world.tables.status(object.status).claim > 0;
            self.forced |= u8::from(launched) << object.uid;
        }
    }

    /// Forgets differences that can make no difference any more.
    pub fn normalise(&mut self, world: &World) {
        self.left.tidy();
        if self.left.losses == 0 {
            self.glitched = true;
        }
        for session in &mut self.sessions {
            if session.visible_by.is_some_and(|by| by < self.tick) {
                session.visible_by = None;
            }
        }
        let over = self
            .object
            .is_none_or(|object| world.tables.status(object.status).over);
        for operator in &mut self.operators {
            operator.normalise(self.left, self.key, over, self.tick);
        }
        self.number_versions();
    }

    /// Versions are compared and nothing else: only their order is kept.
    fn number_versions(&mut self) {
        let mut versions = [0_u16; 12];
        let mut count = 0;
        let mut note = |object: &Object| {
            versions[count] = object.version;
            count += 1;
        };
        if let Some(object) = &self.object {
            note(object);
        }
        for operator in &self.operators {
            operator.objects(&mut note);
        }
        let versions = &mut versions[..count];
        versions.sort_unstable();
        let rank = |version: u16| {
            let mut rank = 1;
            for pair in versions.windows(2) {
                if pair[1] > version {
                    break;
                }
                rank += u16::from(pair[0] != pair[1]);
            }
            rank
        };
        if let Some(object) = &mut self.object {
            object.version = rank(object.version);
        }
        for operator in &mut self.operators {
            operator.objects_mut(&mut |object| object.version = rank(object.version));
        }
    }

    /// A launch request arrives.
    pub fn create_session(
        &mut self,
        world: &World,
        uid: u8,
        attempt: u8,
        site: Site,
        late: bool,
    ) -> IdNo {
        // The endpoints are apart: each takes an id of ours once.
        let id = if world.recovery == Recovery::ClientId && world.honours_ids && site.endpoint == 0
        {
            world.tables.chosen_id(uid, attempt)
        } else {
            world.tables.id(&format!("session-{}", self.sessions.len()))
        };
        self.sessions.push(Session {
            uid,
            attempt,
            site,
            id,
            visible_by: late.then(|| self.tick + world.visible_within()),
            work: Work::Running,
            told_stopped: false,
            foreign: false,
        });
        id
    }
}

/// What an action wrote to the API server on the operators' behalf.
#[derive(Clone, Copy, Default)]
pub struct Writes {
    pub count: u8,
    /// Counting begins anew, with a new object.
    pub reborn: bool,
}

pub fn at(tick: u8) -> Timestamp {
    const BASE: i64 = 1_767_225_600;
    Timestamp::from_second(BASE).unwrap()
        + SignedDuration::from_secs(i64::from(tick) * i64::try_from(TICK.as_secs()).unwrap())
}

/// A quick hash of 64 well-mixed bits: at a hundred million states a collision is less likely than one in a thousand.
#[derive(Clone, Copy)]
pub struct Mixer(u64);

impl Default for Mixer {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Mixer {
    #[inline(always)]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xa076_1d64_78bd_642f;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded")]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        self.0 = folded;
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value) | 0x100);
    }
    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value) | 0x1_0000);
    }
    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed in")]
        let (low, high) = (value as u64, (value >> 64) as u64);
        self.mix(low);
        self.mix(high);
    }
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
