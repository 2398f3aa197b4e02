//! What every operator needs and none of ours in particular: the bounded client, watching, guarded writes, events, identity,
//! leading, panics, the proxy on the way to the API server, serving.
//!
//! Nothing in here knows a CodeAgent, a CodeSession or a provider.

pub mod access_review;
pub mod cache;
pub mod client;
pub mod dispatch;
pub mod events;
pub mod expiring;
pub mod heartbeat;
pub mod identity;
pub mod lease;
pub mod listener;
pub mod lock;
pub mod panics;
pub mod proxy;
pub mod queue;
pub mod served_schema;
pub mod server;
pub mod shared_reads;
pub mod write;
