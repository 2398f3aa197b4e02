//! An operator: its memory, and the steps of its passes around the real `decide` and `record`.
//!
//! A decision and the write that it begins with are one step: were something else stored between them, the write would be
//! refused and the pass would leave nothing but what it remembers, which [`Luck::WriteRefused`] explores. A process that is
//! stopped between them is [`crate::model::Action::Hold`].

use std::rc::Rc;

use codeagent_operator::api::SendState;
use codeagent_operator::domain::remote::{ErrorClass, Recovery, Sent};
use codeagent_operator::domain::session::Effect;

use crate::check::Violation;
use crate::model::{
    Bounds, Key, Luck, Mutant, Object, Session, State, TICK, Work, World, Writes, at,
};
use crate::tables::{Answer, Conclusion, IdNo, IssueLinks, PlanNo, Planned, Seen, Sight, StatusNo};

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Whether the object is older than this process.
    pub restarted: bool,
    pub paused: bool,
    /// The newest version that the watch delivered.
    delivered: Option<Object>,
    /// Its own last write, where that is newer.
    overlay: Option<Object>,
    memory: Memory,
    pub stage: Stage,
}

/// What a process remembers of the session, in ticks. Monotonic clocks are compared with themselves alone, so that they
/// may all count from the same moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Memory {
    uid: u8,
    claim: u8,
    seen: u8,
    absent: u128,
    looked_by: Option<u8>,
    last_look: Option<u8>,
    fruitless: Option<u8>,
    preflight: Option<IssueLinks>,
    last_stop: Option<u8>,
    /// Since when looks by this account have found nothing, and the newest of them.
    missing: Option<(u8, u8, u8)>,
    /// The key that its connection was made with.
    kept: Option<Key>,
}

/// Where a pass stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Idle,
    /// Decided and stopped; the write before the effect comes next.
    Held(Decided),
    /// The effect comes next.
    Effect(Decided),
    /// What came of the effect is to be recorded.
    Record(Decided, Answer),
}

/// A decision and what it was made on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decided {
    object: Object,
    plan: PlanNo,
    sight: SightOf,
}

/// When and with what a decision was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SightOf {
    tick: u8,
    key: Key,
    agent: u8,
}

impl Operator {
    /// A process, whose first list may be as old as what its predecessor knew.
    pub fn new(delivered: Option<Object>) -> Self {
        Self {
            restarted: false,
            paused: false,
            delivered,
            overlay: None,
            memory: Memory::default(),
            stage: Stage::Idle,
        }
    }

    pub fn crash(&mut self) {
        *self = Self {
            restarted: true,
            ..Self::new(self.delivered)
        };
    }

    /// What it takes for the newest version.
    pub fn view(&self) -> Option<&Object> {
        match (&self.delivered, &self.overlay) {
            (Some(d), Some(o)) if (o.uid, o.version) >= (d.uid, d.version) => Some(o),
            (None, Some(o)) => Some(o),
            (delivered, _) => delivered.as_ref(),
        }
    }

    /// Whether a crash would lose anything.
    pub fn has_memory(&self) -> bool {
        self.stage != Stage::Idle || self.memory != Memory::default()
    }

    /// Whether it holds an acceptance that is not recorded yet.
    pub fn holds_acceptance_of(&self, id: IdNo) -> bool {
        matches!(self.stage, Stage::Record(_, Answer::Accepted(held)) if held == id)
    }

    /// Forgets what can make no difference. `over`: nothing is left to be done about the object.
    pub fn normalise(&mut self, left: Bounds, key: Key, over: bool, tick: u8) {
        // It counts for as long as a request may take.
        self.memory.preflight = self
            .memory
            .preflight
            .filter(|links| tick <= links.begun + 1);
        if left.user == 0 && self.memory.kept == Some(key) {
            // It is used anyway.
            self.memory.kept = None;
        }
        if left.stale == 0 {
            self.delivered = None;
            self.overlay = None;
            if over && self.stage == Stage::Idle {
                self.memory = Memory::default();
                self.restarted = false;
            }
        } else if left.crashes == 0 {
            // Only a crash falls back behind one's own last write.
            self.delivered = self.view().copied();
            self.overlay = None;
        }
    }

    /// The objects that it holds.
    pub fn objects(&self, with: &mut impl FnMut(&Object)) {
        self.delivered.iter().for_each(&mut *with);
        self.overlay.iter().for_each(&mut *with);
        if let Stage::Held(decided) | Stage::Effect(decided) | Stage::Record(decided, _) =
            &self.stage
        {
            with(&decided.object);
        }
    }

    pub fn objects_mut(&mut self, with: &mut impl FnMut(&mut Object)) {
        self.delivered.iter_mut().for_each(&mut *with);
        self.overlay.iter_mut().for_each(&mut *with);
        if let Stage::Held(decided) | Stage::Effect(decided) | Stage::Record(decided, _) =
            &mut self.stage
        {
            with(&mut decided.object);
        }
    }

    /// A name for where its pass stands, for counting.
    pub fn place(&self, world: &World) -> u8 {
        let effect = |decided: &Decided| match world.tables.plan(decided.plan).effect {
            None => 0,
            Some(Effect::Launch(_)) => 1,
            Some(Effect::Lookup(_)) => 2,
            Some(Effect::Cancel(_)) => 3,
            Some(Effect::Preflight { .. }) => 4,
            Some(_) => 5,
        };
        match &self.stage {
            Stage::Idle => 0,
            Stage::Held(decided) => 10 + effect(decided),
            Stage::Effect(decided) => 20 + effect(decided),
            Stage::Record(decided, _) => 30 + effect(decided),
        }
    }

    fn remember(&mut self, object: &Object, claim: u8, tick: u8) {
        if self.memory.uid != object.uid {
            self.memory = Memory {
                uid: object.uid,
                ..Memory::default()
            };
        }
        if self.memory.claim != claim {
            self.memory = Memory {
                claim,
                seen: tick,
                absent: 0,
                looked_by: None,
                last_look: None,
                fruitless: None,
                ..self.memory
            };
        }
    }

    /// How the next step may go.
    pub fn lucks(&self, state: &State, world: &World, with: &mut impl FnMut(Luck)) {
        with(Luck::Good);
        let faults = state.left.losses > 0;
        match &self.stage {
            Stage::Idle => {}
            Stage::Held(_) | Stage::Record(_, _) if faults => {
                with(Luck::WriteRefused);
                with(Luck::WriteLost);
            }
            Stage::Held(_) | Stage::Record(_, _) => {}
            Stage::Effect(decided) => match &world.tables.plan(decided.plan).effect {
                Some(Effect::Launch(_)) if !faults || state.launch_is_refused(world) => {}
                Some(Effect::Launch(_)) => {
                    if world.shows_late {
                        with(Luck::ShownLate);
                    }
                    for luck in [
                        Luck::Quota,
                        Luck::Invalid,
                        Luck::RateLimited,
                        Luck::Unsent,
                        Luck::LostDone,
                        Luck::LostLate,
                        Luck::LostUndone,
                    ] {
                        with(luck);
                    }
                }
                Some(Effect::Preflight { .. }) => {
                    let account = decided.sight.key.account();
                    if state.links(account, false) != state.links(account, true) {
                        with(Luck::NotYet);
                    }
                    if faults {
                        with(Luck::LostUndone);
                    }
                }
                Some(Effect::Lookup(_)) => {
                    let (shown, hidden) = state.found(world, decided);
                    if hidden > 0 {
                        with(Luck::NotYet);
                    }
                    if !faults {
                        return;
                    }
                    if !shown.is_empty() && !state.glitched {
                        with(Luck::Denied);
                    }
                    with(Luck::LostUndone);
                    if world.recovery == Recovery::Marker {
                        with(Luck::Unreadable);
                    }
                }
                Some(Effect::Cancel(_)) => {
                    with(Luck::Ended);
                    if faults {
                        for luck in [Luck::LostDone, Luck::LostUndone, Luck::OnlySaid] {
                            with(luck);
                        }
                    }
                }
                _ => {}
            },
        }
    }
}

impl State {
    /// Gathers on what is stored now, and decides.
    fn gather(
        &mut self,
        world: &World,
        index: usize,
        luck: Luck,
    ) -> Option<(Decided, Rc<Planned>)> {
        self.operators[index].delivered = self.object;
        self.operators[index].overlay = None;
        let object = self.object?;
        Some(self.decide(world, index, object, luck))
    }

    fn decide(
        &mut self,
        world: &World,
        index: usize,
        object: Object,
        luck: Luck,
    ) -> (Decided, Rc<Planned>) {
        let claim = world.tables.status(object.status).claim;
        let tick = self.tick;
        self.operators[index].remember(&object, claim, tick);
        let key = self.connect(world, index, &object);
        let look = self.poll(world, index, &object, key, luck);
        let when = SightOf {
            tick,
            key,
            agent: self.agent,
        };
        let sight = self.sight(world, index, object, when, look);
        let plan = world.decide(&sight);
        let decided = Decided {
            object,
            plan: plan.no,
            sight: when,
        };
        (decided, plan)
    }

    /// Whether the next pass would begin with a write.
    pub fn writes_next(&self, world: &World, index: usize) -> bool {
        self.clone()
            .gather(world, index, Luck::Good)
            .is_some_and(|(_, plan)| plan.before.is_some())
    }

    /// Whether an operator asks to be woken, if nothing happens, for more than polling.
    pub fn wants_another_pass(&self, world: &World, index: usize) -> bool {
        self.clone()
            .gather(world, index, Luck::Good)
            .and_then(|(_, plan)| plan.again)
            // The deadline of a running session is far beyond the horizon.
            .is_some_and(|again| again < TICK * u32::from(u8::MAX))
    }

    pub fn pass(&mut self, world: &World, index: usize, luck: Luck) -> Result<Writes, Violation> {
        match self.gather(world, index, luck) {
            Some((decided, plan)) => self.act(world, index, decided, &plan, luck),
            None => Ok(Writes::default()),
        }
    }

    pub fn stale_pass(&mut self, world: &World, index: usize) -> Result<Writes, Violation> {
        let Some(object) = self.operators[index].view().copied() else {
            return Ok(Writes::default());
        };
        let (decided, plan) = self.decide(world, index, object, Luck::Good);
        self.act(world, index, decided, &plan, Luck::Good)
    }

    pub fn hold(&mut self, world: &World, index: usize) {
        if let Some((decided, _)) = self.gather(world, index, Luck::Good) {
            let operator = &mut self.operators[index];
            operator.stage = Stage::Held(decided);
            operator.paused = true;
        }
    }

    /// Begins what was decided.
    fn act(
        &mut self,
        world: &World,
        index: usize,
        decided: Decided,
        plan: &Planned,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        if plan.before.is_some() {
            return self.write_before(world, index, decided, plan, luck);
        }
        let current = self.is_current(&decided.object);
        let mut writes = Writes::default();
        match &plan.effect {
            None => {}
            Some(Effect::AddFinalizer | Effect::ReleaseFinalizer)
                if self.object.is_none() && world.is(Mutant::ServerSideApply) =>
            {
                return Err(Violation::Resurrected);
            }
            // The finalizer is written on the version that was decided on.
            Some(Effect::AddFinalizer | Effect::ReleaseFinalizer) if !current => {}
            Some(Effect::AddFinalizer) => {
                self.change(|object| object.finalizer = true);
                self.operators[index].overlay = self.object;
                writes.count = 1;
            }
            Some(Effect::ReleaseFinalizer) => {
                self.tell(decided.object.uid, plan.reports);
                self.change(|object| object.finalizer = false);
                self.operators[index].overlay = self.object;
                self.collect();
                writes.count = 1;
            }
            Some(_) => {
                self.operators[index].stage = Stage::Effect(decided);
                // Where the effect can go one way only, it is not a step of its own.
                let mut ways = 0;
                self.operators[index].lucks(self, world, &mut |_| ways += 1);
                if ways == 1 {
                    return self.step(world, index, Luck::Good);
                }
            }
        }
        Ok(writes)
    }

    /// Goes on with a pass.
    pub fn step(&mut self, world: &World, index: usize, luck: Luck) -> Result<Writes, Violation> {
        let stage = std::mem::replace(&mut self.operators[index].stage, Stage::Idle);
        // Who goes on may be paused again, at the price of another pause.
        self.operators[index].paused = false;
        match stage {
            Stage::Idle => Ok(Writes::default()),
            Stage::Held(decided) => {
                let plan = world.tables.plan(decided.plan);
                self.write_before(world, index, decided, &plan, luck)
            }
            Stage::Effect(decided) => {
                let plan = world.tables.plan(decided.plan);
                let answer = match &plan.effect {
                    Some(Effect::Launch(_)) => self.send(world, index, &decided, &plan, luck)?,
                    Some(Effect::Lookup(lookup)) if world.recovery == Recovery::None => {
                        self.compare(&decided, lookup.baseline.as_deref(), luck)
                    }
                    Some(Effect::Lookup(_)) => self.look_up(world, &decided, luck),
                    Some(Effect::Preflight { .. }) => self.preflight(&decided, luck),
                    Some(Effect::Cancel(session)) => {
                        let id = world.tables.id(session.session_id.as_str());
                        self.operators[index].memory.last_stop = Some(self.tick);
                        self.stop(world, id, &decided, luck)?
                    }
                    other => panic!("no such effect in this model: {other:?}"),
                };
                match answer {
                    // A look is remembered or adopted at once: were something stored before, nothing would come of it.
                    Answer::Found { .. }
                    | Answer::Absent { .. }
                    | Answer::Preflighted(_)
                    | Answer::Inconclusive
                    | Answer::LookFailed
                    | Answer::StopFailed
                    | Answer::NotCancellable => {
                        self.record(world, index, decided, &plan, answer, Luck::Good)
                    }
                    Answer::Accepted(_)
                    | Answer::Rejected(..)
                    | Answer::Unknown(_)
                    | Answer::Stopped => {
                        self.operators[index].stage = Stage::Record(decided, answer);
                        Ok(Writes::default())
                    }
                }
            }
            Stage::Record(decided, answer) => {
                let plan = world.tables.plan(decided.plan);
                let writes = self.record(world, index, decided, &plan, answer, luck)?;
                if let Answer::Accepted(id) = answer {
                    self.check_acceptance(world, decided.object.uid, id)?;
                }
                Ok(writes)
            }
        }
    }

    fn write_before(
        &mut self,
        world: &World,
        index: usize,
        decided: Decided,
        plan: &Planned,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        let Some(status) = plan.before else {
            return Ok(Writes::default());
        };
        let launches = plan.launches();
        let current = if launches && world.is(Mutant::ClaimUnguarded) {
            self.object.is_some_and(|o| o.uid == decided.object.uid)
        } else {
            self.is_current(&decided.object)
        };
        if !current || luck == Luck::WriteRefused {
            return Ok(Writes::default());
        }
        if launches && world.mutant.is_none() {
            let object = self.object.unwrap();
            if object.deleting.is_some() || object.cancelled {
                return Err(Violation::ClaimAfterStop);
            }
        }
        if launches {
            self.claims += 1;
        }
        let object = if launches && world.is(Mutant::NoClaim) {
            Object {
                status,
                ..decided.object
            }
        } else {
            self.store(world, index, status)?;
            self.object.unwrap()
        };
        let writes = Writes {
            count: 1,
            reborn: false,
        };
        if luck == Luck::WriteLost {
            self.operators[index].overlay = None;
            return Ok(writes);
        }
        self.tell(object.uid, plan.reports);
        let claim = world.tables.status(object.status).claim;
        let tick = self.tick;
        let operator = &mut self.operators[index];
        operator.remember(&object, claim, tick);
        if plan.effect.is_some() {
            operator.stage = Stage::Effect(Decided { object, ..decided });
        }
        Ok(writes)
    }

    /// Stores a status on the current object.
    fn store(&mut self, world: &World, index: usize, status: StatusNo) -> Result<(), Violation> {
        let old = self.object.unwrap();
        self.change(|object| object.status = status);
        self.operators[index].overlay = self.object;
        // The status itself tells people, whatever becomes of the Event.
        self.tell(old.uid, world.tables.status(status).outcome_unknown);
        self.check_progress(
            world,
            &world.tables.status(old.status),
            &world.tables.status(status),
        )
    }

    fn tell(&mut self, uid: u8, reports: bool) {
        if reports {
            self.reported |= 1 << uid;
        }
    }

    /// Whether the provider refuses every launch from now on.
    fn launch_is_refused(&self, world: &World) -> bool {
        world.refuses_again && self.own_sessions().next().is_some()
    }

    /// The launch request: the last check, then the provider.
    fn send(
        &mut self,
        world: &World,
        index: usize,
        decided: &Decided,
        plan: &Planned,
        luck: Luck,
    ) -> Result<Answer, Violation> {
        let Some(Effect::Launch(launch)) = &plan.effect else {
            panic!("not a launch: {:?}", plan.effect);
        };
        let in_window = at(self.wall(world, index)) < launch.not_after
            && TICK * u32::from(self.tick - decided.sight.tick)
                < world.believed_timing().send_window;
        if luck == Luck::Unsent || (!in_window && !world.is(Mutant::NoLastCheck)) {
            return Ok(Answer::Rejected(ErrorClass::Timeout, Sent::Nothing));
        }
        let uid = decided.object.uid;
        let claim = world.tables.status(decided.object.status).claim;
        let claimed = self.object.is_some_and(|object| {
            object.uid == uid && world.tables.status(object.status).claim == claim
        });
        // Only somebody's own hands can have taken the finalizer, and with it the object, from under an open claim.
        let forced = self.object.is_none_or(|object| object.uid != uid);
        if !claimed && !forced && world.mutant.is_none() {
            return Err(Violation::SentWithoutClaim);
        }
        let attempt = if world.is(Mutant::AttemptsBySeconds) {
            decided.sight.tick + 1
        } else {
            plan.attempt
        };
        if self.launch_is_refused(world) {
            return Ok(Answer::Rejected(ErrorClass::QuotaExhausted, Sent::Possibly));
        }
        match luck {
            Luck::Quota => {
                return Ok(Answer::Rejected(ErrorClass::QuotaExhausted, Sent::Possibly));
            }
            Luck::Invalid => {
                return Ok(Answer::Rejected(ErrorClass::InvalidRequest, Sent::Possibly));
            }
            Luck::RateLimited => {
                return Ok(Answer::Rejected(ErrorClass::RateLimited, Sent::Possibly));
            }
            Luck::LostUndone => return Ok(Answer::Unknown(ErrorClass::Timeout)),
            _ => {}
        }
        let account = decided.sight.key.account();
        let taken = world.recovery == Recovery::ClientId
            && world.honours_ids
            && self
                .own_sessions()
                .any(|s| (s.uid, s.attempt, s.account) == (uid, attempt, account));
        if taken {
            return Ok(Answer::Unknown(ErrorClass::Conflict));
        }
        let late = matches!(luck, Luck::LostLate | Luck::ShownLate);
        let id = self.create_session(world, uid, attempt, account, late);
        Ok(match luck {
            Luck::LostDone | Luck::LostLate => Answer::Unknown(ErrorClass::Timeout),
            _ => Answer::Accepted(id),
        })
    }

    /// Sessions that a look can find: those that it must find, oldest first, and how many may still be hidden.
    fn found(&self, world: &World, decided: &Decided) -> (Vec<Session>, usize) {
        let account = decided.sight.key.account();
        let ours = |s: &&Session| {
            s.uid == decided.object.uid
                && s.account == account
                && (!s.foreign || world.is(Mutant::ForeignMarkerAdopted))
                && (!world.is(Mutant::AttemptsBySeconds) || s.attempt == decided.sight.tick + 1)
        };
        let all = self.sessions.iter().filter(ours);
        let hidden = all.clone().filter(|s| s.visible_by.is_some()).count();
        (all.copied().collect(), hidden)
    }

    fn look_up(&mut self, world: &World, decided: &Decided, luck: Luck) -> Answer {
        let absent = Answer::Absent { begun: self.tick };
        match luck {
            Luck::Denied => return absent,
            Luck::Unreadable if world.is(Mutant::UnreadableIsAbsent) => return absent,
            Luck::Unreadable => return Answer::Inconclusive,
            Luck::LostUndone => return Answer::LookFailed,
            _ => {}
        }
        let (mut found, _) = self.found(world, decided);
        if luck == Luck::NotYet {
            found.retain(|s| s.visible_by.is_none());
        } else {
            for session in &mut self.sessions {
                if found.contains(session) {
                    session.visible_by = None;
                }
            }
        }
        match found.split_first() {
            None => absent,
            Some((first, others)) => Answer::Found {
                first: first.id,
                attempt: first.attempt.min(2),
                others: u8::try_from(others.len()).unwrap(),
            },
        }
    }

    /// What the issue links to, as bits: all of it, or what must show by now.
    fn links(&self, account: u8, all: bool) -> u8 {
        self.sessions
            .iter()
            .enumerate()
            .filter(|(_, s)| s.account == account && (all || s.visible_by.is_none()))
            .fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Reads what the issue links to before a launch.
    fn preflight(&mut self, decided: &Decided, luck: Luck) -> Answer {
        let account = decided.sight.key.account();
        let there = (luck != Luck::LostUndone).then(|| self.show_links(account, luck));
        Answer::Preflighted(IssueLinks {
            begun: self.tick,
            account,
            there,
        })
    }

    fn show_links(&mut self, account: u8, luck: Luck) -> u8 {
        let there = self.links(account, luck != Luck::NotYet);
        for (place, session) in self.sessions.iter_mut().enumerate() {
            if there >> place & 1 == 1 {
                session.visible_by = None;
            }
        }
        there
    }

    /// Compares what the issue links to with what it did before the launch: exactly one new session is ours.
    fn compare(&mut self, decided: &Decided, baseline: Option<&str>, luck: Luck) -> Answer {
        let absent = Answer::Absent { begun: self.tick };
        match luck {
            Luck::Denied => return absent,
            Luck::LostUndone => return Answer::LookFailed,
            _ => {}
        }
        let before: u8 = baseline.unwrap().parse().unwrap();
        let new = self.show_links(decided.sight.key.account(), luck) & !before;
        if new.count_ones() != 1 {
            return absent;
        }
        Answer::Found {
            first: self.sessions[new.trailing_zeros() as usize].id,
            attempt: 1,
            others: 0,
        }
    }

    fn stop(
        &mut self,
        world: &World,
        id: IdNo,
        decided: &Decided,
        luck: Luck,
    ) -> Result<Answer, Violation> {
        let account = decided.sight.key.account();
        if world.is(Mutant::ForeignMarkerCancelled)
            && let Some(foreign) = self.sessions.iter_mut().find(|s| s.foreign)
        {
            foreign.work = Work::Stopped;
        }
        let found = self
            .sessions
            .iter_mut()
            .find(|s| s.id == id && s.account == account);
        let Some(session) = found else {
            return Ok(Answer::StopFailed);
        };
        if session.foreign {
            return Err(Violation::ForeignTouched);
        }
        Ok(match luck {
            Luck::LostUndone => Answer::StopFailed,
            Luck::OnlySaid => Answer::Stopped,
            Luck::Ended if session.work == Work::Running => {
                session.work = Work::Finished;
                Answer::NotCancellable
            }
            _ if session.work != Work::Running => Answer::NotCancellable,
            _ => {
                session.work = Work::Stopped;
                if luck == Luck::LostDone {
                    Answer::StopFailed
                } else {
                    Answer::Stopped
                }
            }
        })
    }

    /// Records an answer.
    fn record(
        &mut self,
        world: &World,
        index: usize,
        decided: Decided,
        plan: &Planned,
        answer: Answer,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        let uid = decided.object.uid;
        let answer = match answer {
            Answer::Unknown(_) if world.is(Mutant::TimeoutIsFailure) => {
                Answer::Rejected(ErrorClass::Unavailable, Sent::Nothing)
            }
            answer => answer,
        };
        if plan.launches() {
            return self.record_launch(world, index, decided, plan, answer, luck);
        }
        let conclusion = self.conclude(world, index, &decided, decided.object, plan, answer);
        let memory = &mut self.operators[index].memory;
        if let Some(looks) = conclusion.lookups
            && memory.uid == uid
        {
            memory.absent = looks.absent;
            memory.looked_by = looks.by;
            memory.last_look = looks.last;
            memory.fruitless = looks.fruitless;
        }
        if conclusion.preflight.is_some() && memory.uid == uid {
            memory.preflight = conclusion.preflight;
        }
        let mut writes = Writes::default();
        if let Some(status) = conclusion.write {
            if !self.is_current(&decided.object) || luck == Luck::WriteRefused {
                return Ok(writes);
            }
            self.store(world, index, status)?;
            writes.count = 1;
        }
        if luck == Luck::WriteLost {
            self.operators[index].overlay = None;
            return Ok(writes);
        }
        self.tell(uid, conclusion.reports);
        if world.is(Mutant::FinalizerDroppedOnOk) && answer == Answer::Stopped {
            self.change(|object| object.finalizer = false);
            self.collect();
        }
        Ok(writes)
    }

    fn conclude(
        &self,
        world: &World,
        index: usize,
        decided: &Decided,
        on: Object,
        plan: &Planned,
        answer: Answer,
    ) -> Rc<Conclusion> {
        // The facts are those that were gathered; only the status is what the object shows.
        let facts = Object {
            status: on.status,
            ..decided.object
        };
        let sight = self.sight(world, index, facts, decided.sight, None);
        world.conclude(&sight, plan, answer)
    }

    /// Stores the outcome of a launch until it is stored (rule 9).
    fn record_launch(
        &mut self,
        world: &World,
        index: usize,
        decided: Decided,
        plan: &Planned,
        answer: Answer,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        let uid = decided.object.uid;
        let claimed = world.tables.status(decided.object.status);
        let ours = self.conclude(world, index, &decided, decided.object, plan, answer);
        let by_name = self.object.is_some() && world.is(Mutant::MergePatchOnReborn);
        let same = self.object.filter(|object| object.uid == uid);
        let blind =
            same.is_some() && (world.is(Mutant::RecordOverwrites) || world.is(Mutant::NoClaim));
        let conclusion = if self.is_current(&decided.object) || by_name || blind {
            ours
        } else if world.is(Mutant::RecordOnce) {
            return Ok(Writes::default());
        } else if let Some(current) = same {
            let stored = world.tables.status(current.status);
            let accepted = match answer {
                Answer::Accepted(id) => Some(id),
                _ => None,
            };
            let standing = if accepted.is_some() && stored.session == accepted {
                Standing::Stored
            } else if stored.session.is_none() && stored.claim == claimed.claim {
                match stored.launch {
                    Some(SendState::Claimed | SendState::Unknown) => Standing::Open,
                    Some(
                        SendState::Confirmed
                        | SendState::Rejected
                        | SendState::Absent
                        | SendState::Lost,
                    )
                    | None => Standing::Stored,
                }
            } else {
                Standing::Superseded
            };
            match standing {
                Standing::Stored => return Ok(Writes::default()),
                Standing::Superseded => {
                    self.tell(uid, accepted.is_some());
                    return Ok(Writes::default());
                }
                Standing::Open => self.conclude(world, index, &decided, current, plan, answer),
            }
        } else {
            self.compensate(uid, answer);
            return Ok(Writes::default());
        };
        let mut writes = Writes::default();
        if let Some(status) = conclusion.write {
            if luck == Luck::WriteRefused {
                // Tried again, by whoever has the outcome in hand.
                if !world.is(Mutant::RecordOnce) {
                    self.operators[index].stage = Stage::Record(decided, answer);
                }
                return Ok(writes);
            }
            self.store(world, index, status)?;
            writes.count = 1;
            if luck == Luck::WriteLost {
                self.operators[index].overlay = None;
                self.operators[index].stage = Stage::Record(decided, answer);
                return Ok(writes);
            }
        }
        self.tell(uid, conclusion.reports);
        Ok(writes)
    }

    /// The object of an acceptance is gone: stopped and reported.
    fn compensate(&mut self, uid: u8, answer: Answer) {
        let Answer::Accepted(id) = answer else {
            return;
        };
        self.reported |= 1 << uid;
        if let Some(session) = self
            .sessions
            .iter_mut()
            .find(|s| s.id == id && s.uid == uid && s.work == Work::Running)
        {
            session.work = Work::Stopped;
        }
    }

    /// What an operator knows of an object.
    fn sight(
        &self,
        world: &World,
        index: usize,
        object: Object,
        when: SightOf,
        look: Option<Seen>,
    ) -> Sight {
        let operator = &self.operators[index];
        let memory = &operator.memory;
        Sight {
            wall: when.tick + world.skew[index],
            tick: when.tick,
            object: Object {
                version: 0,
                ..object
            },
            key: when.key,
            agent: when.agent,
            restarted: operator.restarted,
            claims: self.claims,
            seen: memory.seen,
            absent: memory.absent,
            looked_by: memory.looked_by,
            last_look: memory.last_look,
            fruitless: memory.fruitless,
            preflight: memory.preflight,
            last_stop: memory.last_stop,
            look,
        }
    }

    /// The key that a pass uses: what the Secret holds, or for a session that was launched what was used so far.
    fn key_for(&self, world: &World, index: usize, object: &Object) -> Key {
        let stored = world.tables.status(object.status);
        let launched = matches!(
            stored.launch,
            Some(SendState::Claimed | SendState::Unknown | SendState::Confirmed)
        );
        let memory = &self.operators[index].memory;
        // A connection is kept for as long as the session is there.
        let trusted = stored.launch == Some(SendState::Confirmed) && memory.missing.is_none();
        match memory.kept.filter(|_| launched && memory.uid == object.uid) {
            Some(kept) if trusted || self.key == Key::Gone => kept,
            _ => self.key,
        }
    }

    fn connect(&mut self, world: &World, index: usize, object: &Object) -> Key {
        let key = self.key_for(world, index, object);
        let needed = !world.tables.status(object.status).terminal;
        self.operators[index].memory.kept = Some(key).filter(|key| needed && *key != Key::Gone);
        key
    }

    /// The session that an operator would look at.
    pub fn followed(&self, world: &World, index: usize) -> Option<usize> {
        let object = self.object?;
        self.followed_with(world, &object, self.key_for(world, index, &object))
    }

    fn followed_with(&self, world: &World, object: &Object, key: Key) -> Option<usize> {
        let status = world.tables.status(object.status);
        if key == Key::Gone || status.terminal || status.launch != Some(SendState::Confirmed) {
            return None;
        }
        let id = status.session?;
        self.sessions
            .iter()
            .position(|s| s.id == id && s.account == key.account())
    }

    /// A look at a launched session.
    fn poll(
        &mut self,
        world: &World,
        index: usize,
        object: &Object,
        key: Key,
        luck: Luck,
    ) -> Option<Seen> {
        let stored = world.tables.status(object.status);
        if key == Key::Gone || stored.terminal || stored.launch != Some(SendState::Confirmed) {
            self.operators[index].memory.missing = None;
            return None;
        }
        let followed = self.followed_with(world, object, key);
        let tick = self.tick;
        let there = followed
            .map(|place| &mut self.sessions[place])
            .filter(|s| luck != Luck::Denied && !(luck == Luck::NotYet && s.visible_by.is_some()));
        let Some(session) = there else {
            let missing = &mut self.operators[index].memory.missing;
            // Looks are one tick apart at most: between older ones there would have been another.
            let since = missing
                .filter(|(_, newest, by)| tick <= newest + 1 && *by == key.account())
                .map_or(tick, |(since, ..)| since);
            *missing = Some((since, tick, key.account()));
            return Some(Seen::Missing(since));
        };
        session.visible_by = None;
        if luck == Luck::Ended && session.work == Work::Running {
            session.work = Work::Finished;
        }
        let seen = Seen::There(session.id, session.work);
        self.operators[index].memory.missing = None;
        Some(seen)
    }
}

/// Where the claim of a launch stands in the store, when its outcome could not be stored at first.
enum Standing {
    /// It is still open: concluded again on what stands there.
    Open,
    /// The outcome is there.
    Stored,
    /// Somebody else has claimed or recorded since.
    Superseded,
}
