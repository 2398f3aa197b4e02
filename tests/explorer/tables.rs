//! What is long or costly, kept once: statuses, provider ids, decisions and conclusions. States refer to it by number.
//!
//! `decide` and `record` are pure, so what they make of a [`Sight`] is asked for once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use codeagent_operator::api::{
    CodeSessionStatus, ConditionStatus, Reason, SendRecord, SendState, SessionPhase, condition,
};
use codeagent_operator::domain::blocker::{Blocker, Cause, NotReady};
use codeagent_operator::domain::ids::{AccountFingerprint, ClaimId, LaunchKey, SessionId};
use codeagent_operator::domain::remote::{
    AdoptAnswer, CancelAnswer, ErrorClass, Found, Launched, ProviderError, Recovery, Sent,
};
use codeagent_operator::domain::send::answer::LaunchOutcome;
use codeagent_operator::domain::session::{
    AgentView, BaselineRead, Connected, Effect, Event, Guard, Inputs, Level, Lock, Lookups,
    Observed, Origin, Outcome, Plan, Poll, Readiness, SessionView, Slot, decide, record,
};
use codeagent_operator::domain::snapshot::{Links, RemotePhase, Snapshot};
use codeagent_operator::domain::timing::Timing;

use crate::model::{
    ENDPOINTS, Key, Mixer, Mutant, NAMESPACE_UID, Object, SUSPENDED, TICK, Work, World, at,
    uid_text,
};

pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Number of a status; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusNo(u32);

impl StatusNo {
    pub const NONE: Self = Self(0);
}

/// Number of a session id of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdNo(u8);

/// Number of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanNo(u32);

/// A status, and what the model asks of it.
#[derive(Default)]
pub struct Stored {
    status: Option<CodeSessionStatus>,
    pub phase: SessionPhase,
    pub terminal: bool,
    /// Whether nothing can re-open it.
    pub over: bool,
    pub launch: Option<SendState>,
    /// Number of the claim; 0 is none.
    pub claim: u8,
    pub session: Option<IdNo>,
    /// The account that the launch was sent to.
    pub account: Option<u8>,
    /// The endpoint that the claim pins.
    pub endpoint: Option<u8>,
    pub refused: bool,
    pub stalled: bool,
    pub cancelling: bool,
    pub cancel_accepted: bool,
    pub launched: bool,
    /// Whether it has ended and says that something may run at the provider.
    pub outcome_unknown: bool,
    /// Why it ended in an error.
    pub error: Option<String>,
}

impl Stored {
    /// The status itself.
    pub fn status(&self) -> Option<&CodeSessionStatus> {
        self.status.as_ref()
    }
}

/// All that a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sight {
    pub wall: u8,
    pub tick: u8,
    pub object: Object,
    pub key: Key,
    pub agent: u8,
    pub default: u8,
    pub in_flight: bool,
    pub stop_taken: bool,
    pub restarted: bool,
    pub claims: u8,
    pub seen: u8,
    pub absent: u128,
    pub looked_up_by: Option<u8>,
    pub last_lookup: Option<u8>,
    pub fruitless: Option<u8>,
    pub baseline_read: Option<IssueLinks>,
    pub last_stop: Option<u8>,
    pub poll: Option<Seen>,
}

/// What a look before a launch has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IssueLinks {
    pub begun: u8,
    pub account: u8,
    /// The sessions that the issue links to, as bits; `None` if it could not be read.
    pub there: Option<u8>,
}

/// What a look at a launched session shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    There(IdNo, Work),
    /// Not found, since this tick.
    Missing(u8),
}

/// A decision.
pub struct Planned {
    pub no: PlanNo,
    pub before: Option<StatusNo>,
    pub effect: Option<Effect>,
    /// Which attempt a launch belongs to.
    pub attempt: u8,
    /// Whether people are told that something may cost money.
    pub reports: bool,
    pub again: Option<Duration>,
}

impl Planned {
    pub fn launches(&self) -> bool {
        matches!(self.effect, Some(Effect::Launch(_)))
    }
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Accepted(IdNo),
    Rejected(ErrorClass, Sent),
    Unknown(ErrorClass),
    Found {
        first: IdNo,
        attempt: u8,
        others: u8,
    },
    Absent {
        begun: u8,
    },
    BaselineRead(IssueLinks),
    Inconclusive,
    LookFailed,
    Stopped,
    NotCancellable,
    StopFailed,
}

/// What is stored and remembered after an effect.
pub struct Conclusion {
    pub write: Option<StatusNo>,
    pub lookups: Option<Looks>,
    pub baseline_read: Option<IssueLinks>,
    pub reports: bool,
}

/// The memory of looks: ticks as bits.
#[derive(Clone, Copy)]
pub struct Looks {
    pub absent: u128,
    pub by: Option<u8>,
    pub last: Option<u8>,
    pub fruitless: Option<u8>,
}

#[derive(Default)]
pub struct Tables {
    statuses: RefCell<Vec<Rc<Stored>>>,
    status_by_digest: RefCell<FastMap<u64, StatusNo>>,
    ids: RefCell<Vec<String>>,
    chosen: RefCell<FastMap<(u8, u8), IdNo>>,
    plans: RefCell<Vec<Rc<Planned>>>,
    plan_by_digest: RefCell<FastMap<u64, PlanNo>>,
    decided: RefCell<FastMap<Sight, PlanNo>>,
    concluded: RefCell<FastMap<(Sight, PlanNo, Answer), Rc<Conclusion>>>,
}

impl Tables {
    pub fn status(&self, no: StatusNo) -> Rc<Stored> {
        if let Some(stored) = self.statuses.borrow().get(no.0 as usize) {
            return Rc::clone(stored);
        }
        let none = Rc::new(Stored::default());
        self.statuses.borrow_mut().push(Rc::clone(&none));
        none
    }

    pub fn id(&self, text: &str) -> IdNo {
        let mut ids = self.ids.borrow_mut();
        let no = ids.iter().position(|id| id == text).unwrap_or_else(|| {
            ids.push(text.to_owned());
            ids.len() - 1
        });
        IdNo(u8::try_from(no).unwrap())
    }

    pub fn id_text(&self, no: IdNo) -> SessionId {
        SessionId::new(self.ids.borrow()[usize::from(no.0)].clone())
    }

    /// The id that the operator chooses for an attempt.
    pub fn chosen_id(&self, uid: u8, attempt: u8) -> IdNo {
        if let Some(id) = self.chosen.borrow().get(&(uid, attempt)) {
            return *id;
        }
        let id = self.id(&format!("bc-{}", key(uid, attempt)));
        self.chosen.borrow_mut().insert((uid, attempt), id);
        id
    }

    pub fn plan(&self, no: PlanNo) -> Rc<Planned> {
        Rc::clone(&self.plans.borrow()[no.0 as usize])
    }

    /// The number of a status. Two of one number differ in nothing that anybody decides on or would write anew.
    fn number(&self, status: CodeSessionStatus) -> StatusNo {
        self.status(StatusNo::NONE);
        let digest = digest(&status);
        if let Some(no) = self.status_by_digest.borrow().get(&digest) {
            return *no;
        }
        let launch = status.launch.as_ref();
        let state = launch.map(|launch| launch.state);
        let is_true = |kind: &str| {
            condition(&status.conditions, kind)
                .is_some_and(|found| found.status == ConditionStatus::True)
        };
        let terminal = status.phase.is_terminal();
        let stored = Stored {
            phase: status.phase,
            terminal,
            over: terminal && matches!(state, None | Some(SendState::Confirmed | SendState::Lost)),
            launch: state,
            claim: launch.map_or(0, |launch| {
                launch
                    .claim_id
                    .trim_start_matches("claim-")
                    .parse()
                    .unwrap()
            }),
            session: status
                .provider
                .as_ref()
                .and_then(|provider| provider.session_id.as_deref())
                .map(|id| self.id(id)),
            account: launch.map(|launch| u8::from(launch.target.account == ACCOUNTS[1])),
            endpoint: launch
                .zip(status.effective.as_ref())
                .map(|(launch, effective)| {
                    let target = &launch.target;
                    let spec = effective.provider.spec.clone();
                    let pinned = spec.pinned(&target.endpoint, &target.api_version);
                    u8::from(pinned.endpoint() == Some(ENDPOINTS[1]))
                }),
            refused: launch.is_some_and(|launch| launch.refusal.is_some()),
            stalled: is_true("Stalled"),
            cancelling: status.cancel.is_some(),
            cancel_accepted: status
                .cancel
                .as_ref()
                .is_some_and(|cancel| cancel.accepted_at.is_some()),
            launched: is_true("Launched"),
            outcome_unknown: terminal
                && condition(&status.conditions, "Launched").is_some_and(|launched| {
                    launched.status == ConditionStatus::Unknown
                        && launched.reason == Reason::LaunchOutcomeUnknown.as_str()
                }),
            error: status.error.as_ref().map(|error| error.reason.clone()),
            status: Some(status),
        };
        let mut statuses = self.statuses.borrow_mut();
        let no = StatusNo(u32::try_from(statuses.len()).unwrap());
        statuses.push(Rc::new(stored));
        self.status_by_digest.borrow_mut().insert(digest, no);
        no
    }

    fn number_plan(&self, plan: Plan, uid: u8) -> PlanNo {
        let before = plan.before.map(|write| {
            assert_eq!(write.guard, Guard::Unchanged);
            self.number(*write.status)
        });
        let mut h = Mixer::default();
        (before, plan.again).hash(&mut h);
        match &plan.effect {
            None => 0_u8.hash(&mut h),
            Some(Effect::Launch(launch)) => {
                (
                    1_u8,
                    &launch.claim_id,
                    launch.not_after,
                    launch.key.as_uuid(),
                )
                    .hash(&mut h);
            }
            // Its limits are the provider's business, which this model has another way to choose.
            Some(Effect::Lookup(lookup)) => (2_u8, &lookup.baseline).hash(&mut h),
            Some(Effect::Cancel(session)) => (3_u8, session.session_id.as_str()).hash(&mut h),
            Some(other) => format!("{other:?}").hash(&mut h),
        }
        let reports = reports(&plan.events);
        reports.hash(&mut h);
        let digest = h.finish();
        if let Some(no) = self.plan_by_digest.borrow().get(&digest) {
            return *no;
        }
        let attempt = match &plan.effect {
            Some(Effect::Launch(launch)) => (1..=2)
                .find(|attempt| key(uid, *attempt) == launch.key)
                .unwrap(),
            _ => 0,
        };
        let mut plans = self.plans.borrow_mut();
        let no = PlanNo(u32::try_from(plans.len()).unwrap());
        plans.push(Rc::new(Planned {
            no,
            before,
            effect: plan.effect,
            attempt,
            reports,
            again: plan.again,
        }));
        self.plan_by_digest.borrow_mut().insert(digest, no);
        no
    }
}

impl World {
    /// The operator's decision.
    pub fn decide(&self, sight: &Sight) -> Rc<Planned> {
        let sight = &self.timeless(*sight);
        let known = self.tables.decided.borrow().get(sight).copied();
        let no = known.unwrap_or_else(|| {
            let plan = self.observe(sight, false, |o| {
                if self.is(Mutant::FinalizerDroppedOnDelete)
                    && o.session.deleting.is_some()
                    && o.session.has_finalizer
                {
                    Plan::act(Effect::ReleaseFinalizer)
                } else {
                    decide(o)
                }
            });
            let no = self.tables.number_plan(plan, sight.object.uid);
            self.tables.decided.borrow_mut().insert(*sight, no);
            no
        });
        self.tables.plan(no)
    }

    /// The same, without the time where nothing depends on it: after the end, and while a session is followed whose
    /// deadline is far beyond the horizon.
    fn timeless(&self, mut sight: Sight) -> Sight {
        let stored = self.tables.status(sight.object.status);
        let stopping = sight.object.deleting.is_some() || sight.object.cancelled;
        let at_peace = match sight.poll {
            _ if stored.over => true,
            Some(Seen::There(_, Work::Running)) => !stopping && !stored.cancelling,
            Some(Seen::There(_, Work::Finished | Work::Stopped)) => true,
            Some(Seen::Missing(_)) | None => false,
        };
        if at_peace {
            (sight.wall, sight.tick, sight.seen, sight.absent) = (0, 0, 0, 0);
            (sight.looked_up_by, sight.last_lookup, sight.last_stop) = (None, None, None);
            (sight.fruitless, sight.baseline_read) = (None, None);
            if !matches!(
                sight.poll,
                Some(Seen::There(_, Work::Finished | Work::Stopped))
            ) {
                sight.stop_taken = false;
            }
        }
        sight
    }

    /// What the operator makes of an answer.
    pub fn conclude(&self, sight: &Sight, plan: &Planned, answer: Answer) -> Rc<Conclusion> {
        let key = (*sight, plan.no, answer);
        if let Some(known) = self.tables.concluded.borrow().get(&key) {
            return Rc::clone(known);
        }
        let outcome = self.outcome(sight, answer);
        let effect = plan.effect.as_ref().unwrap();
        let answers = matches!(outcome, Outcome::Launched(_));
        let recorded = self.observe(sight, answers, |o| record(o, effect, &outcome));
        let conclusion = Rc::new(Conclusion {
            write: recorded
                .write
                .map(|write| self.tables.number(*write.status)),
            lookups: recorded.lookups.map(|looks| Looks {
                absent: looks
                    .absent
                    .iter()
                    .fold(0, |bits, begun| bits | 1_u128 << ticks(*begun)),
                by: looks
                    .account
                    .map(|account| u8::from(account.as_str() == ACCOUNTS[1])),
                last: looks.last.map(ticks),
                fruitless: looks.fruitless.map(ticks),
            }),
            baseline_read: recorded.baseline_read.map(|taken| IssueLinks {
                begun: ticks(taken.begun),
                account: u8::from(taken.account.as_str() == ACCOUNTS[1]),
                there: taken
                    .result
                    .ok()
                    .map(|there| there.unwrap().parse().unwrap()),
            }),
            reports: reports(&recorded.events),
        });
        self.tables
            .concluded
            .borrow_mut()
            .insert(key, Rc::clone(&conclusion));
        conclusion
    }

    fn outcome(&self, sight: &Sight, answer: Answer) -> Outcome {
        let looked_up = |begun: u8, answer| Outcome::LookedUp {
            begun: TICK * u32::from(begun),
            answer,
        };
        match answer {
            Answer::Accepted(id) => Outcome::Launched(LaunchOutcome::Accepted(Launched {
                session_id: self.tables.id_text(id),
                run_id: None,
                url: None,
                phase: RemotePhase::Running,
                raw_status: "RUNNING".into(),
                id_honoured: None,
            })),
            Answer::Rejected(class, sent) => {
                Outcome::Launched(LaunchOutcome::Rejected(error(class, sent)))
            }
            Answer::Unknown(class) => {
                Outcome::Launched(LaunchOutcome::Unknown(error(class, Sent::Possibly)))
            }
            Answer::Found {
                first,
                attempt,
                others,
            } => {
                let found = Found {
                    snapshot: self.snapshot(first, Work::Running),
                    attempt: (self.recovery != Recovery::None).then(|| i32::from(attempt)),
                    doubt: None,
                };
                looked_up(
                    sight.tick,
                    Ok(AdoptAnswer::Found(vec![found; 1 + usize::from(others)])),
                )
            }
            Answer::Absent { begun } => looked_up(begun, Ok(AdoptAnswer::Absent)),
            Answer::Inconclusive => looked_up(
                sight.tick,
                Ok(AdoptAnswer::Inconclusive {
                    why: "a candidate without messages".into(),
                    resume: None,
                }),
            ),
            Answer::LookFailed => looked_up(
                sight.tick,
                Err(error(ErrorClass::Unavailable, Sent::Possibly)),
            ),
            Answer::BaselineRead(links) => Outcome::BaselineRead {
                begun: TICK * u32::from(links.begun),
                ended: TICK * u32::from(links.begun),
                result: links
                    .there
                    .map(|there| Some(there.to_string()))
                    .ok_or_else(|| error(ErrorClass::Unavailable, Sent::Possibly)),
            },
            Answer::Stopped => Outcome::Stopped(Ok(CancelAnswer::Accepted)),
            Answer::NotCancellable => Outcome::Stopped(Ok(CancelAnswer::NotCancellable(None))),
            Answer::StopFailed => Outcome::Stopped(Err(error(ErrorClass::Timeout, Sent::Possibly))),
        }
    }

    /// Builds what an operator observes. `answers` marks the conclusion from a launch's answer.
    fn observe<R>(&self, sight: &Sight, answers: bool, with: impl FnOnce(&Observed<'_>) -> R) -> R {
        let object = &sight.object;
        let stored = self.tables.status(object.status);
        let account = fingerprint(sight.key.account());
        let uptime = TICK * u32::from(sight.tick);
        let timing = self.believed_timing();
        let lookups = self.lookups_seen(sight, &account, &timing);
        let status = self.status_seen(stored.status.clone(), &account, answers);
        let poll = sight
            .poll
            .map(|seen| self.poll_seen(seen, &account, uptime));
        let baseline_read = sight.baseline_read.map(|links| BaselineRead {
            account: fingerprint(links.account),
            begun: TICK * u32::from(links.begun),
            ended: TICK * u32::from(links.begun),
            // Waits are one tick long, however many failed.
            failures: 0,
            result: links
                .there
                .map(|there| Some(there.to_string()))
                .ok_or_else(|| error(ErrorClass::Unavailable, Sent::Possibly)),
        });
        let claim_id = ClaimId::new(format!("claim-{}", sight.claims + 1));
        with(&Observed {
            now: at(sight.wall),
            uptime,
            session: SessionView {
                namespace: "team",
                name: "session",
                uid: uid_text(object.uid),
                namespace_uid: Some(NAMESPACE_UID),
                generation: i64::from(object.generation),
                created_at: at(object.created),
                deleting: object.deleting.map(at),
                has_finalizer: object.finalizer,
                origin: if object.finalizer || status.is_some() {
                    Origin::Own
                } else {
                    Origin::None
                },
                adopt: None,
                spec: self.spec(object),
                status: status.as_ref(),
                older_than_process: sight.restarted,
            },
            agent: self.agent_seen(sight, stored.claim),
            provider: Some(self.facts.clone()),
            readiness: readiness(sight, &account, &timing),
            slot: Slot::Free,
            // One session at a time: its turn is never another's.
            lock: Lock::Unneeded,
            baseline_read: baseline_read.as_ref(),
            in_flight: sight.in_flight,
            claim_first_seen: Some(TICK * u32::from(sight.seen)),
            deletion_first_seen: object.deleting.map(|tick| {
                let age = Duration::try_from(at(sight.wall).duration_since(at(tick)));
                uptime
                    .saturating_sub(age.unwrap_or_default())
                    .max(TICK * u32::from(sight.seen))
            }),
            lookups: &lookups,
            poll: poll.as_ref(),
            last_stop: sight.last_stop.map(|tick| TICK * u32::from(tick)),
            stop_taken: sight.stop_taken,
            polled_after_end: None,
            faults: 0,
            installation: &self.installation,
            fresh_claim_id: &claim_id,
            timing: &timing,
            stopping: false,
        })
    }

    /// What is remembered of the lookups. Mutants remember too much.
    fn lookups_seen(
        &self,
        sight: &Sight,
        account: &AccountFingerprint,
        timing: &Timing,
    ) -> Lookups {
        let uptime = TICK * u32::from(sight.tick);
        let mut lookups = Lookups {
            account: sight.looked_up_by.map(fingerprint),
            absent: (0..u128::BITS)
                .filter(|tick| sight.absent >> tick & 1 == 1)
                .map(|tick| TICK * tick)
                .collect(),
            begun: None,
            resume: None,
            // Waits are one tick long, however many rounds ended without a verdict.
            inconclusive: 0,
            fruitless_in_a_row: 0,
            unclear: None,
            fruitless: sight.fruitless.map(|tick| TICK * u32::from(tick)),
            last: sight.last_lookup.map(|tick| TICK * u32::from(tick)),
        };
        if self.is(Mutant::LooksOfAnyAccount) || self.is(Mutant::AccountPinDropped) {
            lookups.account = Some(account.clone());
        }
        if self.is(Mutant::LooksBeforeTheFence) && lookups.absent.len() > 1 {
            lookups.absent = vec![uptime.saturating_sub(TICK), uptime];
        }
        if self.is(Mutant::OneLook)
            && let Some(last) = lookups.absent.last().copied()
        {
            lookups.absent.push(last + timing.consistency_window);
        }
        lookups
    }

    /// The stored status, as a mutant misreads it.
    fn status_seen(
        &self,
        mut status: Option<CodeSessionStatus>,
        account: &AccountFingerprint,
        answers: bool,
    ) -> Option<CodeSessionStatus> {
        if let Some(launch) = status.as_mut().and_then(|s| s.launch.as_mut()) {
            if self.is(Mutant::AccountPinDropped) && launch.state != SendState::Confirmed {
                launch.target.account = account.as_str().to_owned();
            }
            if self.is(Mutant::RefusalSettles) && answers {
                launch.posts = 1;
            }
        }
        status
    }

    fn poll_seen(&self, seen: Seen, account: &AccountFingerprint, uptime: Duration) -> Poll {
        Poll {
            begun: uptime,
            result: match seen {
                Seen::There(id, work) => Ok(self.snapshot(id, work)),
                Seen::Missing(_) => Err(error(ErrorClass::NotFound, Sent::Possibly)),
            },
            account: account.clone(),
            unchanged_since: match seen {
                Seen::There(..) => uptime,
                Seen::Missing(since) => TICK * u32::from(since),
            },
        }
    }

    fn agent_seen(&self, sight: &Sight, claim: u8) -> AgentView {
        let overlooked =
            self.is(Mutant::SuspendedOnlyAtFirst) && sight.agent == SUSPENDED && claim > 0;
        let agent = if overlooked {
            2
        } else {
            usize::from(sight.agent)
        };
        self.agents[usize::from(sight.default)][agent].clone()
    }

    fn snapshot(&self, id: IdNo, work: Work) -> Snapshot {
        let phase = match work {
            Work::Running => RemotePhase::Running,
            Work::Finished => RemotePhase::Finished,
            Work::Stopped => RemotePhase::Cancelled,
        };
        Snapshot {
            session_id: self.tables.id_text(id),
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
}

const ACCOUNTS: [&str; 2] = ["account a", "account b"];

fn fingerprint(account: u8) -> AccountFingerprint {
    AccountFingerprint::new(ACCOUNTS[usize::from(account)])
}

fn key(uid: u8, attempt: u8) -> LaunchKey {
    LaunchKey::derive(NAMESPACE_UID, uid_text(uid), i32::from(attempt))
}

fn ticks(time: Duration) -> u8 {
    u8::try_from(time.as_secs() / TICK.as_secs()).unwrap()
}

/// What is there to talk to the provider with.
fn readiness(sight: &Sight, account: &AccountFingerprint, timing: &Timing) -> Readiness {
    if sight.key == Key::Gone {
        return Readiness::NotReady(NotReady {
            blocker: Blocker {
                reason: Reason::SecretNotFound,
                message: "there is no Secret".into(),
                cause: Cause::Environment,
            },
            transient: false,
            again: timing.recheck,
        });
    }
    Readiness::Ready(Connected {
        // Asked anew whenever that matters.
        verified: Some(Duration::MAX),
        credential: format!("{:?}", sight.key),
        account: account.clone(),
        inputs: (sight.agent > 0).then(|| Inputs {
            digest: "digest".into(),
            template_id: None,
        }),
    })
}

/// Whether people are told of a session that may cost money without an owner.
fn reports(events: &[Event]) -> bool {
    events.iter().any(|event| {
        event.level == Level::Warning
            && matches!(
                event.reason,
                Reason::Orphaned | Reason::LaunchOutcomeUnknown | Reason::DuplicateLaunch
            )
    })
}

pub fn error(class: ErrorClass, sent: Sent) -> ProviderError {
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

/// Of all that is stored, but for times that nobody decides on.
pub fn digest(status: &CodeSessionStatus) -> u64 {
    let mut status = status.clone();
    let never = at(0);
    for condition in &mut status.conditions {
        condition.last_transition_time = never;
    }
    for message in &mut status.messages {
        message.started_at = None;
        message.completed_at = None;
        message.duration_seconds = None;
        let arrived = |send: &&mut SendRecord| send.state == SendState::Confirmed;
        if let Some(send) = message.send.as_mut().filter(arrived) {
            send.claimed_at = never;
            send.first_claimed_at = None;
            send.not_after = never;
        }
    }
    status.completed_at = None;
    let confirmed = status
        .launch
        .as_ref()
        .is_some_and(|launch| launch.state == SendState::Confirmed);
    if let Some(launch) = status.launch.as_mut()
        && confirmed
    {
        launch.claimed_at = never;
        launch.first_claimed_at = None;
        launch.not_after = never;
    }
    if confirmed && status.phase.is_terminal() {
        status.started_at = None;
        if let Some(cancel) = status.cancel.as_mut() {
            cancel.sent_at = cancel.sent_at.map(|_| never);
            cancel.accepted_at = cancel.accepted_at.map(|_| never);
        }
    }
    if let Some(blocker) = status.blocker.as_mut() {
        blocker.since = never;
    }
    // How often a stop came to nothing, and what is said of it, decides only how soon it is repeated: in this model always
    // after the same time.
    if let Some(cancel) = status.cancel.as_mut()
        && cancel.failures > 0
    {
        cancel.failures = 1;
        cancel.next_at = None;
        for condition in &mut status.conditions {
            condition.message.clear();
        }
    }
    let mut h = Mixer::default();
    h.write(serde_json::to_string(&status).unwrap().as_bytes());
    h.finish()
}
