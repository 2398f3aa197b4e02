//! What can keep a session from being launched: one function and one line in [`GATES`] for each.
//!
//! The first gate that does not let the session pass decides. The order matters twice: what the session itself asks for
//! comes before what others have to do, and what costs a request or takes a slot comes last.

use std::time::Duration;

use jiff::Timestamp;

use super::super::blocker::{Blocker, Cause, NotReady};
use super::super::send::refusal;
use super::observed::{AgentView, Lock, Observed, Readiness, Slot, SlotOwner};
use super::plan::Effect;
use super::view::{recorded, stop_wanted, template_missing};
use crate::api::{DesiredState, QueueResource, QueueStatus, Reason, RefusalRecord, SendRecord};

/// What a gate has to say of a session that is not launched.
pub(super) enum Gate<'a> {
    /// Nothing: the next one is asked.
    Pass,
    /// It waits for something that comes by itself.
    Wait(Hold),
    /// It waits until somebody changes something outside of it.
    Block(Hold),
    /// It waits because its spec says so.
    Settle(Hold),
    /// It waits for its turn together with others.
    Queue(Queued, Hold),
    /// Its launch was refused, and nothing has changed since.
    Refused(&'a RefusalRecord, Duration),
    /// It ends without a launch, as its spec asks.
    Cancel(Hold),
    /// It ends without a launch, because it is too late for one.
    Expire(Hold),
    /// Its own fields, which never change, make a launch impossible: it ends.
    Fail(Hold),
    /// Something has to be found out first.
    Act(Effect),
    /// Nothing is known yet: look again after this time, or when something changes.
    Rest(Option<Duration>),
}

/// What a session waits for together with others.
pub(super) struct Queued {
    /// What it is.
    pub of: QueueResource,
    /// Digest of the account, if it is one of its slots.
    pub account: Option<String>,
    /// 1 is next.
    pub position: Option<i32>,
}

impl Queued {
    fn new(of: QueueResource, position: Option<i32>) -> Self {
        Self {
            of,
            account: None,
            position,
        }
    }

    /// As it is stored; who waits for this already has waited since then.
    pub(super) fn status(self, o: &Observed<'_>, now: Timestamp) -> QueueStatus {
        let stored = o
            .session
            .status
            .and_then(|status| status.queue.as_ref())
            .filter(|queue| queue.of == self.of);
        QueueStatus {
            of: self.of,
            account: self.account,
            position: self.position,
            since: stored.map_or(now, |queue| queue.since),
        }
    }
}

/// Why a session is held.
pub(super) struct Hold {
    /// As one word.
    pub reason: Reason,
    /// For people: what is missing, and what to do.
    pub message: String,
    /// When to look again, where nothing that is watched tells.
    pub again: Option<Duration>,
}

impl Hold {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            again: None,
        }
    }

    fn again(self, again: Duration) -> Self {
        Self {
            again: Some(again),
            ..self
        }
    }
}

pub(super) type Check = for<'a> fn(&Observed<'a>) -> Gate<'a>;

/// Every gate, in the order in which they are asked.
pub(super) const GATES: &[Check] = &[
    wanted,
    in_time,
    namespace,
    suspended,
    agent,
    provider,
    settings,
    agent_suspended,
    credentials,
    template,
    refusal,
    slot,
    lock,
];

/// Whether no gate holds the session: what holds back a first request holds back every further one.
pub(super) fn open(o: &Observed<'_>) -> bool {
    GATES.iter().all(|gate| matches!(gate(o), Gate::Pass))
}

/// The spec may ask for the end before there was a beginning, or may have asked for it once.
fn wanted<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.session.spec.desired_state() {
        DesiredState::Running | DesiredState::Suspended if stop_wanted(o) => {
            Gate::Cancel(Hold::new(
                Reason::CancelledBeforeLaunch,
                "cancelled before it was launched, as spec.desiredState once asked",
            ))
        }
        DesiredState::Cancelled => Gate::Cancel(Hold::new(
            Reason::CancelledBeforeLaunch,
            "cancelled before it was launched",
        )),
        DesiredState::Archived => Gate::Cancel(Hold::new(
            Reason::ArchivedBeforeLaunch,
            "archived before it was launched",
        )),
        DesiredState::Running | DesiredState::Suspended => Gate::Pass,
    }
}

/// How long the session may still be launched; `None` where it may be for ever.
pub(super) fn until_launch_deadline(o: &Observed<'_>) -> Option<Duration> {
    let of_agent = match &o.agent {
        AgentView::Present { effective, .. } => effective.launch_deadline_seconds,
        AgentView::Missing => None,
    };
    let seconds = o.session.spec.launch_deadline_seconds.or(of_agent)?;
    let deadline =
        o.session.created_at + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    Some(o.until(deadline))
}

/// What was to run last night must not run at noon.
fn in_time<'a>(o: &Observed<'a>) -> Gate<'a> {
    match until_launch_deadline(o) {
        Some(left) if left.is_zero() => Gate::Expire(Hold::new(
            Reason::NotLaunchedInTime,
            "it could not be launched within launchDeadlineSeconds of its creation, and is not launched any more",
        )),
        Some(_) | None => Gate::Pass,
    }
}

/// Nothing can be created in a namespace that was finalized by force, but what was left in it is still watched.
pub(super) fn namespace<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.session.namespace_uid {
        Some(_) => Gate::Pass,
        None => Gate::Block(
            Hold::new(
                Reason::NamespaceGone,
                format!(
                    "the namespace {} is gone, so the session is not launched: delete the session; to run it, create the namespace and the session again",
                    o.session.namespace
                ),
            )
            .again(o.timing.fault_wait_max),
        ),
    }
}

fn suspended<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.session.spec.desired_state() {
        DesiredState::Suspended => Gate::Settle(Hold::new(
            Reason::Suspended,
            "suspended: set spec.desiredState to Running to launch it",
        )),
        DesiredState::Running | DesiredState::Cancelled | DesiredState::Archived => Gate::Pass,
    }
}

fn agent<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.agent {
        AgentView::Present { .. } => Gate::Pass,
        AgentView::Missing => Gate::Block(Hold::new(
            Reason::AgentNotFound,
            format!(
                "there is no CodeAgent {} in namespace {}: create it",
                o.session.spec.agent_ref.name, o.session.namespace
            ),
        )),
    }
}

pub(super) fn provider<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.provider {
        Some(_) => Gate::Pass,
        None => Gate::Block(Hold::new(
            Reason::ProviderDisabled,
            "this installation of the operator does not run the CodeAgent's provider: enable it (--providers) or use another CodeAgent",
        )),
    }
}

/// What the settings of agent and session come to must be something that the provider can do.
fn settings<'a>(o: &Observed<'a>) -> Gate<'a> {
    match &o.agent {
        AgentView::Present {
            blocker: Some(blocker),
            ..
        } => refuse(blocker),
        AgentView::Present { blocker: None, .. } | AgentView::Missing => Gate::Pass,
    }
}

pub(super) fn agent_suspended<'a>(o: &Observed<'a>) -> Gate<'a> {
    match o.agent {
        AgentView::Present {
            suspended: true, ..
        } => Gate::Wait(Hold::new(
            Reason::AgentSuspended,
            "waits: the CodeAgent is suspended (spec.suspend)",
        )),
        AgentView::Present {
            suspended: false, ..
        }
        | AgentView::Missing => Gate::Pass,
    }
}

pub(super) fn credentials<'a>(o: &Observed<'a>) -> Gate<'a> {
    match &o.readiness {
        Readiness::NotGathered => Gate::Rest(Some(o.timing.fault_wait_min)),
        Readiness::Unverified if o.stopping => Gate::Rest(None),
        Readiness::Unverified => Gate::Act(Effect::VerifyCredentials),
        Readiness::NotReady(NotReady {
            blocker,
            transient: true,
            again,
        }) => Gate::Wait(Hold::new(blocker.reason, &blocker.message).again(*again)),
        Readiness::NotReady(NotReady {
            blocker,
            transient: false,
            again,
        }) => match refuse(blocker) {
            Gate::Block(hold) => Gate::Block(hold.again(*again)),
            other => other,
        },
        Readiness::Ready(_) => Gate::Pass,
    }
}

/// Where sessions are launched from a template, it must be there for the account that would launch.
fn template<'a>(o: &Observed<'a>) -> Gate<'a> {
    match (&o.provider, &o.readiness) {
        (Some(provider), Readiness::Ready(connected)) if template_missing(provider, connected) => {
            Gate::Wait(Hold::new(
                Reason::WaitingForTemplate,
                "waits for the template that sessions are launched from: the conditions of the CodeAgent tell how it stands",
            ))
        }
        _ => Gate::Pass,
    }
}

/// After a refusal nothing is sent until its circumstances change or its time is up.
fn refusal<'a>(o: &Observed<'a>) -> Gate<'a> {
    refused(o, recorded(o))
}

/// The same, for a request with this record.
pub(super) fn refused<'a>(o: &Observed<'a>, record: Option<&'a SendRecord>) -> Gate<'a> {
    let (Some(record), Readiness::Ready(connected)) = (record, &o.readiness) else {
        return Gate::Pass;
    };
    let Some(refusal) = &record.refusal else {
        return Gate::Pass;
    };
    let same_template = connected
        .inputs
        .as_ref()
        .is_none_or(|inputs| inputs.template_id == record.target.template_id);
    let unchanged = refusal.agent_generation == o.agent.generation()
        && refusal.credential == connected.credential
        && same_template;
    if unchanged && !o.until(refusal.retry_at).is_zero() {
        Gate::Refused(refusal, refusal::next_look(refusal, o.clock()))
    } else {
        Gate::Pass
    }
}

/// A CodeAgent, and an account, run at most so many sessions at once.
pub(super) fn slot<'a>(o: &Observed<'a>) -> Gate<'a> {
    match &o.slot {
        Slot::Free => Gate::Pass,
        Slot::Taken {
            of: SlotOwner::Agent,
            position,
        } => Gate::Queue(
            Queued::new(QueueResource::Capacity, *position),
            Hold::new(
                Reason::WaitingForCapacity,
                "waits: the CodeAgent runs as many sessions as spec.maxConcurrentSessions allows",
            ),
        ),
        Slot::Taken {
            of: SlotOwner::Account { digest },
            position,
        } => Gate::Queue(
            Queued {
                account: Some(digest.clone()),
                ..Queued::new(QueueResource::Account, *position)
            },
            Hold::new(
                Reason::WaitingForAccountCapacity,
                format!(
                    "waits: the account of its key runs as many sessions as the operator allows for one account, over all namespaces (--max-concurrent-per-credential). {}, and it starts by itself",
                    before(*position)
                ),
            ),
        ),
        Slot::Uncounted => Gate::Wait(Hold::new(
            Reason::WaitingForAccountCapacity,
            "waits: the operator has not read all of its namespaces yet, so it does not know how many sessions of this account are active (--max-concurrent-per-credential). If this stays, its log tells which namespace it cannot read",
        )),
    }
}

/// How many go before the one in this position. Whose they are is not told: they may be of other namespaces.
fn before(position: Option<i32>) -> String {
    match position {
        None => "At least ten go before it".to_owned(),
        Some(i32::MIN..=1) => "It is next".to_owned(),
        Some(2) => "One goes before it".to_owned(),
        Some(position) => format!("{} go before it", position.saturating_sub(1)),
    }
}

/// What only one session at a time may work on.
pub(super) fn lock<'a>(o: &Observed<'a>) -> Gate<'a> {
    let Lock::Taken { of, by } = &o.lock else {
        return Gate::Pass;
    };
    let hold = match of {
        // Where a lost launch is found by what is new at the issue, one at a time may be open there.
        QueueResource::Issue => Hold::new(
            Reason::WaitingForIssue,
            format!(
                "waits for {by}, whose launch on the same issue is open: the provider's issue could not tell two of them apart"
            ),
        ),
        QueueResource::Branch => Hold::new(
            Reason::WaitingForBranch,
            format!(
                "waits for the end of {by}, which pushes to the same branch: two at a time would overwrite each other's work. With {{session}} in spec.pullRequest.branchName of the CodeAgent each session gets a branch of its own"
            ),
        ),
        QueueResource::Capacity | QueueResource::Account => Hold::new(
            Reason::WaitingForCapacity,
            format!("waits for the end of {by}"),
        ),
    };
    Gate::Queue(Queued::new(*of, None), hold.again(o.timing.recheck))
}

/// The session's own mistake ends it, others' mistakes keep it waiting.
fn refuse<'a>(blocker: &Blocker) -> Gate<'a> {
    let hold = Hold::new(blocker.reason, &blocker.message);
    match blocker.cause {
        Cause::Environment => Gate::Block(hold),
        Cause::Spec => Gate::Fail(hold),
    }
}
