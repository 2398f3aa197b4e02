//! What a session left beside its branch, and its live view: read when somebody asks, stored nowhere.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::ids::SessionId;
use crate::domain::remote::ProviderError;
use crate::providers::temporary::{TemporaryUrl, Token};

/// The most artifacts that are told of one session; Cursor tells at most 100.
pub const MAX_ARTIFACTS: usize = 500;
/// The longest path of an artifact, in bytes: that of a file on Linux.
pub const LONGEST_ARTIFACT_PATH: usize = 4096;

/// A file that an agent left at its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Which one, in the provider's words: what [`Artifacts::locate`] takes.
    pub path: String,
    /// How large it is, in bytes.
    pub size: Option<u64>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
}

/// The artifacts of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactList {
    /// In the provider's order, at most [`MAX_ARTIFACTS`].
    pub artifacts: Vec<Artifact>,
    /// Whether there are more of them, or some that could not be read.
    pub truncated: bool,
}

/// Hands out what the agents of an account's sessions left. Reads only.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// What there is. `sessions` are the provider's sessions of one CodeSession, oldest first, at least one: a message to a stopped one may
    /// have been answered with another.
    ///
    /// # Errors
    /// If the provider cannot be read now, or knows none of the sessions any more.
    async fn list(&self, sessions: &[SessionId]) -> Result<ArtifactList, ProviderError>;

    /// Where the artifact with this path, as [`Artifacts::list`] tells it, can be fetched by anybody who is told, for a short while.
    ///
    /// # Errors
    /// [`ErrorClass::NotFound`](crate::domain::remote::ErrorClass::NotFound) or
    /// [`ErrorClass::InvalidRequest`](crate::domain::remote::ErrorClass::InvalidRequest) if these sessions have no such artifact;
    /// [`ErrorClass::Protocol`](crate::domain::remote::ErrorClass::Protocol) if what the provider names must not be handed on.
    async fn locate(
        &self,
        sessions: &[SessionId],
        path: &str,
    ) -> Result<TemporaryUrl, ProviderError>;
}

/// Shows the machines that the agents of an account's sessions work on. Reads only.
#[async_trait]
pub trait Previewing: Send + Sync {
    /// The live view of a session; `None` while there is none: before its machine is up, and after its end.
    ///
    /// # Errors
    /// If the provider cannot be read now, or does not know the session any more.
    async fn preview(&self, session: &SessionId) -> Result<Option<Preview>, ProviderError>;
}

/// A live view, and what lets into it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Its page.
    pub url: TemporaryUrl,
    /// What the page asks for.
    pub token: Option<Token>,
}
