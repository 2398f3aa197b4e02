//! The pure core: identities, the launch ledger, the lifecycle of a session.
//!
//! Nothing in here knows a Kubernetes client, an async runtime, HTTP, a clock or randomness: time and
//! facts come in as plain data, plans go out as plain data. That is what makes it possible to walk
//! every reachable state in a test.

pub mod agent;
pub mod blocker;
pub mod clock;
pub mod effective;
pub mod endpoint;
pub mod environment;
pub mod ids;
pub mod image;
pub mod mapping;
pub mod marker;
pub mod markup;
pub mod orphan;
pub mod parameters;
pub mod provider_webhook;
pub mod pull_request;
pub mod queue;
pub mod remote;
pub mod repository;
pub mod requeue;
pub mod send;
pub mod session;
pub mod snapshot;
pub mod status;
pub mod template;
pub mod timeline;
pub mod timing;
pub mod webhook;
