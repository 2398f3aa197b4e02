//! An operator: its memory, and the steps of its passes around the real `decide` and `record`.
//!
//! A decision and the write that it begins with are one step: were something else stored between them, the write would be
//! refused and the pass would leave nothing but what it remembers, which [`Luck::WriteRefused`] explores. A process that is
//! stopped between them is [`crate::model::Action::Hold`].

use std::rc::Rc;

use codeagent_operator::api::{DeletionPolicy, SendState};
use codeagent_operator::domain::ids::ClaimId;
use codeagent_operator::domain::remote::{CancelAnswer, Capability, ErrorClass, Recovery, Sent};
use codeagent_operator::domain::send::Clock;
use codeagent_operator::domain::send::recording::{self, Do, Recording, Saw, Shown, StoredSend};
use codeagent_operator::domain::session::Effect;

use crate::check::Violation;
use crate::model::{
    Bounds, Key, Luck, Mutant, Object, SUSPENDED, Session, Site, State, TICK, Work, World, Writes,
    at,
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
    /// An outcome that could not be stored at once: passes go on meanwhile.
    flight: Option<Flight>,
}

/// The outcome of a request in the hands of the process that sent it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Flight {
    decided: Decided,
    answer: Answer,
    recording: Recording,
}

/// What a process remembers of the session, in ticks. Monotonic clocks are compared with themselves alone, so that they
/// may all count from the same moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Memory {
    uid: u8,
    claim: u8,
    seen: u8,
    absent: u128,
    looked_up_by: Option<u8>,
    last_lookup: Option<u8>,
    fruitless: Option<u8>,
    baseline_read: Option<IssueLinks>,
    last_stop: Option<u8>,
    stop_taken: bool,
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
    /// The default endpoint of the installation.
    default: u8,
    /// The endpoint that is connected to.
    endpoint: u8,
}

impl SightOf {
    fn site(self) -> Site {
        Site {
            account: self.key.account(),
            endpoint: self.endpoint,
        }
    }
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
            flight: None,
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
        self.stage != Stage::Idle || self.flight.is_some() || self.memory != Memory::default()
    }

    /// Whether it holds an acceptance that is not recorded yet.
    pub fn holds_acceptance_of(&self, id: IdNo) -> bool {
        let in_flight = self.flight.map(|flight| flight.answer);
        matches!(self.stage, Stage::Record(_, Answer::Accepted(held)) if held == id)
            || matches!(in_flight, Some(Answer::Accepted(held)) if held == id)
    }

    /// Whether an outcome of its own is not stored yet.
    pub fn is_recording(&self) -> bool {
        self.flight.is_some() || matches!(self.stage, Stage::Record(..))
    }

    /// Whether an outcome waits for the next try to store it.
    pub fn is_waiting_to_record(&self) -> bool {
        self.flight.is_some()
    }

    /// How the next try to store an outcome may go.
    pub fn recording_lucks(&self, state: &State, world: &World, with: &mut impl FnMut(Luck)) {
        let Some(flight) = &self.flight else { return };
        with(Luck::Good);
        if state.left.losses == 0 {
            return;
        }
        let gone = state
            .object
            .is_none_or(|object| object.uid != flight.decided.object.uid);
        if gone && world.facts.capabilities.contains(&Capability::Cancel) {
            with(Luck::OnlySaid);
            with(Luck::LostUndone);
        } else {
            with(Luck::WriteRefused);
            with(Luck::WriteLost);
        }
    }

    /// Forgets what can make no difference. `over`: nothing is left to be done about the object.
    pub fn normalise(&mut self, left: Bounds, key: Key, over: bool, tick: u8) {
        // It counts for as long as a request may take.
        self.memory.baseline_read = self
            .memory
            .baseline_read
            .filter(|links| tick <= links.begun + 1);
        if left.user == 0 && self.memory.kept == Some(key) {
            // It is used anyway.
            self.memory.kept = None;
        }
        if left.stale == 0 {
            self.delivered = None;
            self.overlay = None;
            if over && self.stage == Stage::Idle && self.flight.is_none() {
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
        if let Some(flight) = &self.flight {
            with(&flight.decided.object);
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
        if let Some(flight) = &mut self.flight {
            with(&mut flight.decided.object);
        }
    }

    /// A name for where its pass stands, for counting.
    pub fn place(&self, world: &World) -> u8 {
        let effect = |decided: &Decided| match world.tables.plan(decided.plan).effect {
            None => 0,
            Some(Effect::Launch(_)) => 1,
            Some(Effect::Lookup(_)) => 2,
            Some(Effect::Cancel(_)) => 3,
            Some(Effect::ReadBaseline { .. }) => 4,
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
                looked_up_by: None,
                last_lookup: None,
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
            Stage::Record(decided, Answer::Accepted(_))
                if faults && state.object.is_none_or(|o| o.uid != decided.object.uid) =>
            {
                // It is undone, and that may go wrong as well.
                if world.facts.capabilities.contains(&Capability::Cancel) {
                    with(Luck::OnlySaid);
                    with(Luck::LostUndone);
                }
            }
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
                Some(Effect::ReadBaseline { .. }) => {
                    let site = decided.sight.site();
                    if state.links(site, false) != state.links(site, true) {
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
            default: self.endpoint,
            endpoint: self.connected_to(world, &object),
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

    /// The endpoint that a pass connects to: the one of the claim, or where there is none the default.
    fn connected_to(&self, world: &World, object: &Object) -> u8 {
        let stored = world.tables.status(object.status);
        let claimed = matches!(
            stored.launch,
            Some(SendState::Claimed | SendState::Unknown | SendState::Confirmed)
        );
        stored
            .endpoint
            .filter(|_| claimed && !world.is(Mutant::EndpointNotPinned))
            .unwrap_or(self.endpoint)
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
                    Some(Effect::ReadBaseline { .. }) => self.read_baseline(&decided, luck),
                    Some(Effect::Cancel(session)) => {
                        let id = world.tables.id(session.session_id.as_str());
                        self.operators[index].memory.last_stop = Some(self.tick);
                        let answer = self.stop(world, id, decided.sight.site(), luck)?;
                        if answer == Answer::Stopped {
                            self.operators[index].memory.stop_taken = true;
                        }
                        answer
                    }
                    other => panic!("no such effect in this model: {other:?}"),
                };
                match answer {
                    // A look is remembered or adopted at once: were something stored before, nothing would come of it.
                    Answer::Found { .. }
                    | Answer::Absent { .. }
                    | Answer::BaselineRead(_)
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
        if launches && (self.object.unwrap().suspended || decided.sight.agent == SUSPENDED) {
            return Err(Violation::ClaimWhileSuspended);
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
        let site = decided.sight.site();
        let taken = world.recovery == Recovery::ClientId
            && world.honours_ids
            && self
                .own_sessions()
                .any(|s| (s.uid, s.attempt, s.site) == (uid, attempt, site));
        if taken {
            return Ok(Answer::Unknown(ErrorClass::Conflict));
        }
        let late = matches!(luck, Luck::LostLate | Luck::ShownLate);
        let id = self.create_session(world, uid, attempt, site, late);
        Ok(match luck {
            Luck::LostDone | Luck::LostLate => Answer::Unknown(ErrorClass::Timeout),
            _ => Answer::Accepted(id),
        })
    }

    /// Sessions that a look can find: those that it must find, oldest first, and how many may still be hidden.
    fn found(&self, world: &World, decided: &Decided) -> (Vec<Session>, usize) {
        let site = decided.sight.site();
        let ours = |s: &&Session| {
            s.uid == decided.object.uid
                && s.site == site
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
    fn links(&self, site: Site, all: bool) -> u8 {
        self.sessions
            .iter()
            .enumerate()
            .filter(|(_, s)| s.site == site && (all || s.visible_by.is_none()))
            .fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Reads what the issue links to before a launch.
    fn read_baseline(&mut self, decided: &Decided, luck: Luck) -> Answer {
        let site = decided.sight.site();
        let there = (luck != Luck::LostUndone).then(|| self.show_links(site, luck));
        Answer::BaselineRead(IssueLinks {
            begun: self.tick,
            account: site.account,
            there,
        })
    }

    fn show_links(&mut self, site: Site, luck: Luck) -> u8 {
        let there = self.links(site, luck != Luck::NotYet);
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
        let new = self.show_links(decided.sight.site(), luck) & !before;
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
        site: Site,
        luck: Luck,
    ) -> Result<Answer, Violation> {
        if world.is(Mutant::ForeignMarkerCancelled)
            && let Some(foreign) = self.sessions.iter_mut().find(|s| s.foreign)
        {
            foreign.work = Work::Stopped;
        }
        let found = self
            .sessions
            .iter_mut()
            .find(|s| s.id == id && s.site == site);
        let Some(session) = found else {
            return Ok(Answer::StopFailed);
        };
        if session.foreign {
            return Err(Violation::ForeignTouched);
        }
        Ok(match luck {
            Luck::LostUndone => Answer::StopFailed,
            Luck::OnlySaid => {
                session.told_stopped = true;
                Answer::Stopped
            }
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
                    session.told_stopped = true;
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
            let flight = Flight {
                decided,
                answer,
                recording: Recording::default(),
            };
            return self.record_launch(world, index, flight, plan, Saw::Begun, luck);
        }
        let conclusion = self.conclude(world, index, &decided, decided.object, plan, answer);
        let memory = &mut self.operators[index].memory;
        if let Some(looks) = conclusion.lookups
            && memory.uid == uid
        {
            memory.absent = looks.absent;
            memory.looked_up_by = looks.by;
            memory.last_lookup = looks.last;
            memory.fruitless = looks.fruitless;
        }
        if conclusion.baseline_read.is_some() && memory.uid == uid {
            memory.baseline_read = conclusion.baseline_read;
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

    /// Goes on with an outcome that could not be stored, or with undoing what nobody is left to own.
    pub fn go_on_recording(
        &mut self,
        world: &World,
        index: usize,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        let Some(flight) = self.operators[index].flight.take() else {
            return Ok(Writes::default());
        };
        let plan = world.tables.plan(flight.decided.plan);
        let writes = self.record_launch(world, index, flight, &plan, Saw::Paused, luck)?;
        if let Answer::Accepted(id) = flight.answer {
            self.check_acceptance(world, flight.decided.object.uid, id)?;
        }
        Ok(writes)
    }

    /// Stores the outcome of a launch until it is stored, as [`Recording`] says; up to the next pause is one step.
    fn record_launch(
        &mut self,
        world: &World,
        index: usize,
        flight: Flight,
        plan: &Planned,
        begin: Saw<'static>,
        luck: Luck,
    ) -> Result<Writes, Violation> {
        let Flight {
            decided,
            answer,
            mut recording,
        } = flight;
        let Some(Effect::Launch(launch)) = &plan.effect else {
            panic!("not a launch: {:?}", plan.effect);
        };
        let uid = decided.object.uid;
        let accepted = match answer {
            Answer::Accepted(id) => Some(id),
            _ => None,
        };
        let claim: ClaimId = launch.claim_id.clone();
        let id_text = accepted.map(|id| world.tables.id_text(id));
        let sent = recording::Sent {
            claim: &claim,
            accepted: id_text.as_ref().map(|id| id.as_str()),
            policy: DeletionPolicy::Cancel,
            cancel_visibility: world.facts.cancel_visibility,
        };
        let timing = world.believed_timing();
        let clock = Clock {
            now: at(self.wall(world, index)),
            uptime: TICK * u32::from(self.tick),
            timing: &timing,
        };
        let mut writes = Writes::default();
        let mut luck = Some(luck);
        let mut on = decided.object;
        let mut next = recording.next(sent, begin, clock);
        loop {
            next = match next {
                Do::Record => {
                    let saw =
                        self.record_on(world, index, &flight, on, plan, &mut luck, &mut writes)?;
                    if world.is(Mutant::RecordOnce) {
                        return Ok(writes);
                    }
                    recording.next(sent, saw, clock)
                }
                Do::Read => {
                    let same = self.object.filter(|object| object.uid == uid);
                    on = same.unwrap_or(on);
                    let stored = same.map(|object| world.tables.status(object.status));
                    let view = stored
                        .as_ref()
                        .map(|stored| StoredSend::launch(stored.status()));
                    recording.next(sent, Saw::Fresh(view), clock)
                }
                Do::Stop => {
                    let Some(id) = accepted else { break };
                    let site = decided.sight.site();
                    let answer = self.stop_surplus(world, id, site, &mut luck)?;
                    if answer == Some(CancelAnswer::Accepted) && world.is(Mutant::StopBelieved) {
                        break;
                    }
                    recording.next(sent, Saw::Stop(answer), clock)
                }
                Do::Poll => {
                    let over = self
                        .own_sessions()
                        .find(|s| Some(s.id) == accepted && s.site == decided.sight.site())
                        .map(|s| match s.work {
                            Work::Running => Shown::Changed,
                            _ => Shown::Over,
                        });
                    recording.next(sent, Saw::Polled(over), clock)
                }
                Do::Report(_) => {
                    self.tell(uid, true);
                    recording.next(sent, Saw::Reported, clock)
                }
                Do::Pause(_) => {
                    // Waits differ in their length only.
                    let recording = recording.without_tries();
                    self.operators[index].flight = Some(Flight {
                        recording,
                        ..flight
                    });
                    break;
                }
                Do::Done => break,
            };
        }
        Ok(writes)
    }

    /// Stops a session that was launched although its claim is not the recorded one any more.
    fn stop_surplus(
        &mut self,
        world: &World,
        id: IdNo,
        site: Site,
        luck: &mut Option<Luck>,
    ) -> Result<Option<CancelAnswer>, Violation> {
        if !world.facts.capabilities.contains(&Capability::Cancel) {
            return Ok(Some(CancelAnswer::Unsupported));
        }
        let luck = luck.take().unwrap_or(Luck::Good);
        Ok(match self.stop(world, id, site, luck)? {
            Answer::Stopped => Some(CancelAnswer::Accepted),
            Answer::NotCancellable => Some(CancelAnswer::NotCancellable(None)),
            _ => None,
        })
    }

    /// Concludes from an answer on a version of the object, and stores that if it is the newest.
    #[expect(clippy::too_many_arguments, reason = "one step of the loop above")]
    fn record_on(
        &mut self,
        world: &World,
        index: usize,
        flight: &Flight,
        on: Object,
        plan: &Planned,
        luck: &mut Option<Luck>,
        writes: &mut Writes,
    ) -> Result<Saw<'static>, Violation> {
        let uid = flight.decided.object.uid;
        let conclusion = self.conclude(world, index, &flight.decided, on, plan, flight.answer);
        if let Some(status) = conclusion.write {
            let by_name = self.object.is_some() && world.is(Mutant::MergePatchOnReborn);
            let same = self.object.is_some_and(|object| object.uid == uid);
            let blind = same && (world.is(Mutant::RecordOverwrites) || world.is(Mutant::NoClaim));
            if !(self.is_current(&on) || by_name || blind) {
                return Ok(Saw::Overtaken);
            }
            let luck = luck.take().unwrap_or(Luck::Good);
            if luck == Luck::WriteRefused {
                return Ok(Saw::Refused);
            }
            self.store(world, index, status)?;
            writes.count += 1;
            if luck == Luck::WriteLost {
                self.operators[index].overlay = None;
                return Ok(Saw::Failed);
            }
        }
        self.tell(uid, conclusion.reports);
        Ok(Saw::Stored)
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
            default: when.default,
            in_flight: operator.flight.is_some(),
            stop_taken: memory.stop_taken,
            restarted: operator.restarted,
            claims: self.claims,
            seen: memory.seen,
            absent: memory.absent,
            looked_up_by: memory.looked_up_by,
            last_lookup: memory.last_lookup,
            fruitless: memory.fruitless,
            baseline_read: memory.baseline_read,
            last_stop: memory.last_stop,
            poll: look,
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
        self.sessions.iter().position(|s| {
            let endpoint = self.connected_to(world, object);
            let account = key.account();
            s.id == id && s.site == Site { account, endpoint }
        })
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
