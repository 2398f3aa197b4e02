//! The Helm chart: rendered by a real helm, applied to a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod definitions;
mod helm;
mod lifecycle;
mod permissions;
mod pod;
mod release;
mod values;
