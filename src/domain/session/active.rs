//! A launched session: follow it, stop it when asked, and end it when the provider says so.

use std::time::Duration;

use super::super::remote::{Capability, ErrorClass, SessionRef, StopShown};
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::{Draft, RESULT_BYTES, clip};
use super::observed::{Look, Observed, Origin, Readiness};
use super::plan::{Effect, Guard, Note, Plan, StatusWrite};
use super::{deletion_overdue, deletion_policy, draft, session_ref, stop_wanted};
use crate::api::{
    CancelReason, CancelRecord, CodeSessionStatus, ConditionStatus, DeletionPolicy, DesiredState,
    LinksStatus, PullRequestStatus, Reason, SendRecord, SessionCondition, SessionPhase,
    UsageStatus, condition,
};

/// Longest URL that is kept.
const URL_BYTES: usize = 2048;

pub(super) fn decide(o: &Observed<'_>, record: &SendRecord) -> Plan {
    let Some(session) = session_ref(o.session.status) else {
        // A confirmed launch always has an id; a status that was tampered with is left alone but for the object's deletion.
        return match o.session.deleting {
            Some(_) => Plan::act(Effect::ReleaseFinalizer),
            None => Plan::nothing(),
        };
    };
    if let Some(ended) = o
        .look
        .and_then(|look| ended(o, record, look).or_else(|| silently_stopped(o, look)))
    {
        return ended;
    }
    if o.session.deleting.is_some() {
        if deletion_policy(o) == DeletionPolicy::Orphan {
            return let_go(
                &session,
                "left running at the provider, as deletionPolicy: Orphan asks",
            );
        }
        if deletion_overdue(o) {
            return let_go(
                &session,
                "deleted without a confirmed stop: it may still be running at the provider",
            );
        }
    }
    if !o.session.has_finalizer && o.session.origin != Origin::Copy && !o.stopping {
        // `kubectl replace` removes it; a deletion would then leave the session running unseen.
        return Plan::act(Effect::AddFinalizer);
    }
    match stop_reason(o) {
        Some(reason) => stop(o, session, reason),
        None => follow(o),
    }
    // One that has passed is dealt with above; it must not wake the next pass at once.
    .no_later_than(until_deadline(o).filter(|left| !left.is_zero()))
}

/// The plan that ends the session, if the look shows that it has ended.
fn ended(o: &Observed<'_>, record: &SendRecord, look: &Look) -> Option<Plan> {
    match &look.result {
        Ok(snapshot) if snapshot.phase.is_terminal() => Some(end(o, snapshot)),
        Ok(_) => None,
        Err(error) if error.class == ErrorClass::NotFound => {
            if look.account.as_str() != record.target.account {
                let mut draft = draft(o);
                draft.stalled(
                    Reason::CredentialsChanged,
                    "the credentials now belong to another account, which does not know this session: restore the credentials it was launched with",
                );
                return o
                    .session
                    .deleting
                    .is_none()
                    .then(|| Plan::store(o, draft.finish()));
            }
            let started = o
                .session
                .status
                .and_then(|status| status.started_at)
                .unwrap_or(record.claimed_at);
            // A new session need not be visible before the fence, however early its launch was answered, and the clock that
            // said when may have been another's. One answer may be a mistake on the way: one polling interval later, at
            // least one look before this one was begun after the fence.
            let must_show = o.timing.fence() + o.timing.clock_margin + o.timing.poll_max;
            let lasting =
                look.begun.saturating_sub(look.alike_since) >= o.timing.consistency_window;
            (o.since(started) >= must_show && lasting).then(|| {
                let message = format!("the provider no longer knows this session: {error}");
                let mut draft = draft(o);
                draft.end(SessionPhase::Error, false, Reason::SessionLost, &message);
                Plan::store(o, draft.finish()).telling(Note::warning(Reason::SessionLost, message))
            })
        }
        Err(_) => None,
    }
}

/// The plan that ends a session whose stop was taken where the status cannot show it: nothing has moved since for long
/// enough, and the look that shows it was begun after that.
fn silently_stopped(o: &Observed<'_>, look: &Look) -> Option<Plan> {
    let shown = o.provider.as_ref().map(|provider| provider.stop_shown);
    let accepted = o.session.status?.cancel.as_ref()?.accepted_at?;
    let snapshot = look.result.as_ref().ok()?;
    let looked_after = o
        .since(accepted)
        .saturating_sub(o.uptime.saturating_sub(look.begun));
    let alike_for = look.begun.saturating_sub(look.alike_since);
    let silent = looked_after.min(alike_for) >= o.timing.stop_silence;
    (shown == Some(StopShown::PerhapsNowhere) && silent).then(|| {
        let stopped = Snapshot {
            phase: RemotePhase::Cancelled,
            ..snapshot.clone()
        };
        end(o, &stopped)
    })
}

fn end(o: &Observed<'_>, snapshot: &Snapshot) -> Plan {
    let mut draft = draft(o);
    apply(&mut draft, snapshot);
    let cancel = o.session.status.and_then(|status| status.cancel.as_ref());
    // Providers without a status for it report a stopped session as finished. One that was finished before the stop
    // arrived stays finished.
    let stopped = match snapshot.phase {
        RemotePhase::Cancelled => true,
        RemotePhase::Finished => {
            cancel.is_some_and(|cancel| cancel.accepted_at.is_some() || o.stop_taken)
        }
        RemotePhase::Error
        | RemotePhase::Expired
        | RemotePhase::Creating
        | RemotePhase::Running
        | RemotePhase::Unrecognised => false,
    };
    let pull_request = snapshot.pull_request_url.as_deref();
    let said = snapshot
        .error
        .as_deref()
        .or(snapshot.result.as_deref())
        .unwrap_or("the provider gave no reason");
    let (phase, wanted, reason, message) =
        match (stopped, cancel.map(|cancel| cancel.reason), snapshot.phase) {
            (true, Some(CancelReason::Deadline), _) => (
                SessionPhase::Expired,
                false,
                Reason::DeadlineExceeded,
                "stopped: it ran longer than activeDeadlineSeconds".to_owned(),
            ),
            (true, Some(_), _) => (
                SessionPhase::Cancelled,
                true,
                Reason::Cancelled,
                "stopped on request".to_owned(),
            ),
            (true, None, _) => (
                SessionPhase::Cancelled,
                stop_wanted(o),
                Reason::Cancelled,
                "stopped at the provider, not by this operator".to_owned(),
            ),
            (false, _, RemotePhase::Error) => (
                SessionPhase::Error,
                false,
                Reason::ProviderError,
                format!("the agent failed: {said}"),
            ),
            (false, _, RemotePhase::Expired) => (
                SessionPhase::Expired,
                false,
                Reason::ProviderExpired,
                "ended by the provider's own time limit".to_owned(),
            ),
            (false, _, _) => (
                SessionPhase::Finished,
                true,
                Reason::Finished,
                pull_request
                    .map_or_else(|| "finished".to_owned(), |url| format!("finished: {url}")),
            ),
        };
    let (status, why) = match (pull_request.is_some(), pull_request_wish(o)) {
        (true, _) => (ConditionStatus::True, Reason::Created),
        (false, PullRequestWish::Asked) => (ConditionStatus::False, Reason::NoPullRequest),
        (false, PullRequestWish::NotAsked) => (ConditionStatus::False, Reason::NotRequested),
        (false, PullRequestWish::NotTold) => (ConditionStatus::Unknown, Reason::NotReported),
    };
    draft.set(
        SessionCondition::PullRequestCreated,
        status,
        why,
        pull_request.unwrap_or_default(),
    );
    draft.set(
        SessionCondition::Blocked,
        ConditionStatus::False,
        Reason::NotBlocked,
        "",
    );
    draft.end(phase, wanted, reason, &message);
    let note = if wanted {
        Note::normal(reason, message)
    } else {
        Note::warning(reason, message)
    };
    Plan::store(o, draft.finish()).telling(note)
}

/// Puts what a look shows into the status, but for phase and conditions.
pub(super) fn apply(draft: &mut Draft, snapshot: &Snapshot) {
    let text = |value: &Option<String>| value.as_deref().map(|value| clip(value, URL_BYTES));
    let ended = snapshot.phase.is_terminal();
    let status = draft.status();
    if let Some(provider) = status.provider.as_mut() {
        provider.raw_status = Some(clip(&snapshot.raw_status, 64));
        provider.session_url = text(&snapshot.url).or(provider.session_url.take());
    }
    if snapshot.pull_request_url.is_some() || snapshot.branch.is_some() {
        let stored = status
            .pull_request
            .get_or_insert_with(PullRequestStatus::default);
        stored.url = text(&snapshot.pull_request_url).or(stored.url.take());
        // The branch alone would be worth no write; it comes along with the pull request or the end.
        if ended || stored.url.is_some() {
            stored.branch = snapshot
                .branch
                .as_deref()
                .map(|branch| clip(branch, 255))
                .or(stored.branch.take());
        }
        if *stored == PullRequestStatus::default() {
            status.pull_request = None;
        }
    }
    let stored = status.links.take().unwrap_or_default();
    let links = LinksStatus {
        recording: text(&snapshot.links.recording).or(stored.recording),
        trace: text(&snapshot.links.trace).or(stored.trace),
        // A live view is live only while the session is. It appears together with the phase, and lists leave it out.
        preview: match snapshot.phase {
            RemotePhase::Running => text(&snapshot.links.preview).or(stored.preview),
            RemotePhase::Creating | RemotePhase::Unrecognised => stored.preview,
            RemotePhase::Finished
            | RemotePhase::Error
            | RemotePhase::Cancelled
            | RemotePhase::Expired => None,
        },
    };
    status.links = (links != LinksStatus::default()).then_some(links);
    if let Some(usage) = snapshot.usage {
        status.usage = Some(UsageStatus {
            input_tokens: usage.input_tokens.max(0),
            output_tokens: usage.output_tokens.max(0),
            cost_cents: usage.cost_cents.map(|cents| cents.max(0)),
        });
    }
    let message = draft.first_message();
    if let Some(run) = &snapshot.run_id {
        message.run_id = Some(run.as_str().to_owned());
    }
    if ended {
        message.result = snapshot
            .result
            .as_deref()
            .map(|result| clip(result, RESULT_BYTES));
        message.duration_seconds = snapshot
            .duration
            .and_then(|duration| i64::try_from(duration.as_secs()).ok())
            .or(message.duration_seconds);
    }
}

/// Stores what a user can see; a change of the provider's own words alone is not worth a write.
fn follow(o: &Observed<'_>) -> Plan {
    let mut draft = draft(o);
    let mut again = None;
    match o.look.map(|look| &look.result) {
        // A process that has just started has no credential in memory, and without one nobody looks.
        None => {
            if let Readiness::Blocked {
                objection,
                passing,
                again: recheck,
            } = &o.readiness
            {
                again = Some(*recheck);
                if !passing {
                    draft.stalled(
                        objection.reason,
                        format!(
                            "the session runs, but cannot be followed: {}",
                            objection.message
                        ),
                    );
                }
            }
        }
        Some(Ok(snapshot)) => progress(&mut draft, o, snapshot),
        Some(Err(error)) => match error.class {
            ErrorClass::Unauthorized | ErrorClass::Forbidden => {
                draft.stalled(
                    Reason::CredentialsInvalid,
                    format!("the session runs, but the provider no longer accepts the key: {error}. Mend the Secret"),
                );
            }
            ErrorClass::Protocol => {
                draft.reconciling(
                    Reason::ProviderProtocolError,
                    format!("the session runs, but the provider's answer cannot be read: {error}"),
                );
            }
            ErrorClass::InvalidRequest
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::RateLimited
            | ErrorClass::QuotaExhausted
            | ErrorClass::Unavailable
            | ErrorClass::Intermediary
            | ErrorClass::Timeout
            | ErrorClass::Unknown => {}
        },
    }
    store_if_seen(o, draft.finish()).no_later_than(again)
}

/// Stores what a user can see.
fn store_if_seen(o: &Observed<'_>, status: CodeSessionStatus) -> Plan {
    let mut quiet = status.clone();
    if let (Some(new), Some(stored)) = (
        quiet.provider.as_mut(),
        o.session.status.and_then(|stored| stored.provider.as_ref()),
    ) {
        new.raw_status.clone_from(&stored.raw_status);
    }
    if o.session.status == Some(&quiet) {
        Plan::nothing()
    } else {
        Plan::store(o, status)
    }
}

fn progress(draft: &mut Draft, o: &Observed<'_>, snapshot: &Snapshot) {
    let (reason, message) = standing(draft, o, snapshot);
    draft.reconciling(reason, message);
    not_yet_messages(draft, o);
}

/// Puts into the status where the session stands, and answers with what there is to say of it.
fn standing(draft: &mut Draft, o: &Observed<'_>, snapshot: &Snapshot) -> (Reason, String) {
    apply(draft, snapshot);
    let stored = draft.status().phase;
    let (phase, reason, message) = match snapshot.phase {
        RemotePhase::Unrecognised => (
            stored,
            Reason::UnknownProviderStatus,
            format!(
                "the provider reports the status {:?}, which this version of the operator does not know; it goes on following the session",
                clip(&snapshot.raw_status, 64)
            ),
        ),
        // Providers may report an earlier phase once more; people have already seen it run.
        RemotePhase::Creating if stored != SessionPhase::Running => (
            SessionPhase::Creating,
            Reason::Creating,
            "the provider prepares the machine".to_owned(),
        ),
        RemotePhase::Creating
        | RemotePhase::Running
        | RemotePhase::Finished
        | RemotePhase::Error
        | RemotePhase::Cancelled
        | RemotePhase::Expired => (
            SessionPhase::Running,
            Reason::Running,
            "the agent works".to_owned(),
        ),
    };
    draft.status().phase = phase;
    draft.first_message().phase = phase;
    match &snapshot.blocked {
        Some(why) => draft.set(
            SessionCondition::Blocked,
            ConditionStatus::True,
            Reason::WaitingForPerson,
            why,
        ),
        None => draft.set(
            SessionCondition::Blocked,
            ConditionStatus::False,
            Reason::NotBlocked,
            "",
        ),
    };
    pull_request_condition(draft, pull_request_wish(o));
    (reason, message)
}

/// `PullRequestCreated` while the session is active.
pub(super) fn pull_request_condition(draft: &mut Draft, wish: PullRequestWish) {
    let url = draft
        .status()
        .pull_request
        .as_ref()
        .and_then(|stored| stored.url.clone());
    match (url, wish) {
        (Some(url), _) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::True,
            Reason::Created,
            url,
        ),
        (None, PullRequestWish::Asked) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::Unknown,
            Reason::NotYet,
            "",
        ),
        (None, PullRequestWish::NotAsked) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::False,
            Reason::NotRequested,
            "",
        ),
        (None, PullRequestWish::NotTold) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::Unknown,
            Reason::NotReported,
            "",
        ),
    };
}

/// Messages added to a running session: they are not sent by this version, and that is said.
fn not_yet_messages(draft: &mut Draft, o: &Observed<'_>) {
    if o.session
        .spec
        .messages
        .as_ref()
        .is_some_and(|messages| !messages.is_empty())
    {
        draft.reconciling(
            Reason::NotSupportedYet,
            "the agent works; spec.messages is not supported by this version of the operator and is not sent",
        );
    }
}

/// What is to be expected of a pull request.
#[derive(Clone, Copy)]
pub(super) enum PullRequestWish {
    /// One was asked for.
    Asked,
    /// None was asked for.
    NotAsked,
    /// The provider neither takes a wish nor tells what came of it.
    NotTold,
}

pub(super) fn pull_request_wish(o: &Observed<'_>) -> PullRequestWish {
    let told = o.provider.as_ref().is_none_or(|provider| {
        provider
            .capabilities
            .contains(&Capability::AutoCreatePullRequest)
    });
    let asked = o
        .session
        .status
        .and_then(|status| status.effective.as_ref())
        .is_some_and(|effective| effective.pull_request.auto_create);
    match (told, asked) {
        (false, _) => PullRequestWish::NotTold,
        (true, true) => PullRequestWish::Asked,
        (true, false) => PullRequestWish::NotAsked,
    }
}

fn stop_reason(o: &Observed<'_>) -> Option<CancelReason> {
    if let Some(cancel) = o.session.status.and_then(|status| status.cancel.as_ref()) {
        return Some(cancel.reason);
    }
    if o.session.deleting.is_some() {
        Some(CancelReason::Delete)
    } else if stop_wanted(o) {
        Some(CancelReason::User)
    } else if until_deadline(o).is_some_and(|left| left.is_zero()) {
        Some(CancelReason::Deadline)
    } else {
        None
    }
}

/// How long the session may still run.
fn until_deadline(o: &Observed<'_>) -> Option<Duration> {
    let status = o.session.status?;
    let seconds = o
        .session
        .spec
        .active_deadline_seconds
        .or(status.effective.as_ref().map(|e| e.active_deadline_seconds))?;
    let deadline = status.started_at? + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let left = o.until(deadline);
    // Once a stop was asked for, the deadline has nothing more to say.
    (status.cancel.is_none()).then_some(left)
}

fn stop(o: &Observed<'_>, session: SessionRef, reason: CancelReason) -> Plan {
    let possible = o
        .provider
        .as_ref()
        .is_some_and(|provider| provider.capabilities.contains(&Capability::Cancel));
    let refused = o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Stalled.as_str())
            .is_some_and(|stalled| stalled.reason == Reason::CancelUnsupported.as_str())
    });
    if !possible || refused {
        if o.session.deleting.is_some() {
            return let_go(&session, "its provider cannot stop it: left running");
        }
        return followed_to_its_end(o, reason);
    }
    match &o.readiness {
        Readiness::Ready(_) => {}
        Readiness::Unverified if !o.stopping => return Plan::act(Effect::VerifyCredentials),
        Readiness::Blocked {
            objection, again, ..
        } => {
            let mut draft = draft(o);
            draft.stalled(
                objection.reason,
                format!("cannot be stopped: {}", objection.message),
            );
            return Plan::store(o, draft.finish()).again(*again);
        }
        Readiness::NotGathered | Readiness::Unverified => return Plan::wait(o.timing.recheck),
    }
    if o.stopping {
        return Plan::nothing();
    }
    let stored = o.session.status.and_then(|status| status.cancel.as_ref());
    if stored.is_none() {
        let mut draft = draft(o);
        let now = draft.now();
        let message = draft.first_message().name.clone();
        draft.status().cancel = Some(CancelRecord {
            reason,
            message,
            sent_at: now,
            accepted_at: None,
        });
        let why = match reason {
            CancelReason::User => match o.session.spec.desired_state {
                DesiredState::Archived => "being stopped before it is archived",
                DesiredState::Running | DesiredState::Suspended | DesiredState::Cancelled => {
                    "being stopped on request"
                }
            },
            CancelReason::Delete => "being stopped because it is being deleted",
            CancelReason::Deadline => "being stopped: it ran longer than activeDeadlineSeconds",
            CancelReason::Duplicate => "being stopped as a duplicate",
        };
        draft.reconciling(Reason::Cancelling, why);
        return Plan {
            before: Some(StatusWrite {
                status: Box::new(draft.finish()),
                guard: Guard::Unchanged,
            }),
            effect: Some(Effect::Cancel(session)),
            notes: Vec::new(),
            again: None,
        };
    }
    let accepted = stored.is_some_and(|cancel| cancel.accepted_at.is_some());
    let pace = if accepted {
        o.timing.stop_again
    } else {
        o.timing.fault_wait(o.faults)
    };
    let wait = o
        .last_stop
        .and_then(|last| (last + pace).checked_sub(o.uptime))
        .filter(|wait| !wait.is_zero());
    match wait {
        Some(wait) => {
            let mut draft = draft(o);
            if is_stalled(o) {
                // What kept the stop from being sent is gone.
                draft.reconciling(Reason::Cancelling, "being stopped");
            }
            Plan::store(o, draft.finish()).again(wait)
        }
        None => Plan::act(Effect::Cancel(session)),
    }
}

/// Somebody wants it stopped and the provider cannot: that is said, and how the session fares is shown on.
fn followed_to_its_end(o: &Observed<'_>, reason: CancelReason) -> Plan {
    let mut draft = draft(o);
    if let Some(Ok(snapshot)) = o.look.map(|look| &look.result) {
        standing(&mut draft, o, snapshot);
    }
    draft.stalled(Reason::CancelUnsupported, cannot_be_stopped(reason));
    store_if_seen(o, draft.finish())
}

/// Said of a session that its provider cannot stop.
pub(super) fn cannot_be_stopped(reason: CancelReason) -> String {
    let why = match reason {
        CancelReason::Deadline => "it runs longer than activeDeadlineSeconds, and ",
        CancelReason::User | CancelReason::Delete | CancelReason::Duplicate => "",
    };
    format!(
        "{why}its provider cannot stop it: it goes on until it ends by itself. Stop it on the provider's page if there is a way"
    )
}

fn is_stalled(o: &Observed<'_>) -> bool {
    o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Stalled.as_str())
            .is_some_and(|stalled| stalled.status == ConditionStatus::True)
    })
}

/// The object goes, the session stays.
fn let_go(session: &SessionRef, why: &str) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    plan.notes.push(Note::warning(
        Reason::Orphaned,
        format!("session {}: {why}", session.session_id),
    ));
    plan
}
