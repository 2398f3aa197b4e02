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
use super::super::metrics::LaunchResult;
use super::super::scope::Scope;
use super::gather::Facts;
use super::record::note_failure;
use super::step::Step;
use super::writes::{api, emit, emit_to_agent, store};
use crate::api::{AUTO_MODEL, CodeSession, ProviderKind, Reason};
use crate::domain::remote::{CancelVisibility, ErrorClass, Launched, SessionRef};
use crate::domain::requeue::Again;
use crate::domain::send::Clock;
use crate::domain::send::answer::LaunchOutcome;
use crate::domain::send::recording::{Do, Loss, Recording, Saw, Sent, Shown, StoredSend};
use crate::domain::session::{Effect, Event, LaunchPlan, Outcome, deletion_policy_of, record};
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{LaunchRequest, Provider, SendWindow};
use crate::runtime::write::WriteError;

/// Longest time that a pass waits for the outcome of its request to be stored. The recording itself goes on for as long as it
/// takes, while passes look after deletion and its bound.
const RECORDING_PATIENCE: Duration = Duration::from_secs(5);

/// Sends a claimed launch and records what came of it, in a task of its own: once begun it is finished, whatever becomes
/// of the pass or the lead (rule 14).
pub(super) async fn launch(
    scope: &Arc<Scope>,
    object: Arc<CodeSession>,
    facts: Facts,
    plan: Box<LaunchPlan>,
    opened: Instant,
) -> Result<Step, PassError> {
    let (Some(linked), Some(prompt)) = (facts.linked.clone(), facts.prompt.clone()) else {
        return Ok(Step::Rest(Again::soon(Duration::ZERO)));
    };
    let held = InFlight::new(scope, &facts.uid);
    let reference = ObjectRef::from_obj(&*object);
    let (answered, answer_is_there) = oneshot::channel();
    let task_scope = Arc::clone(scope);
    let span = tracing::Span::current();
    let work = async move {
        let scope = task_scope;
        let request = launch_request(&object, &plan, prompt, opened, send_window(&scope, opened));
        let outcome = send(&scope, &object, &facts, &linked, &request).await;
        // Nobody waits any more if the pass was dropped.
        answered.send(()).ok();
        let effect = Effect::Launch(plan);
        let recorder = Recorder {
            scope: &scope,
            claimed: object,
            facts: &facts,
            effect: &effect,
            outcome: &Outcome::Launched(outcome),
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

/// Sends the request, and tells everybody whom a failure concerns.
async fn send(
    scope: &Scope,
    object: &CodeSession,
    facts: &Facts,
    linked: &Linked,
    request: &LaunchRequest,
) -> LaunchOutcome {
    let outcome = linked.provider.launch(request).await;
    count(
        scope,
        facts.provider.as_ref().map(|provider| provider.kind),
        &outcome,
    );
    let told = Outcome::Launched(outcome.clone());
    note_failure(scope, &linked.key, &told, object);
    let template_gone = matches!(
        &outcome,
        LaunchOutcome::Rejected(error)
            if request.template_id.is_some() && error.class == ErrorClass::NotFound
    );
    if template_gone {
        let namespace = object.namespace().unwrap_or_default();
        scope.doubt_template(&namespace, &object.spec.agent_ref.name);
    }
    outcome
}

/// How long after `opened` a launch may go out: not after others may have taken the lead.
fn send_window(scope: &Scope, opened: Instant) -> Duration {
    let window = scope.context.timing().send_window;
    match scope.context.lead.left() {
        Some(left) => window.min(opened.elapsed() + left),
        None => window,
    }
}

fn launch_request(
    object: &CodeSession,
    plan: &LaunchPlan,
    prompt: String,
    opened: Instant,
    length: Duration,
) -> LaunchRequest {
    let effective = &plan.effective;
    let model = &effective.model;
    let model = (model.id != AUTO_MODEL || !model.params.is_empty()).then(|| model.clone());
    LaunchRequest {
        key: plan.key.clone(),
        name: format!(
            "{}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        ),
        prompt,
        repository: effective.repository.clone().unwrap_or_default(),
        reference: effective.reference.clone(),
        model,
        pull_request: effective.pull_request.clone(),
        on_behalf_of: plan.on_behalf_of.clone(),
        issue: plan.issue.clone(),
        template_id: plan.template_id.clone(),
        window: SendWindow {
            not_after: plan.not_after,
            opened,
            length,
        },
    }
}

fn count(scope: &Scope, kind: Option<ProviderKind>, outcome: &LaunchOutcome) {
    let result = match outcome {
        LaunchOutcome::Accepted(_) => LaunchResult::Accepted,
        LaunchOutcome::Rejected(_) => LaunchResult::Rejected,
        LaunchOutcome::Unknown(_) => LaunchResult::Unknown,
    };
    if let Some(kind) = kind {
        scope.context.metrics.launch(kind, result);
    }
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

impl Recorder<'_> {
    async fn record(&self) -> Result<Step, PassError> {
        let Effect::Launch(plan) = self.effect else {
            return Ok(Step::Stale);
        };
        let session = self.accepted().map(|launched| SessionRef {
            session_id: launched.session_id.clone(),
            run_id: launched.run_id.clone(),
        });
        let sent = Sent {
            claim: &plan.claim_id,
            accepted: self.accepted().map(|launched| launched.session_id.as_str()),
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
                        let status = object.as_ref().map(|fresh| fresh.status.as_ref());
                        Saw::Fresh(status.map(StoredSend::launch))
                    }
                    Err(error) => {
                        tracing::warn!(
                            session = sent.accepted,
                            error = %Chain(&error),
                            "the outcome of a launch is not stored yet: the object cannot be read"
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
            tracing::warn!(
                session = sent.accepted,
                "a session was launched while its object was deleted; it was stopped"
            );
        }
        Ok(step)
    }

    /// What the provider accepted, if it did.
    fn accepted(&self) -> Option<&Launched> {
        match self.outcome {
            Outcome::Launched(LaunchOutcome::Accepted(launched)) => Some(launched),
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
            if let Some(launched) = self.accepted() {
                let owners = &scope.context.owners;
                owners.own(&launched.session_id, &self.facts.uid);
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
            session = self.accepted().map(|launched| launched.session_id.as_str()),
            why,
            "the outcome of a launch is not stored yet"
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
        let Some(launched) = self.accepted() else {
            return;
        };
        let id = &launched.session_id;
        let page = launched
            .url
            .as_deref()
            .map(|url| format!(" ({url})"))
            .unwrap_or_default();
        let name = self.claimed.name_any();
        let event = match loss {
            Loss::Extra => Event::warning(
                Reason::DuplicateLaunch,
                format!(
                    "session {id}{page} was launched as well: look at it at the provider, it may cost money"
                ),
            ),
            Loss::LeftRunning => Event::warning(
                Reason::Orphaned,
                format!(
                    "session {id}{page} was launched while its CodeSession {name} was deleted, and is left running as deletionPolicy: Orphan asks"
                ),
            ),
            Loss::NotStopped => Event::warning(
                Reason::Orphaned,
                format!(
                    "session {id}{page} was launched while its CodeSession {name} was deleted, and could not be stopped for certain: stop it at the provider, it may cost money"
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
