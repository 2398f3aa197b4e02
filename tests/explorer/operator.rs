//! An operator: its memory, and the steps of its passes around the real `decide` and `record`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use codeagent_operator::api::{CodeSessionStatus, SendState};
use codeagent_operator::domain::ids::{AccountFingerprint, LaunchKey, SessionId};
use codeagent_operator::domain::remote::{
    AdoptAnswer, CancelAnswer, ErrorClass, Found, LaunchOutcome, Launched, ProviderError, Recovery,
    Sent,
};
use codeagent_operator::domain::session::{
    Connected, Effect, Guard, Inputs, LaunchPlan, Level, Look, Lookups, Note, Observed, Origin,
    Outcome, Place, Plan, Preflight, Readiness, Recorded, SessionView, Turn, decide, record,
};
use codeagent_operator::domain::snapshot::{Links, RemotePhase, Snapshot};

use crate::check::Violation;
use crate::model::{
    Luck, Mutant, NAMESPACE_UID, Object, Session, State, TICK, Work, World, at, hash_object,
};

/// A process.
#[derive(Clone)]
pub struct Operator {
    started: u8,
    pub paused: bool,
    /// The newest version that the watch delivered.
    pub delivered: Option<Rc<Object>>,
    /// Its own last write, where that is newer.
    overlay: Option<Rc<Object>>,
    memory: Memory,
    pub stage: Stage,
}

/// What a process remembers of the session.
#[derive(Clone, Default)]
struct Memory {
    uid: u8,
    claim: Option<String>,
    claim_first_seen: Option<Duration>,
    lookups: Lookups,
    last_stop: Option<Duration>,
    faults: i32,
}

/// Where a pass stands.
#[derive(Clone)]
pub enum Stage {
    Idle,
    /// Decided; the write before the effect comes next.
    Before(Rc<Decided>),
    /// The effect comes next.
    Effect(Rc<Decided>),
    /// What came of the effect is to be recorded.
    Record(Rc<Decided>, Rc<Outcome>),
}

/// A decision and what it was made on.
pub struct Decided {
    pub object: Rc<Object>,
    plan: Plan,
    account: u8,
    at: u8,
}

impl Hash for Operator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut h = DefaultHasher::new();
        (self.started, self.paused).hash(&mut h);
        hash_object(self.delivered.as_deref(), &mut h);
        hash_object(self.overlay.as_deref(), &mut h);
        let memory = &self.memory;
        (memory.uid, &memory.claim, memory.claim_first_seen).hash(&mut h);
        (memory.last_stop, memory.faults, &memory.lookups.absent).hash(&mut h);
        (memory.lookups.last, memory.lookups.account.as_ref()).hash(&mut h);
        memory.lookups.fruitless.hash(&mut h);
        let decided = match &self.stage {
            Stage::Idle => None,
            Stage::Before(decided) => Some((1_u8, decided)),
            Stage::Effect(decided) => Some((2, decided)),
            Stage::Record(decided, outcome) => {
                // What an outcome says beside its kind follows from the state of the provider.
                match &**outcome {
                    Outcome::Launched(LaunchOutcome::Accepted(l)) => (1_u8, l.session_id.as_str()),
                    Outcome::Launched(LaunchOutcome::Rejected(e)) => (2, e.class.as_str()),
                    Outcome::Launched(LaunchOutcome::Unknown(e)) => (3, e.class.as_str()),
                    Outcome::LookedUp { .. } => (4, ""),
                    Outcome::Stopped(Ok(_)) => (5, ""),
                    Outcome::Stopped(Err(_)) => (6, ""),
                    Outcome::Examined { .. } => (7, ""),
                    Outcome::Preflighted { .. } => unreachable!("there is always a fresh one"),
                }
                .hash(&mut h);
                Some((3, decided))
            }
        };
        if let Some((stage, decided)) = decided {
            (stage, decided.account, decided.at).hash(&mut h);
            hash_object(Some(&decided.object), &mut h);
            match &decided.plan.effect {
                None => 0_u8.hash(&mut h),
                Some(Effect::Launch(plan)) => (1_u8, &plan.claim_id).hash(&mut h),
                Some(Effect::Lookup { .. }) => 2_u8.hash(&mut h),
                Some(Effect::Cancel(_)) => 3_u8.hash(&mut h),
                Some(_) => 4_u8.hash(&mut h),
            }
        }
        h.finish().hash(state);
    }
}

impl Operator {
    /// A new process, whose first list may be as old as what its predecessor knew.
    pub fn new(started: u8, delivered: Option<Rc<Object>>) -> Self {
        Self {
            started,
            paused: false,
            delivered,
            overlay: None,
            memory: Memory::default(),
            stage: Stage::Idle,
        }
    }

    /// What it takes for the newest version.
    pub fn view(&self) -> Option<&Rc<Object>> {
        match (&self.delivered, &self.overlay) {
            (Some(d), Some(o)) if (o.uid, o.version) >= (d.uid, d.version) => Some(o),
            (None, Some(o)) => Some(o),
            (delivered, _) => delivered.as_ref(),
        }
    }

    /// Whether a crash would lose anything.
    pub fn has_memory(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
            || self.memory.claim_first_seen.is_some()
            || self.memory.last_stop.is_some()
    }

    fn uptime(&self, tick: u8) -> Duration {
        TICK * u32::from(tick - self.started)
    }

    /// Whether it holds an acceptance that is not recorded yet.
    pub fn holds_acceptance_of(&self, id: &str) -> bool {
        let Stage::Record(_, outcome) = &self.stage else {
            return false;
        };
        matches!(&**outcome, Outcome::Launched(LaunchOutcome::Accepted(l)) if l.session_id.as_str() == id)
    }

    fn remember(&mut self, object: &Object, tick: u8) {
        let uptime = self.uptime(tick);
        if self.memory.uid != object.uid {
            self.memory = Memory {
                uid: object.uid,
                ..Memory::default()
            };
        }
        if self.memory.claim.as_deref() != object.claim_id() {
            self.memory.claim = object.claim_id().map(str::to_owned);
            self.memory.claim_first_seen = self.memory.claim.as_ref().map(|_| uptime);
            self.memory.lookups = Lookups::default();
        }
    }

    /// How the next step may go.
    pub fn lucks(&self, state: &State, world: &World) -> Vec<Luck> {
        let mut lucks = vec![Luck::Good];
        let Stage::Effect(decided) = &self.stage else {
            return lucks;
        };
        if state.left.losses() == 0 {
            return lucks;
        }
        match &decided.plan.effect {
            Some(Effect::Launch(_)) if world.refuses_again && !state.sessions.is_empty() => {}
            Some(Effect::Launch(_)) => lucks.extend([
                Luck::Refused,
                Luck::RateLimited,
                Luck::LostDone,
                Luck::LostLate,
                Luck::LostUndone,
            ]),
            Some(Effect::Lookup { .. }) => {
                let there = !found(state, decided.object.uid, decided.account).is_empty();
                if there && !state.glitched {
                    lucks.push(Luck::Glitch);
                }
                if there && world.recovery == Recovery::Marker {
                    lucks.push(Luck::Unreadable);
                }
            }
            Some(Effect::Cancel(_)) => {
                lucks.extend([Luck::LostDone, Luck::LostUndone, Luck::OnlySaid]);
            }
            _ => {}
        }
        lucks
    }
}

impl State {
    /// Gathers and decides.
    pub fn pass(&mut self, world: &World, index: usize, fresh: bool) -> Result<(), Violation> {
        let current = self.object.clone();
        let operator = &mut self.operators[index];
        if fresh {
            operator.delivered = current;
            operator.overlay = None;
        }
        let Some(object) = operator.view().cloned() else {
            return Ok(());
        };
        operator.remember(&object, self.tick);
        let account = self.account;
        let plan = self.observe(world, index, &object, account, false, |o| {
            if world.is(Mutant::FinalizerDroppedOnDelete)
                && o.session.deleting.is_some()
                && o.session.has_finalizer
            {
                Plan::act(Effect::ReleaseFinalizer)
            } else {
                decide(o)
            }
        });
        let decided = Rc::new(Decided {
            object: Rc::clone(&object),
            plan,
            account,
            at: self.tick,
        });
        if decided.plan.before.is_some() {
            self.operators[index].stage = Stage::Before(decided);
            return Ok(());
        }
        match &decided.plan.effect {
            None => {}
            // The finalizer is written on the version that was decided on.
            Some(Effect::AddFinalizer | Effect::ReleaseFinalizer) if !self.is_current(&object) => {}
            Some(Effect::AddFinalizer) => {
                self.change(|object| object.finalizer = true);
                self.operators[index].overlay = self.object.clone();
            }
            Some(Effect::ReleaseFinalizer) => {
                self.tell(object.uid, &decided.plan.notes);
                self.change(|object| object.finalizer = false);
                self.operators[index].overlay = self.object.clone();
                self.collect();
            }
            Some(_) => {
                self.operators[index].stage = Stage::Effect(decided);
                // Reads and repeated stops are the same whatever comes between decision and effect; only where the
                // effect can go one way or another it is a step of its own.
                if self.operators[index].lucks(self, world).len() == 1 {
                    self.step(world, index, Luck::Good)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets differences that can make no difference any more.
    pub fn normalise(&mut self) {
        if self.left.crashes > 0 {
            return;
        }
        // Only a crash falls back behind one's own last write.
        for operator in &mut self.operators {
            if operator.overlay.is_some() {
                operator.delivered = operator.view().cloned();
                operator.overlay = None;
            }
        }
    }

    /// Goes on with a pass.
    pub fn step(&mut self, world: &World, index: usize, luck: Luck) -> Result<(), Violation> {
        let stage = std::mem::replace(&mut self.operators[index].stage, Stage::Idle);
        // Who goes on may be paused again, at the price of another pause.
        self.operators[index].paused = false;
        if luck == Luck::Glitch {
            self.glitched = true;
        }
        if luck != Luck::Good {
            self.left.losses -= 1;
            self.left.total -= 1;
        }
        match stage {
            Stage::Idle => {}
            Stage::Before(decided) => {
                self.write_before(world, index, &decided)?;
            }
            Stage::Effect(decided) => {
                let outcome = match &decided.plan.effect {
                    Some(Effect::Launch(plan)) => {
                        Outcome::Launched(self.send(world, index, &decided, plan, luck)?)
                    }
                    Some(Effect::Lookup { .. }) => Outcome::LookedUp {
                        begun: self.operators[index].uptime(self.tick),
                        answer: Ok(self.look_up(world, &decided, luck)),
                    },
                    Some(Effect::Cancel(session)) => {
                        let uptime = self.operators[index].uptime(self.tick);
                        self.operators[index].memory.last_stop = Some(uptime);
                        Outcome::Stopped(self.stop(session.session_id.as_str(), &decided, luck))
                    }
                    other => panic!("no such effect in this model: {other:?}"),
                };
                if matches!(&outcome, Outcome::LookedUp { answer: Ok(answer), .. } if !matches!(answer, AdoptAnswer::Found(_)))
                {
                    // Only remembered, never written.
                    self.record(world, index, &decided, &outcome)?;
                } else {
                    self.operators[index].stage = Stage::Record(decided, Rc::new(outcome));
                }
            }
            Stage::Record(decided, outcome) => self.record(world, index, &decided, &outcome)?,
        }
        Ok(())
    }

    fn write_before(
        &mut self,
        world: &World,
        index: usize,
        decided: &Rc<Decided>,
    ) -> Result<(), Violation> {
        let write = decided.plan.before.as_ref().unwrap();
        assert_eq!(write.guard, Guard::Unchanged);
        let launches = matches!(decided.plan.effect, Some(Effect::Launch(_)));
        let may = if launches && world.is(Mutant::ClaimUnguarded) {
            self.object
                .as_ref()
                .is_some_and(|o| o.uid == decided.object.uid)
        } else {
            self.is_current(&decided.object)
        };
        if !may {
            return Ok(());
        }
        if launches && !world.is(Mutant::NoClaim) {
            let object = self.object.as_ref().unwrap();
            if object.deleting.is_some() || object.cancelled {
                return Err(Violation::ClaimAfterStop);
            }
        }
        if launches {
            self.claims += 1;
        }
        let object = if launches && world.is(Mutant::NoClaim) {
            Rc::new(decided.object.with_status(&write.status))
        } else {
            self.store(index, &write.status)?;
            Rc::clone(self.object.as_ref().unwrap())
        };
        self.tell(object.uid, &decided.plan.notes);
        let tick = self.tick;
        let operator = &mut self.operators[index];
        operator.remember(&object, tick);
        if decided.plan.effect.is_some() {
            operator.stage = Stage::Effect(Rc::new(Decided {
                object,
                plan: decided.plan.clone(),
                account: decided.account,
                at: decided.at,
            }));
        }
        Ok(())
    }

    /// Stores a status on the current object.
    fn store(&mut self, index: usize, status: &CodeSessionStatus) -> Result<(), Violation> {
        let old = self.object.as_ref().unwrap();
        let confirmed = old.launch_state() == Some(SendState::Confirmed);
        let new = Rc::new(old.with_status(status));
        let reopened = old.is_terminal() && confirmed && !new.is_terminal();
        self.operators[index].overlay = Some(Rc::clone(&new));
        self.object = Some(new);
        if reopened {
            return Err(Violation::Reopened);
        }
        Ok(())
    }

    fn tell(&mut self, uid: u8, notes: &[Note]) {
        if notes.iter().any(|note| note.level == Level::Warning) {
            self.reported.insert(uid);
        }
    }

    /// The launch request: the last check, then the provider.
    fn send(
        &mut self,
        world: &World,
        index: usize,
        decided: &Decided,
        plan: &LaunchPlan,
        luck: Luck,
    ) -> Result<LaunchOutcome, Violation> {
        let in_window = self.wall(world, index) < plan.not_after
            && TICK * u32::from(self.tick - decided.at) < world.believed_timing().send_window;
        if !in_window && !world.is(Mutant::NoLastCheck) {
            return Ok(LaunchOutcome::Rejected(error(
                ErrorClass::Timeout,
                Sent::Nothing,
            )));
        }
        let uid = decided.object.uid;
        let claimed = self
            .object
            .as_ref()
            .is_some_and(|object| object.uid == uid && object.claim_id() == Some(&*plan.claim_id));
        if !claimed && world.mutant.is_none() {
            return Err(Violation::SentWithoutClaim);
        }
        let attempt = (1..=2)
            .find(|n| LaunchKey::derive(NAMESPACE_UID, decided.object.uid_text(), *n) == plan.key)
            .unwrap();
        let refused = luck == Luck::Refused || (world.refuses_again && !self.sessions.is_empty());
        match luck {
            _ if refused => {
                return Ok(LaunchOutcome::Rejected(error(
                    ErrorClass::QuotaExhausted,
                    Sent::Possibly,
                )));
            }
            Luck::RateLimited => {
                return Ok(LaunchOutcome::Rejected(error(
                    ErrorClass::RateLimited,
                    Sent::Possibly,
                )));
            }
            Luck::LostUndone => return Ok(lost(ErrorClass::Timeout)),
            _ => {}
        }
        let taken = world.recovery == Recovery::ClientId
            && world.honours_ids
            && self
                .sessions
                .iter()
                .any(|s| (s.uid, s.attempt, s.account) == (uid, attempt, decided.account));
        if taken {
            return Ok(lost(ErrorClass::Conflict));
        }
        self.create_session(world, uid, attempt, decided.account, luck == Luck::LostLate);
        if luck != Luck::Good {
            return Ok(lost(ErrorClass::Timeout));
        }
        let session = self.sessions.last().unwrap();
        Ok(LaunchOutcome::Accepted(Launched {
            session_id: SessionId::new(session.id.clone()),
            run_id: None,
            url: None,
            phase: RemotePhase::Running,
            raw_status: "RUNNING".into(),
        }))
    }

    fn look_up(&self, world: &World, decided: &Decided, luck: Luck) -> AdoptAnswer {
        match luck {
            Luck::Glitch => return AdoptAnswer::Absent,
            Luck::Unreadable if world.is(Mutant::UnreadableIsAbsent) => {
                return AdoptAnswer::Absent;
            }
            Luck::Unreadable => {
                return AdoptAnswer::Inconclusive {
                    why: "a candidate without messages".into(),
                    resume: None,
                };
            }
            _ => {}
        }
        let found = found(self, decided.object.uid, decided.account);
        if found.is_empty() {
            AdoptAnswer::Absent
        } else {
            AdoptAnswer::Found(
                found
                    .into_iter()
                    .map(|session| Found {
                        snapshot: snapshot(session),
                        attempt: Some(session.attempt),
                    })
                    .collect(),
            )
        }
    }

    fn stop(
        &mut self,
        id: &str,
        decided: &Decided,
        luck: Luck,
    ) -> Result<CancelAnswer, ProviderError> {
        let Some(index) = self.visible(id, decided.account) else {
            return Err(error(ErrorClass::NotFound, Sent::Possibly));
        };
        let session = &mut self.sessions[index];
        if luck == Luck::LostUndone {
            return Err(error(ErrorClass::Timeout, Sent::Possibly));
        }
        if luck == Luck::OnlySaid {
            return Ok(CancelAnswer::Accepted);
        }
        if session.work != Work::Running {
            return Ok(CancelAnswer::NotCancellable);
        }
        session.work = Work::Stopped;
        if luck == Luck::LostDone {
            return Err(error(ErrorClass::Timeout, Sent::Possibly));
        }
        Ok(CancelAnswer::Accepted)
    }

    /// Records an outcome by rule 9.
    fn record(
        &mut self,
        world: &World,
        index: usize,
        decided: &Decided,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let uid = decided.object.uid;
        let effect = decided.plan.effect.as_ref().unwrap();
        let as_failure = Outcome::Launched(LaunchOutcome::Rejected(error(
            ErrorClass::Unavailable,
            Sent::Nothing,
        )));
        let outcome = match outcome {
            Outcome::Launched(LaunchOutcome::Unknown(_)) if world.is(Mutant::TimeoutIsFailure) => {
                &as_failure
            }
            outcome => outcome,
        };
        let conclude = |state: &Self, on: &Object| -> Recorded {
            let answers = matches!(outcome, Outcome::Launched(_));
            state.observe(world, index, on, decided.account, answers, |o| {
                record(o, effect, outcome)
            })
        };
        let mut recorded = conclude(self, &decided.object);
        let memory = &mut self.operators[index].memory;
        if memory.uid == uid {
            if let Some(lookups) = recorded.lookups.take() {
                memory.lookups = lookups;
            }
            memory.faults = if recorded.fault { 1 } else { 0 };
        }
        if let Some(write) = &recorded.write {
            let current = self.object.clone();
            match &write.guard {
                Guard::Unchanged => {
                    if !self.is_current(&decided.object) {
                        return Ok(());
                    }
                    self.store(index, &write.status)?;
                }
                Guard::Claim(claim) => {
                    let Some(current) = current.filter(|object| {
                        let ours = object.uid == uid
                            && (object.claim_id() == Some(claim) || world.is(Mutant::NoClaim));
                        ours || (object.uid != uid && world.is(Mutant::RecordByName))
                    }) else {
                        return self.compensate(uid, outcome);
                    };
                    let untouched = current.digest == decided.object.digest
                        || world.is(Mutant::RecordOverwrites)
                        || current.uid != uid
                        || world.is(Mutant::NoClaim);
                    if !untouched {
                        // Others have written under the same claim: conclude anew from what stands there.
                        recorded = conclude(self, &current);
                    }
                    if let Some(write) = &recorded.write {
                        self.store(index, &write.status)?;
                    }
                }
            }
        }
        self.tell(uid, &recorded.notes);
        if world.is(Mutant::FinalizerDroppedOnOk)
            && matches!(outcome, Outcome::Stopped(Ok(CancelAnswer::Accepted)))
        {
            self.change(|object| object.finalizer = false);
            self.collect();
        }
        Ok(())
    }

    /// An acceptance that nobody can record: stopped and reported, unless somebody else has it.
    fn compensate(&mut self, uid: u8, outcome: &Outcome) -> Result<(), Violation> {
        let Outcome::Launched(LaunchOutcome::Accepted(launched)) = outcome else {
            return Ok(());
        };
        let id = launched.session_id.as_str();
        let object = self.object.as_ref().filter(|object| object.uid == uid);
        if object.is_some_and(|object| {
            object.session_id() == Some(id)
                || matches!(
                    object.launch_state(),
                    Some(SendState::Claimed | SendState::Unknown)
                ) && !object.is_terminal()
        }) {
            return Ok(());
        }
        self.reported.insert(uid);
        if let Some(session) = self
            .sessions
            .iter_mut()
            .find(|s| s.id == id && s.work == Work::Running)
        {
            session.work = Work::Stopped;
        }
        Ok(())
    }

    /// Whether an operator asks to be woken, if nothing happens, for more than polling.
    pub fn wants_another_pass(&self, world: &World, index: usize) -> bool {
        let Some(object) = self.operators[index].view().cloned() else {
            return false;
        };
        let plan = self.observe(world, index, &object, self.account, false, decide);
        // The deadline of a running session is far beyond the horizon.
        plan.again
            .is_some_and(|again| again < TICK * u32::from(u8::MAX))
    }

    /// Builds what an operator observes of an object. `answers` marks the conclusion from a launch's answer.
    pub fn observe<R>(
        &self,
        world: &World,
        index: usize,
        object: &Object,
        account: u8,
        answers: bool,
        with: impl FnOnce(&Observed<'_>) -> R,
    ) -> R {
        let operator = &self.operators[index];
        let memory = &operator.memory;
        let account = fingerprint(account);
        let mut lookups = memory.lookups.clone();
        let mut status = object.status.as_deref().cloned();
        if world.is(Mutant::LooksOfAnyAccount) || world.is(Mutant::AccountPinDropped) {
            lookups.account = Some(account.clone());
        }
        if world.is(Mutant::AccountPinDropped)
            && let Some(launch) = status.as_mut().and_then(|s| s.launch.as_mut())
            && launch.state != SendState::Confirmed
        {
            launch.target.account = account.as_str().to_owned();
        }
        if world.is(Mutant::RefusalSettles)
            && answers
            && let Some(launch) = status.as_mut().and_then(|s| s.launch.as_mut())
        {
            launch.posts = 1;
        }
        let timing = world.believed_timing();
        let uptime = operator.uptime(self.tick);
        if world.is(Mutant::LooksBeforeTheFence) && lookups.absent.len() > 1 {
            lookups.absent = vec![uptime.saturating_sub(TICK), uptime];
        }
        if world.is(Mutant::OneLook)
            && let Some(last) = lookups.absent.last().copied()
        {
            lookups.absent.push(last + timing.consistency_window);
        }
        let look = self.poll(object, &account, uptime);
        // Reading what is there before a launch changes nothing: here it has always just been done.
        let preflight = Preflight {
            account: account.clone(),
            begun: uptime,
            result: Ok(Some("what is there".into())),
        };
        let claim_id = format!("claim-{}", self.claims + 1);
        let origin = if object.finalizer || object.status.is_some() {
            Origin::Own
        } else {
            Origin::None
        };
        with(&Observed {
            now: self.wall(world, index),
            uptime,
            session: SessionView {
                namespace: "team",
                name: "session",
                uid: object.uid_text(),
                namespace_uid: NAMESPACE_UID,
                generation: object.generation,
                created_at: at(i64::from(object.created)),
                deleting: object.deleting.map(|tick| at(i64::from(tick))),
                has_finalizer: object.finalizer,
                origin,
                adopt: None,
                spec: world.spec(object),
                status: status.as_ref(),
                older_than_process: object.created < operator.started,
            },
            agent: world.agent.clone(),
            provider: Some(world.facts.clone()),
            readiness: Readiness::Ready(Connected {
                credential: format!("key of {account}"),
                account,
                inputs: Some(Inputs {
                    prompt: "Fix it".into(),
                    digest: "digest".into(),
                    template_id: None,
                }),
            }),
            place: Place::Free,
            // One session: its turn is never another's.
            turn: Turn::Unneeded,
            preflight: Some(&preflight),
            in_flight: false,
            claim_first_seen: memory.claim_first_seen,
            lookups: &lookups,
            look: look.as_ref(),
            last_stop: memory.last_stop,
            faults: memory.faults,
            installation: &world.installation,
            fresh_claim_id: &claim_id,
            timing: &timing,
            stopping: false,
        })
    }

    /// A look at a launched session.
    fn poll(&self, object: &Object, account: &AccountFingerprint, begun: Duration) -> Option<Look> {
        if object.is_terminal() || object.launch_state() != Some(SendState::Confirmed) {
            return None;
        }
        let id = object.session_id()?;
        let session = self
            .sessions
            .iter()
            .find(|s| s.id == id && s.visible_by.is_none() && fingerprint(s.account) == *account);
        Some(Look {
            begun,
            result: session
                .map(snapshot)
                .ok_or_else(|| error(ErrorClass::NotFound, Sent::Possibly)),
            account: account.clone(),
            alike_since: Duration::ZERO,
        })
    }
}

fn found(state: &State, uid: u8, account: u8) -> Vec<&Session> {
    state
        .sessions
        .iter()
        .filter(|s| s.uid == uid && s.account == account && s.visible_by.is_none())
        .collect()
}

fn fingerprint(account: u8) -> AccountFingerprint {
    AccountFingerprint::new(["account a", "account b"][usize::from(account)])
}

fn lost(class: ErrorClass) -> LaunchOutcome {
    LaunchOutcome::Unknown(error(class, Sent::Possibly))
}

fn error(class: ErrorClass, sent: Sent) -> ProviderError {
    ProviderError {
        class,
        subject: None,
        status: None,
        code: None,
        message: class.as_str().to_owned(),
        retry_after: None,
        sent,
    }
}

fn snapshot(session: &Session) -> Snapshot {
    let phase = match session.work {
        Work::Running => RemotePhase::Running,
        Work::Finished => RemotePhase::Finished,
        Work::Stopped => RemotePhase::Cancelled,
    };
    Snapshot {
        session_id: SessionId::new(session.id.clone()),
        run_id: None,
        phase,
        raw_status: format!("{phase:?}"),
        repository: None,
        url: None,
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
