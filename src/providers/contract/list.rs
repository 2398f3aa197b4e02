//! Lists of sessions.

use jiff::Timestamp;

use crate::domain::ids::SessionId;
use crate::domain::remote::PageToken;
use crate::domain::snapshot::Snapshot;

/// What a list page tells of each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListDetail {
    /// Everything a [`Snapshot`] has but the live view, which may be told alone: a page of the list replaces that many single looks.
    Full,
    /// Of some or all sessions only whether something moved; what it is takes a [`Provider::get`](super::Provider::get).
    Hint,
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
    /// Everything (boxed: it is much larger than a hint).
    Full(Box<Snapshot>),
    /// A text that changes when something about the session may have changed.
    Hint(String),
}
