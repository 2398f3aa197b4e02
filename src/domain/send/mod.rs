//! One paid request, from its claim to its outcome (docs/protocol.md).
//!
//! A **send** is a request that starts something paid: a launch now, a follow-up message next. What is recorded of it is a
//! [`SendRecord`](crate::api::SendRecord), in `status.launch`. Nothing in here knows a session's conditions or any words
//! for people but those of a refusal; the files of [`super::session`] make sentences of what is judged here.
//!
//! ```text
//! answer      what came back: accepted, refused, or unknown (rule 1)
//! judge       a claim without a known outcome: look, wait, absent, unknowable, out of patience (rules 4, 6 to 8, 12)
//! seen        what this process has seen of a send: scans that found nothing, a baseline
//! baseline    what was there before, where a lost send can only be found by comparing
//! digest      what tells one request from another, without what it sends
//! refusal     what a refusal comes to, and when it is worth another try
//! scope       which other launches a refusal concerns
//! recording   storing the outcome until it is stored, or undoing it (rule 9), without I/O
//! ```

pub mod answer;
pub mod baseline;
pub mod digest;
pub mod judge;
pub mod recording;
pub mod refusal;
pub mod scope;
pub mod seen;

use std::time::Duration;

use jiff::Timestamp;

use super::timing::Timing;

/// The clocks and the durations that a judgement uses.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// Wall clock.
    pub now: Timestamp,
    /// Monotonic clock: time since this process started.
    pub uptime: Duration,
    /// The durations.
    pub timing: &'a Timing,
}

impl Clock<'_> {
    /// How long ago `then` was, by wall clock; zero if it lies ahead.
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(then)).unwrap_or_default()
    }

    /// How long it is until `then`, by wall clock; zero if it has passed.
    pub fn until(&self, then: Timestamp) -> Duration {
        Duration::try_from(then.duration_since(self.now)).unwrap_or_default()
    }
}
