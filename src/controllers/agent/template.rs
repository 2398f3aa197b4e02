//! Keeps a CodeAgent's template in step at its provider: gathers, lets [`decide`] say the next step, does it, until there is
//! nothing to do right now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use serde_json::json;

use super::super::accounts::CredentialState;
use super::super::connection::{Linked, endpoint, link, not_ready};
use super::super::error::PassError;
use super::super::scope::Scope;
use crate::api::{AUTO_MODEL, CodeAgent, CodeSession, Reason, TEMPLATE_FINALIZER, TemplateStatus};
use crate::domain::remote::{Capability, ErrorClass, ProviderError};
use crate::domain::session::Stage;
use crate::domain::template::{
    Found, Leftover, Lookup, Observed, Place, Request, Site, Step, TemplateHealth, Use, decide,
    failure,
};
use crate::providers::contract::ProviderType;
use crate::providers::contract::{
    FoundTemplates, StoredTemplate, Template, TemplateMark, Templates,
};
use crate::providers::http::nothing_was_started;
use crate::runtime::write::{Write, WriteError};

/// Steps in a row in one pass: a template's whole life has fewer.
const MOST_STEPS: usize = 10;

/// What keeping the template came to.
pub(super) enum Reconciled {
    /// There is nothing more to do now.
    Now {
        /// The CodeAgent, as it was last stored.
        agent: Arc<CodeAgent>,
        /// What is to be recorded.
        record: Option<TemplateStatus>,
        /// How the template stands.
        health: TemplateHealth,
        /// When to look again.
        again: Duration,
    },
    /// The CodeAgent is not what it was: decide again.
    Stale,
    /// The CodeAgent is gone, or nothing of ours holds it any more.
    Gone,
}

/// Keeps the template of a CodeAgent whose key is accepted, or whose provider has no templates.
pub(super) async fn reconcile_template(
    scope: &Scope,
    agent: &Arc<CodeAgent>,
    place: &Place,
    linked: Option<&Linked>,
) -> Result<Reconciled, PassError> {
    let mut reconciler = Reconciler {
        scope,
        uid: agent.uid().unwrap_or_default(),
        namespace: agent.namespace().unwrap_or_default(),
        record: recorded(agent),
        agent: Arc::clone(agent),
        place,
        linked,
        seen_before: None,
        leaving: None,
    };
    for _ in 0..MOST_STEPS {
        match reconciler.step().await {
            Ok(None) => {}
            Ok(Some(kept)) => return Ok(kept),
            Err(WriteError::Stale) => return Ok(Reconciled::Stale),
            Err(WriteError::Gone) => return Ok(Reconciled::Gone),
            Err(WriteError::Refused(why)) => return Ok(reconciler.may_not(&why)),
            Err(source @ WriteError::Failed(_)) => {
                return Err(PassError::Write {
                    what: "the claim or the finalizer of a template",
                    source,
                });
            }
        }
    }
    Ok(reconciler.rest(scope.context.timing().fault_wait_min, TemplateHealth::Ready))
}

/// Takes away the template of a CodeAgent that is being deleted, and lets it go; nothing if we do not hold it.
pub(super) async fn finalize_template(
    scope: &Scope,
    agent: &Arc<CodeAgent>,
) -> Result<Option<Reconciled>, PassError> {
    if !has_finalizer(agent) {
        return Ok(None);
    }
    let (place, linked) = place_of_deleted(scope, agent).await;
    reconcile_template(scope, agent, &place, linked.as_ref())
        .await
        .map(Some)
}

/// Where the template of a CodeAgent is that is being deleted.
async fn place_of_deleted(scope: &Scope, agent: &CodeAgent) -> (Place, Option<Linked>) {
    let context = &scope.context;
    let spec = &agent.spec.provider;
    let barred = |why: String, transient, again| Place::Barred {
        why,
        transient,
        again,
    };
    let Some(provider) = context.provider(spec) else {
        let why = "this installation of the operator does not run its provider".to_owned();
        return (barred(why, false, context.timing().recheck), None);
    };
    if !uses_templates(provider, agent) {
        return (Place::Nowhere, None);
    }
    let namespace = agent.namespace().unwrap_or_default();
    let secret = agent.spec.secret();
    let linked = match link(context, &namespace, provider, spec, secret.as_ref()).await {
        Ok(linked) => linked,
        Err(found) => {
            let why = found.blocker.message;
            return (barred(why, found.transient, found.again), None);
        }
    };
    if context.accounts.state_of(&linked.key).is_none() {
        let provider = linked.provider.as_ref();
        context
            .accounts
            .ask(&linked.key, provider, Duration::ZERO, &|| {
                context.may_begin()
            })
            .await;
    }
    let state = context.accounts.state_of(&linked.key);
    let place = match &state {
        Some(CredentialState::Accepted(account)) => Place::At(Site {
            endpoint: endpoint(context, provider, spec, &namespace),
            account: account.fingerprint.as_str().to_owned(),
        }),
        Some(state @ (CredentialState::Refused { .. } | CredentialState::Unreachable { .. })) => {
            match not_ready(state, secret.as_ref().map_or("", |secret| &secret.name)) {
                Some(found) => barred(found.blocker.message, found.transient, found.again),
                None => Place::Nowhere,
            }
        }
        None => barred(
            "the key is being checked".to_owned(),
            true,
            context.timing().fault_wait_min,
        ),
    };
    (place, Some(linked))
}

/// Whether sessions of this CodeAgent are launched from a template.
pub(super) fn uses_templates(provider: &dyn ProviderType, agent: &CodeAgent) -> bool {
    provider
        .capabilities(&agent.spec.provider)
        .contains(&Capability::Templates)
}

/// What is recorded of the template, also before the first status is complete: a claim comes before it.
pub(super) fn recorded(agent: &CodeAgent) -> Option<TemplateStatus> {
    agent
        .status
        .as_ref()
        .and_then(|status| status.template.clone())
}

/// The template under which a session is active, or may be.
fn template_of(session: &CodeSession) -> Option<String> {
    let launch = match Stage::of(session.status.as_ref()) {
        Stage::Open(send) => send.launch(),
        Stage::Running(launch) => launch,
        Stage::Waiting | Stage::Over(_) => return None,
    };
    launch.target.template_id.clone()
}

fn has_finalizer(agent: &CodeAgent) -> bool {
    agent
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == TEMPLATE_FINALIZER)
}

/// One CodeAgent's template in one pass.
struct Reconciler<'a> {
    scope: &'a Scope,
    uid: String,
    namespace: String,
    agent: Arc<CodeAgent>,
    record: Option<TemplateStatus>,
    place: &'a Place,
    linked: Option<&'a Linked>,
    /// The template as the newest lookup of this pass found it.
    seen_before: Option<StoredTemplate>,
    /// The sessions (uids) that are leaving although the cache does not know, once those under the template were read.
    leaving: Option<BTreeSet<String>>,
}

impl Reconciler<'_> {
    /// Takes the next step; answers once there is none.
    async fn step(&mut self) -> Result<Option<Reconciled>, WriteError> {
        match self.decide() {
            Step::Rest { again, health } => return Ok(Some(self.rest(again, health))),
            Step::AddFinalizer => self.add_finalizer().await?,
            Step::ReleaseFinalizer(leftover) => return self.release_finalizer(leftover).await,
            Step::Record(record) => self.record = Some(record),
            Step::Forget(leftover) => {
                self.store(None).await?;
                self.report(&leftover).await;
            }
            Step::ConfirmUse(id) => self.confirm_use(&id).await?,
            Step::Find => self.find().await,
            Step::Create(claim, leftover) => self.create(claim, leftover).await?,
            Step::Update => self.update().await,
            Step::Delete(id) => self.delete(&id).await,
        }
        Ok(None)
    }

    fn decide(&self) -> Step {
        self.observing(decide)
    }

    /// What is known now, as a decision sees it.
    fn observing<T>(&self, with: impl FnOnce(&Observed<'_>) -> T) -> T {
        let context = &self.scope.context;
        let claim = self.record.as_ref().and_then(|it| it.claim_id.clone());
        let uptime = context.uptime();
        let seen = self.scope.change_template(&self.uid, |seen| {
            if seen.claim.as_ref().map(|(id, _)| id) != claim.as_ref() {
                seen.claim = claim.map(|id| (id, uptime));
            }
            if self.agent.metadata.deletion_timestamp.is_some() {
                seen.deletion.get_or_insert(uptime);
            }
            seen.clone()
        });
        with(&Observed {
            now: Timestamp::now(),
            uptime,
            generation: self.agent.metadata.generation.unwrap_or(0),
            deleting: self
                .agent
                .metadata
                .deletion_timestamp
                .as_ref()
                .map(|time| time.0),
            has_finalizer: has_finalizer(&self.agent),
            record: self.record.as_ref(),
            place: self.place,
            seen: &seen,
            in_use: &self.in_use(),
            recheck: context.settings.agent_recheck,
            fresh_claim_id: &uuid::Uuid::new_v4().simple().to_string(),
            timing: context.timing(),
        })
    }

    fn rest(&self, again: Duration, health: TemplateHealth) -> Reconciled {
        Reconciled::Now {
            agent: Arc::clone(&self.agent),
            record: self.record.clone(),
            health,
            again,
        }
    }

    /// The API server does not let the operator do its part.
    fn may_not(&self, why: &str) -> Reconciled {
        let message = format!(
            "the template that sessions are launched from is not kept, its claim or finalizer cannot be stored: {why}"
        );
        tracing::warn!(message, "a template could not be reconciled");
        let health = TemplateHealth::Refused {
            message,
            usable: false,
        };
        self.rest(self.scope.context.timing().fault_wait_max, health)
    }

    /// The templates under which sessions are active, or may be.
    fn in_use(&self) -> BTreeMap<String, Use> {
        let mut in_use = BTreeMap::new();
        for (id, session) in self.active() {
            let found = in_use.entry(id).or_insert(Use::Leaving);
            let uid = session.uid().unwrap_or_default();
            let leaves = session.metadata.deletion_timestamp.is_some()
                || self
                    .leaving
                    .as_ref()
                    .is_some_and(|known| known.contains(&uid));
            if leaves {
                continue;
            }
            let count = match *found {
                Use::Leaving => 1,
                Use::Unconfirmed(count) | Use::Staying(count) => count.saturating_add(1),
            };
            *found = match &self.leaving {
                Some(_) => Use::Staying(count),
                None => Use::Unconfirmed(count),
            };
        }
        in_use
    }

    /// The sessions that are, or may be, active under a template, by what the cache knows, with the template's id.
    fn active(&self) -> Vec<(String, Arc<CodeSession>)> {
        let sessions = self
            .scope
            .sessions
            .group(&self.namespace, &self.agent.name_any());
        let mut active = Vec::new();
        for session in sessions {
            if let Some(id) = template_of(&session) {
                active.push((id, session));
            }
        }
        active
    }

    /// Reads the sessions under a template until one is found that stays.
    async fn confirm_use(&mut self, template: &str) -> Result<(), WriteError> {
        let client = self.scope.context.client.clone();
        let sessions: Api<CodeSession> = Api::namespaced(client, &self.namespace);
        let mut leaving = BTreeSet::new();
        for (id, session) in self.active() {
            if id != template || session.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let now = sessions.get_opt(&session.name_any()).await;
            let now = now.map_err(WriteError::Failed)?;
            let stays = now.is_some_and(|now| {
                now.uid() == session.uid()
                    && now.metadata.deletion_timestamp.is_none()
                    && template_of(&now).is_some()
            });
            if stays {
                break;
            }
            leaving.extend(session.uid());
        }
        self.leaving = Some(leaving);
        Ok(())
    }

    fn templates(&self) -> Option<(&dyn Templates, Site)> {
        let Place::At(site) = self.place else {
            return None;
        };
        Some((self.linked?.provider.templates()?, site.clone()))
    }

    /// What the template is to say.
    fn wanted(&self) -> Template {
        let spec = &self.agent.spec;
        let repository = spec.repository.as_ref();
        let model = &spec.model;
        Template {
            mark: TemplateMark {
                installation: self.scope.context.installation.clone(),
                uid: self.uid.clone(),
            },
            name: spec
                .display_name
                .clone()
                .unwrap_or_else(|| format!("{}/{}", self.namespace, self.agent.name_any())),
            description: spec.description.clone(),
            repository: repository.and_then(|repository| repository.url.clone()),
            reference: repository.and_then(|repository| repository.reference.clone()),
            model: (model.id != AUTO_MODEL || !model.params.is_empty()).then(|| model.clone()),
            pull_request: spec.pull_request.clone(),
        }
    }

    async fn find(&mut self) {
        let Some((templates, site)) = self.templates() else {
            return;
        };
        let begun = self.scope.context.uptime();
        let known = self.record.as_ref().and_then(|record| record.id.clone());
        match templates.find(&self.wanted(), known.as_deref()).await {
            Ok(FoundTemplates {
                marked: found,
                unmarked,
            }) => {
                self.looked_up(begun, site, found.as_ref(), unmarked);
                let listed = found.as_ref().map(|found| found.id.clone());
                self.scope.change_template(&self.uid, |seen| {
                    // What was listed once and is in this list no more is gone.
                    if listed.is_some() {
                        seen.listed = listed;
                    }
                });
                self.seen_before = found;
            }
            Err(error) => self.failed(&site, Request::Find, &error),
        }
    }

    /// Claims the creation, then makes the template. A lost answer leaves the claim; the template is found by it later.
    async fn create(
        &mut self,
        claim: TemplateStatus,
        leftover: Option<Leftover>,
    ) -> Result<(), WriteError> {
        let opened = Instant::now();
        self.store(Some(claim)).await?;
        if let Some(leftover) = leftover {
            self.report(&leftover).await;
        }
        let Some((templates, site)) = self.templates() else {
            return Ok(());
        };
        let begun = self.scope.context.uptime();
        // A claim counts from when it was written: what is sent much later would turn up after its time.
        let context = &self.scope.context;
        if !context.may_begin() || opened.elapsed() >= context.timing().send_window {
            self.forget_lookup();
            return Ok(());
        }
        match templates.create(&self.wanted()).await {
            Ok(id) => {
                tracing::info!(template = id, "made the template");
                let made = StoredTemplate {
                    id,
                    up_to_date: true,
                    has_preamble: false,
                };
                self.looked_up(begun, site, Some(&made), Vec::new());
                self.seen_before = Some(made);
            }
            Err(error) => {
                self.failed(&site, Request::Create, &error);
                if nothing_was_started(&error, &[]) {
                    self.record = None;
                }
            }
        }
        Ok(())
    }

    async fn update(&mut self) {
        let Some((templates, site)) = self.templates() else {
            return;
        };
        // What a lookup of an earlier pass found is not known in full any more.
        let Some(found) = self.seen_before.clone() else {
            return self.forget_lookup();
        };
        let begun = self.scope.context.uptime();
        match templates.update(&found, &self.wanted()).await {
            Ok(()) => {
                tracing::info!(template = found.id, "changed the template");
                let changed = StoredTemplate {
                    up_to_date: true,
                    has_preamble: false,
                    ..found
                };
                self.looked_up(begun, site, Some(&changed), Vec::new());
            }
            Err(error) if error.class == ErrorClass::NotFound => self.forget_lookup(),
            Err(error) => self.failed(&site, Request::Update, &error),
        }
    }

    async fn delete(&mut self, id: &str) {
        let Some((templates, site)) = self.templates() else {
            return;
        };
        match templates.delete(id).await {
            Ok(()) => {
                tracing::info!(template = id, "deleted the template");
                // Its doubles go the same way.
                self.forget_lookup();
            }
            Err(error) => self.failed(&site, Request::Delete, &error),
        }
    }

    fn looked_up(
        &self,
        begun: Duration,
        site: Site,
        found: Option<&StoredTemplate>,
        unmarked: Vec<String>,
    ) {
        let lookup = Lookup {
            begun,
            generation: self.agent.metadata.generation.unwrap_or(0),
            site,
            found: found.map(|found| Found {
                id: found.id.clone(),
                up_to_date: found.up_to_date,
            }),
            unmarked,
        };
        self.scope.change_template(&self.uid, |seen| {
            seen.lookup = Some(lookup);
            seen.failure = None;
        });
    }

    fn forget_lookup(&self) {
        self.scope
            .change_template(&self.uid, |seen| seen.lookup = None);
    }

    fn failed(&self, site: &Site, request: Request, error: &ProviderError) {
        let nothing_done = nothing_was_started(error, &[]);
        let failed = self.observing(|o| failure(o, site, request, error, nothing_done));
        tracing::warn!(
            message = failed.message,
            "a template could not be reconciled"
        );
        self.scope.change_template(&self.uid, |seen| {
            seen.failure = Some(failed);
            seen.lookup = None;
        });
        if let (ErrorClass::Unauthorized, Some(linked)) = (error.class, self.linked) {
            self.scope.context.accounts.doubt(&linked.key);
        }
    }

    fn api(&self) -> Api<CodeAgent> {
        Api::namespaced(self.scope.context.client.clone(), &self.namespace)
    }

    /// Stores what is recorded of the template, at once.
    async fn store(&mut self, record: Option<TemplateStatus>) -> Result<(), WriteError> {
        let mut status = self.agent.status.clone().unwrap_or_default();
        status.template.clone_from(&record);
        let newer = Write::if_unchanged(self.agent.as_ref())
            .set(&["status"], json!(status))
            .to_status(&self.api(), &self.agent.name_any())
            .await?;
        self.record = record;
        self.stored(newer);
        Ok(())
    }

    fn stored(&mut self, newer: CodeAgent) {
        self.agent = Arc::new(newer);
        self.scope.stored_agent(&self.agent);
    }

    async fn add_finalizer(&mut self) -> Result<(), WriteError> {
        let mut finalizers = self.agent.finalizers().to_vec();
        finalizers.push(TEMPLATE_FINALIZER.to_owned());
        let newer = self.write_finalizers(&finalizers).await?;
        self.stored(newer);
        Ok(())
    }

    /// Lets the CodeAgent go, or only its finalizer where it stays.
    async fn release_finalizer(
        &mut self,
        leftover: Option<Leftover>,
    ) -> Result<Option<Reconciled>, WriteError> {
        let others: Vec<String> = self
            .agent
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != TEMPLATE_FINALIZER)
            .cloned()
            .collect();
        let newer = self.write_finalizers(&others).await?;
        if let Some(leftover) = leftover {
            self.report(&leftover).await;
        }
        self.stored(newer);
        if self.agent.metadata.deletion_timestamp.is_none() {
            return Ok(None);
        }
        // Its removal may have been seen before the answer to our own write: nobody else would forget it then.
        let reference = kube_runtime::reflector::ObjectRef::from_obj(self.agent.as_ref());
        if !self.scope.agents.contains(&reference) {
            self.scope.forget_agent(&self.uid);
        }
        Ok(Some(Reconciled::Gone))
    }

    async fn write_finalizers(&self, finalizers: &[String]) -> Result<CodeAgent, WriteError> {
        Write::if_unchanged(self.agent.as_ref())
            .set(&["metadata", "finalizers"], json!(finalizers))
            .to_object(&self.api(), &self.agent.name_any())
            .await
    }

    /// Tells people of a template that nobody keeps any more.
    async fn report(&self, leftover: &Leftover) {
        let which = leftover.id.as_deref().map_or_else(
            || "a template".to_owned(),
            |id| format!("the template {id}"),
        );
        let note = format!(
            "{which} stays at the provider: {}. Delete it there once nothing runs under it",
            leftover.why
        );
        let reason = Reason::TemplateLeft.as_str();
        tracing::warn!(reason, note, "event");
        self.scope
            .context
            .publisher
            .publish(self.agent.as_ref(), true, reason, "Reconcile", &note)
            .await;
    }
}
