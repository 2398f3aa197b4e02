//! Questions that several steps ask of what was observed, and the status that a step begins with.

use super::super::ids::{LaunchKey, RunId, SessionId};
use super::super::remote::SessionRef;
use super::super::status::Draft;
use super::observed::{Observed, SessionView};
use crate::api::{CodeSessionStatus, DeletionPolicy, DesiredState, SendRecord, SendState};

/// Whether the spec, or the object's deletion, asks for the session's end.
pub(super) fn stop_wanted(o: &Observed<'_>) -> bool {
    o.session.deleting.is_some()
        || matches!(
            o.session.spec.desired_state(),
            DesiredState::Cancelled | DesiredState::Archived
        )
}

/// What deleting this session does at the provider: the session may still change its mind, the agent may not.
pub(super) fn deletion_policy(o: &Observed<'_>) -> DeletionPolicy {
    let recorded = o
        .session
        .status
        .and_then(|status| status.effective.as_ref());
    o.session
        .spec
        .deletion_policy
        .or(recorded.map(|effective| effective.deletion_policy))
        .unwrap_or_default()
}

/// Whether a deletion has used up its time.
pub(super) fn deletion_overdue(o: &Observed<'_>) -> bool {
    had_its_chance(o)
        && o.session
            .deleting
            .is_some_and(|since| o.since(since) >= o.timing.deletion_bound)
}

/// Whether this process has had the session long enough to have looked for it and stopped it. Time that passed while
/// nobody was there to do anything ends nothing: who comes back after hours looks and stops before giving up.
pub(super) fn had_its_chance(o: &Observed<'_>) -> bool {
    let since = o.claim_first_seen.unwrap_or_default();
    o.uptime.saturating_sub(since) >= o.timing.deletion_slack
}

/// The session at the provider, from what is recorded.
pub fn session_ref(status: Option<&CodeSessionStatus>) -> Option<SessionRef> {
    let status = status?;
    let session_id = SessionId::new(status.provider.as_ref()?.session_id.clone()?);
    let run_id = status
        .messages
        .last()
        .and_then(|message| message.run_id.clone())
        .map(RunId::new);
    Some(SessionRef { session_id, run_id })
}

pub(super) fn recorded<'a>(o: &Observed<'a>) -> Option<&'a SendRecord> {
    o.session.status.and_then(|status| status.launch.as_ref())
}

/// Whether an earlier attempt may have arrived, whatever became of the newest: another one is begun only where nothing can
/// be proven absent.
pub(super) fn earlier_attempt_open(o: &Observed<'_>) -> bool {
    let record = o.session.status.and_then(|status| status.launch.as_ref());
    record.is_some_and(|record| record.attempt > 1)
}

/// What to do about a launch of unknown outcome.
pub(super) const IF_FOUND: &str = "If you find the session at the provider, annotate this object with codeagents.dev/adopt: <its id>; otherwise create a CodeSession with a new name";

/// A new status that begins as the stored one.
pub(super) fn draft(o: &Observed<'_>) -> Draft {
    Draft::new(o.session.status, o.session.generation, o.now)
}

/// Notes where the launch stands.
pub(super) fn set_state(draft: &mut Draft, state: SendState) {
    if let Some(record) = draft.status().launch.as_mut() {
        record.state = state;
    }
}

/// Keys of every attempt up to `attempt`, newest first. What was sent bears the recorded key, whatever the namespace is now.
pub(super) fn keys(session: &SessionView<'_>, attempt: i32) -> Vec<LaunchKey> {
    let sent = session.status.and_then(|status| status.launch.as_ref());
    let mut keys: Vec<LaunchKey> = sent
        .map(|record| LaunchKey::recorded(record.key.as_str()))
        .into_iter()
        .collect();
    let namespace = session.namespace_uid.into_iter();
    let derived = namespace.flat_map(|namespace| {
        let attempts = (1..=attempt.max(1)).rev();
        attempts.map(|n| LaunchKey::derive(namespace, session.uid, n))
    });
    for key in derived {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}
