//! The Helm chart: rendered by a real helm, applied to a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod check;
mod definitions;
mod documentation;
mod helm;
mod image;
mod life;
mod lifecycle;
mod monitoring;
mod network;
#[path = "../it/support/operator.rs"]
#[allow(dead_code, reason = "the integration tests use more of it")]
mod operator;
mod permissions;
mod pod;
mod policies;
mod release;
mod removals;
mod timelines;
mod values;
