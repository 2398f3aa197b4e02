//! The contract of `src/providers/contract`, for every adapter alike: each contract test runs once for every [`subject::Subject`]
//! against the simulated provider, through [`Provider`](codeagent_operator::providers::contract::Provider) alone.
//!
//! What an adapter need not do follows from what it says of itself (capabilities, recovery), never from its name. To add an adapter, add its
//! subject: without one `subject.rs` does not compile, or [`completeness`] fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[macro_use]
mod subject;
#[path = "../adapters/support/mod.rs"]
mod provider_support;

mod account;
mod adoption;
mod archive;
mod artifacts;
mod assumptions;
mod bench;
mod broken;
mod calls;
mod cancel;
mod completeness;
mod crowd;
mod launch;
mod look;
mod memory;
mod messages;
mod secrecy;
mod timeline;
