//! Accounts, and the CodeAgents that work with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;

use super::super::accounts::{ConnectionKey, Standing};
use super::super::connection::{Linked, endpoint, link};
use super::super::context::Context;
use super::super::scope::Scope;
use super::ledger::find_session;
use crate::api::{CodeAgent, CodeSession, KeyReference, OrphanPolicy, OrphanStatus};
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::orphan::{Ledger, Mark, Marked, Orphan};
use crate::domain::remote::{Capability, Recovery};
use crate::providers::http::Lane;
use crate::providers::same_repository;

/// A CodeAgent, and where it is watched.
#[derive(Clone)]
pub(super) struct Employer {
    pub scope: Arc<Scope>,
    pub agent: Arc<CodeAgent>,
    key: ConnectionKey,
}

impl Employer {
    pub fn uid(&self) -> String {
        self.agent.uid().unwrap_or_default()
    }

    pub fn name(&self) -> (String, String) {
        (
            self.agent.namespace().unwrap_or_default(),
            self.agent.name_any(),
        )
    }

    /// The orphans that its status lists.
    pub fn reported(&self) -> &[OrphanStatus] {
        let status = self.agent.status.as_ref();
        status.map_or(&[], |status| status.orphans.as_slice())
    }

    pub fn stored(&self, session: &SessionId) -> Option<&OrphanStatus> {
        let mut orphans = self.reported().iter();
        orphans.find(|orphan| orphan.session_id == session.as_str())
    }
}

/// An account, and the CodeAgents that work with it, by namespace and name.
pub(super) struct Staff {
    pub fingerprint: AccountFingerprint,
    pub employers: Vec<Employer>,
}

/// The accounts whose sessions can be listed, also those whose keys do not stand right now: what is remembered of them would
/// have to be found out again.
pub(super) fn staffs(context: &Context) -> BTreeMap<String, Staff> {
    let mut staffs: BTreeMap<String, Staff> = BTreeMap::new();
    for scope in context.sweeper.scopes() {
        for agent in scope.agents.state() {
            let spec = &agent.spec.provider;
            let Some(provider) = context.provider(spec) else {
                continue;
            };
            let lists = provider.capabilities(spec).contains(&Capability::List)
                && provider.recovery(spec) != Recovery::None;
            let key = scope.key_of(&agent.uid().unwrap_or_default());
            let (true, Some(key)) = (lists, key) else {
                continue;
            };
            let Some(account) = context.accounts.last_account(&key) else {
                continue;
            };
            let name = format!(
                "{}/{}@{}#{}",
                provider.kind(),
                provider.api_version(spec),
                endpoint(context, provider, spec),
                account.fingerprint
            );
            staffs
                .entry(name)
                .or_insert_with(|| Staff {
                    fingerprint: account.fingerprint,
                    employers: Vec::new(),
                })
                .employers
                .push(Employer {
                    agent: scope.agents_overlay.newest(agent),
                    scope: Arc::clone(&scope),
                    key,
                });
        }
    }
    for staff in staffs.values_mut() {
        staff.employers.sort_by_key(Employer::name);
    }
    staffs
}

/// A connection with a key of the account that stands.
pub(super) async fn connect(context: &Context, staff: &Staff) -> Option<Linked> {
    for employer in &staff.employers {
        let standing = context.accounts.standing(&employer.key);
        if !matches!(standing, Some(Standing::Accepted(_))) {
            continue;
        }
        let agent = &employer.agent;
        let spec = &agent.spec.provider;
        let reference = &agent.spec.credentials.secret_ref;
        let secret = KeyReference {
            name: reference.name.clone(),
            key: reference.key.clone(),
        };
        let namespace = agent.namespace().unwrap_or_default();
        let Some(provider) = context.provider(spec) else {
            continue;
        };
        match link(context, &namespace, provider, spec, &secret).await {
            // With another key than the one that was checked it may be another account.
            Ok(linked) if linked.key == employer.key => {
                return Some(linked.for_lane(Lane::Sweep));
            }
            Ok(_) | Err(_) => {}
        }
    }
    None
}

pub(super) fn policy_of(staff: &Staff, session: &CodeSession) -> OrphanPolicy {
    let agent = (
        session.namespace().unwrap_or_default(),
        session.spec.agent_ref.name.clone(),
    );
    let mut employers = staff.employers.iter();
    employers
        .find(|employer| employer.name() == agent)
        .map(|employer| employer.agent.spec.orphan_policy)
        .unwrap_or_default()
}

/// The CodeAgent that an orphan is reported on: the one that launched it, where that is known; else the one that reported it
/// before, one that works on the same repository, or any of the account.
pub(super) fn employer<'a>(
    context: &Context,
    staff: &'a Staff,
    ledger: &Ledger,
    marked: &Marked,
    orphan: &Orphan,
) -> Option<&'a Employer> {
    let id = &marked.snapshot.session_id;
    let named = match &orphan.owner {
        Some(uid) => ledger
            .session(uid)
            .and_then(|owner| agent_of(context, &owner.name)),
        None => context
            .sweeper
            .departed()
            .into_iter()
            .find(|departed| {
                departed.session.as_ref() == Some(id)
                    || matches!(&marked.mark, Mark::Prompt(marker) if marker.uid == departed.uid)
            })
            .map(|departed| departed.agent),
    };
    let find = |test: &dyn Fn(&Employer) -> bool| {
        let mut employers = staff.employers.iter();
        employers.find(|employer| test(employer))
    };
    let works_there = |employer: &Employer| {
        let own = employer.agent.spec.repository.as_ref();
        let own = own.and_then(|repository| repository.url.as_deref());
        match (own, marked.snapshot.repository.as_deref()) {
            (Some(own), Some(theirs)) => same_repository(own, theirs),
            _ => false,
        }
    };
    named
        .and_then(|name| find(&|employer| employer.name() == name))
        .or_else(|| find(&|employer| employer.stored(id).is_some()))
        .or_else(|| find(&works_there))
        .or_else(|| staff.employers.first())
}

/// Namespace and name of the CodeAgent of a CodeSession (`namespace/name`).
fn agent_of(context: &Context, session: &str) -> Option<(String, String)> {
    let (namespace, _) = session.split_once('/')?;
    let session = find_session(context, session)?.1;
    Some((namespace.to_owned(), session.spec.agent_ref.name.clone()))
}
