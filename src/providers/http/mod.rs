//! The one HTTP stack of all providers.
//!
//! Two clients. Reads share a pool. Every POST (or other write) gets a connection of its own, over HTTP/1.1, and is written
//! at most once: no pool, no retry, no redirect. So does a stream of events, which may stand for hours. That makes it possible to say of a failed POST whether any of it can have arrived
//! ([`Sent`](super::error::Sent)), which is what the launch protocol stands on.

mod answer;
mod api;
mod budget;
mod clock;
mod event_stream;
mod gate;
mod guard;
mod limit;
mod operation;
mod redact;
mod sse;
mod stack;

pub use self::answer::class_of_status;
pub(in crate::providers) use self::answer::refuses_stop;
pub(in crate::providers) use self::api::{Api, Auth, Target};
pub use self::clock::ProviderClock;
pub(in crate::providers) use self::event_stream::EventStream;
pub use self::gate::SendWindow;
pub use self::guard::{NotPublic, Reach};
pub use self::limit::{Lane, Prepaid, Rate, RateLimit};
pub use self::operation::Operation;
pub(in crate::providers) use self::sse::ServerEvent;
pub use self::stack::{HttpObserver, HttpSettings, HttpSetupError, HttpStack};
pub use crate::domain::send::answer::{
    REFUSING_STATUSES, message_outcome as judge_message, nothing_was_started,
    outcome as judge_launch,
};
pub(in crate::providers) use reqwest::Method;
