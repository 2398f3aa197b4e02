//! What is known when a decision is made. Plain data, gathered before.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::super::blocker::{Blocker, NotReady};
use super::super::ids::{AccountFingerprint, ClaimId, InstallationId};
use super::super::remote::{
    CancelVisibility, Capability, MessageRecovery, ProviderError, Recovery,
};
use super::super::send::Clock;
use super::super::send::seen::{BaselineRead, Lookups, Unclear};
use super::super::snapshot::Snapshot;
use super::super::timing::Timing;
use crate::api::{
    CodeSessionSpec, CodeSessionStatus, Effective, ProviderKind, QueueResource, SendRecord,
    WebhookSpec,
};

/// Everything a decision about one session depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Wall clock.
    pub now: Timestamp,
    /// Monotonic clock: time since this process started.
    pub uptime: Duration,
    /// The object.
    pub session: SessionView<'a>,
    /// The CodeAgent.
    pub agent: AgentView,
    /// What is known of the provider without talking to it; `None` where this installation does not have it.
    pub provider: Option<ProviderFacts>,
    /// Whether everything is there that a launch, a poll or a stop needs.
    pub readiness: Readiness,
    /// Whether there is a free slot among the sessions of the CodeAgent.
    pub slot: Slot,
    /// Whether the session holds what only one at a time may work on: its issue, its branch.
    pub lock: Lock,
    /// The newest baseline that was read for a launch of this session.
    pub baseline_read: Option<&'a BaselineRead>,
    /// Whether this process has a request of the current claim in its hands.
    pub in_flight: bool,
    /// When, by `uptime`, this process first saw the current claim.
    pub claim_first_seen: Option<Duration>,
    /// When, by `uptime`, this process first saw that the object is being deleted.
    pub deletion_first_seen: Option<Duration>,
    /// What lookups of the current launch have shown so far.
    pub lookups: &'a Lookups,
    /// The newest poll of the session.
    pub poll: Option<&'a Poll>,
    /// When, by `uptime`, this process last sent a stop for this session.
    pub last_stop: Option<Duration>,
    /// Whether this process has seen the provider take a stop for this session, also where that could not be stored.
    pub stop_taken: bool,
    /// When, by `uptime`, this process last began to poll the ended session.
    pub polled_after_end: Option<Duration>,
    /// Passing faults in a row, for waiting times.
    pub faults: i32,
    /// This installation.
    pub installation: &'a InstallationId,
    /// A claim id for the case that one is needed; drawn outside, because decisions have no randomness.
    pub fresh_claim_id: &'a ClaimId,
    /// The durations.
    pub timing: &'a Timing,
    /// Whether the process is about to stop: nothing new is claimed or sent.
    pub stopping: bool,
}

impl Observed<'_> {
    /// Clocks and durations.
    pub fn clock(&self) -> Clock<'_> {
        Clock {
            now: self.now,
            uptime: self.uptime,
            timing: self.timing,
        }
    }

    /// How long ago `then` was, by wall clock; zero if it lies ahead.
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(then)).unwrap_or_default()
    }

    /// What lookups with the account that would look now have shown.
    pub(super) fn own_lookups(&self) -> Option<&Lookups> {
        let Readiness::Ready(connected) = &self.readiness else {
            return None;
        };
        Some(self.lookups).filter(|lookups| lookups.account.as_ref() == Some(&connected.account))
    }

    /// How long it is until the next look before a request, with why it is waited for; `None` if it is due.
    pub(super) fn wait_before_sending(&self) -> Option<(&Unclear, Duration)> {
        self.own_lookups()?.wait_before_sending(self.clock())
    }

    /// How long it is until `then`, by wall clock; zero if it has passed.
    pub fn until(&self, then: Timestamp) -> Duration {
        Duration::try_from(then.duration_since(self.now)).unwrap_or_default()
    }
}

/// The object, without what nobody decides on.
#[derive(Clone, Debug)]
pub struct SessionView<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Uid of its namespace; `None` where there is none any more, or it cannot be read: then nothing is launched.
    pub namespace_uid: Option<&'a str>,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its deletion was asked for.
    pub deleting: Option<Timestamp>,
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// What the origin annotation says.
    pub origin: Origin,
    /// The provider session that the user wants it to take over.
    pub adopt: Option<&'a str>,
    /// The spec.
    pub spec: &'a CodeSessionSpec,
    /// The status; `None` before the first write.
    pub status: Option<&'a CodeSessionStatus>,
    /// Whether the object is older than this process, or this process knows of a launch of it: if it says nothing of one,
    /// that may be lost, as with a store that was restored from a backup.
    pub older_than_process: bool,
}

/// What the origin annotation says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There is none, or it names another namespace or name: a new object.
    None,
    /// It names this very object.
    Own,
    /// It names this namespace and name with another uid: a copy restored from an export or a backup.
    Copy,
}

/// The CodeAgent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentView {
    /// There is none of this name.
    Missing,
    /// It is there.
    Present {
        /// Generation of its spec.
        generation: i64,
        /// Whether it is suspended.
        suspended: bool,
        /// The settings that a launch now would have.
        effective: Box<Effective>,
        /// What speaks against launching with them.
        blocker: Option<Blocker>,
        /// Its webhook.
        webhook: Option<WebhookSpec>,
        /// Whether endpoint and account have been seen to use the id that we choose, or to show our marker.
        evidence_seen: bool,
    },
}

impl AgentView {
    /// Generation of its spec; 0 where there is none.
    pub fn generation(&self) -> i64 {
        match self {
            Self::Present { generation, .. } => *generation,
            Self::Missing => 0,
        }
    }

    /// Whether endpoint and account have been seen to use the id that we choose, or to show our marker.
    pub fn evidence_seen(&self) -> bool {
        match self {
            Self::Present { evidence_seen, .. } => *evidence_seen,
            Self::Missing => false,
        }
    }
}

/// What is known of a provider without talking to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderFacts {
    /// Which provider.
    pub kind: ProviderKind,
    /// Version of its API.
    pub api_version: &'static str,
    /// How a lost launch is found.
    pub recovery: Recovery,
    /// How a lost launch with environment variables is found.
    pub environment_recovery: Recovery,
    /// How a lost follow-up message is found; `None` where no messages can be sent.
    pub message_recovery: Option<MessageRecovery>,
    /// How a stop shows.
    pub cancel_visibility: CancelVisibility,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
}

impl ProviderFacts {
    /// How a launch with these settings is found once its answer is lost.
    pub fn recovery_of(&self, effective: &Effective) -> Recovery {
        match effective.env_from.is_empty() {
            true => self.recovery,
            false => self.environment_recovery,
        }
    }

    /// How what was sent under `record` is found, whatever the settings say by now; without a record, or by one of an earlier version,
    /// what would be sent with these settings.
    pub fn recovery_of_claim(
        &self,
        record: Option<&SendRecord>,
        effective: &Effective,
    ) -> Recovery {
        let recorded = record.and_then(|record| record.recovery);
        recorded.unwrap_or_else(|| self.recovery_of(effective))
    }
}

/// Whether everything is there that talking to the provider about this session needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Readiness {
    /// It was not looked at: nothing in sight needs it.
    NotGathered,
    /// The credential is there and the account behind it known.
    Ready(Connected),
    /// The credential is there, the provider has not been asked about it yet.
    Unverified,
    /// Something is missing or refused. It is looked at again after a while.
    NotReady(NotReady),
}

impl Readiness {
    /// The account to talk to, if everything is there.
    pub fn connected(&self) -> Option<&Connected> {
        match self {
            Self::Ready(connected) => Some(connected),
            Self::NotGathered | Self::Unverified | Self::NotReady(_) => None,
        }
    }
}

/// An account to talk to.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// The account.
    pub account: AccountFingerprint,
    /// When, by uptime, the provider last accepted the credential.
    pub verified: Option<Duration>,
    /// Tells this credential from another one of the same account.
    pub credential: String,
    /// What a launch sends, where a launch is in sight.
    pub inputs: Option<Inputs>,
}

/// What a decision reads of what a launch sends. The text itself stays with who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Digest of the prompt as it is sent: preamble, prompt and marker line.
    pub digest: String,
    /// The provider's template to launch from, where it has templates.
    pub template_id: Option<String>,
}

/// A slot among the sessions that may be active at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// There is one.
    Free,
    /// All are taken; this session is at this position of those that wait.
    Taken {
        /// Whose slots they are.
        of: SlotOwner,
        /// 1 is next; `None` beyond the first ten.
        position: Option<i32>,
    },
    /// How many are active for the account is not known yet: not every namespace has been read.
    Uncounted,
}

/// Whose slots are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotOwner {
    /// The CodeAgent (maxConcurrentSessions).
    Agent,
    /// The account (`--max-concurrent-per-credential`).
    Account {
        /// Digest of account and endpoint.
        digest: String,
    },
}

/// What only one session at a time may work on: an issue, a branch.
///
/// On an issue a lost launch is found by what is new there, which tells nothing if several launches are open at once. On a branch
/// one session would overwrite the work of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// None is needed: what is launched is told apart in other ways, or nothing is in sight to be launched.
    Unneeded,
    /// This session holds it.
    Ours {
        /// Since when, by uptime.
        since: Duration,
    },
    /// Another session holds it.
    Taken {
        /// What both need.
        of: QueueResource,
        /// Whose, for people.
        by: String,
    },
}

/// A poll of the session.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// When, by uptime, it was begun.
    pub begun: Duration,
    /// What it showed.
    pub result: Result<Snapshot, ProviderError>,
    /// The account that polled.
    pub account: AccountFingerprint,
    /// When, by uptime, the first of the polls was begun that have shown the same since: this very snapshot, or a failure of
    /// this class.
    pub unchanged_since: Duration,
}

impl Poll {
    /// The poll that follows `before`. Only what the same account saw in the same way counts as alike.
    pub fn after(
        before: Option<&Self>,
        begun: Duration,
        result: Result<Snapshot, ProviderError>,
        account: AccountFingerprint,
    ) -> Self {
        let unchanged_since = before
            .filter(|before| before.account == account && before.shows(&result))
            .map_or(begun, |before| before.unchanged_since);
        Self {
            begun,
            result,
            account,
            unchanged_since,
        }
    }

    /// Whether it says the same as `result`.
    pub fn shows(&self, result: &Result<Snapshot, ProviderError>) -> bool {
        match (&self.result, result) {
            (Ok(shown), Ok(now)) => shown == now,
            (Err(shown), Err(now)) => shown.class == now.class,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}
