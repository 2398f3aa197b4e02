//! Lists of sessions.

use async_trait::async_trait;
use jiff::Timestamp;

use super::find::{MarkedPage, MarkedRequest};
use crate::domain::ids::SessionId;
use crate::domain::remote::{PageToken, ProviderError};
use crate::domain::snapshot::Snapshot;

/// Lists the sessions of one account. Reads only.
#[async_trait]
pub trait Listing: Send + Sync {
    /// One page of the account's sessions.
    ///
    /// A session that is in no page is not gone: it may be too new, or archived. A look of its own tells.
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError>;

    /// Goes on with the search for every session of this account that this installation has launched: whose first prompt
    /// ends with a marker of it, or, where prompts cannot be read, whose name carries the installation.
    ///
    /// One call reads a bounded number of pages, and looks at a bounded number of sessions that the caller does not know.
    /// One that cannot be judged yet (its prompt does not show, the look fails) is in no answer of this round and is looked
    /// at again in the next.
    ///
    /// # Errors
    /// Only if this call came no further at all.
    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError>;
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    /// The sessions, in the provider's order.
    pub items: Vec<ListItem>,
    /// The next page; `None` at the end.
    pub next: Option<PageToken>,
}

/// One session in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListItem {
    /// The provider's id.
    pub session_id: SessionId,
    /// When it was created, where the list says so.
    pub created_at: Option<Timestamp>,
    /// What the list tells.
    pub detail: ItemDetail,
}

/// What a list tells of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemDetail {
    /// Everything a [`Snapshot`] has but the live view, which may be told alone: no look of its own is needed (boxed: it is much
    /// larger than a hint).
    Full(Box<Snapshot>),
    /// A text that changes when something about the session may have changed; what it is takes a
    /// [`BaseProvider::get`](super::BaseProvider::get).
    Hint(String),
}
