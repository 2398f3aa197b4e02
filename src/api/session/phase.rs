//! Where a session stands.

use serde::Serialize;

use crate::api::shared::{open_words, words_schema};

/// Where a session stands.
///
/// A word that another version of the operator stored reads as `Running`, which is not terminal: what the provider says then
/// decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum SessionPhase {
    /// Not launched yet.
    #[default]
    Pending,
    /// A launch is under way, or the provider prepares the machine.
    Creating,
    /// The agent works.
    Running,
    /// Done.
    Finished,
    /// Ended with an error, or could not be launched as asked.
    Error,
    /// Stopped on request.
    Cancelled,
    /// Ended by a time limit, ours or the provider's.
    Expired,
}

words_schema!(SessionPhase: Pending, Creating, Running, Finished, Error, Cancelled, Expired);
open_words!(SessionPhase, or Running: Pending, Creating, Running, Finished, Error, Cancelled, Expired);

impl SessionPhase {
    /// Whether the newest message has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Creating | Self::Running => false,
            Self::Finished | Self::Error | Self::Cancelled | Self::Expired => true,
        }
    }

    /// As written in manifests; also the label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Creating => "Creating",
            Self::Running => "Running",
            Self::Finished => "Finished",
            Self::Error => "Error",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
        }
    }
}
