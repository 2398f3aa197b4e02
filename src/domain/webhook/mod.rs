//! Reporting a session's changes to a webhook: what is due, and what is stored of an attempt.
//!
//! What is due follows from the status alone: the state that the webhook last took is stored, and compared with the state of now. So
//! nothing is lost with the process. States that a session goes through while a report is under way, or cannot be delivered, are not
//! kept: the newest is reported, never an older one after a newer one.

mod change;
mod due;
mod outcome;
mod payload;
mod signature;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use due::{Due, Report, due, follow_manifests, is_pending, number_state, state_of, webhook_of};
pub use outcome::{Attempt, delivered_condition, recorded};
pub use payload::{MOST_BYTES, Payload, Subject, payload};
pub use signature::{KeyError, SigningKeys};
