//! What is stored of an attempt, and said of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::due::{Report, digest_of};
use crate::api::{ConditionStatus, Reason, ReportOutcome, WebhookStatus};
use crate::domain::timing::Timing;

/// Attempts before a report is given up, however much time has passed: a clock that jumps, or an operator that was away for a day,
/// gives up nothing.
const LEAST_ATTEMPTS: i32 = 8;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The webhook answered.
    Answered {
        /// With this HTTP status.
        code: u16,
        /// And asked to be left alone for so long.
        retry_after: Option<Duration>,
    },
    /// There is no answer: why, for people, at most 512 bytes.
    Failed(String),
}

/// What is stored after an attempt. `now` in whole seconds; `jitter` is from 0 to 1 and spreads the next attempts of many sessions.
pub fn recorded(
    before: Option<&WebhookStatus>,
    report: &Report,
    attempt: &Attempt,
    now: Timestamp,
    (timing, jitter): (&Timing, f64),
) -> WebhookStatus {
    let first = report.first_attempt_at.unwrap_or(now);
    let attempts = report.attempts.saturating_add(1);
    let mut after = WebhookStatus {
        id: Some(report.id.clone()),
        change: report
            .sequence
            .max(before.map_or(0, |before| before.change)),
        sequence: report.sequence,
        last_code: None,
        error: None,
        attempts,
        first_attempt_at: Some(first),
        next_attempt_at: None,
        target: Some(digest_of(&report.webhook)),
        ..before.cloned().unwrap_or_default()
    };
    let asked = match attempt {
        Attempt::Answered { code, retry_after } => {
            after.last_code = Some(i32::from(*code));
            after.error = refusal(*code);
            retry_after.filter(|_| matches!(code, 429 | 503))
        }
        Attempt::Failed(why) => {
            after.error = Some(why.clone());
            None
        }
    };
    let age = Duration::try_from(now.duration_since(first)).unwrap_or_default();
    let given_up = age >= timing.webhook_patience && attempts >= LEAST_ATTEMPTS;
    let outcome = match attempt {
        Attempt::Answered {
            code: 200..=299, ..
        } => ReportOutcome::Delivered,
        Attempt::Answered { code: 410, .. } => ReportOutcome::Gone,
        Attempt::Answered { .. } | Attempt::Failed(_) if given_up => ReportOutcome::Undelivered,
        Attempt::Answered { .. } | Attempt::Failed(_) => ReportOutcome::Retrying,
    };
    match outcome {
        ReportOutcome::Delivered => {
            after.last_delivered_at = Some(now);
            after.delivered = Some(report.state.clone());
        }
        ReportOutcome::Undelivered => after.undelivered = after.undelivered.saturating_add(1),
        ReportOutcome::Retrying => {
            let wait = timing
                .webhook_wait(attempts)
                .max(asked.unwrap_or_default().min(timing.webhook_wait_max))
                .mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
            after.next_attempt_at = Some(whole_second_after(now, wait));
        }
        ReportOutcome::Gone => {}
    }
    after.outcome = Some(outcome);
    after
}

/// The moment after `wait`, as it is stored: not before it, since the receiver may have asked for that wait.
fn whole_second_after(now: Timestamp, wait: Duration) -> Timestamp {
    let exact = now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
    let begun = i64::from(exact.subsec_nanosecond() > 0);
    Timestamp::from_second(exact.as_second().saturating_add(begun)).unwrap_or(exact)
}

/// Why an answer is no success, and what to do about it.
fn refusal(code: u16) -> Option<String> {
    match code {
        200..=299 => None,
        300..=399 => Some(format!(
            "it answered {code}, and redirects are not followed: set the webhook's url to where it leads"
        )),
        _ => Some(format!("it answered {code}")),
    }
}

/// The condition `WebhookDelivered`.
pub fn delivered_condition(recorded: Option<&WebhookStatus>) -> (ConditionStatus, Reason, String) {
    let Some((recorded, outcome)) =
        recorded.and_then(|recorded| Some((recorded, recorded.outcome?)))
    else {
        return (
            ConditionStatus::Unknown,
            Reason::NothingReported,
            String::new(),
        );
    };
    let why = recorded.error.as_deref().unwrap_or("it did not answer");
    let tried = match recorded.attempts {
        1 => "once".to_owned(),
        attempts => format!("{attempts} times"),
    };
    match outcome {
        ReportOutcome::Delivered => (ConditionStatus::True, Reason::Reported, String::new()),
        ReportOutcome::Retrying => (
            ConditionStatus::False,
            Reason::WebhookFailing,
            format!(
                "the webhook does not take the report of the newest change: {why}; tried {tried}{}",
                recorded
                    .next_attempt_at
                    .map(|at| format!(", next try at {at}"))
                    .unwrap_or_default()
            ),
        ),
        ReportOutcome::Undelivered => (
            ConditionStatus::False,
            Reason::WebhookUndelivered,
            format!(
                "the report of the newest change was given up: {why}; tried {tried}. It is tried again with the session's next change, or when the webhook is changed"
            ),
        ),
        ReportOutcome::Gone => (
            ConditionStatus::False,
            Reason::WebhookGone,
            "the webhook answered 410: nothing is reported to it any more; set another spec.webhook, or remove it".to_owned(),
        ),
    }
}
