//! What a session left, and its live view, as they are answered. The provider's URLs go to who asked, and nowhere else.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

use super::access::Subresource;
use super::answer::{Refusal, RefusalReason};
use super::source::{Source, Sources};
use crate::providers::contract::{ArtifactList, Preview, Token};

/// The artifacts of a session: `{"artifacts": [{"path", "sizeBytes", "updatedAt"}], "truncated": …}`.
///
/// # Errors
/// If the provider cannot be read now, or has none.
pub async fn list(sources: &Sources, source: &Source) -> Result<Response, Refusal> {
    let provider = source.provider();
    let Some(artifacts) = provider.artifacts() else {
        return Err(unsupported("the provider hands out no artifacts"));
    };
    let sessions = source.sessions();
    let call = artifacts.list(&sessions);
    let list = sources.ask(source, Subresource::Artifacts, call).await?;
    Ok(Json(listed(&list)).into_response())
}

/// Where one artifact is, as a redirect.
///
/// # Errors
/// As [`list`], and if there is no such artifact.
pub async fn locate(sources: &Sources, source: &Source, path: &str) -> Result<Response, Refusal> {
    let provider = source.provider();
    let Some(artifacts) = provider.artifacts() else {
        return Err(unsupported("the provider hands out no artifacts"));
    };
    let sessions = source.sessions();
    let call = artifacts.locate(&sessions, path);
    let url = sources.ask(source, Subresource::Artifacts, call).await?;
    let Ok(mut location) = HeaderValue::from_str(url.expose()) else {
        return Err(Refusal::new(
            RefusalReason::ServiceUnavailable,
            "the provider names an address that cannot be handed on",
        ));
    };
    location.set_sensitive(true);
    let headers = [
        (header::LOCATION, location),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// The live view of a session: `{"url": …, "token": …}`.
///
/// # Errors
/// If the provider cannot be read now, or has none; 404 while there is none.
pub async fn preview(sources: &Sources, source: &Source) -> Result<Response, Refusal> {
    let provider = source.provider();
    let (Some(previewing), Some(session)) = (provider.previewing(), source.sessions().pop()) else {
        return Err(unsupported("the provider has no live view"));
    };
    let call = previewing.preview(&session);
    match sources.ask(source, Subresource::Preview, call).await? {
        Some(preview) => Ok(Json(shown(&preview)).into_response()),
        None => Err(Refusal::new(
            RefusalReason::NotFound,
            "there is no live view now: the provider has one only from when its machine is up until the agent has ended",
        )
        .about(source.name())),
    }
}

fn unsupported(message: &str) -> Refusal {
    Refusal::new(RefusalReason::MethodNotAllowed, message)
}

/// The artifacts of a session, as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    artifacts: Vec<One<'a>>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
}

fn listed(list: &ArtifactList) -> Listed<'_> {
    let artifacts = list.artifacts.iter().map(|artifact| One {
        path: &artifact.path,
        size_bytes: artifact.size,
        updated_at: artifact.updated_at,
    });
    Listed {
        artifacts: artifacts.collect(),
        truncated: list.truncated,
    }
}

/// A live view, as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

fn shown(preview: &Preview) -> Shown<'_> {
    Shown {
        url: preview.url.expose(),
        token: preview.token.as_ref().map(Token::expose),
    }
}
