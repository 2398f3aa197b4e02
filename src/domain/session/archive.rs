//! Archiving a session that is over: at the provider where it can, else here alone. From then on the operator reads no Secret for
//! it, sends nothing and looks at nothing.
//!
//! Archiving is safe to repeat, so it needs no claim. What was asked for once stays wanted, also where the spec no longer says so:
//! tools that apply manifests drop what a person has patched.

use std::time::Duration;

use jiff::Timestamp;

use super::super::blocker::NotReady;
use super::super::ids::AccountFingerprint;
use super::super::remote::{Capability, ErrorClass, ProviderError, SessionRef};
use super::super::status::{Draft, clip};
use super::super::timing::Timing;
use super::observed::{Observed, Origin, ProviderFacts, Readiness};
use super::plan::{Effect, Event, Plan, Recorded};
use super::stage::Over;
use super::view::{
    after, draft, nothing_more_comes, session_ref, store, tell_end, tries, until_next_try,
};
use crate::api::{
    ArchiveState, ArchiveStatus, CodeSessionSpec, CodeSessionStatus, ConditionStatus, DesiredState,
    Reason, SendRecord, SessionCondition,
};

/// Tries in a row that came to nothing after which somebody should know.
const FAILURES_BEFORE_STALLED: i32 = 5;

/// Whether the session is to be archived, or was.
fn wanted(spec: &CodeSessionSpec, status: &CodeSessionStatus) -> bool {
    spec.desired_state() == DesiredState::Archived || status.archive.is_some()
}

/// Whether nothing is left to do for it.
pub(super) fn done(status: &CodeSessionStatus) -> bool {
    status
        .archive
        .as_ref()
        .is_some_and(|archive| match archive.state {
            ArchiveState::Archived | ArchiveState::Local => true,
            ArchiveState::Requested => false,
        })
}

/// Whether the session is to be archived and is not yet.
pub fn archive_pending(spec: &CodeSessionSpec, status: &CodeSessionStatus) -> bool {
    wanted(spec, status) && !done(status)
}

/// How long until the provider is asked to archive the session; `None` if it is not.
pub(super) fn until_due(
    spec: &CodeSessionSpec,
    status: &CodeSessionStatus,
    provider: Option<&ProviderFacts>,
    over: Over<'_>,
    now: Timestamp,
    timing: &Timing,
) -> Option<Duration> {
    if !archive_pending(spec, status) || here_alone(status, provider, over).is_some() {
        return None;
    }
    let next = status.archive.as_ref().and_then(|archive| archive.next_at);
    Some(until_next_try(next, now, timing))
}

/// Why nothing of the session can be archived at a provider; `None` if it can.
fn here_alone(
    status: &CodeSessionStatus,
    provider: Option<&ProviderFacts>,
    over: Over<'_>,
) -> Option<String> {
    let why = match over {
        Over::NeverLaunched => "it was never launched",
        Over::Unknown(_) => "it is not known whether it was launched",
        Over::Lost(_) => "the provider no longer knows it",
        Over::Ended(_) if session_ref(Some(status)).is_none() => "its id is not recorded",
        Over::Ended(_) => {
            let provider = provider
                .filter(|provider| !provider.capabilities.contains(&Capability::Archive))?;
            return Some(format!(
                "{} has no archive: nothing was sent to it",
                provider.kind.display_name()
            ));
        }
    };
    Some(format!(
        "{why}, so that nothing can be archived at the provider"
    ))
}

/// Says of a session whose archiving is settled, or needs nobody but us, how it stands; `false` if that is not so.
pub(super) fn tell(draft: &mut Draft, o: &Observed<'_>, over: Over<'_>) -> bool {
    if !wanted(o.session.spec, draft.status()) {
        return false;
    }
    if !done(draft.status()) {
        let copy = (o.session.origin == Origin::Copy).then(|| {
            "this object is a restored copy: the session belongs to the original and is left as it is at the provider".to_owned()
        });
        let here = copy.or_else(|| here_alone(draft.status(), o.provider.as_ref(), over));
        let Some(why) = here else { return false };
        let now = draft.now();
        let archive = request(draft);
        archive.state = ArchiveState::Local;
        archive.archived_at = Some(now);
        put_away(draft, Reason::ArchivedLocally, &why);
    }
    let state = draft.status().archive.as_ref().map(|archive| archive.state);
    match (over, state) {
        // Why it was never launched is what there is to say.
        (Over::NeverLaunched, _) => {}
        (_, Some(ArchiveState::Local)) => {
            draft.settled(Reason::ArchivedLocally, "");
        }
        (_, Some(ArchiveState::Archived | ArchiveState::Requested) | None) => {
            draft.settled(Reason::Archived, "");
        }
    }
    true
}

/// Nothing is looked for any more, and that is not said either.
fn put_away(draft: &mut Draft, reason: Reason, message: &str) {
    draft.set(
        SessionCondition::Archived,
        ConditionStatus::True,
        reason,
        message,
    );
    nothing_more_comes(draft);
}

/// The next step of a session that the provider is to archive after `wait`.
pub(super) fn decide(
    o: &Observed<'_>,
    status: &CodeSessionStatus,
    over: Over<'_>,
    session: SessionRef,
    wait: Duration,
) -> Plan {
    if let (false, Some(archive)) = (wait.is_zero(), &status.archive) {
        let mut draft = draft(o);
        failing(&mut draft, o, over, archive);
        return Plan::store(o, draft.finish()).again(wait);
    }
    match &o.readiness {
        _ if o.stopping => Plan::nothing(),
        Readiness::Ready(_) => Plan::act(Effect::Archive(session)),
        Readiness::Unverified => Plan::act(Effect::VerifyCredentials),
        Readiness::NotGathered => Plan::wait(o.timing.recheck),
        Readiness::NotReady(NotReady {
            blocker,
            transient,
            again,
        }) => {
            let mut draft = draft(o);
            request(&mut draft);
            let message = format!("cannot be archived: {}", blocker.message);
            not_yet(&mut draft, o, over, !transient, blocker.reason, &message);
            Plan::store(o, draft.finish()).again(*again)
        }
    }
}

/// Records that the session is to be archived, where that is not recorded yet.
fn request(draft: &mut Draft) -> &mut ArchiveStatus {
    draft.status().archive.get_or_insert(ArchiveStatus {
        state: ArchiveState::Requested,
        archived_at: None,
        failures: 0,
        error: None,
        next_at: None,
    })
}

/// Says that the provider does not archive the session.
fn failing(draft: &mut Draft, o: &Observed<'_>, over: Over<'_>, archive: &ArchiveStatus) {
    let lasts = archive.failures >= FAILURES_BEFORE_STALLED;
    let reason = Reason::ArchiveFailing;
    not_yet(draft, o, over, lasts, reason, &sentence(archive));
}

/// Says why the session is not archived yet. It is over: unless that `lasts`, or somebody has to mend something, it stands as it
/// ended.
fn not_yet(
    draft: &mut Draft,
    o: &Observed<'_>,
    over: Over<'_>,
    lasts: bool,
    reason: Reason,
    message: &str,
) {
    draft.set(
        SessionCondition::Archived,
        ConditionStatus::False,
        reason,
        message,
    );
    if lasts {
        draft.stalled(reason, message);
    } else {
        tell_end(draft, o, over);
    }
}

fn sentence(archive: &ArchiveStatus) -> String {
    let tries = tries(archive.error.as_deref(), archive.failures, archive.next_at);
    format!("not archived yet; {tries}")
}

/// What archiving comes to.
pub(super) fn archived(
    o: &Observed<'_>,
    launch: &SendRecord,
    account: &AccountFingerprint,
    result: &Result<(), ProviderError>,
) -> Recorded {
    let ours = launch.target.account == account.as_str();
    let error = match result {
        Ok(()) => return settled(o, "archived"),
        // What is not there needs no archive. That another account does not know it says nothing.
        Err(error) if error.class == ErrorClass::NotFound && ours => {
            return settled(o, "no longer there");
        }
        Err(error) => error,
    };
    let said = match (error.class, ours) {
        (ErrorClass::NotFound, false) => {
            "the credentials now belong to another account, which does not know the session"
                .to_owned()
        }
        (_, _) => error.to_string(),
    };
    let mut draft = draft(o);
    let archive = request(&mut draft);
    archive.failures = archive.failures.saturating_add(1);
    let wait = o
        .timing
        .fault_wait(archive.failures)
        .max(error.retry_after.unwrap_or_default());
    archive.error = Some(clip(&said, 512));
    archive.next_at = Some(after(o, wait));
    let archive = archive.clone();
    failing(&mut draft, o, Over::Ended(launch), &archive);
    let notes = (archive.failures == FAILURES_BEFORE_STALLED)
        .then(|| Event::warning(Reason::ArchiveFailing, sentence(&archive)));
    Recorded {
        again: Some(wait),
        fault: true,
        events: notes.into_iter().collect(),
        ..store(o, draft.finish())
    }
}

fn settled(o: &Observed<'_>, how: &str) -> Recorded {
    let mut draft = draft(o);
    let now = draft.now();
    let archive = request(&mut draft);
    archive.state = ArchiveState::Archived;
    archive.archived_at = Some(now);
    archive.failures = 0;
    archive.error = None;
    archive.next_at = None;
    let message = match &o.provider {
        Some(provider) => format!("{how} at {}", provider.kind.display_name()),
        None => format!("{how} at the provider"),
    };
    put_away(&mut draft, Reason::Archived, &message);
    draft.settled(Reason::Archived, "");
    store(o, draft.finish())
}
