//! A model of its own for what is sent after the launch: a session that has ended, two messages `a` and `b` that wait in its spec,
//! the queue's slot, and a provider that works on what it takes. The launch is that of the other model, and is over.
//!
//! The object is compared by what it holds, because its version tells nothing else.

use std::cell::RefCell;
use std::hash::Hasher;
use std::rc::Rc;
use std::time::Duration;

use codeagent_operator::api::{
    ArchiveState, CodeSessionSpec, CodeSessionStatus, DeletionPolicy, DesiredState, MessageStatus,
    Reason, SendState, SessionPhase,
};
use codeagent_operator::domain::ids::{AccountFingerprint, ClaimId, RunId, SessionId};
use codeagent_operator::domain::remote::{
    AdoptAnswer, CancelAnswer, Capability, ErrorClass, Found, Launched, MessageRecovery, Messaged,
    Recovery, Sent, Subject,
};
use codeagent_operator::domain::send::Clock;
use codeagent_operator::domain::send::answer::{LaunchOutcome, MessageOutcome};
use codeagent_operator::domain::send::recording::{self, Do, Recording, Saw, Shown, StoredSend};
use codeagent_operator::domain::session::{
    BaselineRead, Connected, Effect, Inputs, Lock, Lookups, Observed, Origin, Outcome, Plan, Poll,
    Readiness, Recorded, SessionView, Slot, SlotOwner, decide, record,
};
use codeagent_operator::domain::snapshot::{Links, RemotePhase, Snapshot};
use serde_json::json;

use crate::model::{self, Mixer, NAMESPACE_UID, TICK, Work, at, uid_text};
use crate::tables::{FastMap, digest, error};

/// The messages, in order.
pub const NAMES: [&str; 2] = ["a", "b"];
/// The launch's own.
const FIRST: &str = "prompt";
const SESSION: &str = "session-0";

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The claim is not written before the message is sent.
    NoClaim,
    /// A lost answer is taken for a refusal.
    TimeoutIsFailure,
    /// Request timeout and settle time are taken for zero.
    NoFence,
    /// The message leaves however long the process was stopped.
    NoLastCheck,
    /// The end that shows right after the sending is taken for the message's.
    OldEndCounts,
    /// What runs is compared with nothing: the run of an earlier message is taken for the lost one.
    NothingToCompareWith,
    /// A message is stopped as soon as the provider says that it took the stop.
    StopBelieved,
    /// A message needs no slot.
    SlotIgnored,
    /// What holds back a first request does not hold back another one.
    SuspendedOnlyAtFirst,
    /// What is archived takes messages again as soon as the spec no longer asks for it.
    ArchiveForgotten,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A message was sent twice.
    SentTwice,
    /// A message was not sent, or nobody knows of it, where exactly once is promised.
    NotSent,
    /// Something costs money and nobody can find it or was told.
    Unowned,
    /// A message has the run of another one.
    WrongRun,
    /// The end that is recorded is not the provider's.
    WrongEnd,
    /// A message was claimed before the one before it had ended.
    OutOfOrder,
    /// A message was claimed after the user had asked for the end.
    ClaimAfterStop,
    /// A message was claimed although the session is suspended.
    ClaimWhileSuspended,
    /// A message was claimed although others have the slot.
    ClaimWithoutSlot,
    /// It never comes to rest.
    NeverStable,
    /// A message was claimed after the session was archived.
    ClaimAfterArchive,
    /// The session was archived while a message ran, or may have run, on it.
    ArchivedWhileRunning,
    /// It was to be archived and is not.
    NotArchived,
    /// A finalizer is left where nothing is to be done any more.
    FinalizerLeft,
}

/// What the spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    Running,
    Suspended,
    Cancelled,
    Archived,
}

/// What does not change during a run.
pub struct World {
    pub recovery: MessageRecovery,
    pub operators: usize,
    pub faults: u8,
    /// What people may do.
    pub people: u8,
    pub horizon: u8,
    pub mutant: Option<Mutant>,
    base: model::World,
    specs: Vec<CodeSessionSpec>,
    statuses: RefCell<Vec<Rc<CodeSessionStatus>>>,
    status_by_digest: RefCell<FastMap<u64, StatusNo>>,
    plans: RefCell<Vec<Rc<Plan>>>,
    decided: RefCell<FastMap<Sight, PlanNo>>,
    concluded: RefCell<FastMap<(Sight, PlanNo, Answer), Rc<Recorded>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusNo(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanNo(u32);

/// The object at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub generation: u8,
    pub wish: Wish,
    /// Whether message `a` is to be stopped.
    pub stopped: bool,
    pub deleting: Option<u8>,
    pub finalizer: bool,
    pub status: StatusNo,
}

/// What the provider works on for one message: somebody pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Place in [`NAMES`].
    pub message: u8,
    /// The last tick at which it may still be invisible.
    visible_by: Option<u8>,
    pub work: Work,
    told_stopped: bool,
}

/// What a process remembers, in ticks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Memory {
    claim: u8,
    seen: u8,
    absent: u32,
    looked: Option<u8>,
    /// The newest run that the look before a message showed, and when.
    baseline: Option<(u8, u8)>,
    last_stop: Option<u8>,
    stop_taken: bool,
}

/// What a look at the session shows: the newest run that shows (0: that of the launch), and what goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    run: u8,
    work: Work,
}

/// All that a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sight {
    wall: u8,
    tick: u8,
    object: Object,
    memory: Memory,
    restarted: bool,
    others_have_the_slot: bool,
    claims: u8,
    poll: Option<Seen>,
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    /// The launch of the beginning.
    Launched,
    Accepted(u8),
    Rejected(ErrorClass, Sent),
    Unknown,
    Found(u8),
    Absent,
    Ambiguous,
    Inconclusive,
    LookFailed,
    Newest(u8),
    Busy,
    Stopped,
    NotCancellable,
    StopFailed,
    /// The message is refused because the session is archived.
    ArchivedThere,
    Archived,
    ArchiveFailed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    /// The effect comes next.
    Effect(Sight, PlanNo),
    /// What came of it is to be recorded.
    Record(Sight, PlanNo, Answer, Recording),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Operator {
    restarted: bool,
    /// Whether it is stopped in the middle of a pass while time goes on.
    paused: bool,
    memory: Memory,
    stage: Stage,
}

/// Everything that changes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub tick: u8,
    /// `None`: deleted.
    pub object: Option<Object>,
    operators: [Operator; 2],
    pub runs: Vec<Run>,
    /// Whether sessions of others have the slot that there is.
    pub others_have_the_slot: bool,
    /// Whether the provider has put the session away.
    archived: bool,
    /// Whether the session was ever to be cancelled or archived: what was asked for once stays wanted.
    end_wanted: bool,
    faults: u8,
    people: u8,
    claims: u8,
    /// Whether somebody was warned.
    reported: bool,
}

/// How a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    Good,
    /// What runs has just ended by itself.
    Ended,
    /// What was accepted does not show yet.
    NotYet,
    RateLimited,
    Unsent,
    LostDone,
    LostLate,
    LostUndone,
    /// A stop that is answered as if done, and is not.
    OnlySaid,
    Unreadable,
    WriteRefused,
    WriteLost,
}

impl Luck {
    fn is_free(self) -> bool {
        matches!(self, Self::Good | Self::Ended | Self::NotYet)
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass(usize, Luck),
    Step(usize, Luck),
    Crash(usize),
    /// Time passes; who is in the middle of a pass is stopped meanwhile, at the price of a fault.
    Tick,
    StopMessage,
    Wish(Wish),
    Delete,
    /// A session of others takes the slot.
    TakeSlot,
    /// It ends: the slot is handed over.
    FreeSlot,
}

fn account() -> AccountFingerprint {
    AccountFingerprint::new("account a")
}

fn run_id(run: u8) -> RunId {
    RunId::new(format!("run-{run}"))
}

fn number_of(run: &str) -> u8 {
    run.trim_start_matches("run-").parse().unwrap()
}

fn claim_number(claim: &str) -> u8 {
    claim.trim_start_matches("claim-").parse().unwrap()
}

/// The record of the newest claim.
fn newest_claim(status: &CodeSessionStatus) -> u8 {
    let of_messages = status.messages.iter().filter_map(|it| it.send.as_ref());
    let all = status.launch.iter().chain(of_messages);
    all.map(|it| claim_number(&it.claim_id))
        .max()
        .unwrap_or_default()
}

/// What is stored of the message.
pub fn entry<'a>(status: &'a CodeSessionStatus, name: &str) -> Option<&'a MessageStatus> {
    status.messages.iter().find(|it| it.name == name)
}

/// Whether the provider has the session and its newest message has not ended.
fn is_followed(status: &CodeSessionStatus) -> bool {
    let newest = status
        .messages
        .iter()
        .filter_map(|it| it.send.as_ref())
        .next_back();
    let state = newest.or(status.launch.as_ref()).map(|it| it.state);
    !status.phase.is_terminal() && state == Some(SendState::Confirmed)
}

impl World {
    pub fn new(recovery: MessageRecovery, operators: usize, faults: u8, people: u8) -> Self {
        let of_launch = match recovery {
            MessageRecovery::Marker => Recovery::Marker,
            MessageRecovery::Baseline => Recovery::ClientId,
        };
        let mut base = model::World::new(of_launch);
        base.facts.message_recovery = Some(recovery);
        base.facts.capabilities.insert(Capability::Archive);
        let wishes = [
            Wish::Running,
            Wish::Suspended,
            Wish::Cancelled,
            Wish::Archived,
        ];
        let specs = wishes
            .into_iter()
            .flat_map(|wish| [(wish, false), (wish, true)])
            .map(|(wish, stopped)| spec(&base.running, wish, stopped));
        Self {
            recovery,
            operators,
            faults,
            people,
            horizon: 5,
            mutant: None,
            specs: specs.collect(),
            base,
            statuses: RefCell::default(),
            status_by_digest: RefCell::default(),
            plans: RefCell::default(),
            decided: RefCell::default(),
            concluded: RefCell::default(),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn status(&self, no: StatusNo) -> Rc<CodeSessionStatus> {
        Rc::clone(&self.statuses.borrow()[no.0 as usize])
    }

    fn number(&self, status: CodeSessionStatus) -> StatusNo {
        let digest = digest(&status);
        if let Some(no) = self.status_by_digest.borrow().get(&digest) {
            return *no;
        }
        let mut statuses = self.statuses.borrow_mut();
        let no = StatusNo(u32::try_from(statuses.len()).unwrap());
        statuses.push(Rc::new(status));
        self.status_by_digest.borrow_mut().insert(digest, no);
        no
    }

    fn plan(&self, no: PlanNo) -> Rc<Plan> {
        Rc::clone(&self.plans.borrow()[no.0 as usize])
    }

    fn timing(&self) -> codeagent_operator::domain::timing::Timing {
        let mut timing = self.base.timing.clone();
        if self.is(Mutant::NoFence) {
            timing.post_timeout = Duration::ZERO;
            timing.settle = Duration::ZERO;
        }
        timing
    }

    fn decide(&self, sight: &Sight) -> PlanNo {
        if let Some(no) = self.decided.borrow().get(sight) {
            return *no;
        }
        let plan = self.observe(sight, decide);
        let mut plans = self.plans.borrow_mut();
        let no = PlanNo(u32::try_from(plans.len()).unwrap());
        plans.push(Rc::new(plan));
        self.decided.borrow_mut().insert(*sight, no);
        no
    }

    fn conclude(&self, sight: &Sight, plan: PlanNo, answer: Answer) -> Rc<Recorded> {
        let key = (*sight, plan, answer);
        if let Some(known) = self.concluded.borrow().get(&key) {
            return Rc::clone(known);
        }
        let outcome = self.outcome(sight.tick, answer);
        let decided = self.plan(plan);
        let effect = decided.effect.as_ref().unwrap();
        let recorded = Rc::new(self.observe(sight, |o| record(o, effect, &outcome)));
        self.concluded
            .borrow_mut()
            .insert(key, Rc::clone(&recorded));
        recorded
    }

    fn outcome(&self, tick: u8, answer: Answer) -> Outcome {
        let now = TICK * u32::from(tick);
        let looked = |answer| Outcome::LookedUp { begun: now, answer };
        let read = |result| Outcome::BaselineRead {
            begun: now,
            ended: now,
            result,
        };
        match answer {
            Answer::Launched => Outcome::Launched(LaunchOutcome::Accepted(Launched {
                session_id: SessionId::new(SESSION),
                run_id: Some(run_id(0)).filter(|_| self.numbers()),
                url: None,
                phase: RemotePhase::Running,
                raw_status: "RUNNING".into(),
                id_honoured: None,
            })),
            Answer::Accepted(run) => Outcome::Messaged(MessageOutcome::Accepted(Messaged {
                session_id: SessionId::new(SESSION),
                run_id: Some(run_id(run)).filter(|_| self.numbers()),
                phase: RemotePhase::Running,
            })),
            Answer::Rejected(class, sent) => {
                Outcome::Messaged(MessageOutcome::Rejected(error(class, sent)))
            }
            Answer::Unknown => Outcome::Messaged(MessageOutcome::Unknown(error(
                ErrorClass::Timeout,
                Sent::Possibly,
            ))),
            Answer::Found(run) => looked(Ok(AdoptAnswer::Found(vec![Found {
                snapshot: self.snapshot(run, Work::Running),
                attempt: None,
                doubt: None,
            }]))),
            Answer::Absent => looked(Ok(AdoptAnswer::Absent)),
            Answer::Ambiguous => looked(Ok(AdoptAnswer::Ambiguous {
                why: "2 new runs".into(),
            })),
            Answer::Inconclusive => looked(Ok(AdoptAnswer::Inconclusive {
                why: "it cannot be read".into(),
                resume: None,
            })),
            Answer::LookFailed => looked(Err(error(ErrorClass::Unavailable, Sent::Possibly))),
            Answer::Newest(run) => read(Ok(Some(run_id(run).as_str().to_owned()))),
            Answer::Busy => {
                let mut busy = error(ErrorClass::Conflict, Sent::Nothing);
                busy.subject = Some(Subject::Busy);
                read(Err(busy))
            }
            Answer::Stopped => Outcome::Stopped(Ok(CancelAnswer::Accepted)),
            Answer::NotCancellable => Outcome::Stopped(Ok(CancelAnswer::NotCancellable(None))),
            Answer::StopFailed => Outcome::Stopped(Err(error(ErrorClass::Timeout, Sent::Possibly))),
            Answer::ArchivedThere => {
                let mut archived = error(ErrorClass::Conflict, Sent::Possibly);
                archived.subject = Some(Subject::Archived);
                Outcome::Messaged(MessageOutcome::Rejected(archived))
            }
            Answer::Archived => Outcome::Archived {
                account: account(),
                result: Ok(()),
            },
            Answer::ArchiveFailed => Outcome::Archived {
                account: account(),
                result: Err(error(ErrorClass::Unavailable, Sent::Possibly)),
            },
        }
    }

    /// Whether the provider numbers what runs.
    fn numbers(&self) -> bool {
        self.recovery == MessageRecovery::Baseline
    }

    fn snapshot(&self, run: u8, work: Work) -> Snapshot {
        let phase = match work {
            Work::Running => RemotePhase::Running,
            Work::Finished => RemotePhase::Finished,
            Work::Stopped => RemotePhase::Cancelled,
        };
        Snapshot {
            session_id: SessionId::new(SESSION),
            run_id: Some(run_id(run)).filter(|_| self.numbers()),
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

    /// Builds what an operator observes.
    fn observe<R>(&self, sight: &Sight, with: impl FnOnce(&Observed<'_>) -> R) -> R {
        let (object, memory) = (&sight.object, &sight.memory);
        let ticks = |tick: u8| TICK * u32::from(tick);
        let mut status = self.status(object.status);
        let done = is_archived(&status) && self.is(Mutant::ArchiveForgotten);
        if done && object.wish == Wish::Running {
            let status = Rc::make_mut(&mut status);
            (status.archive, status.cancel) = (None, None);
            status
                .messages
                .retain(|it| it.name == FIRST || it.send.is_some());
        }
        let timing = self.timing();
        let lookups = Lookups {
            account: memory.looked.map(|_| account()),
            absent: (0..32)
                .filter(|tick| memory.absent >> tick & 1 == 1)
                .map(|tick| TICK * tick)
                .collect(),
            begun: None,
            resume: None,
            inconclusive: 0,
            fruitless_in_a_row: 0,
            unclear: None,
            fruitless: None,
            last: memory.looked.map(ticks),
        };
        let baseline = memory.baseline.map(|(run, begun)| BaselineRead {
            account: account(),
            begun: ticks(begun),
            ended: ticks(begun),
            failures: 0,
            result: Ok(Some(run_id(run).as_str().to_owned())),
        });
        let poll = sight.poll.map(|seen| Poll {
            begun: ticks(sight.tick),
            result: Ok(self.snapshot(seen.run, seen.work)),
            account: account(),
            unchanged_since: ticks(sight.tick),
        });
        let claim_id = ClaimId::new(format!("claim-{}", sight.claims + 1));
        let seen = if self.is(Mutant::OldEndCounts) {
            0
        } else {
            memory.seen
        };
        let again = newest_claim(&status) > 1 && self.is(Mutant::SuspendedOnlyAtFirst);
        let wish = match object.wish {
            Wish::Suspended if again => Wish::Running,
            wish => wish,
        };
        let wanted = !self.is(Mutant::SlotIgnored) && sight.others_have_the_slot;
        let slot = match wanted && !is_active(&status) {
            true => Slot::Taken {
                of: SlotOwner::Agent,
                position: Some(1),
            },
            false => Slot::Free,
        };
        with(&Observed {
            now: at(sight.wall),
            uptime: ticks(sight.tick),
            session: SessionView {
                namespace: "team",
                name: "session",
                uid: uid_text(0),
                namespace_uid: Some(NAMESPACE_UID),
                generation: i64::from(object.generation),
                created_at: at(0),
                deleting: object.deleting.map(at),
                has_finalizer: object.finalizer,
                origin: Origin::Own,
                adopt: None,
                spec: &self.specs[2 * wish as usize + usize::from(object.stopped)],
                status: Some(&status),
                older_than_process: sight.restarted,
            },
            agent: self.base.agents[0][1].clone(),
            provider: Some(self.base.facts.clone()),
            readiness: Readiness::Ready(Connected {
                verified: Some(Duration::MAX),
                credential: "key".into(),
                account: account(),
                inputs: Some(Inputs {
                    digest: "digest".into(),
                    template_id: None,
                }),
            }),
            slot,
            lock: Lock::Unneeded,
            baseline_read: baseline.as_ref(),
            in_flight: false,
            claim_first_seen: Some(ticks(seen)),
            deletion_first_seen: object.deleting.map(ticks),
            lookups: &lookups,
            poll: poll.as_ref(),
            last_stop: memory.last_stop.map(ticks),
            stop_taken: memory.stop_taken,
            polled_after_end: None,
            faults: 0,
            installation: &self.base.installation,
            fresh_claim_id: &claim_id,
            timing: &timing,
            stopping: false,
        })
    }

    /// The session as its launch left it: finished, and nothing holds it.
    fn launched(&self) -> StatusNo {
        let mut status = CodeSessionStatus::default();
        let mut spec = self.base.running.clone();
        spec.messages = None;
        let steps = [None, Some(Answer::Launched), None];
        for (step, answer) in steps.into_iter().enumerate() {
            let no = self.number(status.clone());
            let sight = Sight {
                poll: (step == 2).then_some(Seen {
                    run: 0,
                    work: Work::Finished,
                }),
                ..Sight::first(no)
            };
            let next = self.observe(&sight, |o| {
                let o = Observed {
                    session: SessionView {
                        spec: &spec,
                        status: o.session.status.filter(|_| step > 0),
                        ..o.session.clone()
                    },
                    ..o.clone()
                };
                match answer {
                    None => decide(&o).before.map(|write| *write.status),
                    Some(answer) => {
                        let fresh = Observed {
                            session: SessionView {
                                status: None,
                                ..o.session.clone()
                            },
                            ..o.clone()
                        };
                        let effect = decide(&fresh).effect.unwrap();
                        let recorded = record(&o, &effect, &self.outcome(0, answer));
                        recorded.write.map(|write| *write.status)
                    }
                }
            });
            status = next.unwrap();
        }
        assert_eq!(status.phase, SessionPhase::Finished);
        self.number(status)
    }
}

/// Whether it is recorded that the session was archived.
fn is_archived(status: &CodeSessionStatus) -> bool {
    let archive = status.archive.as_ref();
    archive.is_some_and(|it| it.state != ArchiveState::Requested)
}

/// Whether the session holds its slot: from the claim to the end.
fn is_active(status: &CodeSessionStatus) -> bool {
    matches!(status.phase, SessionPhase::Creating | SessionPhase::Running)
}

fn spec(running: &CodeSessionSpec, wish: Wish, stopped: bool) -> CodeSessionSpec {
    let message = |name: &str, stopped: bool| match stopped {
        true => json!({"name": name, "prompt": "Go on", "cancel": true}),
        false => json!({"name": name, "prompt": "Go on"}),
    };
    let messages = json!([message(NAMES[0], stopped), message(NAMES[1], false)]);
    CodeSessionSpec {
        desired_state: match wish {
            Wish::Running => None,
            Wish::Suspended => Some(DesiredState::Suspended),
            Wish::Cancelled => Some(DesiredState::Cancelled),
            Wish::Archived => Some(DesiredState::Archived),
        },
        messages: serde_json::from_value(messages).unwrap(),
        ..running.clone()
    }
}

impl Sight {
    /// Of a session before its launch.
    fn first(status: StatusNo) -> Self {
        Self {
            wall: 0,
            tick: 0,
            object: Object {
                generation: 1,
                wish: Wish::Running,
                stopped: false,
                deleting: None,
                finalizer: true,
                status,
            },
            memory: Memory::default(),
            restarted: false,
            others_have_the_slot: false,
            claims: 0,
            poll: None,
        }
    }
}

impl State {
    pub fn first(world: &World) -> Self {
        let operator = Operator {
            restarted: false,
            paused: false,
            memory: Memory::default(),
            stage: Stage::Idle,
        };
        let ended = Sight::first(world.launched()).object;
        Self {
            // The launch was some time ago.
            tick: 4,
            object: Some(Object {
                generation: 2,
                finalizer: false,
                ..ended
            }),
            operators: [operator; 2],
            runs: Vec::new(),
            others_have_the_slot: false,
            archived: false,
            end_wanted: false,
            faults: world.faults,
            people: world.people,
            claims: 1,
            reported: false,
        }
    }

    pub fn digest(&self) -> u64 {
        let mut h = Mixer::default();
        std::hash::Hash::hash(self, &mut h);
        h.finish()
    }

    /// Without anything that can still go wrong, and with nothing that holds it back.
    pub fn calmed(&self) -> Self {
        let mut calm = self.clone();
        (calm.faults, calm.people) = (0, 0);
        calm.others_have_the_slot = false;
        if let Some(object) = calm
            .object
            .as_mut()
            .filter(|object| object.wish == Wish::Suspended)
        {
            object.wish = Wish::Running;
            object.generation += 1;
        }
        calm
    }

    pub fn is_idle(&self, operator: usize) -> bool {
        self.operators[operator].stage == Stage::Idle
    }

    /// Whether something runs at the provider that the stored status follows.
    pub fn is_running(&self, world: &World) -> bool {
        let followed = self
            .object
            .is_some_and(|object| is_followed(&world.status(object.status)));
        followed && self.runs.iter().any(|run| run.work == Work::Running)
    }

    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for index in 0..world.operators {
            let operator = &self.operators[index];
            match operator.stage {
                Stage::Idle => self.passes(world, index, &mut actions),
                Stage::Effect(_, plan) => self.effects(world, index, plan, &mut actions),
                Stage::Record(..) => {
                    actions.push(Action::Step(index, Luck::Good));
                    if self.faults > 0 {
                        actions.push(Action::Step(index, Luck::WriteRefused));
                        actions.push(Action::Step(index, Luck::WriteLost));
                    }
                }
            }
            let nothing = operator.memory == Memory::default() && operator.stage == Stage::Idle;
            if self.faults > 0 && !nothing {
                actions.push(Action::Crash(index));
            }
        }
        if self.people > 0 {
            self.people(world, &mut actions);
        }
        if self.others_have_the_slot {
            actions.push(Action::FreeSlot);
        }
        if self.tick < 4 + world.horizon && self.to_be_paused() <= self.faults {
            actions.push(Action::Tick);
        }
        actions
    }

    fn passes(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let Some(object) = self.object else { return };
        actions.push(Action::Pass(index, Luck::Good));
        if is_followed(&world.status(object.status)) {
            if self.hidden() {
                actions.push(Action::Pass(index, Luck::NotYet));
            }
            if self.runs.iter().any(|run| run.work == Work::Running) {
                actions.push(Action::Pass(index, Luck::Ended));
            }
        }
        if self.faults > 0 {
            actions.push(Action::Pass(index, Luck::WriteLost));
        }
    }

    fn effects(&self, world: &World, index: usize, plan: PlanNo, actions: &mut Vec<Action>) {
        let mut step = |luck| actions.push(Action::Step(index, luck));
        step(Luck::Good);
        let lucks: &[Luck] = match &world.plan(plan).effect {
            Some(Effect::Message(_)) => &[
                Luck::RateLimited,
                Luck::Unsent,
                Luck::LostDone,
                Luck::LostLate,
                Luck::LostUndone,
            ],
            Some(Effect::Lookup(_)) => {
                if self.hidden() {
                    step(Luck::NotYet);
                }
                &[Luck::LostUndone, Luck::Unreadable]
            }
            Some(Effect::ReadBaseline { .. }) => {
                if self.hidden() {
                    step(Luck::NotYet);
                }
                &[Luck::LostUndone]
            }
            Some(Effect::Cancel(_)) => {
                step(Luck::Ended);
                &[Luck::LostDone, Luck::LostUndone, Luck::OnlySaid]
            }
            Some(Effect::Archive(_)) => &[Luck::LostDone, Luck::LostUndone],
            _ => &[],
        };
        if self.faults > 0 {
            lucks.iter().for_each(|luck| step(*luck));
        }
    }

    fn people(&self, world: &World, actions: &mut Vec<Action>) {
        let Some(object) = self.object else { return };
        let status = world.status(object.status);
        if object.deleting.is_none() {
            actions.push(Action::Delete);
        }
        if !object.stopped {
            actions.push(Action::StopMessage);
        }
        match object.wish {
            Wish::Running => {
                actions.push(Action::Wish(Wish::Suspended));
                actions.push(Action::Wish(Wish::Cancelled));
                actions.push(Action::Wish(Wish::Archived));
            }
            Wish::Suspended | Wish::Archived => actions.push(Action::Wish(Wish::Running)),
            Wish::Cancelled => {}
        }
        // While it is active, the slot is its own.
        if !self.others_have_the_slot && !is_active(&status) {
            actions.push(Action::TakeSlot);
        }
    }

    /// How many would be stopped in the middle of a pass, were time to pass.
    fn to_be_paused(&self) -> u8 {
        let operators = self.operators.iter();
        let paused = operators.filter(|it| it.stage != Stage::Idle && !it.paused);
        u8::try_from(paused.count()).unwrap()
    }

    fn hidden(&self) -> bool {
        self.runs.iter().any(|run| run.visible_by.is_some())
    }

    pub fn apply(&self, world: &World, action: Action) -> Result<Self, Violation> {
        let mut next = self.clone();
        let change = |state: &mut Self, change: &dyn Fn(&mut Object)| {
            state.people -= 1;
            if let Some(object) = state.object.as_mut() {
                change(object);
                object.generation += 1;
            }
        };
        match action {
            Action::Pass(index, luck) => {
                next.spend(luck);
                next.pass(world, index, luck)?;
            }
            Action::Step(index, luck) => {
                next.spend(luck);
                next.step(world, index, luck)?;
            }
            Action::Crash(index) => {
                next.faults -= 1;
                next.operators[index] = Operator {
                    restarted: true,
                    paused: false,
                    memory: Memory::default(),
                    stage: Stage::Idle,
                };
            }
            Action::Tick => {
                next.faults -= self.to_be_paused();
                for operator in &mut next.operators {
                    operator.paused = operator.stage != Stage::Idle;
                }
                next.tick += 1;
            }
            Action::StopMessage => change(&mut next, &|object| object.stopped = true),
            Action::Wish(wish) => {
                change(&mut next, &|object| object.wish = wish);
                next.end_wanted |= matches!(wish, Wish::Cancelled | Wish::Archived);
            }
            Action::Delete => {
                let tick = self.tick;
                change(&mut next, &|object| object.deleting = Some(tick));
                next.collect();
            }
            Action::TakeSlot => {
                next.people -= 1;
                next.others_have_the_slot = true;
            }
            Action::FreeSlot => next.others_have_the_slot = false,
        }
        for run in &mut next.runs {
            run.visible_by = run.visible_by.filter(|by| *by >= next.tick);
        }
        next.check(world)?;
        Ok(next)
    }

    fn spend(&mut self, luck: Luck) {
        if !luck.is_free() {
            self.faults -= 1;
        }
    }

    fn collect(&mut self) {
        let over = |object: &Object| object.deleting.is_some() && !object.finalizer;
        if self.object.as_ref().is_some_and(over) {
            self.object = None;
        }
    }

    fn wall(&self, index: usize) -> u8 {
        // The clocks of two differ.
        self.tick + 2 * u8::try_from(index).unwrap()
    }

    /// What an operator sees now.
    fn sight(&mut self, world: &World, index: usize, object: Object, luck: Luck) -> Sight {
        let status = world.status(object.status);
        let claim = newest_claim(&status);
        let tick = self.tick;
        let memory = &mut self.operators[index].memory;
        if memory.claim != claim {
            *memory = Memory {
                claim,
                seen: tick,
                ..Memory::default()
            };
        }
        // It counts for as long as a request may take.
        memory.baseline = memory.baseline.filter(|(_, begun)| tick <= begun + 1);
        let believed = memory.stop_taken && world.is(Mutant::StopBelieved);
        let poll = is_followed(&status).then(|| {
            let mut seen = self.look(luck);
            if believed && seen.work == Work::Running {
                seen.work = Work::Stopped;
            }
            seen
        });
        Sight {
            wall: self.wall(index),
            tick,
            object,
            memory: self.operators[index].memory,
            restarted: self.operators[index].restarted,
            others_have_the_slot: self.others_have_the_slot,
            claims: self.claims,
            poll,
        }
    }

    /// A look at the session: what shows is seen from then on.
    fn look(&mut self, luck: Luck) -> Seen {
        if luck == Luck::Ended
            && let Some(run) = self.runs.iter_mut().find(|run| run.work == Work::Running)
        {
            run.work = Work::Finished;
        }
        if luck != Luck::NotYet {
            for run in &mut self.runs {
                run.visible_by = None;
            }
        }
        let shown = || {
            self.runs
                .iter()
                .zip(1..)
                .filter(|(run, _)| run.visible_by.is_none())
        };
        let running = shown().find(|(run, _)| run.work == Work::Running);
        let newest = running.or(shown().last());
        newest.map_or(
            Seen {
                run: 0,
                work: Work::Finished,
            },
            |(run, number)| Seen {
                run: number,
                work: run.work,
            },
        )
    }

    fn pass(&mut self, world: &World, index: usize, luck: Luck) -> Result<(), Violation> {
        let Some(object) = self.object else {
            return Ok(());
        };
        let sight = self.sight(world, index, object, luck);
        let no = world.decide(&sight);
        let plan = world.plan(no);
        self.report(&plan.events);
        if let Some(write) = &plan.before {
            let status = world.number((*write.status).clone());
            if matches!(plan.effect, Some(Effect::Message(_))) {
                self.check_claim(world, &object)?;
                self.claims += 1;
            }
            let skipped = world.is(Mutant::NoClaim) && plan.effect.is_some();
            if !skipped {
                self.store(status);
            }
            if luck == Luck::WriteLost {
                return Ok(());
            }
            let sight = Sight {
                object: Object { status, ..object },
                ..sight
            };
            let status = world.status(status);
            let memory = &mut self.operators[index].memory;
            let claim = newest_claim(&status);
            if memory.claim != claim {
                *memory = Memory {
                    claim,
                    seen: sight.tick,
                    ..Memory::default()
                };
            }
            if plan.effect.is_some() {
                self.operators[index].stage = Stage::Effect(sight, no);
            }
            return Ok(());
        }
        match &plan.effect {
            None => {}
            Some(Effect::AddFinalizer) => self.change(|object| object.finalizer = true),
            Some(Effect::ReleaseFinalizer) => {
                self.change(|object| object.finalizer = false);
                self.collect();
            }
            Some(_) => self.operators[index].stage = Stage::Effect(sight, no),
        }
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut Object)) {
        if let Some(object) = self.object.as_mut() {
            change(object);
        }
    }

    fn store(&mut self, status: StatusNo) {
        self.change(|object| object.status = status);
    }

    fn report(&mut self, events: &[codeagent_operator::domain::session::Event]) {
        self.reported |= events.iter().any(|event| {
            matches!(
                event.reason,
                Reason::Orphaned | Reason::MessageOutcomeUnknown | Reason::DuplicateLaunch
            )
        });
    }

    /// What must hold where a message is claimed.
    fn check_claim(&self, world: &World, object: &Object) -> Result<(), Violation> {
        let status = world.status(object.status);
        let first_is_over = entry(&status, NAMES[0]).is_some_and(|it| it.phase.is_terminal());
        let claims_second = first_is_over;
        if object.deleting.is_some()
            || matches!(object.wish, Wish::Cancelled | Wish::Archived)
            || (object.stopped && !claims_second)
        {
            return Err(Violation::ClaimAfterStop);
        }
        if object.wish == Wish::Suspended {
            return Err(Violation::ClaimWhileSuspended);
        }
        if is_archived(&status) {
            return Err(Violation::ClaimAfterArchive);
        }
        if self.others_have_the_slot {
            return Err(Violation::ClaimWithoutSlot);
        }
        Ok(())
    }

    fn step(&mut self, world: &World, index: usize, luck: Luck) -> Result<(), Violation> {
        let stage = std::mem::replace(&mut self.operators[index].stage, Stage::Idle);
        self.operators[index].paused = false;
        match stage {
            Stage::Idle => Ok(()),
            Stage::Effect(sight, no) => {
                let plan = world.plan(no);
                let answer = match &plan.effect {
                    Some(Effect::Message(message)) => {
                        let in_window =
                            at(self.wall(index)) < message.not_after && self.tick == sight.tick;
                        let in_window = in_window || world.is(Mutant::NoLastCheck);
                        let answer = self.send(&message.name, in_window, luck, world)?;
                        let recording = Recording::default();
                        self.operators[index].stage = Stage::Record(sight, no, answer, recording);
                        return Ok(());
                    }
                    Some(Effect::Lookup(lookup)) => {
                        let of = lookup.message.as_ref().unwrap();
                        self.find(world, &of.name, lookup.baseline.as_deref(), luck)
                    }
                    Some(Effect::ReadBaseline { .. }) => self.read_baseline(index, luck),
                    Some(Effect::Cancel(_)) => self.stop(index, luck),
                    Some(Effect::Archive(_)) => self.archive(&sight.object, luck, world)?,
                    other => panic!("no such effect in this model: {other:?}"),
                };
                self.conclude(world, index, sight, no, answer);
                Ok(())
            }
            Stage::Record(sight, no, answer, recording) => {
                self.record(world, index, (sight, no, answer, recording), luck);
                Ok(())
            }
        }
    }

    fn send(
        &mut self,
        name: &str,
        in_window: bool,
        luck: Luck,
        world: &World,
    ) -> Result<Answer, Violation> {
        if luck == Luck::Unsent || !in_window {
            return Ok(Answer::Rejected(ErrorClass::Timeout, Sent::Nothing));
        }
        if luck == Luck::RateLimited {
            return Ok(Answer::Rejected(ErrorClass::RateLimited, Sent::Possibly));
        }
        let lost = || match world.is(Mutant::TimeoutIsFailure) {
            true => Answer::Rejected(ErrorClass::Unavailable, Sent::Nothing),
            false => Answer::Unknown,
        };
        if luck == Luck::LostUndone {
            return Ok(lost());
        }
        if self.archived {
            return Ok(Answer::ArchivedThere);
        }
        if self.runs.iter().any(|run| run.work == Work::Running) && world.mutant.is_none() {
            return Err(Violation::OutOfOrder);
        }
        let late = u8::from(luck == Luck::LostLate) * 2;
        let message = NAMES.iter().position(|known| *known == name).unwrap();
        self.runs.push(Run {
            message: u8::try_from(message).unwrap(),
            // Within the tick it may not show yet; a request whose answer is lost may be carried out much later.
            visible_by: Some(self.tick + late),
            work: Work::Running,
            told_stopped: false,
        });
        Ok(match luck {
            Luck::LostDone | Luck::LostLate => lost(),
            _ => Answer::Accepted(u8::try_from(self.runs.len()).unwrap()),
        })
    }

    fn find(&mut self, world: &World, name: &str, baseline: Option<&str>, luck: Luck) -> Answer {
        match luck {
            Luck::LostUndone => return Answer::LookFailed,
            Luck::Unreadable => return Answer::Inconclusive,
            _ => {}
        }
        if luck != Luck::NotYet {
            for run in &mut self.runs {
                run.visible_by = None;
            }
        }
        let shown = self.runs.iter().zip(1_u8..);
        let shown = shown.filter(|(run, _)| run.visible_by.is_none());
        let found: Vec<u8> = match world.recovery {
            MessageRecovery::Marker => shown
                .filter(|(run, _)| NAMES[usize::from(run.message)] == name)
                .map(|(_, number)| number)
                .collect(),
            MessageRecovery::Baseline if world.is(Mutant::NothingToCompareWith) => {
                let all = shown.map(|(_, number)| number);
                all.take(1).collect()
            }
            MessageRecovery::Baseline => {
                let before = baseline.map_or(0, number_of);
                shown
                    .map(|(_, number)| number)
                    .filter(|number| *number > before)
                    .collect()
            }
        };
        match (found.as_slice(), world.recovery) {
            ([], _) => Answer::Absent,
            ([_, _, ..], MessageRecovery::Baseline) => Answer::Ambiguous,
            ([first, ..], _) => Answer::Found(*first),
        }
    }

    fn read_baseline(&mut self, index: usize, luck: Luck) -> Answer {
        if luck == Luck::LostUndone {
            return Answer::Busy;
        }
        let seen = self.look(luck);
        if seen.work == Work::Running {
            return Answer::Busy;
        }
        self.operators[index].memory.baseline = Some((seen.run, self.tick));
        Answer::Newest(seen.run)
    }

    fn stop(&mut self, index: usize, luck: Luck) -> Answer {
        self.operators[index].memory.last_stop = Some(self.tick);
        let Some(run) = self.runs.iter_mut().find(|run| run.work == Work::Running) else {
            return Answer::NotCancellable;
        };
        let answer = match luck {
            Luck::LostUndone => Answer::StopFailed,
            Luck::OnlySaid => {
                run.told_stopped = true;
                Answer::Stopped
            }
            Luck::Ended => {
                run.work = Work::Finished;
                Answer::NotCancellable
            }
            Luck::LostDone => {
                run.work = Work::Stopped;
                Answer::StopFailed
            }
            _ => {
                run.work = Work::Stopped;
                run.told_stopped = true;
                Answer::Stopped
            }
        };
        self.operators[index].memory.stop_taken |= answer == Answer::Stopped;
        answer
    }

    fn archive(&mut self, object: &Object, luck: Luck, world: &World) -> Result<Answer, Violation> {
        // On what was decided: another operator may have sent a message since.
        let status = world.status(object.status);
        let open = |state| matches!(state, SendState::Claimed | SendState::Unknown);
        let sends = status.messages.iter().filter_map(|it| it.send.as_ref());
        if is_followed(&status) || sends.into_iter().any(|send| open(send.state)) {
            return Err(Violation::ArchivedWhileRunning);
        }
        self.archived |= luck != Luck::LostUndone;
        Ok(match luck {
            Luck::LostDone | Luck::LostUndone => Answer::ArchiveFailed,
            _ => Answer::Archived,
        })
    }

    /// Remembers and stores what came of anything but a message.
    fn conclude(&mut self, world: &World, index: usize, sight: Sight, no: PlanNo, answer: Answer) {
        let recorded = world.conclude(&sight, no, answer);
        let memory = &mut self.operators[index].memory;
        if let Some(looks) = &recorded.lookups {
            let ticks = |time: &Duration| time.as_secs() / TICK.as_secs();
            memory.absent = looks
                .absent
                .iter()
                .fold(0, |bits, begun| bits | 1_u32 << ticks(begun));
            memory.looked = looks.last.map(|last| u8::try_from(ticks(&last)).unwrap());
        }
        if let Some(write) = &recorded.write {
            if self.object != Some(sight.object) {
                return;
            }
            let status = world.number((*write.status).clone());
            self.store(status);
        }
        self.report(&recorded.events);
    }

    /// Stores the outcome of a message until it is stored, as [`Recording`] says; up to the next pause is one step.
    fn record(
        &mut self,
        world: &World,
        index: usize,
        (sight, no, answer, mut recording): (Sight, PlanNo, Answer, Recording),
        luck: Luck,
    ) {
        let plan = world.plan(no);
        let Some(Effect::Message(message)) = &plan.effect else {
            panic!("not a message: {:?}", plan.effect);
        };
        let accepted = match answer {
            Answer::Accepted(run) if world.numbers() => Some(format!("run-{run}")),
            Answer::Accepted(_) => Some(SESSION.to_owned()),
            _ => None,
        };
        let sent = recording::Sent {
            claim: &message.claim_id,
            accepted: accepted.as_deref(),
            policy: DeletionPolicy::Cancel,
            cancel_visibility: world.base.facts.cancel_visibility,
        };
        let timing = world.timing();
        let clock = Clock {
            now: at(self.wall(index)),
            uptime: TICK * u32::from(self.tick),
            timing: &timing,
        };
        let mut luck = Some(luck).filter(|luck| *luck != Luck::Good);
        let mut on = sight.object;
        let mut next = recording.next(sent, Saw::Begun, clock);
        loop {
            next = match next {
                Do::Record => {
                    let saw = self.record_on(
                        world,
                        Sight {
                            object: on,
                            ..sight
                        },
                        no,
                        answer,
                        &mut luck,
                    );
                    recording.next(sent, saw, clock)
                }
                Do::Read => {
                    on = self.object.unwrap_or(on);
                    let stored = self.object.map(|object| world.status(object.status));
                    let view = stored
                        .as_deref()
                        .map(|status| StoredSend::message(Some(status), &message.name));
                    recording.next(sent, Saw::Fresh(view), clock)
                }
                Do::Stop => {
                    let answer = match self.stop(index, Luck::Good) {
                        Answer::Stopped => CancelAnswer::Accepted,
                        _ => CancelAnswer::NotCancellable(None),
                    };
                    recording.next(sent, Saw::Stop(Some(answer)), clock)
                }
                Do::Poll => recording.next(sent, Saw::Polled(Some(Shown::Over)), clock),
                Do::Report(_) => {
                    self.reported = true;
                    recording.next(sent, Saw::Reported, clock)
                }
                Do::Pause(_) => {
                    let waits = recording.without_tries();
                    self.operators[index].stage = Stage::Record(sight, no, answer, waits);
                    return;
                }
                Do::Done => return,
            };
        }
    }

    fn record_on(
        &mut self,
        world: &World,
        sight: Sight,
        no: PlanNo,
        answer: Answer,
        luck: &mut Option<Luck>,
    ) -> Saw<'static> {
        let recorded = world.conclude(&sight, no, answer);
        if let Some(write) = &recorded.write {
            let blind = world.is(Mutant::NoClaim) && self.object.is_some();
            if self.object != Some(sight.object) && !blind {
                return Saw::Overtaken;
            }
            let luck = luck.take();
            if luck == Some(Luck::WriteRefused) {
                return Saw::Refused;
            }
            let status = world.number((*write.status).clone());
            self.store(status);
            if luck == Some(Luck::WriteLost) {
                return Saw::Failed;
            }
        }
        self.report(&recorded.events);
        Saw::Stored
    }

    /// What must hold whatever comes next.
    fn check(&self, world: &World) -> Result<(), Violation> {
        for message in 0..NAMES.len() {
            let runs = self
                .runs
                .iter()
                .filter(|run| usize::from(run.message) == message);
            if runs.count() > 1 {
                return Err(Violation::SentTwice);
            }
        }
        for (run, number) in self.runs.iter().zip(1_u8..) {
            self.check_run(world, run, number)?;
        }
        Ok(())
    }

    fn check_run(&self, world: &World, run: &Run, number: u8) -> Result<(), Violation> {
        let held = self.operators.iter().any(|operator| {
            matches!(operator.stage, Stage::Record(_, _, Answer::Accepted(held), _) if held == number)
        });
        let Some(object) = self.object else {
            let loose = run.work == Work::Running && !held && !self.reported;
            return if loose {
                Err(Violation::Unowned)
            } else {
                Ok(())
            };
        };
        let status = world.status(object.status);
        let name = NAMES[usize::from(run.message)];
        let entry = entry(&status, name);
        let state = entry.and_then(|it| it.send.as_ref()).map(|it| it.state);
        let recorded = entry.and_then(|it| it.run_id.as_deref()).map(number_of);
        if recorded.is_some_and(|recorded| recorded != number) {
            return Err(Violation::WrongRun);
        }
        let phase = entry.map_or(SessionPhase::Pending, |it| it.phase);
        let owned = match state {
            Some(SendState::Claimed | SendState::Unknown) => !phase.is_terminal(),
            Some(SendState::Confirmed) => !phase.is_terminal(),
            Some(SendState::Rejected | SendState::Absent | SendState::Lost) | None => false,
        };
        if run.work == Work::Running && !owned && !held && !self.reported {
            return Err(
                match phase.is_terminal() && state == Some(SendState::Confirmed) {
                    true => Violation::WrongEnd,
                    false => Violation::Unowned,
                },
            );
        }
        let true_end = match (phase, run.work) {
            (SessionPhase::Finished, work) => work == Work::Finished,
            // It finished by itself after a stop was taken: providers do not tell the two apart.
            (SessionPhase::Cancelled, Work::Finished) => run.told_stopped || self.reported,
            _ => true,
        };
        match true_end || state != Some(SendState::Confirmed) {
            true => Ok(()),
            false => Err(Violation::WrongEnd),
        }
    }

    /// What must hold where nothing is left to do.
    pub fn check_rest(&self, world: &World) -> Result<(), Violation> {
        let Some(object) = self.object else {
            return Ok(());
        };
        let status = world.status(object.status);
        if !status.phase.is_terminal() {
            return Err(Violation::NeverStable);
        }
        if object.finalizer || object.deleting.is_some() {
            return Err(Violation::FinalizerLeft);
        }
        if object.wish == Wish::Archived && !is_archived(&status) {
            return Err(Violation::NotArchived);
        }
        if object.wish == Wish::Cancelled {
            return Ok(());
        }
        for (message, name) in NAMES.into_iter().enumerate() {
            if message == 0 && object.stopped {
                continue;
            }
            let run = self
                .runs
                .iter()
                .find(|run| usize::from(run.message) == message);
            let finished = run.is_some_and(|run| run.work == Work::Finished);
            let entry = entry(&status, name);
            let told = entry.is_some_and(|it| it.phase == SessionPhase::Finished);
            let dropped = entry.is_some_and(|it| it.phase == SessionPhase::Cancelled);
            if !(finished && told || self.end_wanted && dropped) {
                return Err(Violation::NotSent);
            }
        }
        Ok(())
    }

    /// Whether the plan of a pass now asks for another one.
    pub fn wants_another_pass(&self, world: &World) -> bool {
        let mut state = self.clone();
        let Some(object) = state.object else {
            return false;
        };
        let sight = state.sight(world, 0, object, Luck::Good);
        let again = world.plan(world.decide(&sight)).again;
        again.is_some_and(|again| again < TICK * u32::from(u8::MAX))
    }
}
