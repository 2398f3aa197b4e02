//! The real program, as a process: killed, stopped and continued, told to stop, replaced by another replica, and with a
//! control plane that goes away or goes back in time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod crossing;
mod kills;
mod process;
mod replicas;
mod store;
#[expect(dead_code, reason = "shared with tests that need more of it")]
#[path = "../it/support/mod.rs"]
mod support;
