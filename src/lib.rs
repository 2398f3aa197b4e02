//! The Kubernetes operator for cloud coding agents.
#![forbid(unsafe_code)]

pub mod api;
pub mod domain;
pub mod providers;
pub mod runtime;
pub mod simulator;
