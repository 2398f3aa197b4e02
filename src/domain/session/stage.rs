//! Where a session stands, read from its status in one place.

use std::time::Duration;

use jiff::Timestamp;

use super::observed::ProviderFacts;
use crate::api::{CodeSessionSpec, CodeSessionStatus, SendRecord, SendState};
use crate::domain::timing::Timing;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage<'a> {
    /// Nothing of it is at the provider: nothing was sent, or what was sent is known not to have started anything.
    Waiting,
    /// A paid request is claimed, and it is not known yet what became of it.
    Open(OpenSend<'a>),
    /// The provider has the session, and its newest message has not ended. The record is the launch's.
    Running(&'a SendRecord),
    /// Its newest message has ended, or it was never launched and will not be. Messages may wait to be sent.
    Over(Over<'a>),
}

/// A paid request whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpenSend<'a> {
    /// The launch.
    Launch(&'a SendRecord),
    /// A follow-up message of a session that the provider has.
    Message {
        /// Its name.
        name: &'a str,
        /// Its record.
        record: &'a SendRecord,
        /// The record of the launch.
        launch: &'a SendRecord,
    },
}

impl<'a> OpenSend<'a> {
    /// Its record.
    pub fn record(self) -> &'a SendRecord {
        match self {
            Self::Launch(record) | Self::Message { record, .. } => record,
        }
    }

    /// The record of the session's launch.
    pub fn launch(self) -> &'a SendRecord {
        match self {
            Self::Launch(launch) | Self::Message { launch, .. } => launch,
        }
    }
}

/// What is left of a session that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Over<'a> {
    /// Nothing was ever launched.
    NeverLaunched,
    /// It could not be found out whether it was launched.
    Unknown(&'a SendRecord),
    /// The provider had it and no longer knows it.
    Lost(&'a SendRecord),
    /// It is at the provider, ended.
    Ended(&'a SendRecord),
}

impl<'a> Stage<'a> {
    /// Where a session with this status stands; the status is `None` before the first write.
    pub fn of(status: Option<&'a CodeSessionStatus>) -> Self {
        let Some(status) = status else {
            return Self::Waiting;
        };
        let launch = status.launch.as_ref();
        match (
            status.phase.is_terminal(),
            launch.map(|record| (record, record.state)),
        ) {
            (true, Some((record, SendState::Confirmed))) => Self::Over(Over::Ended(record)),
            (true, Some((record, SendState::Lost))) => Self::Over(Over::Lost(record)),
            (true, Some((record, SendState::Claimed | SendState::Unknown))) => {
                Self::Over(Over::Unknown(record))
            }
            // An earlier attempt may have arrived, whatever became of the newest.
            (true, Some((record, SendState::Rejected | SendState::Absent)))
                if record.attempt > 1 =>
            {
                Self::Over(Over::Unknown(record))
            }
            (true, None | Some((_, SendState::Rejected | SendState::Absent))) => {
                Self::Over(Over::NeverLaunched)
            }
            (false, None | Some((_, SendState::Rejected | SendState::Absent))) => Self::Waiting,
            (false, Some((record, SendState::Claimed | SendState::Unknown))) => {
                Self::Open(OpenSend::Launch(record))
            }
            (false, Some((launch, SendState::Confirmed | SendState::Lost))) => {
                match newest_message_send(status) {
                    Some((name, record)) if record.state.is_open() => {
                        Self::Open(OpenSend::Message {
                            name,
                            record,
                            launch,
                        })
                    }
                    Some(_) | None => Self::Running(launch),
                }
            }
        }
    }

    /// The record of a session that is, or was, at the provider under a known id.
    pub fn launched(self) -> Option<&'a SendRecord> {
        match self {
            Self::Running(record)
            | Self::Open(OpenSend::Message { launch: record, .. })
            | Self::Over(Over::Ended(record) | Over::Lost(record)) => Some(record),
            Self::Waiting
            | Self::Open(OpenSend::Launch(_))
            | Self::Over(Over::NeverLaunched | Over::Unknown(_)) => None,
        }
    }

    /// The record of a claim whose settings count: once claimed, only what was recorded is used.
    pub fn claimed(self) -> Option<&'a SendRecord> {
        match self {
            Self::Open(OpenSend::Launch(record)) | Self::Over(Over::Unknown(record)) => {
                Some(record)
            }
            Self::Running(_)
            | Self::Open(OpenSend::Message { .. })
            | Self::Over(Over::Ended(_) | Over::Lost(_)) => self.launched(),
            Self::Waiting | Self::Over(Over::NeverLaunched) => None,
        }
    }
}

/// Name and record of the newest follow-up message that was claimed.
pub(super) fn newest_message_send(status: &CodeSessionStatus) -> Option<(&str, &SendRecord)> {
    let newest = status.messages.last()?;
    Some((newest.name.as_str(), newest.send.as_ref()?))
}

/// The record of the newest paid request: a message's, or the launch's.
pub fn newest_send(status: Option<&CodeSessionStatus>) -> Option<&SendRecord> {
    let status = status?;
    newest_message_send(status)
        .map(|(_, record)| record)
        .or(status.launch.as_ref())
}

/// What [`needs`] looks at: what is known of a session before anything is read for it.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    /// The spec.
    pub spec: &'a CodeSessionSpec,
    /// The status; `None` before the first write.
    pub status: Option<&'a CodeSessionStatus>,
    /// What is known of its provider.
    pub provider: Option<&'a ProviderFacts>,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether it carries the finalizer.
    pub has_finalizer: bool,
    /// Whether the user names a provider session that it is to take over.
    pub adopt: bool,
    /// Whether this process has a request of the current claim in its hands.
    pub in_flight: bool,
    /// When, by wall clock, this process last began to look at the ended session.
    pub looked_at: Option<Timestamp>,
    /// Wall clock.
    pub now: Timestamp,
    /// The durations.
    pub timing: &'a Timing,
}

/// How long ago something was begun, `begun` by uptime, as a moment of wall clock.
pub fn wall_clock(now: Timestamp, uptime: Duration, begun: Duration) -> Timestamp {
    now - uptime.saturating_sub(begun)
}
