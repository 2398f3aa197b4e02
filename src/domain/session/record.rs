//! What is stored after a launch, or a look for one.

use std::time::Duration;

use jiff::SignedDuration;

use super::super::ids::AccountFingerprint;
use super::super::remote::{
    AdoptAnswer, ErrorClass, Found, LaunchOutcome, Launched, ProviderError, Recovery, Sent, Subject,
};
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::{Draft, clip};
use super::observed::{AgentView, Lookups, Observed, Preflight, Readiness};
use super::plan::{Guard, Note, Plan, Recorded, StatusWrite};
use super::progress::{apply, pull_request_condition, pull_request_wish};
use super::view::{IF_FOUND, draft, earlier_attempt_open, keys, session_ref, set_state};
use crate::api::{
    CodeSessionStatus, ConditionStatus, ProviderKind, ProviderStatus, Reason, RefusalRecord,
    SendRecord, SendState, SendTarget, SessionCondition, SessionPhase,
};

pub(super) fn launched(o: &Observed<'_>, claim_id: &str, outcome: &LaunchOutcome) -> Recorded {
    if let Some(recorded) = overtaken(o, outcome) {
        return recorded;
    }
    let mut recorded = match outcome {
        LaunchOutcome::Accepted(launched) => accepted(o, launched),
        LaunchOutcome::Rejected(error) => rejected(o, error),
        LaunchOutcome::Unknown(error) => {
            let mut draft = draft(o);
            set_state(&mut draft, SendState::Unknown);
            draft.reconciling(
                Reason::RecoveringLaunch,
                format!("it is not known whether the launch arrived ({error}); it is being looked for at the provider"),
            );
            Recorded {
                again: Some(o.timing.fault_wait_min),
                ..store(o, draft.finish())
            }
        }
    };
    if let Some(write) = recorded.write.as_mut() {
        write.guard = Guard::Claim(claim_id.to_owned());
    }
    recorded
}

/// What is left of an answer when somebody else has settled the claim meanwhile: a recorded id wins (rule 9), and only an
/// acceptance is news to a session that has ended without one.
fn overtaken(o: &Observed<'_>, outcome: &LaunchOutcome) -> Option<Recorded> {
    let status = o.session.status?;
    let recorded_id = session_ref(Some(status))
        .filter(|_| {
            status
                .launch
                .as_ref()
                .is_some_and(|record| record.state == SendState::Confirmed)
        })
        .map(|session| session.session_id);
    match (recorded_id, outcome) {
        (Some(recorded_id), LaunchOutcome::Accepted(launched))
            if recorded_id != launched.session_id =>
        {
            Some(Recorded {
                notes: vec![Note::warning(
                    Reason::DuplicateLaunch,
                    format!(
                        "the same launch was also accepted as {}: look at it at the provider, it may cost money",
                        launched.session_id
                    ),
                )],
                ..Recorded::default()
            })
        }
        (Some(_), _) => Some(Recorded::default()),
        (None, LaunchOutcome::Accepted(_)) => None,
        (None, LaunchOutcome::Rejected(_) | LaunchOutcome::Unknown(_)) => {
            status.phase.is_terminal().then(Recorded::default)
        }
    }
}

fn accepted(o: &Observed<'_>, launched: &Launched) -> Recorded {
    let mut draft = draft(o);
    let now = draft.now();
    let phase = if launched.phase == RemotePhase::Running {
        SessionPhase::Running
    } else {
        SessionPhase::Creating
    };
    let status = draft.status();
    status.phase = phase;
    status.started_at = Some(now);
    // Others may have given up on it.
    status.error = None;
    status.completed_at = None;
    if let Some(provider) = status.provider.as_mut() {
        provider.session_id = Some(launched.session_id.as_str().to_owned());
        provider.session_url.clone_from(&launched.url);
        provider.raw_status = Some(launched.raw_status.clone());
    }
    let mut asked = None;
    if let Some(record) = status.launch.as_mut() {
        record.state = SendState::Confirmed;
        record.refusal = None;
        asked = Some(format!("bc-{}", record.key));
    }
    let message = draft.first_message();
    message.run_id = launched.run_id.as_ref().map(|run| run.as_str().to_owned());
    message.phase = phase;
    message.started_at = Some(now);
    message.completed_at = None;
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::True,
        Reason::Accepted,
        "the provider has the session",
    );
    let mut recorded = under_way(o, draft, phase);
    recorded.notes.push(Note::normal(
        Reason::Accepted,
        format!("launched as {}", launched.session_id),
    ));
    let chooses = o
        .provider
        .as_ref()
        .is_some_and(|facts| facts.recovery == Recovery::ClientId);
    if chooses && asked.as_deref() != Some(launched.session_id.as_str()) {
        recorded.notes.push(Note::warning(
            Reason::Accepted,
            "the provider did not use the session id that was asked for: an interrupted launch is found by its name instead",
        ));
    }
    recorded
}

/// The conditions of a session that has just become known to run.
fn under_way(o: &Observed<'_>, mut draft: Draft, phase: SessionPhase) -> Recorded {
    draft.set(
        SessionCondition::Blocked,
        ConditionStatus::False,
        Reason::NotBlocked,
        "",
    );
    pull_request_condition(&mut draft, pull_request_wish(o));
    if phase == SessionPhase::Running {
        draft.reconciling(Reason::Running, "the agent works");
    } else {
        draft.reconciling(Reason::Creating, "the provider prepares the machine");
    }
    store(o, draft.finish())
}

/// A refusal settles a launch only if it answers the only request there was with this key (rule 8).
fn rejected(o: &Observed<'_>, error: &ProviderError) -> Recorded {
    let refusal = refusal(o, error);
    let only_one = o
        .session
        .status
        .and_then(|status| status.launch.as_ref())
        .is_some_and(|record| record.posts == 1);
    if only_one {
        let again = Some(next_look_at_refusal(o, &refusal));
        let (status, note) = settle(o, refusal);
        return Recorded {
            again,
            notes: note.into_iter().collect(),
            ..store(o, status)
        };
    }
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    if let Some(record) = draft.status().launch.as_mut() {
        record.refusal = Some(refusal);
    }
    draft.reconciling(
        Reason::RecoveringLaunch,
        format!("refused ({error}), but an earlier request may have arrived; it is being looked for at the provider"),
    );
    Recorded {
        again: Some(o.timing.fault_wait_min),
        ..store(o, draft.finish())
    }
}

/// The refusal of the last of several requests, once the earlier ones are known not to have arrived.
pub(super) fn settle_stored_refusal(o: &Observed<'_>, refusal: &RefusalRecord) -> Plan {
    let again = next_look_at_refusal(o, refusal);
    let (status, note) = settle(o, refusal.clone());
    let plan = Plan::store(o, status).again(again);
    match note {
        Some(note) => plan.telling(note),
        None => plan,
    }
}

fn refusal(o: &Observed<'_>, error: &ProviderError) -> RefusalRecord {
    let previous = o
        .session
        .status
        .and_then(|status| status.launch.as_ref())
        .and_then(|record| record.refusal.as_ref());
    let count = previous
        .map_or(0, |refusal| refusal.count)
        .saturating_add(1);
    let own_model = o.session.spec.model.as_ref();
    let from_template = o
        .session
        .status
        .and_then(|status| status.launch.as_ref())
        .is_some_and(|record| record.target.template_id.is_some());
    let verdict = match error.class {
        // The template is gone; its keeper makes another one.
        ErrorClass::NotFound if from_template => Verdict {
            reason: Reason::WaitingForTemplate,
            mended_by: MendedBy::Surroundings,
        },
        _ => verdict(
            error,
            own_model.is_some_and(|own| own.id.is_some() || !own.params.is_empty()),
        ),
    };
    let wait = match verdict.mended_by {
        MendedBy::Time => o.timing.fault_wait(count),
        MendedBy::Surroundings | MendedBy::Nothing => o.timing.refusal_wait(count),
    };
    let wait = wait.max(error.retry_after.unwrap_or_default());
    let agent_generation = match &o.agent {
        AgentView::Present { generation, .. } => *generation,
        AgentView::Missing => 0,
    };
    let credential = match &o.readiness {
        Readiness::Ready(connected) => connected.credential.clone(),
        Readiness::NotGathered | Readiness::Unverified | Readiness::Blocked { .. } => String::new(),
    };
    RefusalRecord {
        class: error.class.as_str().to_owned(),
        reason: verdict.reason.as_str().to_owned(),
        message: clip(&error.to_string(), 512),
        count,
        retry_at: o.now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO),
        agent_generation,
        credential,
    }
}

/// What a refusal comes to.
#[derive(Clone, Copy)]
struct Verdict {
    reason: Reason,
    mended_by: MendedBy,
}

/// What makes a refused launch possible.
#[derive(Clone, Copy)]
enum MendedBy {
    /// Waiting.
    Time,
    /// Somebody who changes the CodeAgent, the credentials or the account.
    Surroundings,
    /// Nothing: it is about the session's own fields, which never change.
    Nothing,
}

fn verdict(error: &ProviderError, own_model: bool) -> Verdict {
    let (reason, mended_by) = match (error.class, error.subject) {
        (ErrorClass::RateLimited, _) => (Reason::RateLimited, MendedBy::Time),
        (ErrorClass::Unavailable | ErrorClass::Intermediary | ErrorClass::Timeout, _) => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (ErrorClass::Unknown | ErrorClass::Protocol, _) if error.sent == Sent::Nothing => {
            (Reason::ProviderUnavailable, MendedBy::Time)
        }
        (_, Some(Subject::Model)) if !own_model => {
            (Reason::ModelUnavailable, MendedBy::Surroundings)
        }
        (_, Some(Subject::Repository)) => (Reason::RepositoryInaccessible, MendedBy::Surroundings),
        (_, Some(Subject::Issue)) => (Reason::InvalidRequest, MendedBy::Nothing),
        (_, Some(Subject::CodingAgent)) => (Reason::CodingAgentNotFound, MendedBy::Surroundings),
        (ErrorClass::QuotaExhausted, _) => (Reason::QuotaExhausted, MendedBy::Surroundings),
        (ErrorClass::Unauthorized | ErrorClass::Forbidden, _) => {
            (Reason::CredentialsInvalid, MendedBy::Surroundings)
        }
        // The endpoint does not know how to launch sessions: a matter of the CodeAgent.
        (ErrorClass::NotFound, _) => (Reason::ProviderProtocolError, MendedBy::Surroundings),
        (
            ErrorClass::InvalidRequest
            | ErrorClass::Conflict
            | ErrorClass::Unknown
            | ErrorClass::Protocol,
            _,
        ) => (Reason::InvalidRequest, MendedBy::Nothing),
    };
    Verdict { reason, mended_by }
}

fn reason_of(refusal: &RefusalRecord) -> Reason {
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == refusal.reason)
        .unwrap_or(Reason::InvalidRequest)
}

/// When a refused session is looked at again. A changed CodeAgent wakes it, a changed Secret does not.
pub(super) fn next_look_at_refusal(o: &Observed<'_>, refusal: &RefusalRecord) -> Duration {
    let remaining = o.until(refusal.retry_at);
    match reason_of(refusal) {
        Reason::RateLimited | Reason::ProviderUnavailable => remaining,
        _ => remaining.min(o.timing.recheck),
    }
}

/// The conditions of a session that waits after a refusal.
pub(super) fn waits_after_refusal(draft: &mut Draft, refusal: &RefusalRecord) {
    let reason = reason_of(refusal);
    let said = &refusal.message;
    match reason {
        Reason::RateLimited | Reason::ProviderUnavailable => draft.reconciling(
            reason,
            format!("not launched yet, goes on by itself: {said}"),
        ),
        Reason::WaitingForTemplate => draft.reconciling(
            reason,
            format!("not launched yet, the template that sessions are launched from is looked for again: {said}"),
        ),
        _ => draft.stalled(
            reason,
            format!("not launched: {said}. It is tried again when the CodeAgent or its credentials change, and after a while"),
        ),
    };
}

/// The launch was refused and nothing of it is under way: wait, or end.
fn settle(o: &Observed<'_>, refusal: RefusalRecord) -> (CodeSessionStatus, Option<Note>) {
    let reason = reason_of(&refusal);
    let mut draft = draft(o);
    draft.status().phase = SessionPhase::Pending;
    draft.first_message().phase = SessionPhase::Pending;
    if let Some(record) = draft.status().launch.as_mut() {
        record.state = SendState::Rejected;
        record.refusal = Some(refusal.clone());
    }
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        reason,
        "not launched",
    );
    if reason != Reason::InvalidRequest {
        waits_after_refusal(&mut draft, &refusal);
        return (draft.finish(), None);
    }
    let (launched, reason, message) = if earlier_attempt_open(o) {
        let message = format!(
            "the launch was repeated and refused ({}), and whether the first one arrived could not be found out. {IF_FOUND}",
            refusal.message
        );
        let unknown = Reason::LaunchOutcomeUnknown;
        (ConditionStatus::Unknown, unknown, message)
    } else {
        let message = format!(
            "the provider refuses the session: {}. Create a CodeSession with a new name",
            refusal.message
        );
        (ConditionStatus::False, reason, message)
    };
    draft.set(SessionCondition::Launched, launched, reason, &message);
    draft.end(SessionPhase::Error, false, reason, &message);
    (draft.finish(), Some(Note::warning(reason, message)))
}

/// Nothing is stored: the next decision says what keeps the session waiting, or claims.
pub(super) fn preflighted(
    o: &Observed<'_>,
    begun: Duration,
    result: &Result<Option<String>, ProviderError>,
) -> Recorded {
    let Readiness::Ready(connected) = &o.readiness else {
        return Recorded::default();
    };
    Recorded {
        preflight: Some(Preflight {
            account: connected.account.clone(),
            begun,
            result: result.clone(),
        }),
        again: Some(Duration::ZERO),
        fault: result.is_err(),
        ..Recorded::default()
    }
}

pub(super) fn looked_up(
    o: &Observed<'_>,
    begun: Duration,
    answer: &Result<AdoptAnswer, ProviderError>,
) -> Recorded {
    let so_far = o.own_lookups();
    let begun = so_far.and_then(|looks| looks.begun).unwrap_or(begun);
    let account = match &o.readiness {
        Readiness::Ready(connected) => Some(connected.account.clone()),
        Readiness::NotGathered | Readiness::Unverified | Readiness::Blocked { .. } => None,
    };
    // Where looks compare, nobody promises that what is there shows: that it does not is no proof.
    let provable = o
        .provider
        .as_ref()
        .is_some_and(|provider| provider.recovery != Recovery::None);
    let mut lookups = Lookups {
        account,
        absent: so_far.map(|looks| looks.absent.clone()).unwrap_or_default(),
        fruitless: so_far.and_then(|looks| looks.fruitless),
        last: Some(o.uptime),
        ..Lookups::default()
    };
    match answer {
        Ok(AdoptAnswer::Found(found)) => match found.split_first() {
            Some((first, others)) => adopt(o, first, others.len(), None),
            None => Recorded {
                lookups: Some(lookups),
                fault: true,
                ..Recorded::default()
            },
        },
        Ok(AdoptAnswer::Absent) if provable => {
            lookups.absent.push(begun);
            // Only the newest matter: two that lie a consistency window apart.
            let surplus = lookups.absent.len().saturating_sub(16);
            lookups.absent.drain(..surplus);
            Recorded {
                lookups: Some(lookups),
                again: Some(Duration::ZERO),
                ..Recorded::default()
            }
        }
        Ok(AdoptAnswer::Absent | AdoptAnswer::Unknowable) => {
            lookups.fruitless = Some(begun);
            Recorded {
                lookups: Some(lookups),
                again: Some(Duration::ZERO),
                fault: true,
                ..Recorded::default()
            }
        }
        Ok(AdoptAnswer::Inconclusive { resume, .. }) => {
            // Where the same candidates would be no clearer at once, the next look waits.
            let goes_on = resume.as_ref().is_some_and(|resume| !resume.begin_anew);
            lookups.begun = goes_on.then_some(begun);
            lookups.resume.clone_from(resume);
            let again = if goes_on {
                Duration::ZERO
            } else {
                o.timing.fault_wait(o.faults.saturating_add(1))
            };
            Recorded {
                lookups: Some(lookups),
                again: Some(again),
                fault: !goes_on,
                ..Recorded::default()
            }
        }
        Ok(AdoptAnswer::Foreign { why }) => {
            let mut draft = draft(o);
            let message =
                format!("the id of this session is taken at the provider by another one: {why}");
            draft.set(
                SessionCondition::Launched,
                ConditionStatus::False,
                Reason::AgentIdConflict,
                &message,
            );
            draft.end(
                SessionPhase::Error,
                false,
                Reason::AgentIdConflict,
                &message,
            );
            let mut recorded = store(o, draft.finish());
            recorded
                .notes
                .push(Note::warning(Reason::AgentIdConflict, message));
            recorded
        }
        Err(_) => {
            let wait = o.timing.fault_wait(o.faults.saturating_add(1));
            Recorded {
                lookups: Some(lookups),
                again: Some(wait),
                fault: true,
                ..Recorded::default()
            }
        }
    }
}

/// What a look at a session that a user handed over comes to.
pub(super) fn examined(
    o: &Observed<'_>,
    account: &AccountFingerprint,
    result: &Result<Snapshot, ProviderError>,
) -> Recorded {
    match result {
        Ok(snapshot) => {
            let found = Found {
                snapshot: snapshot.clone(),
                attempt: None,
            };
            adopt(o, &found, 0, Some(account.as_str()))
        }
        Err(error) => {
            let mut draft = draft(o);
            draft.stalled(
                Reason::LaunchOutcomeUnknown,
                format!("the session named by the annotation codeagents.dev/adopt cannot be read: {error}"),
            );
            Recorded {
                again: Some(o.timing.fault_wait_max),
                fault: true,
                ..store(o, draft.finish())
            }
        }
    }
}

/// Takes over a session that was found.
///
/// Stored only on the status it was decided on: an adoption can be repeated, and one that was decided on a stale status
/// would overwrite what others recorded under the same claim since, such as the end.
fn adopt(o: &Observed<'_>, found: &Found, duplicates: usize, account: Option<&str>) -> Recorded {
    let snapshot = &found.snapshot;
    let mut draft = draft(o);
    let now = draft.now();
    // A session that has ended meanwhile is first adopted, then ended by the next look: nothing is skipped.
    let phase = match snapshot.phase {
        RemotePhase::Creating | RemotePhase::Unrecognised => SessionPhase::Creating,
        RemotePhase::Running
        | RemotePhase::Finished
        | RemotePhase::Error
        | RemotePhase::Cancelled
        | RemotePhase::Expired => SessionPhase::Running,
    };
    let Some(kind) = o.provider.as_ref().map(|facts| facts.kind) else {
        return Recorded::default();
    };
    prepare_for_adoption(o, &mut draft, kind, account);
    let status = draft.status();
    status.phase = phase;
    status.error = None;
    status.completed_at = None;
    status.started_at = status
        .started_at
        .or(snapshot.created_at.map(super::super::status::whole_seconds))
        .or(Some(now));
    let started = status.started_at;
    if let Some(provider) = status.provider.as_mut() {
        provider.session_id = Some(snapshot.session_id.as_str().to_owned());
    }
    if let Some(record) = status.launch.as_mut() {
        record.state = SendState::Confirmed;
        record.refusal = None;
        record.attempt = found.attempt.unwrap_or(record.attempt);
    }
    let seen = super::super::snapshot::Snapshot {
        phase: RemotePhase::Running,
        ..snapshot.clone()
    };
    apply(&mut draft, &seen);
    let message = draft.first_message();
    message.phase = phase;
    message.started_at = started;
    message.completed_at = None;
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::True,
        Reason::Adopted,
        "an interrupted launch was found again",
    );
    let mut recorded = under_way(o, draft, phase);
    recorded.notes.push(Note::normal(
        Reason::Adopted,
        format!("found again as {}", snapshot.session_id),
    ));
    if duplicates > 0 {
        recorded.notes.push(Note::warning(
            Reason::DuplicateLaunch,
            format!("{duplicates} more session(s) of the same launch were found at the provider: look at them there, they may cost money"),
        ));
    }
    recorded
}

/// Completes the record of a session that is adopted without a claim of its own (found before the first launch).
fn prepare_for_adoption(
    o: &Observed<'_>,
    draft: &mut Draft,
    kind: ProviderKind,
    account: Option<&str>,
) {
    let key = keys(&o.session, 1)
        .first()
        .map(|key| key.as_uuid().to_owned())
        .unwrap_or_default();
    let connected = match &o.readiness {
        Readiness::Ready(connected) => Some(connected),
        Readiness::NotGathered | Readiness::Unverified | Readiness::Blocked { .. } => None,
    };
    let status = draft.status();
    if status.effective.is_none()
        && let AgentView::Present { effective, .. } = &o.agent
    {
        status.effective = Some((**effective).clone());
    }
    status.provider.get_or_insert_with(|| ProviderStatus {
        kind: kind.as_str().to_owned(),
        ..ProviderStatus::default()
    });
    if let Some(record) = status.launch.as_mut() {
        if let Some(account) = account {
            record.target.account = account.to_owned();
        }
        return;
    }
    let effective = status.effective.as_ref();
    status.launch = Some(SendRecord {
        key,
        attempt: 1,
        claim_id: o.fresh_claim_id.to_owned(),
        posts: 1,
        state: SendState::Confirmed,
        claimed_at: o.now,
        not_after: o.now,
        target: SendTarget {
            kind: kind.as_str().to_owned(),
            api_version: o
                .provider
                .as_ref()
                .map(|facts| facts.api_version.to_owned())
                .unwrap_or_default(),
            endpoint: effective
                .map(|effective| effective.provider.endpoint.clone())
                .unwrap_or_default(),
            account: connected
                .map(|connected| connected.account.as_str().to_owned())
                .unwrap_or_default(),
            secret_ref: effective
                .map(|effective| {
                    format!(
                        "{}/{}",
                        effective.credentials_ref.name, effective.credentials_ref.key
                    )
                })
                .unwrap_or_default(),
            template_id: connected
                .and_then(|connected| connected.inputs.as_ref())
                .and_then(|inputs| inputs.template_id.clone()),
            issue: o.session.spec.issue.clone(),
        },
        baseline: None,
        request_digest: String::new(),
        refusal: None,
    });
}

pub(super) fn store(o: &Observed<'_>, status: CodeSessionStatus) -> Recorded {
    let write = (o.session.status != Some(&status)).then(|| StatusWrite {
        status: Box::new(status),
        guard: Guard::Unchanged,
    });
    Recorded {
        write,
        ..Recorded::default()
    }
}
