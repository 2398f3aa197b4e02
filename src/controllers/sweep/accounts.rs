//! The accounts whose sessions can be listed, and the CodeAgents that work with each.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;

use super::super::accounts::{ConnectionKey, CredentialState};
use super::super::connection::{Linked, endpoint, link};
use super::super::context::Context;
use super::super::scope::Scope;
use crate::api::{CodeAgent, OrphanPolicy, OrphanStatus};
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::remote::{Capability, Recovery};
use crate::providers::http::Lane;

/// A CodeAgent on which orphans are reported, and where it is watched.
#[derive(Clone)]
pub(super) struct ReportingAgent {
    pub scope: Arc<Scope>,
    pub agent: Arc<CodeAgent>,
    key: ConnectionKey,
}

impl ReportingAgent {
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
pub(super) struct AccountAgents {
    pub fingerprint: AccountFingerprint,
    pub agents: Vec<ReportingAgent>,
}

impl AccountAgents {
    /// What the CodeAgent with this namespace and name says of extra sessions.
    pub fn policy_of(&self, namespace: &str, agent: &str) -> OrphanPolicy {
        let named = |it: &&ReportingAgent| {
            it.agent.metadata.namespace.as_deref() == Some(namespace)
                && it.agent.metadata.name.as_deref() == Some(agent)
        };
        let agent = self.agents.iter().find(named);
        agent
            .map(|it| it.agent.spec.orphan_policy)
            .unwrap_or_default()
    }
}

/// The accounts whose sessions can be listed, also those whose keys do not stand right now: what is remembered of them would
/// have to be found out again.
pub(super) fn accounts(
    context: &Context,
    scopes: &[Arc<Scope>],
) -> BTreeMap<String, AccountAgents> {
    let mut accounts: BTreeMap<String, AccountAgents> = BTreeMap::new();
    for scope in scopes {
        for agent in scope.agents.all() {
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
            let namespace = agent.namespace().unwrap_or_default();
            let name = format!(
                "{}/{}@{}#{}",
                provider.kind(),
                provider.api_version(spec),
                endpoint(context, provider, spec, &namespace),
                account.fingerprint
            );
            accounts
                .entry(name)
                .or_insert_with(|| AccountAgents {
                    fingerprint: account.fingerprint,
                    agents: Vec::new(),
                })
                .agents
                .push(ReportingAgent {
                    agent,
                    scope: Arc::clone(scope),
                    key,
                });
        }
    }
    for account in accounts.values_mut() {
        account.agents.sort_by_key(ReportingAgent::name);
    }
    accounts
}

/// A connection with a key of the account that stands.
pub(super) async fn connect(context: &Context, account: &AccountAgents) -> Option<Linked> {
    for ReportingAgent { agent, key, .. } in &account.agents {
        let state = context.accounts.state_of(key);
        if !matches!(state, Some(CredentialState::Accepted(_))) {
            continue;
        }
        let spec = &agent.spec.provider;
        let secret = agent.spec.secret();
        let namespace = agent.namespace().unwrap_or_default();
        let Some(provider) = context.provider(spec) else {
            continue;
        };
        match link(context, &namespace, provider, spec, secret.as_ref()).await {
            // With another key than the one that was checked it may be another account.
            Ok(linked) if linked.key == *key => return Some(linked.for_lane(Lane::Sweep)),
            Ok(_) | Err(_) => {}
        }
    }
    None
}
