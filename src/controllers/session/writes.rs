//! What a pass writes to the API server: the status under its guard, the finalizer, Events.

use std::sync::Arc;

use kube::api::Api;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::ObjectRef;
use serde_json::{Value, json};

use super::super::metrics::Loose;
use super::super::scope::Scope;
use crate::api::{
    CodeAgent, CodeSession, CodeSessionStatus, FINALIZER, ORIGIN_ANNOTATION, ProviderKind, Reason,
};
use crate::domain::ids::ClaimId;
use crate::domain::session::{Event, Guard, Level, StatusWrite, newest_send};
use crate::runtime::write::{Write, WriteError};

/// Stores a status under its guard.
pub(super) async fn store(
    scope: &Scope,
    object: &Arc<CodeSession>,
    write: &StatusWrite,
) -> Result<Arc<CodeSession>, WriteError> {
    let guarded = match &write.guard {
        Guard::Unchanged => Write::if_unchanged(object.as_ref()),
        Guard::Agent(generation) => {
            agent_is(scope, object, *generation).await?;
            Write::if_unchanged(object.as_ref())
        }
        // The version is tested as well: what else has changed since must not be lost.
        Guard::Claim(claim) => {
            let index = message_of(object, claim).map(|index| index.to_string());
            let path: &[&str] = match &index {
                Some(index) => &["status", "messages", index, "send", "claimId"],
                None => &["status", "launch", "claimId"],
            };
            Write::if_unchanged(object.as_ref()).and_if(path, json!(claim.as_str()))
        }
    };
    let status = serde_json::to_value(&*write.status).unwrap_or(Value::Null);
    let newer = guarded
        .set(&["status"], status)
        .to_status(&api(scope, object), &object.name_any())
        .await?;
    count_end(scope, object, &write.status);
    let newer = Arc::new(newer);
    scope.stored(&newer);
    Ok(newer)
}

/// Reads the CodeAgent: the watch of the CodeAgents may be behind that of the sessions.
async fn agent_is(scope: &Scope, object: &CodeSession, generation: i64) -> Result<(), WriteError> {
    let namespace = object.namespace().unwrap_or_default();
    let reference = ObjectRef::new(&object.spec.agent_ref.name).within(&namespace);
    let known = scope.agents.get(&reference).and_then(|agent| agent.uid());
    let api: Api<CodeAgent> = Api::namespaced(scope.context.client.clone(), &namespace);
    let agent = api.get_opt(&reference.name).await;
    let agent = agent.map_err(WriteError::Failed)?;
    let unchanged = agent
        .is_some_and(|agent| agent.uid() == known && agent.meta().generation == Some(generation));
    if unchanged {
        Ok(())
    } else {
        Err(WriteError::Stale)
    }
}

/// The index of the message that was claimed so; `None` where the claim is the launch's.
fn message_of(object: &CodeSession, claim: &ClaimId) -> Option<usize> {
    let messages = &object.status.as_ref()?.messages;
    messages.iter().position(|message| {
        let record = message.send.as_ref();
        record.is_some_and(|record| record.claim_id == claim.as_str())
    })
}

fn count_end(scope: &Scope, before: &CodeSession, after: &CodeSessionStatus) {
    // A message that turns out not to have been sent leaves the session as it was before its claim.
    let claim_came_to_nothing = newest_send(Some(after))
        .is_some_and(|record| after.messages.len() > 1 && !record.state.may_be_there());
    if after.phase.is_terminal() && !before.phase().is_terminal() && !claim_came_to_nothing {
        let kind = after.provider.as_ref().and_then(|provider| {
            ProviderKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == provider.kind)
        });
        scope.context.metrics.ended(kind, after.phase.as_str());
    }
}

/// Reports to the log, as Events and in the metrics.
pub(super) async fn emit(scope: &Scope, object: &CodeSession, events: Vec<Event>) {
    for event in events {
        count_and_log(scope, &event);
        publish(scope, object, &event).await;
    }
}

/// The same, on the CodeAgent of a session that is gone: what people still look at.
pub(super) async fn emit_to_agent(scope: &Scope, session: &CodeSession, event: Event) {
    count_and_log(scope, &event);
    let namespace = session.namespace().unwrap_or_default();
    let reference = ObjectRef::new(&session.spec.agent_ref.name).within(&namespace);
    if let Some(agent) = scope.agents.get(&reference) {
        publish(scope, agent.as_ref(), &event).await;
    }
}

fn count_and_log(scope: &Scope, event: &Event) {
    match event.reason {
        Reason::Orphaned => scope.context.metrics.loose(Loose::Orphaned),
        Reason::LaunchOutcomeUnknown | Reason::MessageOutcomeUnknown => {
            scope.context.metrics.loose(Loose::OutcomeUnknown)
        }
        Reason::DuplicateLaunch => scope.context.metrics.loose(Loose::Duplicate),
        _ => {}
    }
    let (reason, text) = (event.reason.as_str(), &event.message);
    match event.level {
        Level::Warning => tracing::warn!(reason, note = text, "event"),
        Level::Normal => tracing::info!(reason, note = text, "event"),
    }
}

async fn publish<K: Resource<DynamicType = ()>>(scope: &Scope, object: &K, event: &Event) {
    let warning = event.level == Level::Warning;
    let reason = event.reason.as_str();
    let publisher = &scope.context.publisher;
    publisher
        .publish(object, warning, reason, "Reconcile", &event.message)
        .await;
}

/// The sessions of the object's namespace.
pub(super) fn api(scope: &Scope, object: &CodeSession) -> Api<CodeSession> {
    Api::namespaced(
        scope.context.client.clone(),
        &object.namespace().unwrap_or_default(),
    )
}

/// Adds the finalizer, and the annotation that tells a copy from what it was made of.
pub(super) async fn add_finalizer(
    scope: &Scope,
    object: &CodeSession,
) -> Result<CodeSession, WriteError> {
    let mut finalizers = object.finalizers().to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let origin = json!(format!(
        "{}/{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any(),
        object.meta().uid.clone().unwrap_or_default()
    ));
    // Not all annotations are kept in the cache, so that only this one may be written.
    let write = Write::if_unchanged(object).set(&["metadata", "finalizers"], json!(finalizers));
    let write = match object.meta().annotations {
        Some(_) => write.set(&["metadata", "annotations", ORIGIN_ANNOTATION], origin),
        None => write.set(
            &["metadata", "annotations"],
            json!({ORIGIN_ANNOTATION: origin}),
        ),
    };
    write
        .to_object(&api(scope, object), &object.name_any())
        .await
}

pub(super) async fn release_finalizer(
    scope: &Scope,
    object: &CodeSession,
) -> Result<CodeSession, WriteError> {
    let left: Vec<&String> = object
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .collect();
    Write::if_unchanged(object)
        .set(&["metadata", "finalizers"], json!(left))
        .to_object(&api(scope, object), &object.name_any())
        .await
}
