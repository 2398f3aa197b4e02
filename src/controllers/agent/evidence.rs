//! Whether a lost launch of this endpoint and account would be recognised: what its accepted launches show. "Exactly once" is
//! told only then.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use super::super::connection::Linked;
use super::super::scope::Scope;
use crate::api::{CodeAgent, CodeSession, LaunchEvidence};
use crate::domain::agent::{self, Findings, Health};
use crate::domain::ids::SessionId;
use crate::domain::remote::Recovery;

/// What was found out now.
#[derive(Default)]
pub(super) struct Found {
    /// What a launch showed.
    pub evidence: Option<LaunchEvidence>,
    /// When to look again, if a launch is there that shows nothing yet.
    pub again: Option<Duration>,
}

/// An accepted launch.
struct Accepted<'a> {
    uid: String,
    session: &'a str,
    /// Whether the session has the id that we chose.
    has_our_id: bool,
    evidence: LaunchEvidence,
}

/// Looks at the newest accepted launch: at its id, which is on record, or once at the marker under its prompt.
pub(super) async fn find(
    scope: &Scope,
    agent: &CodeAgent,
    linked: &Linked,
    launched: impl Iterator<Item = &Arc<CodeSession>>,
    findings: &Findings,
) -> Found {
    let newest = launched
        .filter_map(|session| accepted(session))
        .max_by_key(|launch| launch.evidence.seen_at);
    match findings.recovery {
        Some(Recovery::ClientId) => Found {
            evidence: newest.map(|launch| LaunchEvidence {
                honoured: launch.has_our_id,
                ..launch.evidence
            }),
            again: None,
        },
        Some(Recovery::Marker) => marker(scope, agent, linked, newest, findings).await,
        Some(Recovery::None) | None => Found::default(),
    }
}

fn accepted(session: &CodeSession) -> Option<Accepted<'_>> {
    let status = session.status.as_ref()?;
    let record = status
        .launch
        .as_ref()
        .filter(|record| record.state.arrived())?;
    let id = status.provider.as_ref()?.session_id.as_deref()?;
    Some(Accepted {
        uid: session.uid()?,
        session: id,
        has_our_id: id.ends_with(&record.key),
        evidence: LaunchEvidence {
            endpoint: record.target.endpoint.clone(),
            account: record.target.account.clone(),
            honoured: false,
            seen_at: status.started_at?,
        },
    })
}

/// Reads the prompt of `newest` back, unless that has been done: once where the marker showed, and of every newer launch where
/// it did not.
async fn marker(
    scope: &Scope,
    agent: &CodeAgent,
    linked: &Linked,
    newest: Option<Accepted<'_>>,
    findings: &Findings,
) -> Found {
    let (Some(launch), Health::Accepted(account)) = (newest, &findings.health) else {
        return Found::default();
    };
    let Accepted { evidence, .. } = &launch;
    if evidence.endpoint != findings.endpoint || evidence.account != account.fingerprint.as_str() {
        return Found::default();
    }
    let known = agent.status.as_ref().and_then(|status| {
        let Accepted { evidence, .. } = &launch;
        agent::evidence(
            status,
            Recovery::Marker,
            &evidence.endpoint,
            &evidence.account,
        )
    });
    if known.is_some_and(|known| known.honoured || known.seen_at >= evidence.seen_at) {
        return Found::default();
    }
    if !scope.context.may_begin() {
        // The lead may have gone while the key was checked: its successor reads the prompt back.
        return Found::default();
    }
    let session = SessionId::new(launch.session);
    let installation = &scope.context.installation;
    match linked
        .provider
        .shows_marker(&session, installation, &launch.uid)
        .await
    {
        Ok(Some(honoured)) => {
            if !honoured {
                tracing::warn!(
                    session = launch.session,
                    "the provider does not show the marker under a prompt: a launch whose answer is lost can be recognised only by its text"
                );
            }
            Found {
                evidence: Some(LaunchEvidence {
                    honoured,
                    ..launch.evidence
                }),
                again: None,
            }
        }
        // Nothing shows yet, or the provider has trouble.
        Ok(None) | Err(_) => Found {
            evidence: None,
            again: Some(scope.context.timing().recheck),
        },
    }
}
