//! Every call that the operator makes, and every fault at each of them.
//!
//! Between the operator and the API server, and between the operator and a simulated provider, stands a proxy. It gives every call
//! of a run a stable name, a [`Boundary`]: `PATCH codesessions/status #2`, `POST /v1/agents #1`, `WATCH codesessions #1`. A **learning run** of a
//! [`Lifecycle`] at a [`Provider`](provider::UnderTest) tells which boundaries there are; then the lifecycle runs again for each boundary and each [`Fault`] that makes
//! sense there, and the [`oracle`] says of each run whether everything that is promised was kept.
//!
//! ```text
//!              ┌──────────────── one run ────────────────┐
//! lifecycle ──►│ API server ◄── proxy ◄── operator       │──► oracle ──► violations
//! (a user)     │                            │            │
//!              │ simulated provider ◄── proxy            │
//!              └─────────────────────────────────────────┘
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`boundary`] | names of calls |
//! | [`fault`] | what can go wrong, and where that makes sense |
//! | [`proxy`] | recording calls, injecting faults |
//! | `distortion` | answers that are altered on their way |
//! | [`operator`] | the real operator in this process, crashed and started again |
//! | [`history`] | every version of every session, as the API server stored it |
//! | [`provider`], [`lifecycle`] | the two tables whose product is run |
//! | [`cluster`] | the control plane and the namespaces that runs take turns in |
//! | [`run`] | one run |
//! | [`oracle`] | what must hold after it |
//! | [`matrix`] | all rows, side by side |
//! | `load` | whether this machine keeps up |
//! | [`report`] | the table of what came of them |

pub mod boundary;
pub mod cluster;
mod distortion;
pub mod fault;
pub mod history;
pub mod lifecycle;
mod load;
pub mod matrix;
pub mod operator;
pub mod oracle;
pub mod provider;
pub mod proxy;
pub mod report;
pub mod run;

pub use boundary::Boundary;
pub use fault::Fault;
pub use lifecycle::Lifecycle;

/// Why something around a run (never the operator itself) did not work.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;
