//! What a provider whose sessions run in the cluster asks of it. Its implementation has the client; nothing here knows one.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::domain::remote::ProviderError;

/// One namespace of the cluster. No call is repeated by itself, and each bounds its own time.
///
/// An error has the API server's words, and the status of its answer where it gave one; without a status it is not known whether the call
/// took effect.
#[async_trait]
pub trait Cluster: Debug + Send + Sync {
    /// Its name.
    fn namespace(&self) -> &str;

    /// The image of codeagent-runner.
    fn runner_image(&self) -> &str;

    /// Creates an object with one POST; unknown fields are refused. With `dry_run` everything is checked and nothing stored.
    ///
    /// # Errors
    /// With the code `AlreadyExists` if there is one of this name.
    async fn create(&self, manifest: &Manifest, dry_run: bool) -> Result<(), ProviderError>;

    /// Changes an object by a JSON merge patch.
    async fn patch(
        &self,
        kind: ManifestKind,
        name: &str,
        patch: &Value,
    ) -> Result<(), ProviderError>;

    /// Deletes an object and, in the background, what it owns. One that is not there is no error.
    async fn delete(&self, kind: ManifestKind, name: &str) -> Result<(), ProviderError>;

    /// The Job of this name; `None` if there is none.
    async fn job(&self, name: &str) -> Result<Option<Job>, ProviderError>;

    /// The Pods of the Job of this name.
    async fn pods(&self, job: &str) -> Result<Vec<Pod>, ProviderError>;

    /// The labels of the Secret of this name; `None` if there is none.
    async fn secret_labels(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, ProviderError>;
}

/// An object that is created, as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: ManifestKind,
    /// All of it, JSON.
    pub object: Value,
}

/// A kind of object that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// A Secret.
    Secret,
    /// A Job.
    Job,
}

impl ManifestKind {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Job => "Job",
        }
    }
}
