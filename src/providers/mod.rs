//! The providers: one contract, one HTTP stack, one folder per provider.
//!
//! To add one: a folder with the wire types and the adapter, and a line in [`registry`].

pub mod contract;
pub mod credential;
pub mod error;
pub mod http;
mod http_agent;
pub mod registry;
pub mod temporary;

mod cursor;
mod firebender;
mod firetiger;
mod flapjack;
mod job;
mod recovery;
mod v0_agents;
mod wire;
