//! The custom resources: types, conditions, reasons and the rules the API server enforces.
//!
//! Depends on nothing else in this crate. Descriptions of fields are what `kubectl explain` shows.

pub mod codeagent;
pub mod codesession;
pub mod crds;
pub mod provider;
pub mod reason;
pub mod shared;

pub use codeagent::*;
pub use codesession::*;
pub use provider::*;
pub use reason::{AgentCondition, Reason, SessionCondition};
pub use shared::*;
