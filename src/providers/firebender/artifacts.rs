//! The recording and the trace of an agent that has ended, and the live view of one that works.
//!
//! Each file is at a path of the API that redirects to a presigned URL. It is asked for there and nowhere else, whatever an agent says of where
//! its files are: the request carries the key.

use super::wire::{Left, Live};
use crate::domain::ids::SessionId;
use crate::providers::contract::{Artifact, ArtifactList, Preview, TemporaryUrl, Token};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation};

/// Of how many agents that one session went through, the newest first, files are told.
const MOST_AGENTS: usize = 16;
/// The longest token that is handed on, in bytes.
const LONGEST_TOKEN: usize = 8 << 10;
const RECORDINGS: &str = "recordings";
const TRACES: &str = "traces";

/// What [`Artifacts::list`](crate::providers::contract::Artifacts::list) owes: `recordings/ID` and `traces/ID`. Sizes are not documented. An
/// agent of before that is gone has left nothing.
pub(super) async fn list(api: &Api, sessions: &[SessionId]) -> Result<ArtifactList, ProviderError> {
    let told = sessions
        .get(sessions.len().saturating_sub(MOST_AGENTS)..)
        .unwrap_or_default();
    let mut artifacts = Vec::new();
    for (n, session) in told.iter().enumerate() {
        let path = ["v0", "agents", session.as_str()];
        let left: Left = match api.get(Operation::Artifacts, &path, &[]).await {
            Ok(left) => left,
            Err(error) if error.class == ErrorClass::NotFound && n + 1 < told.len() => continue,
            Err(error) => return Err(error),
        };
        let kinds = [(left.recording_url, RECORDINGS), (left.trace_url, TRACES)];
        artifacts.extend(kinds.into_iter().filter_map(|(url, kind)| {
            url.map(|_| Artifact {
                path: format!("{kind}/{session}"),
                size: None,
                updated_at: None,
            })
        }));
    }
    Ok(ArtifactList {
        artifacts,
        truncated: told.len() < sessions.len(),
    })
}

/// What [`Artifacts::locate`](crate::providers::contract::Artifacts::locate) owes.
pub(super) async fn locate(
    api: &Api,
    sessions: &[SessionId],
    path: &str,
) -> Result<TemporaryUrl, ProviderError> {
    let file = path.split_once('/').and_then(|(kind, id)| {
        let kind = [RECORDINGS, TRACES]
            .into_iter()
            .find(|known| *known == kind)?;
        let session = sessions.iter().find(|session| session.as_str() == id)?;
        Some((kind, session))
    });
    let Some((kind, session)) = file else {
        return Err(ProviderError::unsent(
            ErrorClass::NotFound,
            "the session has no such artifact",
        ));
    };
    let path = ["v1", kind, session.as_str()];
    api.redirect(Operation::Artifacts, &path).await
}

/// What [`Previewing::preview`](crate::providers::contract::Previewing::preview) owes.
pub(super) async fn preview(
    api: &Api,
    session: &SessionId,
) -> Result<Option<Preview>, ProviderError> {
    let path = ["v0", "agents", session.as_str()];
    let live: Live = api.get(Operation::Preview, &path, &[]).await?;
    let Some(url) = live.vnc_url else {
        return Ok(None);
    };
    let token = live.vnc_token;
    if let Some(token) = &token
        && (token.len() > LONGEST_TOKEN || !api.is_clean(token))
    {
        return Err(ProviderError::unreadable(
            None,
            "the provider names a token that cannot be handed on",
        ));
    }
    Ok(Some(Preview {
        url: api.temporary_url(&url)?,
        token: token.map(Token::new),
    }))
}
