//! Who goes first: places among a CodeAgent's sessions, and turns at an issue.

use std::collections::HashSet;

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use super::super::memory::IssueKey;
use super::super::scope::{Scope, open_claim, waits_for_place};
use crate::api::{CodeAgent, CodeSession, SessionPhase};
use crate::domain::session::{AgentView, Place, Turn};
use crate::runtime::watch::in_namespace;

/// Takes a place among the agent's sessions, or finds out how many are ahead.
pub(super) fn place(
    scope: &Scope,
    object: &CodeSession,
    agent: Option<&CodeAgent>,
    namespace: &str,
    uid: &str,
) -> Place {
    let Some(most) = agent.and_then(|agent| agent.spec.max_concurrent_sessions) else {
        return Place::Free;
    };
    let agent_name = object.spec.agent_ref.name.as_str();
    let mut taken = HashSet::new();
    let mut ahead = 0_usize;
    for other in in_namespace(&scope.sessions, namespace) {
        let other = scope.sessions_overlay.newest(other);
        let Some(other_uid) = other.uid().filter(|other_uid| other_uid != uid) else {
            continue;
        };
        if other.spec.agent_ref.name != agent_name {
            continue;
        }
        let phase = other
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        match phase {
            SessionPhase::Creating | SessionPhase::Running => {
                taken.insert(other_uid);
            }
            SessionPhase::Pending => {
                if waits_for_place(&other) && goes_before(&other, object) {
                    ahead += 1;
                }
            }
            SessionPhase::Finished
            | SessionPhase::Error
            | SessionPhase::Cancelled
            | SessionPhase::Expired => {}
        }
    }
    let most = usize::try_from(most).unwrap_or(0);
    if scope
        .context
        .memory
        .take_place((namespace, agent_name), uid, &taken, ahead, most)
    {
        Place::Free
    } else {
        Place::Taken {
            position: i32::try_from(ahead).unwrap_or(i32::MAX).saturating_add(1),
        }
    }
}

/// Takes the turn at the session's issue, if it could be launched now, or finds out whose it is.
pub(super) fn turn(
    scope: &Scope,
    object: &CodeSession,
    agent: &AgentView,
    uid: &str,
    ready: bool,
) -> Turn {
    let memory = &scope.context.memory;
    let now = scope.context.uptime();
    let own = ObjectRef::from_obj(object);
    if let Some(issue) = open_claim(object) {
        let since = memory.hold_turn(issue, uid, &own, now);
        return Turn::Ours { since };
    }
    let (true, Some(issue), AgentView::Present { effective, .. }) =
        (ready, &object.spec.issue, agent)
    else {
        return Turn::Unneeded;
    };
    let issue = IssueKey {
        endpoint: effective.provider.endpoint.clone(),
        issue: issue.clone(),
    };
    match memory.take_turn(&issue, uid, &own, now) {
        Ok(since) => Turn::Ours { since },
        Err(other) => Turn::Taken {
            // What goes on in other namespaces is nobody's business in this one.
            by: if other.namespace == own.namespace {
                format!("CodeSession {}", other.name)
            } else {
                "a CodeSession of another namespace".to_owned()
            },
        },
    }
}

/// Higher priority first, then age, then name.
fn goes_before(other: &CodeSession, own: &CodeSession) -> bool {
    let rank = |session: &CodeSession| {
        let created = session
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        (
            std::cmp::Reverse(session.spec.priority),
            created,
            session.name_any(),
        )
    };
    rank(other) < rank(own)
}
