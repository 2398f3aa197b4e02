//! Reports to webhooks: a queue and passes of their own, so that a slow receiver holds no session.
//!
//! A pass asks what is due, sends it, and stores what came of it: one write for each attempt, of the webhook's part of the status alone. It
//! is guarded by what it was decided on, and not by the object's version, which others move.

pub(super) mod sender;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube_runtime::reflector::ObjectRef;
use serde_json::json;

use super::context::Context;
use super::error::Chain;
use super::metrics::ReportResult;
use super::scope::Scope;
use super::secrets::SourceError;
use crate::api::{CodeSession, CodeSessionStatus, ReportOutcome, SessionCondition, WebhookStatus};
use crate::domain::requeue::jittered;
use crate::domain::status::{clip, new_condition, whole_seconds};
use crate::domain::webhook::{
    Attempt, Due, Report, SigningKeys, Subject, delivered_condition, due, payload, recorded,
};
use crate::runtime::write::{Write, WriteError};

/// Passes at the same time in each scope: those that send, and those that wait for their turn.
pub(super) const CONCURRENCY: usize = 512;
/// When a session comes again whose webhook has too many waiting already.
const CROWDED: Duration = Duration::from_secs(10);
/// Longest reason that is stored of a failed attempt, in bytes.
const ERROR_BYTES: usize = 512;
/// Writes that are tried for one outcome; then the report is sent once more.
const WRITES: u32 = 5;

/// Reports what is due of one session; answers with when to look again.
pub(super) async fn report(
    reference: ObjectRef<CodeSession>,
    scope: Arc<Scope>,
) -> Option<Duration> {
    let context = &scope.context;
    let url = match due_now(&scope, &reference) {
        Due::Nothing => return None,
        Due::Later(wait) => return Some(wait),
        Due::Now(report) => report.webhook.url,
    };
    let Some(turn) = context.webhooks.turns.wait(&url).await else {
        return Some(jittered(CROWDED, rand::random()));
    };
    // The session may have gone on meanwhile; one that is no longer kept as a whole has nothing due.
    let object = scope.sessions.get(&reference)?;
    let report = match due_now(&scope, &reference) {
        Due::Nothing => return None,
        Due::Later(wait) => return Some(wait),
        Due::Now(report) => report,
    };
    if report.webhook.url != url {
        return Some(Duration::ZERO);
    }
    if !context.may_begin() {
        return None;
    }
    let attempt = send(context, &object, &report).await;
    drop(turn);
    if let Err(error) = store(&scope, object, &report, &attempt).await {
        tracing::warn!(object = %reference, error = %Chain(&error), "what became of a report is not stored; it is sent again");
        return Some(jittered(context.timing().fault_wait_max, rand::random()));
    }
    match due_now(&scope, &reference) {
        Due::Nothing => None,
        Due::Later(wait) => Some(wait),
        Due::Now(_) => Some(Duration::ZERO),
    }
}

/// A pass panicked: when to look again.
pub(super) fn panicked(scope: &Scope) -> Duration {
    scope.context.timing().fault_wait_max
}

/// What is due for the session as the cache has it.
fn due_now(scope: &Scope, reference: &ObjectRef<CodeSession>) -> Due {
    let Some(object) = scope.sessions.get(reference) else {
        return Due::Nothing;
    };
    let (Some(uid), Some(status)) = (object.uid(), object.status.as_ref()) else {
        return Due::Nothing;
    };
    due(
        &uid,
        &object.spec,
        status,
        Timestamp::now(),
        scope.context.timing(),
    )
}

/// One attempt.
async fn send(context: &Context, object: &CodeSession, report: &Report) -> Attempt {
    let namespace = object.namespace().unwrap_or_default();
    let failed = |why: String| Attempt::Failed(clip(&why, ERROR_BYTES));
    let now = Timestamp::now();
    let nothing = CodeSessionStatus::default();
    let body = payload(
        Subject {
            namespace: &namespace,
            name: &object.name_any(),
            uid: &object.uid().unwrap_or_default(),
            agent: &object.spec.agent_ref.name,
        },
        object.status.as_ref().unwrap_or(&nothing),
        report,
        whole_seconds(now),
    );
    let signature = match sign(context, &namespace, report, now.as_second(), &body).await {
        Ok(signature) => signature,
        Err(why) => return failed(why),
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let own = [
        ("webhook-id", Some(report.id.clone())),
        ("webhook-timestamp", Some(now.as_second().to_string())),
        ("webhook-signature", signature),
    ];
    for (name, value) in own {
        // Identifiers, numbers and base64: each is a header's value.
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let within = context.timing().webhook_timeout;
    let (url, body) = (&report.webhook.url, Bytes::from(body));
    match context.webhooks.post.send(url, headers, body, within).await {
        Ok(answer) => Attempt::Answered {
            code: answer.code,
            retry_after: answer.retry_after,
        },
        Err(error) => {
            // What the network says in detail is for whoever runs the operator.
            let object = ObjectRef::from_obj(object);
            tracing::info!(%object, error = %Chain(&error), "a report to a webhook is not answered");
            failed(error.to_string())
        }
    }
}

/// The signature; `None` where the webhook has no secret. Why it cannot be made: then nothing is sent, and never unsigned.
async fn sign(
    context: &Context,
    namespace: &str,
    report: &Report,
    timestamp: i64,
    body: &str,
) -> Result<Option<String>, String> {
    let Some(reference) = &report.webhook.secret_ref else {
        return Ok(None);
    };
    let secret = context.sources.webhook_secret(namespace, reference).await;
    let secret = secret.map_err(|error| match error {
        SourceError::Unusable(blocker) => blocker.message,
        SourceError::Unreadable(why) => {
            format!("the Secret {} cannot be read: {why}", reference.name)
        }
    })?;
    let keys = SigningKeys::parse(&secret).map_err(|error| {
        format!(
            "the key {} of the Secret {} signs nothing: {error}",
            reference.key, reference.name
        )
    })?;
    Ok(Some(keys.sign(&report.id, timestamp, body)))
}

/// Stores what came of an attempt, in one write, and tells the session's own passes: one may wait for it.
async fn store(
    scope: &Scope,
    object: Arc<CodeSession>,
    report: &Report,
    attempt: &Attempt,
) -> Result<(), WriteError> {
    let context = &scope.context;
    let now = whole_seconds(Timestamp::now());
    let jitter = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
    let reference = ObjectRef::from_obj(object.as_ref());
    let mut object = object;
    for tries in 1_u32.. {
        let before = object
            .status
            .as_ref()
            .and_then(|status| status.webhook.as_ref());
        let after = recorded(before, report, attempt, now, (context.timing(), jitter));
        let guarded = match before {
            // Others move the version all the time.
            Some(before) if tries == 1 => {
                Write::if_same(object.as_ref()).and_if(&["status", "webhook"], json!(before))
            }
            // That something is absent cannot be tested; and what was stored by somebody else may be written otherwise.
            Some(_) | None => Write::if_unchanged(object.as_ref()),
        };
        match with_outcome(guarded, &object, &after)
            .to_status(&sessions(scope, &object), &object.name_any())
            .await
        {
            Ok(newer) => {
                scope.stored(&Arc::new(newer));
                tell(scope, &object, &after).await;
                scope.session_queue.push(reference);
                return Ok(());
            }
            Err(WriteError::Gone) => return Ok(()),
            Err(error) if tries >= WRITES => return Err(error),
            Err(WriteError::Refused(why)) => return Err(WriteError::Refused(why)),
            Err(WriteError::Stale) => {}
            Err(WriteError::Failed(_)) => tokio::time::sleep(context.timing().fault_wait_min).await,
        }
        match fresh(scope, &object).await {
            Ok(Some(newer)) => object = Arc::new(newer),
            Ok(None) => return Ok(()),
            Err(source) if tries >= WRITES => return Err(WriteError::Failed(source)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Writes what is recorded, and the condition that tells it.
fn with_outcome(guarded: Write, object: &CodeSession, after: &WebhookStatus) -> Write {
    let write = guarded.set(&["status", "webhook"], json!(after));
    let kind = SessionCondition::WebhookDelivered.as_str();
    let conditions = object.status.as_ref().map(|status| &status.conditions);
    let conditions = conditions.map_or(&[][..], Vec::as_slice);
    let place = conditions
        .iter()
        .enumerate()
        .find(|(_, it)| it.kind == kind);
    let Some((index, stored)) = place else {
        // An older version has stored it: the session's next pass adds the condition.
        return write;
    };
    let (status, reason, message) = delivered_condition(Some(after));
    let now = whole_seconds(Timestamp::now());
    let condition = new_condition(
        conditions,
        kind,
        (status, reason, &message),
        stored.observed_generation.unwrap_or_default(),
        now,
    );
    let index = index.to_string();
    let path = |member| ["status", "conditions", &index, member];
    // Member by member: to set an element of a list is to insert one.
    let members = [
        ("status", json!(condition.status)),
        ("observedGeneration", json!(condition.observed_generation)),
        ("lastTransitionTime", json!(condition.last_transition_time)),
        ("reason", json!(condition.reason)),
        ("message", json!(condition.message)),
    ];
    let guarded = write.and_if(&path("type"), json!(kind));
    members.into_iter().fold(guarded, |write, (member, value)| {
        write.set(&path(member), value)
    })
}

/// Counts it, and says what nobody would look for.
async fn tell(scope: &Scope, object: &CodeSession, after: &WebhookStatus) {
    let Some(outcome) = after.outcome else { return };
    let (result, warning) = match outcome {
        ReportOutcome::Delivered => (ReportResult::Delivered, false),
        ReportOutcome::Retrying => (ReportResult::Retried, false),
        ReportOutcome::Undelivered => (ReportResult::Undelivered, true),
        ReportOutcome::Gone => (ReportResult::Gone, true),
    };
    scope.context.metrics.report(result);
    if warning {
        let (_, reason, message) = delivered_condition(Some(after));
        let publisher = &scope.context.publisher;
        publisher
            .publish(object, true, reason.as_str(), "Report", &message)
            .await;
    }
}

/// The object as it is stored now; `None` if it is gone, also where another one has its name.
async fn fresh(scope: &Scope, object: &CodeSession) -> Result<Option<CodeSession>, kube::Error> {
    let fresh = sessions(scope, object).get_opt(&object.name_any()).await?;
    Ok(fresh.filter(|fresh| fresh.uid() == object.uid()))
}

fn sessions(scope: &Scope, object: &CodeSession) -> Api<CodeSession> {
    Api::namespaced(
        scope.context.client.clone(),
        &object.namespace().unwrap_or_default(),
    )
}
