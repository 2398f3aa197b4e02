//! What the caches say of who owns what.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::super::context::Context;
use super::super::finished::Finished;
use super::super::scope::Scope;
use super::accounts::AccountAgents;
use crate::api::{CodeSession, OrphanPolicy, OrphanReason};
use crate::domain::ids::{AccountFingerprint, LaunchKey, SessionId};
use crate::domain::orphan::{KnownLaunch, KnownSession, Ledger, Mark, Released};
use crate::runtime::cache::Kept;

/// What marks say of the CodeSessions that are to be known.
#[derive(Default)]
pub(super) struct Named {
    uids: BTreeSet<String>,
    /// [`LaunchKey::short`] of their keys.
    digits: BTreeSet<String>,
}

impl Named {
    /// The CodeSessions that these marks name.
    pub fn by<'a>(marks: impl Iterator<Item = &'a Mark>) -> Self {
        let mut named = Self::default();
        for mark in marks {
            match mark {
                Mark::Prompt(marker) => drop(named.uids.insert(marker.uid.clone())),
                Mark::Name { digits, .. } => drop(named.digits.insert(digits.clone())),
            }
        }
        named
    }

    fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.digits.is_empty()
    }

    fn contains(&self, uid: &str, launch: Option<&KnownLaunch>) -> bool {
        self.uids.contains(uid)
            || launch.is_some_and(|launch| self.digits.contains(launch.key.short()))
    }
}

/// What the caches say of the CodeSessions that are `named`: one look at everything, where anything is named at all.
pub(super) fn ledger(
    context: &Context,
    scopes: &[Arc<Scope>],
    account: &AccountAgents,
    named: &Named,
) -> Ledger {
    let mut ledger = Ledger::new(context.owners.all(), released(context, account));
    if named.is_empty() {
        return ledger;
    }
    for scope in scopes {
        scope.sessions.for_each(|namespace, name, kept| {
            let policy = || account.policy_of(namespace, kept.group());
            match kept {
                Kept::Whole(session) => {
                    let uid = session.uid().unwrap_or_default();
                    let launch = launch_of(session);
                    if named.contains(&uid, launch.as_ref()) {
                        ledger.insert(uid, known(session, policy()));
                    }
                }
                Kept::Record(record) => {
                    let uid = record.uid();
                    if named.contains(&uid, record.launch().as_ref()) {
                        ledger.insert(uid, finished(namespace, name, record, policy()));
                    }
                }
            }
        });
    }
    ledger
}

/// Sessions that were left running on purpose.
fn released(context: &Context, account: &AccountAgents) -> Released {
    let mut released = Released::default();
    for deleted in context.orphans.deleted() {
        if deleted.released {
            released.uids.insert(deleted.uid);
            released.ids.extend(deleted.session);
        }
    }
    let stored = account
        .agents
        .iter()
        .flat_map(|agent| agent.reported())
        .filter(|orphan| orphan.reason == OrphanReason::Released);
    released
        .ids
        .extend(stored.map(|orphan| SessionId::new(orphan.session_id.as_str())));
    released
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
    KnownSession {
        name: format!(
            "{}/{}",
            session.namespace().unwrap_or_default(),
            session.name_any()
        ),
        recorded,
        has_unlisted: false,
        launch: launch_of(session),
        ended: status.is_some_and(|status| status.phase.is_terminal()),
        policy,
    }
}

/// The provider session of a finished one is among those of all owners.
fn finished(namespace: &str, name: &str, record: &Finished, policy: OrphanPolicy) -> KnownSession {
    KnownSession {
        name: format!("{namespace}/{name}"),
        recorded: BTreeSet::new(),
        has_unlisted: record.recorded(),
        launch: record.launch(),
        ended: true,
        policy,
    }
}

fn launch_of(session: &CodeSession) -> Option<KnownLaunch> {
    let record = session.status.as_ref()?.launch.as_ref()?;
    Some(KnownLaunch {
        key: LaunchKey::recorded(record.key.as_str()),
        state: record.state,
        claimed_at: record.claimed_at,
        first_claimed_at: record.first_claim(),
        posts: record.posts,
        account: AccountFingerprint::new(record.target.account.as_str()),
    })
}

pub(super) fn name_of(ledger: &Ledger, uid: &str) -> Option<String> {
    let (_, name) = ledger.session(uid)?.name.split_once('/')?;
    Some(name.to_owned())
}
