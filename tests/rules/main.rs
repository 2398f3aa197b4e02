//! What is refused and what is made of mistakes: by the API server (CRDs), by the operator (bad input of every kind, with real
//! simulated providers), and by the source itself (layers).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod architecture;
mod cluster;
mod endpoints;
mod engines;
mod examples;
mod explain;
mod kstatus;
mod missing;
mod outages;
mod parameters;
mod refusals;
mod repositories;
mod rules_agent;
mod rules_session;
mod schema;
mod source;
mod status_defaults;
mod unsupported;
mod webhooks;
mod world;
