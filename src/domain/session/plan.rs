//! What is to be done, and what came of it.

use std::time::Duration;

use jiff::Timestamp;

use super::super::ids::{AccountFingerprint, ClaimId, LaunchKey};
use super::super::remote::{
    AdoptAnswer, CancelAnswer, ProviderError, Recovery, ScanState, SessionRef,
};
use super::super::send::answer::{LaunchOutcome, MessageOutcome};
use super::super::send::seen::{BaselineRead, Lookups};
use super::super::snapshot::Snapshot;
use super::observed::{AgentView, Observed};
use crate::api::{CodeSessionStatus, Effective, ModelSpec, Reason};

/// The next step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What is stored before the effect; without an effect, all there is to do.
    pub before: Option<StatusWrite>,
    /// The one external effect.
    pub effect: Option<Effect>,
    /// What people are told, once `before` is stored and the object is changed as the effect asks.
    pub events: Vec<Event>,
    /// When to look again if nothing happens, more or less; `None` waits for a change.
    pub again: Option<Duration>,
    /// When to look again at the latest, exactly: something is due then.
    pub deadline: Option<Duration>,
}

impl Plan {
    /// Nothing to do until something changes.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Nothing to do for a while.
    pub fn wait(again: Duration) -> Self {
        Self {
            again: Some(again),
            ..Self::default()
        }
    }

    /// An effect, and nothing to store before it.
    pub fn act(effect: Effect) -> Self {
        Self {
            effect: Some(effect),
            ..Self::default()
        }
    }

    /// Stores `status` if it differs from what is stored.
    pub fn store(o: &Observed<'_>, status: CodeSessionStatus) -> Self {
        let before = (o.session.status != Some(&status)).then(|| StatusWrite {
            status: Box::new(status),
            guard: Guard::Unchanged,
        });
        Self {
            before,
            ..Self::default()
        }
    }

    /// The same, if the settings of the CodeAgent are still those that this was decided with.
    pub fn if_agent_unchanged(mut self, o: &Observed<'_>) -> Self {
        if let (Some(before), AgentView::Present { generation, .. }) = (&mut self.before, &o.agent)
        {
            before.guard = Guard::Agent(*generation);
        }
        self
    }

    /// The same, looking again after `again`.
    pub fn again(mut self, again: Duration) -> Self {
        self.again = Some(again);
        self
    }

    /// The same, with the sooner of two times to look again.
    pub fn no_later_than(mut self, again: Option<Duration>) -> Self {
        self.again = sooner(self.again, again);
        self
    }

    /// The same, looking again exactly when something is due. What is due already is dealt with in this very plan: it must
    /// not wake the next one at once.
    pub fn due(mut self, left: Option<Duration>) -> Self {
        self.deadline = sooner(self.deadline, left.filter(|left| !left.is_zero()));
        self
    }

    /// The same, with an effect.
    pub fn then(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// The same, telling people, but only if something is stored: what is not new is not told.
    pub fn with_event(mut self, event: Event) -> Self {
        if self.before.is_some() {
            self.events.push(event);
        }
        self
    }
}

fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A status to store.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite {
    /// The whole status.
    pub status: Box<CodeSessionStatus>,
    /// What must still hold when it is stored.
    pub guard: Guard,
}

/// What must still hold when a status is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The object is the one the decision was made on (uid and resourceVersion). Otherwise: decide again.
    Unchanged,
    /// The same, and the CodeAgent still is of this `metadata.generation`: for an end that its settings decide and that nothing
    /// takes back. Who changes both in one apply must not be judged by what one of two watches has not shown yet.
    Agent(i64),
    /// The object has this uid and this claim is the recorded one. Otherwise: rule 9.
    Claim(ClaimId),
}

/// Something outside the process.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Adds finalizer and origin annotation.
    AddFinalizer,
    /// Removes the finalizer.
    ReleaseFinalizer,
    /// Deletes the object itself.
    DeleteObject,
    /// Asks the provider who the key belongs to.
    VerifyCredentials,
    /// Reads what a lost request would be compared with, before anything is claimed.
    ReadBaseline {
        /// The request that is to be sent.
        of: Unsent,
    },
    /// Sends the launch that was just claimed. **A paid call.**
    Launch(Box<LaunchPlan>),
    /// Sends the follow-up message that was just claimed. **A paid call.**
    Message(Box<MessagePlan>),
    /// Looks for a launch or a message.
    Lookup(Box<LookupPlan>),
    /// Stops the newest message.
    Cancel(SessionRef),
    /// Looks at a session that a user handed over.
    Examine(SessionRef),
    /// Looks at a session that has ended, for what comes late.
    PollAgain(SessionRef),
    /// Archives a session that has ended.
    Archive(SessionRef),
}

/// A paid request before its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// A launch.
    Launch {
        /// The issue that it works on.
        issue: Option<String>,
    },
    /// A follow-up message to this session.
    Message(SessionRef),
}

/// A claimed follow-up message.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagePlan {
    /// Its name.
    pub name: String,
    /// The session that it is sent to.
    pub session: SessionRef,
    /// The claim it is sent under.
    pub claim_id: ClaimId,
    /// When it must not be sent any more.
    pub not_after: Timestamp,
    /// The model that is to work on it; `None` leaves it.
    pub model: Option<ModelSpec>,
}

/// A claimed launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchPlan {
    /// Key of the attempt.
    pub key: LaunchKey,
    /// The claim it is sent under.
    pub claim_id: ClaimId,
    /// When it must not be sent any more.
    pub not_after: Timestamp,
    /// The settings.
    pub effective: Effective,
    /// The issue, where the provider takes issues.
    pub issue: Option<String>,
    /// The person on whose behalf it runs.
    pub on_behalf_of: Option<String>,
    /// The provider's template to launch from, as pinned in the claim.
    pub template_id: Option<String>,
}

/// What to look for, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupPlan {
    /// The message that is looked for; `None` looks for the launch.
    pub message: Option<MessageLookup>,
    /// Keys of every attempt, newest first.
    pub keys: Vec<LaunchKey>,
    /// URL of the repository.
    pub repository: Option<String>,
    /// How it was sent, and so how it is found. A message is always found, by its marker or by what is new: `Marker`.
    pub recovery: Recovery,
    /// The provider's template that was launched from, as pinned in the claim.
    pub template_id: Option<String>,
    /// What was there before the launch, as recorded in the claim.
    pub baseline: Option<String>,
    /// Candidates are not older than this.
    pub created_from: Timestamp,
    /// Candidates are not younger than this.
    pub created_until: Timestamp,
    /// Whether it is of use to know that there is none.
    pub prove_absence: bool,
    /// Whether our id is known to be used, or our marker to show.
    pub evidence_seen: bool,
    /// Where an unfinished scan goes on.
    pub resume: Option<ScanState>,
}

/// The message that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLookup {
    /// Its name.
    pub name: String,
    /// The session that it was sent to.
    pub session: SessionRef,
}

/// What came of an effect.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, alive for one pass"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A launch was sent, or not.
    Launched(LaunchOutcome),
    /// A follow-up message was sent, or not.
    Messaged(MessageOutcome),
    /// The baseline was read.
    BaselineRead {
        /// When, by uptime, it was begun.
        begun: Duration,
        /// When, by uptime, its answer was there.
        ended: Duration,
        /// What it showed.
        result: Result<Option<String>, ProviderError>,
    },
    /// A lookup ended.
    LookedUp {
        /// When, by uptime, this lookup was begun.
        begun: Duration,
        /// What it showed.
        answer: Result<AdoptAnswer, ProviderError>,
    },
    /// A stop was sent.
    Stopped(Result<CancelAnswer, ProviderError>),
    /// A session was archived, or not.
    Archived {
        /// The account that was asked.
        account: AccountFingerprint,
        /// What came of it.
        result: Result<(), ProviderError>,
    },
    /// A poll of a session that a user handed over, or that has ended.
    Examined {
        /// The account that polled.
        account: AccountFingerprint,
        /// The other CodeSession that the session belongs to.
        owner: Option<Owner>,
        /// What it showed.
        result: Result<Snapshot, ProviderError>,
    },
}

/// The CodeSession that a session at the provider belongs to. Its name is told in its own namespace only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One of the same namespace, with this name.
    Named(String),
    /// One of another namespace.
    Elsewhere,
}

/// What is stored and remembered after an effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The status to store.
    pub write: Option<StatusWrite>,
    /// What people are told.
    pub events: Vec<Event>,
    /// The new memory of lookups; `None` leaves it.
    pub lookups: Option<Lookups>,
    /// The baseline as it was read; `None` leaves what is remembered.
    pub baseline_read: Option<BaselineRead>,
    /// When to look again.
    pub again: Option<Duration>,
    /// Whether this was a transient fault, for waiting times.
    pub fault: bool,
}

/// Something people are told by an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub level: Level,
    /// Why, as one word.
    pub reason: Reason,
    /// The text.
    pub message: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be. At most two a session.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Event {
    /// As it should be.
    pub fn normal(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            level: Level::Normal,
            reason,
            message: message.into(),
        }
    }

    /// Somebody should look.
    pub fn warning(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            reason,
            message: message.into(),
        }
    }
}
