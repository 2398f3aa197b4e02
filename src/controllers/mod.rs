//! The controllers: gather what is known, let the domain decide, do the one thing it plans, record what came of it.
//!
//! ```text
//!  watch · poller · timer      (a trigger carries no data, only which object)
//!             │
//!  gather ─► decide ─► execute ─► record
//!  (I/O)     (pure)    (≤ 1        (status, event,
//!                       effect)     metric)
//! ```

pub mod accounts;
pub mod admission;
pub mod agent;
pub mod connection;
pub mod context;
pub mod environment;
pub mod error;
pub mod finished;
pub mod images;
pub mod memory;
pub mod metrics;
mod namespaces;
pub mod orphans;
pub mod owners;
pub mod permissions;
pub mod poller;
mod run;
mod scope;
pub mod secrets;
pub mod served;
pub mod session;
pub mod sweep;
mod takeover;
#[cfg(test)]
mod testing;
pub mod webhook;

pub use context::{Context, Process, Settings};
pub use run::{Filled, run};
pub use scope::Scope;
