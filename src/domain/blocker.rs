//! What keeps a session from being launched, or a provider from being asked.

use std::time::Duration;

use crate::api::Reason;

/// Something that keeps a session from being launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for the person who applied the manifest, and what to do.
    pub message: String,
    /// Where it has to be corrected.
    pub cause: Cause,
}

/// Where a blocker has to be corrected: decides whether the session ends or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The session's own fields, which never change: it ends.
    Spec,
    /// The CodeAgent, a Secret, the account: the session waits until that is corrected.
    Environment,
}

/// Why a provider cannot be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// What is missing, and what to do.
    pub blocker: Blocker,
    /// Whether it may pass by itself (the provider is down); otherwise somebody has to correct it.
    pub transient: bool,
    /// When it is worth looking again.
    pub again: Duration,
}
