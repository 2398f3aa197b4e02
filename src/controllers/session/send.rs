//! A claimed request: sent once, and its outcome recorded until it is stored, or undone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::super::connection::Linked;
use super::super::error::{Chain, PassError};
use super::super::images::HeldImages;
use super::super::metrics::LaunchResult;
use super::super::scope::Scope;
use super::gather::{Content, Facts};
use super::record::note_failure;
use super::step::Step;
use super::writes::{api, emit, emit_to_agent, store};
use crate::api::{AUTO_MODEL, CodeSession, ProviderKind, Reason};
use crate::domain::effective::starting_point;
use crate::domain::environment::Environment;
use crate::domain::provider_webhook::ProviderWebhook;
use crate::domain::remote::{CancelVisibility, Capability, ErrorClass, ProviderError, SessionRef};
use crate::domain::requeue::Again;
use crate::domain::send::Clock;
use crate::domain::send::answer::{LaunchOutcome, MessageOutcome, SendOutcome};
use crate::domain::send::recording::{Do, Loss, Recording, Saw, Sent, Shown, StoredSend};
use crate::domain::session::{
    Effect, Event, LaunchPlan, MessagePlan, Outcome, deletion_policy_of, record,
};
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{
    LaunchRequest, LaunchedFor, MessageRequest, Provider, SendWindow,
};
use crate::runtime::write::WriteError;

/// Longest time that a pass waits for the outcome of its request to be stored. The recording itself goes on for as long as it
/// takes, while passes look after deletion and its bound.
const RECORDING_PATIENCE: Duration = Duration::from_secs(5);

/// A claimed request.
pub(super) enum Paid {
    /// A launch.
    Launch(Box<LaunchPlan>),
    /// A follow-up message.
    Message(Box<MessagePlan>),
}

/// Sends a claimed request and records what came of it, in a task of its own: once begun it is finished, whatever becomes
/// of the pass or the lead (rule 14).
pub(super) async fn send(
    scope: &Arc<Scope>,
    object: Arc<CodeSession>,
    facts: Facts,
    (paid, content): (Paid, Option<Content>),
    opened: Instant,
) -> Result<Step, PassError> {
    let (Some(linked), Some(content)) = (facts.linked.clone(), content) else {
        return Ok(Step::Rest(Again::soon(Duration::ZERO)));
    };
    let held = InFlight::new(scope, &facts.uid);
    let reference = ObjectRef::from_obj(&*object);
    let (answered, answer_is_there) = oneshot::channel();
    let task_scope = Arc::clone(scope);
    let span = tracing::Span::current();
    let work = async move {
        let scope = task_scope;
        let sending = Sending {
            scope: &scope,
            object: &object,
            facts: &facts,
            linked: &linked,
            opened,
        };
        let (effect, outcome) = match paid {
            Paid::Launch(plan) => {
                let outcome = sending.launch(&plan, content).await;
                (Effect::Launch(plan), Outcome::Launched(outcome))
            }
            Paid::Message(plan) => {
                let outcome = sending.message(&plan, content).await;
                (Effect::Message(plan), Outcome::Messaged(outcome))
            }
        };
        // Nobody waits any more if the pass was dropped.
        answered.send(()).ok();
        let recorder = Recorder {
            scope: &scope,
            claimed: object,
            facts: &facts,
            effect: &effect,
            outcome: &outcome,
            provider: linked.provider.as_ref(),
        };
        let step = recorder.record().await;
        // The claim stays ours until its outcome is stored: only then another pass may judge it.
        drop(held);
        scope.session_queue.push(reference);
        step
    };
    let mut task = scope.context.tasks.spawn(work.instrument(span));
    let patience = async {
        // It ends without an answer if the task panics, which shows below.
        answer_is_there.await.ok();
        tokio::time::sleep(RECORDING_PATIENCE).await;
    };
    tokio::select! {
        // The task is not aborted by anyone; a join error is a panic in it, which the claim outlives.
        step = &mut task => match step {
            Ok(step) => step,
            Err(_) => Ok(Step::Rest(Again::soon(scope.context.timing().fault_wait_min))),
        },
        () = patience => Ok(Step::Rest(Again::soon(scope.context.timing().fault_wait_min))),
    }
}

/// A request of this process that is under way, or whose outcome is not stored: until this is dropped, also by a panic, no pass
/// judges its claim.
struct InFlight {
    scope: Arc<Scope>,
    uid: String,
}

impl InFlight {
    fn new(scope: &Arc<Scope>, uid: &str) -> Self {
        let memory = &scope.context.memory;
        memory.change(uid, |remembered| remembered.in_flight = true);
        Self {
            scope: Arc::clone(scope),
            uid: uid.to_owned(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let memory = &self.scope.context.memory;
        memory.change(&self.uid, |remembered| remembered.in_flight = false);
    }
}

/// What a request is sent with.
struct Sending<'a> {
    scope: &'a Scope,
    object: &'a CodeSession,
    facts: &'a Facts,
    linked: &'a Linked,
    opened: Instant,
}

impl Sending<'_> {
    /// Sends a launch, and tells everybody whom a failure concerns.
    async fn launch(&self, plan: &LaunchPlan, content: Content) -> LaunchOutcome {
        let window = self.window(plan.not_after);
        let Content {
            prompt,
            images: HeldImages {
                images,
                room: _room,
            },
            environment,
        } = content;
        let request = launch_request(self.object, plan, window).map(|request| LaunchRequest {
            prompt,
            images,
            environment,
            webhook: self.webhook(),
            ..request
        });
        if request
            .as_ref()
            .is_ok_and(|request| request.webhook.is_some())
        {
            let memory = &self.scope.context.memory;
            memory.change(&self.facts.uid, |remembered| remembered.reports = true);
        }
        let outcome = match request {
            Ok(request) => self.linked.provider.launch(&request).await,
            Err(error) => LaunchOutcome::Rejected(error),
        };
        if let Some(kind) = self.kind() {
            let metrics = &self.scope.context.metrics;
            metrics.launch(kind, result_of(&outcome));
        }
        self.emit(&Outcome::Launched(outcome.clone()));
        let template_gone = matches!(
            &outcome,
            LaunchOutcome::Rejected(error)
                if plan.template_id.is_some() && error.class == ErrorClass::NotFound
        );
        if template_gone {
            let namespace = self.object.namespace().unwrap_or_default();
            self.scope
                .doubt_template(&namespace, &self.object.spec.agent_ref.name);
        }
        outcome
    }

    /// Sends a follow-up message, and tells everybody whom a failure concerns.
    async fn message(&self, plan: &MessagePlan, content: Content) -> MessageOutcome {
        let Some(follow_ups) = self.linked.provider.follow_ups() else {
            return MessageOutcome::Rejected(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "the provider takes no further messages",
            ));
        };
        let request = MessageRequest {
            session: plan.session.clone(),
            prompt: content.prompt,
            images: content.images.images,
            model: plan.model.clone(),
            window: self.window(plan.not_after),
        };
        let _room = content.images.room;
        let outcome = follow_ups.send(&request).await;
        if let Some(kind) = self.kind() {
            let metrics = &self.scope.context.metrics;
            metrics.message(kind, result_of(&outcome));
        }
        self.emit(&Outcome::Messaged(outcome.clone()));
        outcome
    }

    /// Where the provider reports changes of this session, if it can and is told to. The same whenever it is sent again.
    fn webhook(&self) -> Option<ProviderWebhook> {
        let provider = self.facts.provider.as_ref()?;
        let can = provider.capabilities.contains(&Capability::Webhooks);
        let webhooks = self.scope.context.settings.provider_webhooks.as_ref()?;
        can.then(|| webhooks.of(provider.kind, &self.facts.uid))?
    }

    fn window(&self, not_after: Timestamp) -> SendWindow {
        SendWindow {
            not_after,
            opened: self.opened,
            length: send_window(self.scope, self.opened),
        }
    }

    fn kind(&self) -> Option<ProviderKind> {
        self.facts.provider.as_ref().map(|provider| provider.kind)
    }

    fn emit(&self, outcome: &Outcome) {
        note_failure(self.scope, &self.linked.key, outcome, self.object);
    }
}

fn result_of<T>(outcome: &SendOutcome<T>) -> LaunchResult {
    match outcome {
        SendOutcome::Accepted(_) => LaunchResult::Accepted,
        SendOutcome::Rejected(_) => LaunchResult::Rejected,
        SendOutcome::Unknown(_) => LaunchResult::Unknown,
    }
}

/// How long after `opened` a request may go out: not after others may have taken the lead.
fn send_window(scope: &Scope, opened: Instant) -> Duration {
    let window = scope.context.timing().send_window;
    match scope.context.lead.left() {
        Some(left) => window.min(opened.elapsed() + left),
        None => window,
    }
}

/// The request without its content.
fn launch_request(
    object: &CodeSession,
    plan: &LaunchPlan,
    window: SendWindow,
) -> Result<LaunchRequest, ProviderError> {
    let effective = &plan.effective;
    let start = starting_point(effective).map_err(|text| {
        let message = format!("{text} is not the address of a pull request");
        ProviderError::unsent(ErrorClass::InvalidRequest, message)
    })?;
    let model = &effective.model;
    let model = (model.id != AUTO_MODEL || !model.params.is_empty()).then(|| model.clone());
    Ok(LaunchRequest {
        key: plan.key.clone(),
        name: format!(
            "{}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        ),
        prompt: String::new(),
        images: Vec::new(),
        environment: Environment::default(),
        repository: effective.repository.clone().unwrap_or_default(),
        start,
        model,
        pull_request: effective.pull_request.clone(),
        on_behalf_of: plan.on_behalf_of.clone(),
        issue: plan.issue.clone(),
        template_id: plan.template_id.clone(),
        webhook: None,
        session: LaunchedFor {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        },
        active_deadline_seconds: effective.active_deadline_seconds,
        window,
    })
}

/// What the provider accepted.
struct Accepted {
    /// What tells it from every other: of a launch the session's id, of a message its run's where there are runs.
    id: String,
    session: SessionRef,
    url: Option<String>,
}

/// Stores the outcome of a request until it is stored (rule 9). What comes next is decided by [`Recording`].
struct Recorder<'a> {
    scope: &'a Arc<Scope>,
    /// The object as it was when the request was sent.
    claimed: Arc<CodeSession>,
    facts: &'a Facts,
    effect: &'a Effect,
    outcome: &'a Outcome,
    provider: &'a dyn Provider,
}

/// What a look shows, after the one before.
fn shown(before: Option<&Snapshot>, look: Option<&Snapshot>) -> Option<Shown> {
    let look = look?;
    Some(if look.phase.is_terminal() {
        Shown::Over
    } else if before == Some(look) {
        Shown::Unchanged
    } else {
        Shown::Changed
    })
}

/// What is stored of the launch, or of the message of this name.
fn stored_send<'a>(object: &'a CodeSession, message: Option<&str>) -> StoredSend<'a> {
    let status = object.status.as_ref();
    match message {
        Some(name) => StoredSend::message(status, name),
        None => StoredSend::launch(status),
    }
}

fn log_stop(accepted: Option<&str>, message: Option<&str>) {
    match message {
        None => tracing::warn!(
            accepted,
            "a session was launched while its object was deleted; it was stopped"
        ),
        Some(message) => tracing::warn!(
            accepted,
            message,
            "a message was sent while its object was deleted; it was stopped"
        ),
    }
}

impl Recorder<'_> {
    async fn record(&self) -> Result<Step, PassError> {
        let (claim, message) = match self.effect {
            Effect::Launch(plan) => (&plan.claim_id, None),
            Effect::Message(plan) => (&plan.claim_id, Some(plan.name.as_str())),
            _ => return Ok(Step::Stale),
        };
        let accepted = self.accepted();
        let session = accepted.as_ref().map(|accepted| accepted.session.clone());
        let sent = Sent {
            claim,
            accepted: accepted.as_ref().map(|accepted| accepted.id.as_str()),
            policy: deletion_policy_of(&self.claimed.spec, self.claimed.status.as_ref()),
            cancel_visibility: self
                .facts
                .provider
                .as_ref()
                .map_or(CancelVisibility::InStatus, |provider| {
                    provider.cancel_visibility
                }),
        };
        let mut recording = Recording::default();
        let mut object = Some(Arc::clone(&self.claimed));
        let mut step = Step::Gone;
        let mut last = None;
        let mut next = recording.next(sent, Saw::Begun, self.clock());
        loop {
            let saw = match (next, &session) {
                (Do::Record, _) => match &object {
                    Some(newest) => match self.store(newest).await {
                        Ok(stored) => {
                            step = stored;
                            Saw::Stored
                        }
                        Err(saw) => saw,
                    },
                    None => Saw::Overtaken,
                },
                (Do::Read, _) => match self.read().await {
                    Ok(fresh) => {
                        object = fresh.map(Arc::new);
                        step = object.clone().map_or(Step::Gone, Step::Go);
                        Saw::Fresh(object.as_deref().map(|fresh| stored_send(fresh, message)))
                    }
                    Err(error) => {
                        tracing::warn!(
                            accepted = sent.accepted,
                            error = %Chain(&error),
                            "the outcome of a paid request is not stored yet: the object cannot be read"
                        );
                        Saw::Unreadable
                    }
                },
                (Do::Pause(pause), _) => {
                    tokio::time::sleep(pause).await;
                    Saw::Paused
                }
                (Do::Stop, Some(session)) => Saw::Stop(self.provider.cancel(session).await.ok()),
                (Do::Poll, Some(session)) => {
                    let look = self.provider.get(session).await.ok();
                    let before = std::mem::replace(&mut last, look);
                    Saw::Polled(shown(before.as_ref(), last.as_ref()))
                }
                (Do::Report(loss), _) => {
                    self.report(loss, object.as_deref()).await;
                    Saw::Reported
                }
                (Do::Stop | Do::Poll, None) | (Do::Done, _) => break,
            };
            next = recording.next(sent, saw, self.clock());
        }
        if recording.stop_taken() {
            log_stop(sent.accepted, message);
        }
        Ok(step)
    }

    /// What the provider accepted, if it did.
    fn accepted(&self) -> Option<Accepted> {
        match self.outcome {
            Outcome::Launched(LaunchOutcome::Accepted(launched)) => Some(Accepted {
                id: launched.session_id.as_str().to_owned(),
                session: SessionRef {
                    session_id: launched.session_id.clone(),
                    run_id: launched.run_id.clone(),
                },
                url: launched.url.clone(),
            }),
            Outcome::Messaged(MessageOutcome::Accepted(messaged)) => Some(Accepted {
                id: messaged.id().to_owned(),
                session: SessionRef {
                    session_id: messaged.session_id.clone(),
                    run_id: messaged.run_id.clone(),
                },
                url: None,
            }),
            _ => None,
        }
    }

    fn clock(&self) -> Clock<'_> {
        let context = &self.scope.context;
        Clock {
            now: Timestamp::now(),
            uptime: context.uptime(),
            timing: context.timing(),
        }
    }

    /// Concludes on this version of the object and stores that.
    async fn store(&self, object: &Arc<CodeSession>) -> Result<Step, Saw<'static>> {
        let scope = self.scope;
        let recorded = record(&self.facts.observed(object), self.effect, self.outcome);
        let mut newest = Arc::clone(object);
        if let Some(write) = &recorded.write {
            match store(scope, object, write).await {
                Ok(newer) => newest = newer,
                Err(WriteError::Stale | WriteError::Gone) => return Err(Saw::Overtaken),
                Err(WriteError::Refused(why)) => {
                    self.not_stored(&why);
                    return Err(Saw::Refused);
                }
                Err(WriteError::Failed(error)) => {
                    self.not_stored(&Chain(&error).to_string());
                    return Err(Saw::Failed);
                }
            }
            if let Some(accepted) = self.accepted() {
                let owners = &scope.context.owners;
                owners.own(&accepted.session.session_id, &self.facts.uid);
            }
        }
        emit(scope, &newest, recorded.events).await;
        Ok(match recorded.again {
            Some(again) if !again.is_zero() => Step::Rest(Again::soon(again)),
            _ => Step::Go(newest),
        })
    }

    /// The log is where the id of an accepted session stands if it never gets into the status.
    fn not_stored(&self, why: &str) {
        tracing::warn!(
            accepted = self.accepted().map(|accepted| accepted.id),
            why,
            "the outcome of a paid request is not stored yet"
        );
    }

    /// The object as it is stored now; `None` if it is gone, also where another one has its name.
    async fn read(&self) -> Result<Option<CodeSession>, kube::Error> {
        let fresh = api(self.scope, &self.claimed)
            .get_opt(&self.claimed.name_any())
            .await?;
        Ok(fresh.filter(|fresh| fresh.uid() == self.claimed.uid()))
    }

    /// Tells people of an accepted session that is not recorded.
    async fn report(&self, loss: Loss, object: Option<&CodeSession>) {
        let Some(accepted) = self.accepted() else {
            return;
        };
        let (what, sent) = match self.effect {
            Effect::Message(plan) => (format!("message {} as {}", plan.name, accepted.id), "sent"),
            _ => (format!("session {}", accepted.id), "launched"),
        };
        let page = accepted
            .url
            .as_deref()
            .map(|url| format!(" ({url})"))
            .unwrap_or_default();
        let name = self.claimed.name_any();
        let event = match loss {
            Loss::Extra => Event::warning(
                Reason::DuplicateLaunch,
                format!(
                    "{what}{page} was {sent} as well: look at it at the provider, it may cost money"
                ),
            ),
            Loss::LeftRunning => Event::warning(
                Reason::Orphaned,
                format!(
                    "{what}{page} was {sent} while its CodeSession {name} was deleted, and is left running as deletionPolicy: Orphan asks"
                ),
            ),
            Loss::NotStopped => Event::warning(
                Reason::Orphaned,
                format!(
                    "{what}{page} was {sent} while its CodeSession {name} was deleted, and could not be stopped for certain: stop it at the provider, it may cost money"
                ),
            ),
        };
        match object {
            Some(object) => emit(self.scope, object, vec![event]).await,
            // Its object is gone: the CodeAgent is what people still look at.
            None => emit_to_agent(self.scope, &self.claimed, event).await,
        }
    }
}
