//! What a provider says of a session at one moment, in our words.

use std::time::Duration;

use jiff::Timestamp;

use super::ids::{RunId, SessionId};

/// Where the newest message of a session stands at the provider.
///
/// `Creating` and `Running` may still change, the others are final for this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemotePhase {
    /// Accepted; the machine is being prepared, the agent does not work yet.
    Creating,
    /// The agent works, or waits for a person (then [`Snapshot::blocked`] says so).
    Running,
    /// Done.
    Finished,
    /// Ended with an error.
    Error,
    /// Stopped on request.
    Cancelled,
    /// Ended by the provider's own time limit.
    Expired,
    /// The provider answered with a status that no document names. The phase stays what it was.
    Unrecognised,
}

impl RemotePhase {
    /// Whether this is final for the message.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Finished | Self::Error | Self::Cancelled | Self::Expired => true,
            Self::Creating | Self::Running | Self::Unrecognised => false,
        }
    }
}

/// One look at a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The provider's id of the session.
    pub session_id: SessionId,
    /// The run of the newest message, where the provider has runs.
    pub run_id: Option<RunId>,
    /// The status in our words.
    pub phase: RemotePhase,
    /// The status in the provider's words.
    pub raw_status: String,
    /// The repository the provider says it works on; evidence when a session is adopted.
    pub repository: Option<String>,
    /// The page on which a person can watch the session.
    pub url: Option<String>,
    /// The branch the agent pushes to.
    pub branch: Option<String>,
    /// The pull request.
    pub pull_request_url: Option<String>,
    /// Why the agent waits for a person, if it does.
    pub blocked: Option<String>,
    /// The agent's closing words. Untrusted and of any length: it is cut before it is stored.
    pub result: Option<String>,
    /// The provider's words on what went wrong.
    pub error: Option<String>,
    /// Links worth keeping. Never a token, and no URL that carries one.
    pub links: Links,
    /// What it cost.
    pub usage: Option<Usage>,
    /// How long the message ran, as the provider measured it.
    pub duration: Option<Duration>,
    /// When the provider created the session.
    pub created_at: Option<Timestamp>,
}

/// Links of a session beside its page and its pull request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// A recording of the emulator's screen.
    pub recording: Option<String>,
    /// The execution trace.
    pub trace: Option<String>,
    /// A live view.
    pub preview: Option<String>,
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Cost in hundredths of a US dollar, rounded up; absent where the provider does not say.
    pub cost_cents: Option<i64>,
}
