//! The Kubernetes operator for cloud coding agents: `kubectl apply` a `CodeSession`, and a hosted agent clones the
//! repository, does the task and opens a pull request.
//!
//! Dependencies run one way, and a test holds them to it:
//!
//! ```text
//! api ← domain ← providers, network, runtime ← controllers ← timeline ← operator ← main
//! ```
//!
//! - [`api`]: the custom resources.
//! - [`domain`]: what happens next, as pure decisions. The launch protocol lives here.
//! - [`network`]: dialling where a user of the cluster points.
//! - [`providers`]: talking to the providers.
//! - [`runtime`]: what every operator needs.
//! - [`controllers`]: gather, execute, record.
//! - [`timeline`]: what agents do, served over HTTPS.
//! - [`inbound`]: providers' webhooks, taken as hints.
//! - [`cli`]: the command line.
//! - [`operator`]: the process behind `run`.
//! - [`check`]: what `check` looks at.
//!
//! The promises: one manifest pays for one session, whatever dies, times out or races; a stop is a stop at the provider;
//! nothing gets stuck without saying why; no key leaves the process but towards its provider.
#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod cli;
pub mod controllers;
pub mod domain;
pub mod inbound;
pub mod network;
pub mod operator;
pub mod providers;
pub mod runtime;
pub mod timeline;
