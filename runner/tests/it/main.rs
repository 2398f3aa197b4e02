//! The runner itself, against agents that do what a script says and a repository's host on loopback. Needs git.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod agents;
mod processes;
mod repository;
mod server;
mod volume;
mod world;
