//! The custom resources: types, conditions, reasons and the rules the API server enforces.
//!
//! Depends on nothing else in this crate. Descriptions of fields are what `kubectl explain` shows.

// The lint takes the same key in several printcolumn(...) lists for a repetition.
#[expect(
    clippy::duplicated_attributes,
    reason = "printcolumn is repeated on purpose"
)]
pub mod agent;
pub mod crds;
pub mod http_agent;
pub mod job_agent;
pub mod provider;
pub mod reason;
#[expect(
    clippy::duplicated_attributes,
    reason = "printcolumn is repeated on purpose"
)]
pub mod session;
pub mod shared;

pub use agent::*;
pub use http_agent::*;
pub use job_agent::*;
pub use provider::*;
pub use reason::{AgentCondition, Reason, SessionCondition};
pub use session::*;
pub use shared::*;
