//! Whether a lost launch of this endpoint and account would be recognised: what its accepted launches show. "Exactly once" is
//! told only then.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use super::super::connection::Linked;
use super::super::scope::Scope;
use crate::api::{CodeAgent, CodeSession, LaunchEvidence};
use crate::domain::agent::{self, Evidence, Findings, Health};
use crate::domain::ids::SessionId;
use crate::domain::remote::Recovery;

/// What was found out now.
#[derive(Default)]
pub(super) struct Found {
    /// What the launches showed.
    pub evidence: Evidence,
    /// When to look again, if a launch is there that shows nothing yet.
    pub again: Option<Duration>,
}

/// What the newest launch showed of our mark.
#[derive(Default)]
struct Shown {
    evidence: Option<LaunchEvidence>,
    again: Option<Duration>,
}

/// An accepted launch.
struct Accepted<'a> {
    uid: String,
    session: &'a str,
    /// How it would have been found.
    recovery: Recovery,
    /// Whether the session has the id that we chose.
    has_our_id: bool,
    evidence: LaunchEvidence,
}

/// Looks at the newest accepted launches: at the id of one that asked for ours, which is on record, and once at the mark that every
/// launch carries, where one is found by it.
pub(super) async fn find(
    scope: &Scope,
    agent: &CodeAgent,
    linked: &Linked,
    launched: impl Iterator<Item = &Arc<CodeSession>>,
    findings: &Findings,
) -> Found {
    let facts = scope.context.facts(&agent.spec.provider);
    // An earlier version launched without environment variables, and recorded nothing of this.
    let plain = facts.map_or(Recovery::None, |facts| facts.recovery);
    let launches: Vec<_> = launched
        .filter_map(|session| accepted(session, plain))
        .collect();
    let newest = |of: &dyn Fn(&Accepted<'_>) -> bool| {
        let launches = launches.iter().filter(|launch| of(launch));
        launches.max_by_key(|launch| launch.evidence.seen_at)
    };
    let with_our_id = newest(&|launch| launch.recovery == Recovery::ClientId);
    let by_mark = findings.recovery == Some(Recovery::Marker)
        || newest(&|launch| launch.recovery == Recovery::Marker).is_some();
    let Shown { evidence, again } = match newest(&|_| true).filter(|_| by_mark) {
        Some(launch) => marker(scope, agent, linked, launch, findings).await,
        None => Shown::default(),
    };
    Found {
        evidence: Evidence {
            client_id: with_our_id.map(|launch| LaunchEvidence {
                honoured: launch.has_our_id,
                ..launch.evidence.clone()
            }),
            marker: evidence,
        },
        again,
    }
}

fn accepted(session: &CodeSession, plain: Recovery) -> Option<Accepted<'_>> {
    let status = session.status.as_ref()?;
    let record = status
        .launch
        .as_ref()
        .filter(|record| record.state.arrived())?;
    let id = status.provider.as_ref()?.session_id.as_deref()?;
    Some(Accepted {
        uid: session.uid()?,
        session: id,
        recovery: record.recovery.unwrap_or(plain),
        has_our_id: id.ends_with(&record.key),
        evidence: LaunchEvidence {
            endpoint: record.target.endpoint.clone(),
            account: record.target.account.clone(),
            honoured: false,
            seen_at: status.started_at?,
        },
    })
}

/// Reads the mark of `launch` back, unless that has been done: once where the marker showed, and of every newer launch where
/// it did not.
async fn marker(
    scope: &Scope,
    agent: &CodeAgent,
    linked: &Linked,
    launch: &Accepted<'_>,
    findings: &Findings,
) -> Shown {
    let Health::Accepted(account) = &findings.health else {
        return Shown::default();
    };
    let Accepted { evidence, .. } = launch;
    if evidence.endpoint != findings.endpoint || evidence.account != account.fingerprint.as_str() {
        return Shown::default();
    }
    let known = agent.status.as_ref().and_then(|status| {
        agent::evidence(
            status,
            Recovery::Marker,
            &evidence.endpoint,
            &evidence.account,
        )
    });
    if known.is_some_and(|known| known.honoured || known.seen_at >= evidence.seen_at) {
        return Shown::default();
    }
    if !scope.context.may_begin() {
        // The lead may have gone while the key was checked: its successor reads the prompt back.
        return Shown::default();
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
                    "the provider does not show the mark of this operator, under a prompt or in a name: a launch whose answer is lost may not be recognised"
                );
            }
            Shown {
                evidence: Some(LaunchEvidence {
                    honoured,
                    ..launch.evidence.clone()
                }),
                again: None,
            }
        }
        // Nothing shows yet, or the provider has trouble.
        Ok(None) | Err(_) => Shown {
            evidence: None,
            again: Some(scope.context.timing().recheck),
        },
    }
}
