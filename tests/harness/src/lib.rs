//! A real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) on loopback, for the tests and
//! the quick start: real validation, real RBAC, real watches and conflicts. No container, no root, no network.
//!
//! ```no_run
//! use codeagent_harness::shared;
//! use k8s_openapi::api::core::v1::ConfigMap;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let control_plane = shared().await; // one per test program, started by the first test
//! let namespace = control_plane.namespace("greeting").await?; // one per test
//! namespace
//!     .apply_manifests("{apiVersion: v1, kind: ConfigMap, metadata: {name: greeting}, data: {text: hello}}")
//!     .await?;
//! let greeting = namespace.api::<ConfigMap>().get("greeting").await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`ControlPlane`] starts one of one's own, for tests that stop and restart components.
//! - [`Access`] is an identity at it: configuration, client, kubeconfig, kubectl. [`ControlPlane::admin`] is above
//!   RBAC; whatever says something about permissions uses [`ControlPlane::user`] or
//!   [`ControlPlane::service_account`].
//! - [`AuditLog`] tells who asked the API server for what.
//! - [`ControlPlane::save`] and [`ControlPlane::restore`] take the store back to an earlier state, as from a backup.
//! - [`Sources`] says where the programs come from: found, or built once from upstream's source. [`HelmSources`] does
//!   the same for helm, [`promtool`] for Prometheus' tool, [`Flux`] and [`ArgoCd`] for the engines' libraries.
//!
//! There are no nodes: Pods stay `Pending`, Jobs create a Pod and stop there. [`node`] has a cluster with one, for root.

mod access;
mod audit;
mod binaries;
mod certificates;
mod component;
mod control_plane;
mod etcdutl;
mod gitops;
mod go_build;
mod helm;
mod manifests;
mod namespace;
pub mod node;
mod process;
mod progress;
mod promtool;
mod shared;
mod snapshot;

use std::{
    error::Error,
    fmt::Write,
    hash::{BuildHasher, RandomState},
};

pub use access::{Access, AccessError, KubectlOutput};
pub use audit::{AuditError, AuditLog, AuditedRequest, Verb};
pub use binaries::{Binaries, BinariesError, Sources};
pub use component::Component;
pub use control_plane::{ControlPlane, Options, StartError};
pub use gitops::{ArgoCd, ArgoCdAnswer, Difference, Flux, FluxAnswer};
pub use helm::HelmSources;
pub use manifests::ApplyError;
pub use namespace::Namespace;
pub use promtool::promtool;
pub use shared::shared;
pub use snapshot::SnapshotError;

/// An error and all its causes, on one line each.
fn report(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  because: {error}");
        cause = error.source();
    }
    text
}

/// Eight characters that make a name unique.
fn random_suffix() -> String {
    let random = RandomState::new().hash_one(()) & u64::from(u32::MAX);
    format!("{random:08x}")
}
