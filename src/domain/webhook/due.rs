//! What is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::change::Change;
use crate::api::{
    CodeSessionSpec, CodeSessionStatus, ConditionStatus, ReportOutcome, ReportedState,
    SessionCondition, WebhookSpec, WebhookStatus, condition,
};
use crate::domain::ids::hex;
use crate::domain::timing::Timing;

/// The webhook that a session reports to: its own, or the one that its CodeAgent had at the launch.
pub fn webhook_of<'a>(
    spec: &'a CodeSessionSpec,
    status: Option<&'a CodeSessionStatus>,
) -> Option<&'a WebhookSpec> {
    let recorded = status.and_then(|status| status.webhook.as_ref());
    spec.webhook
        .as_ref()
        .or(recorded.and_then(|recorded| recorded.inherited.as_ref()))
}

/// Brings what is stored into line with the manifests. Until the first claim a session follows the CodeAgent's webhook (`offered`; `None`
/// where there is no CodeAgent), then it keeps the one it has. Where there is no webhook, nothing of one is stored.
pub fn follow_manifests(
    status: &mut CodeSessionStatus,
    spec: &CodeSessionSpec,
    offered: Option<Option<&WebhookSpec>>,
) {
    let change = change_of(status);
    let mut recorded = status.webhook.take().unwrap_or_default();
    recorded.change = change;
    if let (Some(offered), true) = (offered, status.launch.is_none()) {
        recorded.inherited = offered.cloned();
    }
    let reports = spec.webhook.is_some() || recorded.inherited.is_some();
    status.webhook = reports.then_some(recorded);
}

/// Numbers the state of a session that was in the state `before`. It is stored with the state itself: who has sent a report of it and
/// ended before that was stored has used no number of another state.
pub fn number_state(status: &mut CodeSessionStatus, before: &ReportedState) {
    if state_of(status) != *before
        && let Some(recorded) = &mut status.webhook
    {
        recorded.change = recorded.change.saturating_add(1);
    }
}

/// The number of the state. Where nothing is recorded, because the webhook is new, it is the first that is reported.
fn change_of(status: &CodeSessionStatus) -> i64 {
    match &status.webhook {
        Some(recorded) => recorded.change,
        None => i64::from(is_noteworthy(&state_of(status))),
    }
}

/// The state of a session, as far as its changes are reported.
pub fn state_of(status: &CodeSessionStatus) -> ReportedState {
    let is = |kind: SessionCondition| {
        condition(&status.conditions, kind.as_str())
            .is_some_and(|found| found.status == ConditionStatus::True)
    };
    let newest = status.messages.last();
    let pull_request = status.pull_request.as_ref();
    ReportedState {
        phase: status.phase,
        message: newest.map(|message| message.name.clone()),
        message_phase: newest.map(|message| message.phase),
        pull_request_url: pull_request.and_then(|found| found.url.clone()),
        blocked: is(SessionCondition::Blocked),
        stalled: is(SessionCondition::Stalled),
        archived: is(SessionCondition::Archived),
    }
}

/// Whether there is something to tell of a session of which nothing was told yet: that it waits for its launch is nothing.
fn is_noteworthy(state: &ReportedState) -> bool {
    let untold = ReportedState {
        message: state.message.clone(),
        message_phase: state.message_phase,
        ..ReportedState::default()
    };
    *state != untold
}

/// What is to be done for the webhook of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing until the session or its webhook changes.
    Nothing,
    /// Something after this while.
    Later(Duration),
    /// A report, now.
    Now(Box<Report>),
}

/// A report that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its `webhook-id`: the same at each attempt, another one for everything else.
    pub id: String,
    /// The number of the state that it tells.
    pub sequence: i64,
    /// What it says.
    pub state: ReportedState,
    /// What of it is new to the webhook.
    pub changed: Vec<Change>,
    /// Attempts before this one.
    pub attempts: i32,
    /// When it was first tried; `None`: now.
    pub first_attempt_at: Option<Timestamp>,
    /// Where it goes.
    pub webhook: WebhookSpec,
}

/// What is due for the session with `uid`, at `now`.
pub fn due(
    uid: &str,
    spec: &CodeSessionSpec,
    status: &CodeSessionStatus,
    now: Timestamp,
    timing: &Timing,
) -> Due {
    let Some(webhook) = webhook_of(spec, Some(status)) else {
        return Due::Nothing;
    };
    let nothing = WebhookStatus::default();
    let recorded = status.webhook.as_ref().unwrap_or(&nothing);
    let state = state_of(status);
    let sequence = change_of(status);
    let id = id_of(uid, sequence, &state);
    let same_report = recorded.id.as_deref() == Some(id.as_str());
    let same_webhook = recorded.target.as_deref() == Some(&digest_of(webhook));
    match recorded.outcome {
        None if !is_noteworthy(&state) => return Due::Nothing,
        Some(ReportOutcome::Delivered) if same_report => return Due::Nothing,
        Some(ReportOutcome::Undelivered) if same_report && same_webhook => return Due::Nothing,
        Some(ReportOutcome::Gone) if same_webhook => return Due::Nothing,
        Some(ReportOutcome::Retrying) if same_report && same_webhook => {
            let wait = until(recorded.next_attempt_at, now, timing);
            if !wait.is_zero() {
                return Due::Later(wait);
            }
        }
        None
        | Some(
            ReportOutcome::Delivered
            | ReportOutcome::Retrying
            | ReportOutcome::Undelivered
            | ReportOutcome::Gone,
        ) => {}
    }
    let goes_on = recorded.outcome == Some(ReportOutcome::Retrying) && same_report && same_webhook;
    let delivered = recorded.delivered.clone().unwrap_or_default();
    Due::Now(Box::new(Report {
        id,
        sequence,
        changed: Change::between(&delivered, &state),
        state,
        attempts: if goes_on { recorded.attempts } else { 0 },
        first_attempt_at: recorded.first_attempt_at.filter(|_| goes_on),
        webhook: webhook.clone(),
    }))
}

/// Whether a report of the session with `uid` is due, now or later.
pub fn is_pending(uid: &str, spec: &CodeSessionSpec, status: &CodeSessionStatus) -> bool {
    // Only when it is due depends on clock and durations.
    due(uid, spec, status, Timestamp::UNIX_EPOCH, &Timing::default()) != Due::Nothing
}

/// How long until `next`. A clock that was set back makes nobody wait for longer than two attempts are ever apart.
fn until(next: Option<Timestamp>, now: Timestamp, timing: &Timing) -> Duration {
    let left = next.map_or(SignedDuration::ZERO, |next| next.duration_since(now));
    Duration::try_from(left)
        .unwrap_or_default()
        .min(longest_wait(timing))
}

fn longest_wait(timing: &Timing) -> Duration {
    timing.webhook_wait_max.saturating_mul(6) / 5
}

/// 128 bits over the session, the number of its state and the state.
fn id_of(uid: &str, sequence: i64, state: &ReportedState) -> String {
    let state = serde_json::to_string(state).unwrap_or_default();
    let digest = Sha256::digest(format!("{uid}\n{sequence}\n{state}"));
    format!("msg_{}", hex(&digest, 16))
}

/// What tells one webhook from another: its URL may be long.
pub(super) fn digest_of(webhook: &WebhookSpec) -> String {
    let webhook = serde_json::to_string(webhook).unwrap_or_default();
    hex(&Sha256::digest(webhook), 8)
}
