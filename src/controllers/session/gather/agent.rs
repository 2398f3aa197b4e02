//! The CodeAgent as a decision about one of its sessions sees it.

use kube::ResourceExt;

use crate::api::{CodeAgent, CodeSession, Reason, TemplateState};
use crate::controllers::connection::endpoint;
use crate::controllers::connection::links::Linked;
use crate::controllers::scope::Scope;
use crate::domain::agent::has_evidence;
use crate::domain::blocker::{Blocker, Cause};
use crate::domain::effective::{blocker, reference_missing, resolve};
use crate::domain::session::{AgentView, ProviderFacts};
use crate::domain::template::Site;
use crate::providers::registry::capabilities_of;

pub(super) fn view_agent(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: Option<&Linked>,
    facts: Option<&ProviderFacts>,
) -> AgentView {
    let context = &scope.context;
    let generation = agent.metadata.generation.unwrap_or(0);
    let Some(provider) = context.provider(&agent.spec.provider) else {
        let effective = resolve(
            &object.name_any(),
            &object.spec,
            &agent.spec,
            generation,
            "",
        );
        return AgentView::Present {
            generation,
            suspended: agent.spec.suspend,
            effective: Box::new(effective),
            blocker: None,
            webhook: agent.spec.webhook.clone(),
            evidence_seen: false,
        };
    };
    let namespace = agent.namespace().unwrap_or_default();
    let endpoint = endpoint(context, provider, &agent.spec.provider, &namespace);
    let effective = resolve(
        &object.name_any(),
        &object.spec,
        &agent.spec,
        generation,
        &endpoint,
    );
    let blocker = blocker(
        &object.spec,
        &agent.spec,
        &effective,
        &capabilities_of(provider, &agent.spec.provider),
        &context.installed,
    )
    .or_else(|| {
        let needed = provider.needs_reference().then_some(());
        needed.and_then(|()| {
            reference_missing(&object.spec, &effective, provider.kind().display_name())
        })
    })
    .or_else(|| template_elsewhere(scope, object, agent, linked?));
    let account = linked.and_then(|linked| context.accounts.last_account(&linked.key));
    let evidence_seen =
        agent
            .status
            .as_ref()
            .zip(account)
            .zip(facts)
            .is_some_and(|((status, account), facts)| {
                let stored = object.stored_status();
                let record = stored.and_then(|stored| stored.launch.as_ref());
                let claimed = stored.and_then(|stored| stored.effective.as_ref());
                let recovery = facts.recovery_of_claim(record, claimed.unwrap_or(&effective));
                has_evidence(status, recovery, &endpoint, account.fingerprint.as_str())
            });
    AgentView::Present {
        generation,
        suspended: agent.spec.suspend,
        effective: Box::new(effective),
        blocker,
        webhook: agent.spec.webhook.clone(),
        evidence_seen,
    }
}

/// The CodeAgent's template, if it is ready for the account that would launch.
pub(super) fn template_id(scope: &Scope, agent: &CodeAgent, linked: &Linked) -> Option<String> {
    let context = &scope.context;
    let provider = context.provider(&agent.spec.provider)?;
    let account = context.accounts.last_account(&linked.key)?;
    let namespace = agent.namespace().unwrap_or_default();
    let site = Site {
        endpoint: endpoint(context, provider, &agent.spec.provider, &namespace),
        account: account.fingerprint.as_str().to_owned(),
    };
    let record = agent.status.as_ref()?.template.as_ref()?;
    match record.state {
        TemplateState::Ready if site.has(record) => record.id.clone(),
        TemplateState::Ready | TemplateState::Claimed => None,
    }
}

/// What speaks against a session's own credentials where sessions are launched from the CodeAgent's template: another account
/// does not have it.
fn template_elsewhere(
    scope: &Scope,
    object: &CodeSession,
    agent: &CodeAgent,
    linked: &Linked,
) -> Option<Blocker> {
    let own = object.spec.credentials.as_ref()?;
    let record = agent.status.as_ref()?.template.as_ref()?;
    let account = scope.context.accounts.last_account(&linked.key)?;
    let elsewhere = Some(own) != agent.spec.credentials.as_ref()
        && record.state == TemplateState::Ready
        && record.account != account.fingerprint.as_str();
    elsewhere.then(|| Blocker {
        reason: Reason::CapabilityMissing,
        message: "spec.credentials of the session belong to another account than the CodeAgent's, which has the template that sessions are launched from: remove them, or use a CodeAgent with these credentials".to_owned(),
        cause: Cause::Environment,
    })
}
