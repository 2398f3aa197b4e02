//! The files that an agent left, which both versions of the API tell alike (OpenAPI of March and April 2026): at most 100 of an agent; v0
//! names them by an absolute path and keeps those of agents of the last six months, v1 by a path under `artifacts/`.

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::ids::SessionId;
use crate::providers::contract::{
    Artifact, ArtifactList, LONGEST_ARTIFACT_PATH, MAX_ARTIFACTS, TemporaryUrl,
};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation};
use crate::providers::wire::{Items, lenient};

/// `GET /{version}/agents/{id}/artifacts`.
#[derive(Debug, Deserialize)]
struct Listed {
    /// `items` in v1.
    #[serde(alias = "items")]
    artifacts: Items<ListedArtifact>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedArtifact {
    /// `path` in v1.
    #[serde(alias = "path")]
    absolute_path: String,
    #[serde(default, deserialize_with = "lenient")]
    size_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    updated_at: Option<Timestamp>,
}

/// `GET /{version}/agents/{id}/artifacts/download`: a presigned URL of S3, good for 15 minutes.
#[derive(Deserialize)]
struct Download {
    url: String,
}

/// What [`Artifacts::list`](crate::providers::contract::Artifacts::list) owes. A message goes to the same agent always: the newest is the
/// only one.
pub(super) async fn list(
    api: &Api,
    version: &'static str,
    sessions: &[SessionId],
) -> Result<ArtifactList, ProviderError> {
    let path = [version, "agents", agent(sessions)?, "artifacts"];
    let listed: Listed = api.get(Operation::Artifacts, &path, &[]).await?;
    let missing = listed.artifacts.missing();
    let told = listed.artifacts.readable.len();
    let shown = |path: &str| path.len() <= LONGEST_ARTIFACT_PATH && api.is_clean(path);
    let artifacts: Vec<Artifact> = listed
        .artifacts
        .readable
        .into_iter()
        .filter(|artifact| shown(&artifact.absolute_path))
        .map(|artifact| Artifact {
            path: artifact.absolute_path,
            size: artifact.size_bytes,
            updated_at: artifact.updated_at,
        })
        .take(MAX_ARTIFACTS)
        .collect();
    Ok(ArtifactList {
        truncated: missing > 0 || artifacts.len() < told,
        artifacts,
    })
}

/// What [`Artifacts::locate`](crate::providers::contract::Artifacts::locate) owes.
pub(super) async fn locate(
    api: &Api,
    version: &'static str,
    sessions: &[SessionId],
    path: &str,
) -> Result<TemporaryUrl, ProviderError> {
    let segments = [version, "agents", agent(sessions)?, "artifacts", "download"];
    let query = [("path", path)];
    let download: Download = api.get(Operation::Artifacts, &segments, &query).await?;
    api.temporary_url(&download.url)
}

fn agent(sessions: &[SessionId]) -> Result<&str, ProviderError> {
    sessions.last().map(SessionId::as_str).ok_or_else(|| {
        ProviderError::unsent(ErrorClass::NotFound, "there is no agent to ask about")
    })
}
