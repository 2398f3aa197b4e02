//! A namespace of the cluster, as the adapter of Jobs asks for it.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::Value;

use crate::controllers::context::Shared;
use crate::domain::remote::{ErrorClass, ProviderError, Sent, Subject};
use crate::providers::contract::{Cluster, Manifest, ManifestKind};
use crate::providers::http::class_of_status;

/// A Job has one Pod; more than a few would be another's.
const MOST_PODS: u32 = 20;

/// One namespace.
pub(super) struct ClusterNamespace {
    client: Client,
    namespace: String,
    runner_image: String,
}

impl ClusterNamespace {
    pub(super) fn new(shared: &Shared, namespace: &str) -> Self {
        Self {
            client: shared.client.clone(),
            namespace: namespace.to_owned(),
            runner_image: shared.settings.runner_image.clone(),
        }
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl fmt::Debug for ClusterNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterNamespace({})", self.namespace)
    }
}

#[async_trait]
impl Cluster for ClusterNamespace {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn runner_image(&self) -> &str {
        &self.runner_image
    }

    async fn create(&self, manifest: &Manifest, dry_run: bool) -> Result<(), ProviderError> {
        let collection = match manifest.kind {
            ManifestKind::Secret => Secret::url_path(&(), Some(&self.namespace)),
            ManifestKind::Job => Job::url_path(&(), Some(&self.namespace)),
        };
        // A misspelt part of the Pod's spec would be left out without a word.
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let request = http::Request::post(format!("{collection}?fieldValidation=Strict{dry_run}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(manifest.object.to_string().into_bytes())
            .map_err(|error| {
                ProviderError::unsent(ErrorClass::InvalidRequest, error.to_string())
            })?;
        let answer = self.client.request::<Value>(request).await;
        answer
            .map(drop)
            .map_err(|error| of_write(&error, manifest.kind))
    }

    async fn patch(
        &self,
        kind: ManifestKind,
        name: &str,
        patch: &Value,
    ) -> Result<(), ProviderError> {
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let answer = match kind {
            ManifestKind::Secret => self
                .secrets()
                .patch(name, &parameters, &patch)
                .await
                .map(drop),
            ManifestKind::Job => self.jobs().patch(name, &parameters, &patch).await.map(drop),
        };
        answer.map_err(|error| of_write(&error, kind))
    }

    async fn delete(&self, kind: ManifestKind, name: &str) -> Result<(), ProviderError> {
        let parameters = DeleteParams::background();
        let answer = match kind {
            ManifestKind::Secret => self.secrets().delete(name, &parameters).await.map(drop),
            ManifestKind::Job => self.jobs().delete(name, &parameters).await.map(drop),
        };
        match answer {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map_err(|error| of_write(&error, kind)),
        }
    }

    async fn job(&self, name: &str) -> Result<Option<Job>, ProviderError> {
        self.jobs()
            .get_opt(name)
            .await
            .map_err(|error| of_read(&error))
    }

    async fn pods(&self, job: &str) -> Result<Vec<Pod>, ProviderError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let selected = ListParams::default()
            .labels(&format!("batch.kubernetes.io/job-name={job}"))
            .limit(MOST_PODS);
        let listed = pods.list(&selected).await;
        listed
            .map(|list| list.items)
            .map_err(|error| of_read(&error))
    }

    async fn secret_labels(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, ProviderError> {
        let secret = self.secrets().get_metadata_opt(name).await;
        secret
            .map(|secret| secret.map(|secret| secret.metadata.labels.unwrap_or_default()))
            .map_err(|error| of_read(&error))
    }
}

/// What a failed read means: neither a missing right nor anything else of it says something of the session.
fn of_read(error: &kube::Error) -> ProviderError {
    let class = match error {
        kube::Error::Api(status) if status.code == 429 => ErrorClass::RateLimited,
        _ => ErrorClass::Unavailable,
    };
    ProviderError {
        status: status_of(error),
        sent: Sent::Possibly,
        ..ProviderError::unsent(
            class,
            format!("the API server cannot be asked: {}", said(error)),
        )
    }
}

/// What a failed write means.
fn of_write(error: &kube::Error, kind: ManifestKind) -> ProviderError {
    let kube::Error::Api(answer) = error else {
        return ProviderError {
            sent: Sent::Possibly,
            ..ProviderError::unsent(
                ErrorClass::Unavailable,
                format!("the API server cannot be asked: {}", said(error)),
            )
        };
    };
    let over_quota = answer.code == 403 && answer.message.contains("exceeded quota");
    let (class, subject) = match class_of_status(answer.code) {
        _ if over_quota => (ErrorClass::QuotaExhausted, None),
        ErrorClass::InvalidRequest | ErrorClass::Forbidden => {
            (ErrorClass::InvalidRequest, Some(Subject::Pod))
        }
        // The operator's own token.
        ErrorClass::Unauthorized => (ErrorClass::Unavailable, None),
        class => (class, None),
    };
    ProviderError {
        class,
        subject,
        status: Some(answer.code),
        code: Some(answer.reason.clone()).filter(|code| !code.is_empty()),
        sent: Sent::Possibly,
        ..ProviderError::unsent(
            class,
            format!(
                "the API server does not take the {}: {}",
                kind.as_str(),
                said(error)
            ),
        )
    }
}

fn status_of(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(answer) => Some(answer.code),
        _ => None,
    }
}

/// The API server's words, as long as a message may be.
fn said(error: &kube::Error) -> String {
    let said = match error {
        kube::Error::Api(answer) => answer.message.clone(),
        other => other.to_string(),
    };
    crate::domain::status::clip(&said, 400)
}
