//! Applying manifests the way users do: server-side, whatever kinds they contain.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, ApiCapabilities, Scope},
};
use serde_json::Value;
use tokio::time::Instant;

/// The field manager of everything that the harness applies.
const FIELD_MANAGER: &str = "codeagent-harness";

/// How long a new kind may take until it is served.
const KIND_TIMEOUT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a document was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The text is not YAML.
    #[error("malformed YAML")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// The document is no Kubernetes object.
    #[error("document {number} is not a Kubernetes object with apiVersion, kind and metadata.name")]
    NotAnObject {
        /// The document's position, from 1.
        number: usize,
    },
    /// The API server refused it.
    #[error("the API server refused {object}")]
    Refused {
        /// Kind and name.
        object: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The API server does not know the kind.
    #[error("the API server does not serve the kind of {object}")]
    UnknownKind {
        /// Kind and name.
        object: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The definition was accepted, but its kind never served.
    #[error("CustomResourceDefinition {name} is not established after {} s", KIND_TIMEOUT.as_secs())]
    NotEstablished {
        /// The definition's name.
        name: String,
    },
}

/// Applies every document of `yaml`, in order.
pub(crate) async fn apply(
    client: &Client,
    default_namespace: &str,
    yaml: &str,
) -> Result<Vec<DynamicObject>, ApplyError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(Box::new)?;
    let mut applied = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        // An empty document, as between two separators.
        if document.is_null() {
            continue;
        }
        applied.push(apply_one(client, default_namespace, document, index + 1).await?);
    }
    Ok(applied)
}

async fn apply_one(
    client: &Client,
    default_namespace: &str,
    document: Value,
    number: usize,
) -> Result<DynamicObject, ApplyError> {
    let not_an_object = || ApplyError::NotAnObject { number };
    let object: DynamicObject =
        serde_json::from_value(document.clone()).map_err(|_| not_an_object())?;
    let types = object.types.as_ref().ok_or_else(not_an_object)?;
    let name = object.metadata.name.as_deref().ok_or_else(not_an_object)?;
    let kind = GroupVersionKind::try_from(types).map_err(|_| not_an_object())?;
    let described = format!("{} {name}", types.kind);

    let (resource, capabilities) =
        served_kind(client, &kind)
            .await
            .map_err(|source| ApplyError::UnknownKind {
                object: described.clone(),
                source: Box::new(source),
            })?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object
                .metadata
                .namespace
                .as_deref()
                .unwrap_or(default_namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    // The document itself, not the parsed object: what is not mentioned must not be owned.
    let applied = api
        .patch(
            name,
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(&document),
        )
        .await
        .map_err(|source| ApplyError::Refused {
            object: described,
            source: Box::new(source),
        })?;
    if kind.group == "apiextensions.k8s.io" && kind.kind == "CustomResourceDefinition" {
        wait_until_established(client, name).await?;
    }
    Ok(applied)
}

/// Discovery follows a definition that has just been established by a moment.
async fn served_kind(
    client: &Client,
    kind: &GroupVersionKind,
) -> Result<(ApiResource, ApiCapabilities), kube::Error> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match discovery::pinned_kind(client, kind).await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

async fn wait_until_established(client: &Client, name: &str) -> Result<(), ApplyError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let deadline = Instant::now() + KIND_TIMEOUT;
    while Instant::now() < deadline {
        let definition = definitions
            .get(name)
            .await
            .map_err(|source| ApplyError::Refused {
                object: format!("CustomResourceDefinition {name}"),
                source: Box::new(source),
            })?;
        let established = definition
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True");
        if established {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(ApplyError::NotEstablished {
        name: name.to_owned(),
    })
}
