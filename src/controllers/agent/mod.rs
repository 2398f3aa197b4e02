//! The controller of CodeAgents: is the Secret there, is the key accepted, what can the provider do, how many sessions, and is
//! the template there that they are launched from.

mod evidence;
mod template;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube_runtime::reflector::ObjectRef;
use serde_json::json;
use tracing::Instrument;

use self::template::{Reconciled, finalize_template, reconcile_template, recorded, uses_templates};
use super::accounts::CredentialState;
use super::connection::{Linked, endpoint, held, link, not_ready};
use super::context::Context;
use super::error::{Chain, PassError};
use super::metrics::{Controller, PassOutcome};
use super::scope::Scope;
use crate::api::{
    CodeAgent, CodeAgentSpec, CodeAgentStatus, CodeSession, OrphanStatus, ProviderKind, Reason,
    SessionCounts, SessionPhase,
};
use crate::domain::agent::{Evidence, Findings, Health, deleting_status, status};
use crate::domain::blocker::NotReady;
use crate::domain::effective::repository;
use crate::domain::mapping::dry_run;
use crate::domain::parameters::misdeclared;
use crate::domain::remote::{Capability, ProviderError, Recovery};
use crate::domain::requeue::jittered;
use crate::domain::send::scope::LaunchScope;
use crate::domain::status::whole_seconds;
use crate::domain::template::{Place, Site, TemplateHealth};
use crate::providers::contract::ProviderType;
use crate::runtime::write::{Write, WriteError};

/// Longest time one pass may take.
const PASS_BOUND: Duration = Duration::from_secs(180);
/// When to look again at a CodeAgent that was changed by somebody else, unless the watch is faster.
const STALE_AGAIN: Duration = Duration::from_millis(500);

/// Brings one CodeAgent's status up to date; answers with when to look again.
pub async fn reconcile(reference: ObjectRef<CodeAgent>, scope: Arc<Scope>) -> Option<Duration> {
    let agent = scope.agents.get(&reference)?;
    let begun = Instant::now();
    let span = tracing::info_span!(
        "agent",
        namespace = agent.namespace().unwrap_or_default(),
        name = agent.name_any()
    );
    let result = tokio::time::timeout(PASS_BOUND, pass(&scope, &agent).instrument(span))
        .await
        .unwrap_or(Err(PassError::Timeout(PASS_BOUND)));
    let outcome = match &result {
        Ok(_) => PassOutcome::Waiting,
        Err(_) => PassOutcome::Failed,
    };
    scope
        .context
        .metrics
        .pass(Controller::Agent, outcome, begun.elapsed().as_secs_f64());
    let again = result.unwrap_or_else(|error| {
        tracing::warn!(agent = agent.name_any(), error = %Chain(&error), "a pass failed and will be repeated");
        scope.context.timing().fault_wait(3)
    });
    Some(jittered(again, rand::random()).max(Duration::from_millis(20)))
}

/// One pass; answers with when to look again.
async fn pass(scope: &Arc<Scope>, agent: &Arc<CodeAgent>) -> Result<Duration, PassError> {
    let context = &scope.context;
    if !context.may_begin() {
        return Ok(context.settings.agent_recheck);
    }
    if agent.metadata.deletion_timestamp.is_some() {
        return finalize(scope, agent).await;
    }
    let namespace = agent.namespace().unwrap_or_default();
    let spec = &agent.spec.provider;
    let sessions = sessions_of(scope, &namespace, &agent.name_any());
    let (counts, counts_due) = counts(scope, agent, &sessions);
    let mut findings = Findings {
        kind: spec.kind(),
        capabilities: Default::default(),
        recovery: None,
        message_recovery: None,
        health: Health::Unusable {
            reason: Reason::ProviderDisabled,
            message: disabled(spec.kind(), &context.settings.providers),
        },
        models: None,
        evidence: Evidence::default(),
        endpoint: String::new(),
        counts,
        orphans: orphans(context, &agent.uid().unwrap_or_default()),
        suspended: agent.spec.suspend,
        launches_held: misdeclared(&agent.spec).map(|why| (Reason::InvalidParameters, why)),
        clock: None,
        template: recorded(agent),
        template_health: TemplateHealth::NotNeeded,
        mapping: Vec::new(),
    };
    let mut agent = Arc::clone(agent);
    let mut again = context.settings.agent_recheck;
    if let Some(provider) = context.provider(spec) {
        findings.capabilities = provider.capabilities(spec);
        findings.recovery = Some(launch_recovery(provider, &agent.spec));
        findings.message_recovery = provider.message_recovery(spec);
        findings.endpoint = endpoint(context, provider, spec, &namespace);
        let linked = match read_mapping(&agent, &mut findings) {
            Ok(()) => {
                let (linked, next) =
                    examine(scope, &agent, provider, &namespace, &mut findings).await;
                again = next;
                linked
            }
            Err(health) => {
                findings.health = health;
                None
            }
        };
        if let Some(linked) = &linked {
            findings.clock = clock_warning(linked, context.timing().clock_margin);
            let found = evidence::find(scope, &agent, linked, sessions.launched(), &findings).await;
            findings.evidence = found.evidence;
            again = found.again.map_or(again, |soon| again.min(soon));
        }
        if let Some(place) = place(provider, &agent, &findings) {
            match reconcile_template(scope, &agent, &place, linked.as_ref()).await? {
                Reconciled::Now {
                    agent: newer,
                    record,
                    health,
                    again: next,
                } => {
                    agent = newer;
                    findings.template = record;
                    findings.template_health = health;
                    again = again.min(next);
                }
                Reconciled::Stale => return Ok(STALE_AGAIN),
                Reconciled::Gone => return Ok(again),
            }
        }
    }
    let generation = agent.metadata.generation.unwrap_or(0);
    let stored = agent.stored_status();
    let new = status(stored, generation, &findings, Timestamp::now());
    if stored != Some(&new) {
        match store(scope, &agent, &new).await? {
            Stored::Yes if findings.counts.is_some() => {
                scope.note_counts(&agent.uid().unwrap_or_default());
            }
            Stored::Yes => {}
            Stored::Stale => return Ok(STALE_AGAIN),
            Stored::Gone => return Ok(again),
        }
    }
    Ok(counts_due.map_or(again, |due| again.min(due)))
}

/// Reads the mapping of an HTTP service and its examples.
///
/// # Errors
/// With what is wrong with it: nothing is asked of the service before that is mended.
fn read_mapping(agent: &CodeAgent, findings: &mut Findings) -> Result<(), Health> {
    let Some(http) = &agent.spec.provider.http else {
        return Ok(());
    };
    findings.mapping = dry_run(http).map_err(|misfit| Health::Unusable {
        reason: Reason::InvalidMapping,
        message: format!("spec.provider.http.{misfit}"),
    })?;
    Ok(())
}

/// How a lost launch of a session without variables of its own is found.
fn launch_recovery(provider: &dyn ProviderType, spec: &CodeAgentSpec) -> Recovery {
    match spec.env_from.as_ref().is_none_or(Vec::is_empty) {
        true => provider.recovery(&spec.provider),
        false => provider.environment_recovery(&spec.provider),
    }
}

/// One pass over a CodeAgent that is being deleted: its template goes first, and what that waits for is said.
async fn finalize(scope: &Scope, agent: &Arc<CodeAgent>) -> Result<Duration, PassError> {
    let (agent, record, health, again) = match finalize_template(scope, agent).await? {
        None | Some(Reconciled::Gone) => return Ok(scope.context.settings.agent_recheck),
        Some(Reconciled::Stale) => return Ok(STALE_AGAIN),
        Some(Reconciled::Now {
            agent,
            record,
            health,
            again,
        }) => (agent, record, health, again),
    };
    let Some(stored) = agent.stored_status() else {
        return Ok(again);
    };
    let generation = agent.metadata.generation.unwrap_or(0);
    let new = deleting_status(stored, generation, record, &health, Timestamp::now());
    if *stored == new {
        return Ok(again);
    }
    Ok(match store(scope, &agent, &new).await? {
        Stored::Yes | Stored::Gone => again,
        Stored::Stale => STALE_AGAIN,
    })
}

/// Whether a status was stored.
enum Stored {
    Yes,
    /// The CodeAgent is not what it was.
    Stale,
    Gone,
}

async fn store(
    scope: &Scope,
    agent: &CodeAgent,
    status: &CodeAgentStatus,
) -> Result<Stored, PassError> {
    let namespace = agent.namespace().unwrap_or_default();
    let api: Api<CodeAgent> = Api::namespaced(scope.context.client.clone(), &namespace);
    let write = Write::if_unchanged(agent).set(&["status"], json!(status));
    match write.to_status(&api, &agent.name_any()).await {
        Ok(newer) => {
            scope.stored_agent(&Arc::new(newer));
            Ok(Stored::Yes)
        }
        Err(WriteError::Stale) => Ok(Stored::Stale),
        Err(WriteError::Gone) => Ok(Stored::Gone),
        Err(source @ (WriteError::Refused(_) | WriteError::Failed(_))) => Err(PassError::Write {
            what: "the status of the CodeAgent",
            source,
        }),
    }
}

/// Why nothing can be done with a provider that this installation does not run.
fn disabled(asked: Option<ProviderKind>, enabled: &BTreeSet<ProviderKind>) -> String {
    if asked == Some(ProviderKind::Job) {
        return "this installation of the operator does not run agents as Jobs: install the chart with jobs.enabled (--jobs), or use another provider".to_owned();
    }
    let enabled: Vec<&str> = enabled.iter().map(|kind| kind.as_str()).collect();
    format!(
        "this installation of the operator does not run {}: enable it (--providers; now: {}), or use another provider",
        asked.map_or("this provider", ProviderKind::display_name),
        enabled.join(",")
    )
}

/// Finds out how the key stands; answers with the connection and when to look again.
async fn examine(
    scope: &Scope,
    agent: &CodeAgent,
    provider: &dyn ProviderType,
    namespace: &str,
    findings: &mut Findings,
) -> (Option<Linked>, Duration) {
    let context = &scope.context;
    let secret = agent.spec.secret();
    let linked = match link(
        context,
        namespace,
        provider,
        &agent.spec.provider,
        secret.as_ref(),
    )
    .await
    {
        Ok(linked) => linked,
        Err(found) => {
            findings.health = Health::Unusable {
                reason: found.blocker.reason,
                message: found.blocker.message,
            };
            return (None, found.again);
        }
    };
    scope.note_key(&agent.uid().unwrap_or_default(), &linked.key);
    let recheck = context.settings.agent_recheck;
    let seen = agent
        .stored_status()
        .map(|status| status.observed_generation);
    if seen.is_some() && seen != agent.metadata.generation {
        // Whoever changes a CodeAgent wants to know at once whether that has helped.
        context.accounts.ask_anew_if_failed(&linked.key);
    }
    let known_models = agent
        .status
        .as_ref()
        .is_some_and(|status| !status.models.is_empty());
    let fresh = check_key(context, &linked).await;
    let state = context.accounts.state_of(&linked.key);
    let lists_models = findings.capabilities.contains(&Capability::ListModels);
    let mut again = recheck;
    findings.health = match &state {
        Some(CredentialState::Accepted(account)) => {
            if lists_models && (!fresh || !known_models) && context.may_begin() {
                findings.models = list_models(&linked).await;
            }
            if let Some(hold) = context.accounts.held(&linked.key, &scopes(agent)) {
                again = hold.again.max(context.timing().recheck).min(recheck);
                let blocker = held(&hold);
                findings
                    .launches_held
                    .get_or_insert((blocker.reason, blocker.message));
            }
            Health::Accepted(account.clone())
        }
        Some(CredentialState::Refused { error, .. }) => {
            // A mended Secret holds another key, so the Secret is read again soon.
            again = context.timing().recheck;
            let found = state.as_ref().and_then(|state| {
                not_ready(state, secret.as_ref().map_or("", |secret| &secret.name))
            });
            refused(context, &linked, found, error)
        }
        Some(CredentialState::Unreachable { error, again: wait }) => {
            again = *wait;
            Health::Unreachable {
                reason: error.outage(),
                message: error.why_unusable(),
                account: context.accounts.last_account(&linked.key),
            }
        }
        None => {
            again = context.timing().fault_wait_min;
            Health::Unreachable {
                reason: Reason::VerifyingCredentials,
                message: "the key is being checked".into(),
                account: context.accounts.last_account(&linked.key),
            }
        }
    };
    (Some(linked), again)
}

/// Has the key checked, unless that was done not long ago: then the answer is yes.
async fn check_key(context: &Context, linked: &Linked) -> bool {
    let (accounts, recheck) = (&context.accounts, context.settings.agent_recheck);
    let known = accounts.state_of(&linked.key).is_some();
    let recent = accounts.age(&linked.key).is_some_and(|age| age < recheck);
    if recent && known {
        return true;
    }
    let older_than = if known { recheck } else { Duration::ZERO };
    let may_begin = || context.may_begin();
    accounts
        .ask(
            &linked.key,
            linked.provider.as_ref(),
            older_than,
            &may_begin,
        )
        .await;
    false
}

/// What a refused key comes to: it is wrong, or something else about the connection is.
fn refused(
    context: &Context,
    linked: &Linked,
    found: Option<NotReady>,
    error: &ProviderError,
) -> Health {
    let Some(NotReady { blocker, .. }) = found else {
        return Health::Refused {
            message: error.to_string(),
        };
    };
    if blocker.reason != Reason::CredentialsInvalid {
        return Health::Unusable {
            reason: blocker.reason,
            message: blocker.message,
        };
    }
    let message = match context.accounts.again_at(&linked.key) {
        Some(at) => format!(
            "{}. It is checked again at {}, or as soon as the Secret or the CodeAgent changes",
            blocker.message,
            whole_seconds(at)
        ),
        None => blocker.message,
    };
    Health::Refused { message }
}

/// What is to be said of the provider's clock, if it is further from ours than it may be.
fn clock_warning(linked: &Linked, margin: Duration) -> Option<String> {
    let difference = linked.clock.difference()?;
    difference.exceeds(margin).then(|| {
        format!(
            "the provider's clock is {difference} this operator's, more than --clock-margin allows: correct the clock that is wrong (provider, gateway or the operator's node). Lost launches are looked for with that difference"
        )
    })
}

/// Where the CodeAgent's template belongs, if that can be told and acted on now.
fn place(provider: &dyn ProviderType, agent: &CodeAgent, findings: &Findings) -> Option<Place> {
    if !uses_templates(provider, agent) {
        return Some(Place::Nowhere);
    }
    match &findings.health {
        Health::Accepted(account) => Some(Place::At(Site {
            endpoint: findings.endpoint.clone(),
            account: account.fingerprint.as_str().to_owned(),
        })),
        Health::Unreachable { .. } | Health::Refused { .. } | Health::Unusable { .. } => None,
    }
}

/// What launches of this CodeAgent have in common with those that may have been refused, but for what a session sets itself.
fn scopes(agent: &CodeAgent) -> Vec<LaunchScope> {
    let repository = repository(None, agent.spec.repository.as_ref());
    LaunchScope::of_settings(&repository, &agent.spec.model)
}

/// Models are a comfort: a provider that does not list them now is asked again at the next check.
async fn list_models(linked: &Linked) -> Option<Vec<String>> {
    match linked.provider.models()?.list_models().await {
        Ok(models) => Some(models),
        Err(error) => {
            tracing::debug!(
                class = error.class.as_str(),
                "the models could not be listed"
            );
            None
        }
    }
}

/// What the sweep has found; `None` before its first round.
fn orphans(context: &Context, agent: &str) -> Option<Vec<OrphanStatus>> {
    if context.settings.sweep_interval.is_zero() {
        // Nobody would ever take them back.
        return Some(Vec::new());
    }
    context.orphans.report(agent)
}

/// The sessions of a CodeAgent with which something is left to do, and how many there are with which nothing is.
struct Sessions {
    whole: Vec<Arc<CodeSession>>,
    finished: usize,
    /// The one that was launched last, also if it has finished since.
    newest: Option<Arc<CodeSession>>,
}

impl Sessions {
    /// Those whose launches are known in full.
    fn launched(&self) -> impl Iterator<Item = &Arc<CodeSession>> {
        self.whole.iter().chain(&self.newest)
    }
}

fn sessions_of(scope: &Scope, namespace: &str, agent: &str) -> Sessions {
    Sessions {
        whole: scope.sessions.group(namespace, agent),
        finished: scope.sessions.records(namespace, agent),
        newest: scope.newest_launch(namespace, agent),
    }
}

/// The counts, if it is time to write them, and when it will be if it is not.
fn counts(
    scope: &Scope,
    agent: &CodeAgent,
    sessions: &Sessions,
) -> (Option<SessionCounts>, Option<Duration>) {
    let mut counts = SessionCounts {
        finished: sessions.finished.try_into().unwrap_or(i32::MAX),
        ..SessionCounts::default()
    };
    for session in &sessions.whole {
        let count = match session.phase() {
            SessionPhase::Pending => &mut counts.pending,
            SessionPhase::Creating | SessionPhase::Running => &mut counts.active,
            SessionPhase::Finished
            | SessionPhase::Error
            | SessionPhase::Cancelled
            | SessionPhase::Expired => &mut counts.finished,
        };
        *count = count.saturating_add(1);
    }
    if agent.status.as_ref().and_then(|status| status.sessions) == Some(counts) {
        return (None, None);
    }
    match scope.until_counts(&agent.uid().unwrap_or_default()) {
        None => (Some(counts), None),
        Some(wait) => (None, Some(wait)),
    }
}
