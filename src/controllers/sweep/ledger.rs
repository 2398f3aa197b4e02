//! What the caches say of who owns what.

use std::sync::Arc;

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use super::super::context::Context;
use super::super::scope::Scope;
use super::staff::{Staff, policy_of};
use crate::api::{CodeSession, OrphanPolicy, OrphanReason};
use crate::domain::ids::{AccountFingerprint, LaunchKey, SessionId};
use crate::domain::orphan::{KnownLaunch, KnownSession, Ledger, Released};

/// What the caches say of who owns what.
pub(super) fn ledger(context: &Context, staff: &Staff) -> Ledger {
    let mut released = Released::default();
    for departed in context.sweeper.departed() {
        if departed.released {
            released.uids.insert(departed.uid);
            released.ids.extend(departed.session);
        }
    }
    let stored = staff
        .employers
        .iter()
        .filter_map(|employer| employer.agent.status.as_ref())
        .flat_map(|status| &status.orphans)
        .filter(|orphan| orphan.reason == OrphanReason::Released);
    released
        .ids
        .extend(stored.map(|orphan| SessionId::new(orphan.session_id.as_str())));
    let mut ledger = Ledger::new(released);
    for scope in context.sweeper.scopes() {
        for session in scope.sessions.state() {
            let session = scope.sessions_overlay.newest(session);
            let policy = policy_of(staff, &session);
            ledger.enter(session.uid().unwrap_or_default(), known(&session, policy));
        }
    }
    ledger
}

/// What a CodeSession says of its launch.
pub(super) fn known(session: &CodeSession, policy: OrphanPolicy) -> KnownSession {
    let status = session.status.as_ref();
    let provider = status.and_then(|status| status.provider.as_ref());
    let recorded = provider
        .into_iter()
        .flat_map(|provider| provider.session_id.iter().chain(&provider.chain))
        .map(|id| SessionId::new(id.as_str()))
        .collect();
    let launch = status
        .and_then(|status| status.launch.as_ref())
        .map(|record| KnownLaunch {
            key: LaunchKey::recorded(record.key.as_str()),
            state: record.state,
            claimed_at: record.claimed_at,
            first_claimed_at: record.first_claim(),
            posts: record.posts,
            account: AccountFingerprint::new(record.target.account.as_str()),
        });
    KnownSession {
        name: format!(
            "{}/{}",
            session.namespace().unwrap_or_default(),
            session.name_any()
        ),
        recorded,
        launch,
        ended: status.is_some_and(|status| status.phase.is_terminal()),
        policy,
    }
}

pub(super) fn find_session(
    context: &Context,
    name: &str,
) -> Option<(Arc<Scope>, Arc<CodeSession>)> {
    let (namespace, name) = name.split_once('/')?;
    context.sweeper.scopes().into_iter().find_map(|scope| {
        let reference = ObjectRef::new(name).within(namespace);
        let session = scope.sessions.get(&reference)?;
        Some((scope, session))
    })
}

pub(super) fn name_of(ledger: &Ledger, uid: &str) -> Option<String> {
    let (_, name) = ledger.session(uid)?.name.split_once('/')?;
    Some(name.to_owned())
}
