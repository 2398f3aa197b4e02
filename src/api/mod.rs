//! The custom resources: types, conditions, reasons and the rules the API server enforces.
//!
//! Depends on nothing else in this crate. Descriptions of fields are what `kubectl explain` shows.

// The lint takes the same key in several printcolumn(...) lists for a repetition.
#[expect(
    clippy::duplicated_attributes,
    reason = "printcolumn is repeated on purpose"
)]
pub mod codeagent;
#[expect(
    clippy::duplicated_attributes,
    reason = "printcolumn is repeated on purpose"
)]
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
