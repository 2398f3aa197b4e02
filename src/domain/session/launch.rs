//! The launch: the look before it where one is needed, the claim under which it is sent, and what its answer comes to.

use std::time::Duration;

use super::super::ids::{ClaimId, LaunchKey};
use super::super::remote::{ErrorClass, Launched, ProviderError, Recovery};
use super::super::send::answer::LaunchOutcome;
use super::super::send::baseline::{self, Baseline};
use super::super::send::judge::{CLOCK_SKEW, created_from, lookup_keys};
use super::super::send::refusal::{self, MOST_UNCLEAR, Own, Refused};
use super::super::send::seen::{BaselineRead, Unclear};
use super::super::snapshot::RemotePhase;
use super::super::status::{Draft, whole_seconds};
use super::super::timing::Timing;
use super::gates::until_launch_deadline;
use super::observed::{
    AgentView, Connected, Inputs, Lock, Observed, Origin, ProviderFacts, Readiness,
};
use super::plan::{
    Effect, Event, Guard, LaunchPlan, LookupPlan, Plan, Recorded, StatusWrite, Unsent,
};
use super::progress::{pull_request_condition, pull_request_wish};
use super::view::{
    IF_FOUND, draft, earlier_attempt_open, keys, pending_draft, recorded, session_ref, set_state,
    store, waiting,
};
use crate::api::{
    CodeSessionStatus, ConditionStatus, Effective, MendedBy, ProviderStatus, Reason, RefusalRecord,
    SendRecord, SendState, SendTarget, SessionCondition, SessionPhase,
};

/// How a sentence about a refused launch begins.
pub(super) const NOT_LAUNCHED: &str = "not launched";

/// No gate holds the session: finalizer, look, baseline, claim, in this order, one thing a pass.
pub(super) fn decide(o: &Observed<'_>) -> Plan {
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin != Origin::Own {
        return Plan::act(Effect::AddFinalizer);
    }
    let (
        AgentView::Present {
            effective,
            evidence_seen,
            ..
        },
        Some(provider),
        Readiness::Ready(connected),
    ) = (&o.agent, &o.provider, &o.readiness)
    else {
        // The gates have seen to it that all of it is there.
        return Plan::nothing();
    };
    let Some(inputs) = &connected.inputs else {
        return Plan::wait(o.timing.fault_wait_min);
    };
    let recovery = provider.recovery_of_claim(recorded(o), effective);
    if look_first(o, recovery) {
        if let Some((unclear, left)) = o.wait_before_sending() {
            return unclear_before_sending(o, unclear).again(left);
        }
        return Plan::act(Effect::Lookup(Box::new(LookupPlan {
            message: None,
            keys: lookup_keys(
                keys(&o.session, recorded(o).map_or(1, |record| record.attempt)),
                recorded(o),
            ),
            repository: effective.repository.clone(),
            recovery,
            // An earlier life of the object may have used another template than there is now.
            template_id: recorded(o).and_then(|record| record.target.template_id.clone()),
            baseline: None,
            created_from: recorded(o).map_or(o.session.created_at - CLOCK_SKEW, created_from),
            created_until: o.now + o.timing.fence(),
            prove_absence: true,
            evidence_seen: *evidence_seen,
            resume: o.own_lookups().and_then(|lookups| lookups.resume.clone()),
        })));
    }
    match baseline(o, provider.recovery_of(effective), connected) {
        Baseline::Done(_) => {}
        Baseline::Due => return read_baseline(o),
        Baseline::Failed(error, wait) => {
            return waiting(o, error.outage(), &error.why_waiting()).again(wait);
        }
    }
    let attempt = recorded(o).map_or(1, |record| record.attempt);
    let posts = match recorded(o) {
        // What was proven absent may still arrive late: it stays one of the requests with this key.
        Some(record) if record.state == SendState::Absent => record.posts.saturating_add(1),
        // A settled refusal proves that nothing with this key is under way: counting begins anew (docs/protocol.md).
        Some(_) | None => 1,
    };
    claim(o, provider, connected, inputs, effective, attempt, posts)
}

/// The look before the first request could not tell whether there was one already: nothing is sent until one can.
fn unclear_before_sending(o: &Observed<'_>, unclear: &Unclear) -> Plan {
    const ASKED: &str =
        "waits: before the launch the provider is asked whether this session runs there already";
    match unclear {
        // All sessions of the key wait for the end of it, and say so in the same words, whichever of them met it.
        Unclear::Failed(error) if error.is_outage() => {
            waiting(o, error.outage(), &error.why_waiting())
        }
        Unclear::Failed(error) => waiting(
            o,
            error.outage(),
            &format!("{ASKED}, and it does not tell: {error}"),
        ),
        // A first round may pass over what only the second one reads.
        Unclear::Undecided(_) if o.lookups.inconclusive <= 1 => Plan::nothing(),
        // The answer may stay like this for ever.
        Unclear::Undecided(why) => {
            let message = format!(
                "{ASKED}, and its answer leaves that open: {why}. Look at the provider; if it does not run there, create a CodeSession with a new name, which is launched without asking"
            );
            let mut draft = pending_draft(o);
            let left = draft.blocked(Reason::Pending, message, o.timing.stalled_after);
            Plan::store(o, draft.finish()).due(left)
        }
    }
}

/// Looks at what is there before the launch.
pub(super) fn read_baseline(o: &Observed<'_>) -> Plan {
    Plan::act(Effect::ReadBaseline {
        of: Unsent::Launch {
            issue: o.session.spec.issue.clone(),
        },
    })
}

/// Where the reading of what is there before the launch stands.
pub(super) fn baseline<'a>(
    o: &'a Observed<'_>,
    recovery: Recovery,
    connected: &Connected,
) -> Baseline<'a> {
    let locked_since = match o.lock {
        Lock::Unneeded => Some(Duration::ZERO),
        Lock::Ours { since } => Some(since),
        Lock::Taken { .. } => None,
    };
    let account = &connected.account;
    baseline::baseline(
        !recovery.proves_absence(),
        o.baseline_read,
        account,
        locked_since,
        o.clock(),
    )
}

/// Whether a request under the record before a claim of so many `posts` may yet be found: then looks reach back to the
/// first of them.
pub(super) fn may_have_arrived(before: &SendRecord, posts: i32) -> bool {
    posts > 1 || before.state != SendState::Rejected || was_rate_limited(before)
}

pub(super) fn was_rate_limited(record: &SendRecord) -> bool {
    record
        .refusal
        .as_ref()
        .and_then(|refusal| ErrorClass::named(&refusal.class))
        .is_some_and(|class| class == ErrorClass::RateLimited)
}

/// How the next of so many requests is looked for, itself found in the way of `next`: what may have arrived of the ones before is looked
/// for as well, and a look in the weaker way finds both.
fn weakest_recovery(next: Recovery, before: Option<&SendRecord>, posts: i32) -> Recovery {
    let before = before.filter(|record| may_have_arrived(record, posts));
    let before = before.and_then(|record| record.recovery);
    before.map_or(next, |before| before.max(next))
}

/// Claims an attempt and sends it.
pub(super) fn claim(
    o: &Observed<'_>,
    provider: &ProviderFacts,
    connected: &Connected,
    inputs: &Inputs,
    effective: &Effective,
    attempt: i32,
    posts: i32,
) -> Plan {
    let before = recorded(o);
    let key = match (before, o.session.namespace_uid) {
        // A further request of an attempt has its key, whatever would be derived now.
        (Some(record), _) if posts > 1 => LaunchKey::recorded(record.key.clone()),
        (_, Some(namespace_uid)) => LaunchKey::derive(namespace_uid, o.session.uid, attempt),
        // The key is the same for ever only if it is made of the namespace as it is.
        (_, None) => return Plan::wait(o.timing.fault_wait_max),
    };
    let not_after = o.now
        + until_launch_deadline(o)
            .map_or(o.timing.send_window, |left| left.min(o.timing.send_window));
    let spec = o.session.spec;
    // What was sent before is looked for under the template that it was sent with.
    let template_id = match before {
        Some(record) if posts > 1 => record.target.template_id.clone(),
        _ => inputs.template_id.clone(),
    };
    let record = SendRecord {
        key: key.as_uuid().to_owned(),
        attempt,
        claim_id: o.fresh_claim_id.as_str().to_owned(),
        posts,
        state: SendState::Claimed,
        claimed_at: o.now,
        first_claimed_at: before
            .filter(|record| may_have_arrived(record, posts))
            .map(SendRecord::first_claim),
        not_after,
        target: SendTarget {
            kind: provider.kind.as_str().to_owned(),
            api_version: provider.api_version.to_owned(),
            endpoint: effective.provider.endpoint.clone(),
            account: connected.account.as_str().to_owned(),
            secret_ref: effective.secret_path(),
            template_id: template_id.clone(),
            issue: spec.issue.clone(),
        },
        recovery: Some(weakest_recovery(
            provider.recovery_of(effective),
            before,
            posts,
        )),
        baseline: match baseline(o, provider.recovery_of(effective), connected) {
            Baseline::Done(baseline) => baseline.map(str::to_owned),
            Baseline::Due | Baseline::Failed(..) => None,
        },
        request_digest: inputs.digest.clone(),
        refusal: before
            .filter(|_| posts == 1)
            .and_then(|record| record.refusal.clone()),
    };
    Plan {
        before: Some(StatusWrite {
            status: Box::new(launching(o, provider, effective, record)),
            guard: Guard::Unchanged,
        }),
        effect: Some(Effect::Launch(Box::new(LaunchPlan {
            key,
            claim_id: o.fresh_claim_id.clone(),
            not_after,
            effective: effective.clone(),
            issue: spec.issue.clone(),
            on_behalf_of: spec.on_behalf_of.clone(),
            template_id,
        }))),
        ..Plan::default()
    }
}

/// The status of a session whose launch is claimed.
fn launching(
    o: &Observed<'_>,
    provider: &ProviderFacts,
    effective: &Effective,
    record: SendRecord,
) -> CodeSessionStatus {
    let mut draft = pending_draft(o);
    let status = draft.status();
    status.phase = SessionPhase::Creating;
    status.queue = None;
    status.effective = Some(effective.clone());
    status.launch = Some(record);
    status.provider = Some(ProviderStatus {
        kind: provider.kind.as_str().to_owned(),
        ..ProviderStatus::default()
    });
    draft.first_message().phase = SessionPhase::Creating;
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::Launching,
        "the launch is under way",
    );
    draft.reconciling(
        Reason::Launching,
        format!("launching at {}", provider.kind.display_name()),
    );
    draft.finish()
}

/// Whether the provider is looked at before the first request: a rate limit may have hidden an acceptance, what was proven
/// absent long ago may have arrived since, and an old object without a claim may come from a backup that was made before the
/// claim.
fn look_first(o: &Observed<'_>, recovery: Recovery) -> bool {
    let own_account = |record: &SendRecord| match &o.readiness {
        Readiness::Ready(connected) => connected.account.as_str() == record.target.account,
        Readiness::NotGathered | Readiness::Unverified | Readiness::NotReady(_) => true,
    };
    let doubtful = match recorded(o) {
        // What a rate limit may have hidden is at the account that was asked: another one sees nothing of it (rule 4).
        Some(record) => {
            record.state == SendState::Absent || (was_rate_limited(record) && own_account(record))
        }
        None => o.session.older_than_process || o.since(o.session.created_at) >= o.timing.stale_age,
    };
    let looked = o
        .own_lookups()
        .is_some_and(|lookups| !lookups.absent.is_empty());
    recovery.proves_absence() && doubtful && !looked
}

/// What is stored once the answer to a launch is there.
pub(super) fn launched(o: &Observed<'_>, claim_id: &ClaimId, outcome: &LaunchOutcome) -> Recorded {
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
        write.guard = Guard::Claim(claim_id.clone());
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
                events: vec![Event::warning(
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
    if let Some(record) = status.launch.as_mut() {
        record.state = SendState::Confirmed;
        record.refusal = None;
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
    recorded.events.push(Event::normal(
        Reason::Accepted,
        format!("launched as {}", launched.session_id),
    ));
    if launched.id_honoured == Some(false) {
        recorded.events.push(Event::warning(
            Reason::Accepted,
            "the provider did not use the session id that was asked for: an interrupted launch is found by its name instead",
        ));
    }
    recorded
}

/// The conditions of a session that has just become known to run.
pub(super) fn under_way(o: &Observed<'_>, mut draft: Draft, phase: SessionPhase) -> Recorded {
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
        let again = Some(refusal::next_look(&refusal, o.clock()));
        let (status, event) = settle(o, refusal);
        return Recorded {
            again,
            events: event.into_iter().collect(),
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
    let again = refusal::next_look(refusal, o.clock());
    let (status, event) = settle(o, refusal.clone());
    let plan = Plan::store(o, status).again(again);
    match event {
        Some(event) => plan.with_event(event),
        None => plan,
    }
}

fn refusal(o: &Observed<'_>, error: &ProviderError) -> RefusalRecord {
    let record = recorded(o);
    let effective = o
        .session
        .status
        .and_then(|status| status.effective.as_ref());
    refused_with(o, record, Own::of_launch(o.session.spec, effective), error)
}

/// The phase of a session that the provider has from here on. One that has ended meanwhile is first taken over, then ended by the next
/// look: nothing is skipped.
pub(super) fn phase_once_there(remote: RemotePhase) -> SessionPhase {
    match remote {
        RemotePhase::Creating | RemotePhase::Unrecognised => SessionPhase::Creating,
        RemotePhase::Running
        | RemotePhase::Finished
        | RemotePhase::Error
        | RemotePhase::Cancelled
        | RemotePhase::Expired => SessionPhase::Running,
    }
}

/// What a refusal of the request with this record comes to, the earlier ones and the circumstances considered.
pub(super) fn refused_with(
    o: &Observed<'_>,
    record: Option<&SendRecord>,
    own: Own<'_>,
    error: &ProviderError,
) -> RefusalRecord {
    let connected = o.readiness.connected();
    refusal::record(
        error,
        &Refused {
            previous: record.and_then(|record| record.refusal.as_ref()),
            own,
            from_template: record.is_some_and(|record| record.target.template_id.is_some()),
            agent_generation: o.agent.generation(),
            credential: connected.map_or("", |connected| &connected.credential),
            clock: o.clock(),
        },
    )
}

/// The conditions of a session that waits after a refusal, of which `what` begins the sentence ("not launched"); answers with how
/// long it is until it stalls.
pub(super) fn waits_after_refusal(
    draft: &mut Draft,
    refusal: &RefusalRecord,
    what: &str,
    timing: &Timing,
) -> Option<Duration> {
    let reason = refusal::reason(refusal);
    let said = refusal.message.trim_end_matches('.');
    let at = whole_seconds(refusal.retry_at);
    match (refusal.mended_by, reason) {
        (MendedBy::Time, _) => {
            draft.reconciling(
                reason,
                format!("{what} yet, goes on by itself: {said}"),
            );
            None
        }
        (_, Reason::WaitingForTemplate) => {
            draft.reconciling(
                reason,
                format!("not launched yet, the template that sessions are launched from is looked for again: {said}"),
            );
            None
        }
        // Nothing was started, and what is not clear may pass.
        (MendedBy::Unclear | MendedBy::Nobody, _) => {
            draft.reconciling(
                reason,
                format!("{what}, the provider refuses the request: {said}. It is tried again at {at}, {MOST_UNCLEAR} times in all, and when the CodeAgent or its credentials change"),
            );
            None
        }
        (MendedBy::Others, _) => draft.blocked(
            reason,
            format!("{what}: {said}. It is tried again at {at}, and when the CodeAgent or its credentials change"),
            timing.stalled_after,
        ),
    }
}

/// The launch was refused and nothing of it is under way: wait, or end.
fn settle(o: &Observed<'_>, refusal: RefusalRecord) -> (CodeSessionStatus, Option<Event>) {
    let reason = refusal::reason(&refusal);
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
    let final_word = match refusal.mended_by {
        MendedBy::Nobody => true,
        MendedBy::Unclear => refusal.count >= MOST_UNCLEAR,
        MendedBy::Time | MendedBy::Others => false,
    };
    if !final_word {
        waits_after_refusal(&mut draft, &refusal, NOT_LAUNCHED, o.timing);
        return (draft.finish(), None);
    }
    let said = refusal.message.trim_end_matches('.');
    let (launched, reason, message) = if earlier_attempt_open(o) {
        let message = format!(
            "the launch was repeated and refused ({said}), and whether the first one arrived could not be found out. {IF_FOUND}"
        );
        let unknown = Reason::LaunchOutcomeUnknown;
        (ConditionStatus::Unknown, unknown, message)
    } else {
        let message = format!(
            "the provider refuses the session: {said}. Create a CodeSession with a new name"
        );
        (ConditionStatus::False, reason, message)
    };
    draft.set(SessionCondition::Launched, launched, reason, &message);
    draft.end(SessionPhase::Error, false, reason, &message);
    (draft.finish(), Some(Event::warning(reason, message)))
}

/// How many readings in a row have failed, with this one.
fn failures(before: Option<&BaselineRead>, failed: bool) -> i32 {
    let before = before.map_or(0, |read| read.failures);
    if failed { before.saturating_add(1) } else { 0 }
}

/// Nothing is stored: the next decision says what keeps the session waiting, or claims.
pub(super) fn baseline_read(
    o: &Observed<'_>,
    begun: Duration,
    ended: Duration,
    result: &Result<Option<String>, ProviderError>,
) -> Recorded {
    let Readiness::Ready(connected) = &o.readiness else {
        return Recorded::default();
    };
    Recorded {
        baseline_read: Some(BaselineRead {
            account: connected.account.clone(),
            begun,
            ended,
            failures: failures(o.baseline_read, result.is_err()),
            result: result.clone(),
        }),
        again: Some(Duration::ZERO),
        fault: result.is_err(),
        ..Recorded::default()
    }
}
