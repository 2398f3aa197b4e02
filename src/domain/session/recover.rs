//! A launch without a known outcome: it may or may not have arrived. Look, adopt, and send again only when it is proven
//! absent. What the next step is comes from [`OpenClaim`]; what is said and stored of it stands here.

use std::time::Duration;

use super::super::blocker::NotReady;
use super::super::ids::{AccountFingerprint, SessionId};
use super::super::remote::{AdoptAnswer, Found, ProviderError, Recovery, SessionRef};
use super::super::send::baseline::Baseline;
use super::super::send::judge::{MOST_POSTS, Next, OpenClaim, created_from, lookup_keys};
use super::super::send::seen::{Lookups, Unclear};
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::{Draft, whole_seconds};
use super::gates;
use super::launch::{self, claim, phase_once_there, settle_stored_refusal, under_way};
use super::message;
use super::observed::{AgentView, Connected, Inputs, Observed, Origin, ProviderFacts, Readiness};
use super::plan::{Effect, Event, LookupPlan, Owner, Plan, Recorded};
use super::progress::apply;
use super::stage::OpenSend;
use super::view::{
    IF_FOUND, deletion_observed_long_enough, deletion_overdue, deletion_policy, draft, keys,
    observed_long_enough, recorded as stored_record, set_state, stop_wanted, store,
    until_deletion_bound,
};
use crate::api::{
    ConditionStatus, DeletionPolicy, Effective, OnUnknownLaunch, ProviderKind, ProviderStatus,
    Reason, SendRecord, SendState, SendTarget, SessionCondition, SessionPhase, condition,
};

pub(super) fn decide(o: &Observed<'_>, send: OpenSend<'_>) -> Plan {
    // Before everything that may wait for an answer: a deletion is bounded, whatever hangs.
    if o.session.deleting.is_some() && deletion_policy(o) == DeletionPolicy::Orphan {
        return orphan(send);
    }
    if deletion_overdue(o) {
        return only_look(o, send).unwrap_or_else(|| orphan(send));
    }
    if o.in_flight {
        // Our own request is still under way; its outcome is recorded by whoever holds it.
        return Plan::nothing().no_later_than(until_deletion_bound(o));
    }
    let Some(effective) = o
        .session
        .status
        .and_then(|status| status.effective.as_ref())
    else {
        // A claim always comes with its settings; without them there is nothing to look with.
        return give_up(o, "the record of the launch is incomplete");
    };
    let claim = open_claim(o, send);
    let plan = match (claim.next(), send) {
        (Next::OutOfPatience, OpenSend::Launch(_)) => {
            return give_up(o, "it could not be found out whether the launch arrived");
        }
        (Next::OutOfPatience | Next::Unknowable, OpenSend::Message { name, .. }) => {
            return message::give_up(o, name, "the provider does not show it");
        }
        (Next::NotConnected, _) => not_ready(o),
        (Next::Absent, OpenSend::Launch(_)) => absent(o, &claim, effective),
        (Next::Absent, OpenSend::Message { name, .. }) => message::absent(o, name, &claim),
        (Next::Unknowable, OpenSend::Launch(_)) => unknowable(o, &claim, effective),
        (Next::Wait(wait), _) => following(o, &claim, send)
            .again(wait)
            .no_later_than(claim.until_fence()),
        (Next::LookUp, _) if o.stopping => Plan::nothing(),
        (Next::LookUp, OpenSend::Launch(open)) => Plan::act(lookup(o, open, effective)),
        (Next::LookUp, OpenSend::Message { name, record, .. }) => {
            match message::lookup(o, name, Some(record)) {
                Some(lookup) => Plan::act(lookup),
                // It names no session to look at.
                None => {
                    return message::give_up(o, name, "the record of its session is incomplete");
                }
            }
        }
    };
    plan.no_later_than(until_deletion_bound(o))
}

/// The one look of a process that finds the deletion past its bound when it has hardly seen it. What it finds is taken over,
/// and then stopped.
fn only_look(o: &Observed<'_>, send: OpenSend<'_>) -> Option<Plan> {
    let looked = o.lookups.last.is_some();
    if looked || o.in_flight || o.stopping || deletion_observed_long_enough(o) {
        return None;
    }
    let effective = o.session.status?.effective.as_ref()?;
    match (open_claim(o, send).next(), &o.readiness) {
        (Next::NotConnected, Readiness::Unverified) => Some(Plan::act(Effect::VerifyCredentials)),
        (Next::LookUp, _) => match send {
            OpenSend::Launch(open) => Some(Plan::act(lookup(o, open, effective))),
            OpenSend::Message { name, record, .. } => {
                message::lookup(o, name, Some(record)).map(Plan::act)
            }
        },
        (
            Next::NotConnected
            | Next::OutOfPatience
            | Next::Absent
            | Next::Unknowable
            | Next::Wait(_),
            _,
        ) => None,
    }
}

/// The open claim, with what this process knows of it.
fn open_claim<'a>(o: &'a Observed<'a>, send: OpenSend<'a>) -> OpenClaim<'a> {
    let connected = o.provider.as_ref().and(o.readiness.connected());
    let account = connected.map(|connected| &connected.account);
    OpenClaim {
        record: send.record(),
        provable: match send {
            OpenSend::Launch(record) => {
                launch_recovery(o, record).is_some_and(Recovery::proves_absence)
            }
            // It is always found, by its marker or by what is new.
            OpenSend::Message { .. } => true,
        },
        first_seen: o.claim_first_seen,
        lookups: o.lookups,
        account,
        patience: if stop_wanted(o) {
            o.timing.deletion_bound
        } else {
            o.timing.unknown_patience
        },
        had_its_chance: observed_long_enough(o),
        clock: o.clock(),
    }
}

/// How what was sent under this claim is found, if it is known at which provider.
fn launch_recovery(o: &Observed<'_>, open: &SendRecord) -> Option<Recovery> {
    let effective = o.session.status?.effective.as_ref()?;
    let provider = o.provider.as_ref()?;
    Some(provider.recovery_of_claim(Some(open), effective))
}

fn lookup(o: &Observed<'_>, open: &SendRecord, effective: &Effective) -> Effect {
    Effect::Lookup(Box::new(LookupPlan {
        message: None,
        keys: lookup_keys(keys(&o.session, open.attempt), Some(open)),
        repository: effective.repository.clone(),
        // Without its provider it is not looked for.
        recovery: launch_recovery(o, open).unwrap_or(Recovery::None),
        template_id: open.target.template_id.clone(),
        baseline: open.baseline.clone(),
        created_from: created_from(open),
        created_until: open.claimed_at + o.timing.fence_after(open.posts) + o.timing.clock_margin,
        prove_absence: open_claim(o, OpenSend::Launch(open))
            .fence()
            .passed(o.clock())
            .is_some(),
        evidence_seen: o.agent.evidence_seen(),
        resume: o.own_lookups().and_then(|lookups| lookups.resume.clone()),
    }))
}

/// Nothing was launched, for certain.
fn absent(o: &Observed<'_>, claim: &OpenClaim<'_>, effective: &Effective) -> Plan {
    let open = claim.record;
    if stop_wanted(o) {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Absent);
        let message = "cancelled; the launch never reached the provider";
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::False,
            Reason::CancelledBeforeLaunch,
            message,
        );
        draft.end(
            SessionPhase::Cancelled,
            true,
            Reason::CancelledBeforeLaunch,
            message,
        );
        return Plan::store(o, draft.finish());
    }
    if let (Some(refusal), true) = (&open.refusal, open.posts > 1) {
        // The last request was refused, and now the earlier ones are known not to have arrived either.
        return settle_stored_refusal(o, refusal);
    }
    if effective.on_unknown_launch == OnUnknownLaunch::Fail {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Absent);
        let message = "the launch did not reach the provider and is not repeated (onUnknownLaunch: Fail): create a CodeSession with a new name to run it";
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::False,
            Reason::LaunchOutcomeUnknown,
            message,
        );
        draft.end(
            SessionPhase::Error,
            false,
            Reason::LaunchOutcomeUnknown,
            message,
        );
        return Plan::store(o, draft.finish())
            .with_event(Event::warning(Reason::LaunchOutcomeUnknown, message));
    }
    if claim.exhausted() {
        return still_looking(
            o,
            claim,
            effective,
            &format!("{MOST_POSTS} requests were sent and none was ever seen to arrive"),
        );
    }
    if !gates::open(o) {
        return back_to_waiting(o);
    }
    match ready_to_send(o) {
        Some(ready) => send_again(o, ready, effective, open.attempt, open.posts + 1),
        None => still_unknown(
            o,
            "the launch did not arrive and cannot be composed again: its CodeAgent, or a source of its prompt, images or environment is missing",
        ),
    }
}

/// What a further request needs, if nothing of what holds back a first one holds it back.
struct Ready<'a> {
    provider: &'a ProviderFacts,
    connected: &'a Connected,
    inputs: &'a Inputs,
}

fn ready_to_send<'a>(o: &'a Observed<'_>) -> Option<Ready<'a>> {
    let (Some(provider), Readiness::Ready(connected)) = (&o.provider, &o.readiness) else {
        return None;
    };
    // They are missing if the CodeAgent or the source of the prompt is.
    let inputs = connected.inputs.as_ref()?;
    gates::open(o).then_some(Ready {
        provider,
        connected,
        inputs,
    })
}

/// Proven absent, and something holds a further request back: the session waits as it did before its first one, and says
/// for what.
fn back_to_waiting(o: &Observed<'_>) -> Plan {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Absent);
    draft.status().phase = SessionPhase::Pending;
    draft.first_message().phase = SessionPhase::Pending;
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::Pending,
        "not launched: the request never reached the provider",
    );
    draft.reconciling(
        Reason::Pending,
        "the launch never reached the provider; it is sent again when nothing holds it back",
    );
    Plan::store(o, draft.finish())
}

/// Sends again, under a new claim.
fn send_again(
    o: &Observed<'_>,
    ready: Ready<'_>,
    effective: &Effective,
    attempt: i32,
    posts: i32,
) -> Plan {
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin == Origin::None {
        return Plan::act(Effect::AddFinalizer);
    }
    let Ready {
        provider,
        connected,
        inputs,
    } = ready;
    claim(o, provider, connected, inputs, effective, attempt, posts)
}

/// A provider at which nothing can be proven absent: only whoever said so pays twice.
fn unknowable(o: &Observed<'_>, claim: &OpenClaim<'_>, effective: &Effective) -> Plan {
    let open = claim.record;
    let retry = effective.on_unknown_launch == OnUnknownLaunch::Retry
        && open.attempt == 1
        && !stop_wanted(o);
    if !retry {
        let why = match o.session.spec.issue {
            Some(_) => {
                "it could not be found out whether the launch arrived: its issue does not show exactly one new session of nobody else"
            }
            None => {
                "it could not be found out whether the launch arrived: nothing that the provider shows tells it from other sessions"
            }
        };
        return give_up(o, why);
    }
    let Some(ready) = ready_to_send(o) else {
        return still_unknown(
            o,
            "it could not be found out whether the launch arrived, and what holds back a first request (a suspended CodeAgent or session, or what the CodeAgent objects to) holds back another one (onUnknownLaunch: Retry)",
        );
    };
    let recovery = ready.provider.recovery_of(effective);
    match launch::baseline(o, recovery, ready.connected) {
        // The first one may be running, and nothing will ever follow it.
        Baseline::Done(_) => {
            send_again(o, ready, effective, open.attempt + 1, 1).with_event(Event::warning(
                Reason::LaunchOutcomeUnknown,
                "it could not be found out whether the launch arrived; it is sent once more (onUnknownLaunch: Retry): look at the provider, there may be two sessions",
            ))
        }
        Baseline::Due if o.stopping => Plan::nothing(),
        Baseline::Due => launch::read_baseline(o),
        Baseline::Failed(_, wait) => following(o, claim, OpenSend::Launch(open)).again(wait),
    }
}

/// The state while looking goes on: written once, when somebody would want to know.
fn following(o: &Observed<'_>, claim: &OpenClaim<'_>, send: OpenSend<'_>) -> Plan {
    let (reason, looking) = match send {
        OpenSend::Launch(_) => (
            Reason::RecoveringLaunch,
            "an interrupted launch is being looked for at the provider".to_owned(),
        ),
        OpenSend::Message { name, .. } => (
            Reason::RecoveringMessage,
            format!(
                "message {name}, whose sending was interrupted, is being looked for at the provider"
            ),
        ),
    };
    match (claim.same_account(), send) {
        (true, _) => {}
        (false, OpenSend::Launch(_)) => {
            return still_unknown(
                o,
                "the credentials now belong to another account than the one the launch was sent to, where it cannot be found: restore them",
            );
        }
        (false, OpenSend::Message { name, .. }) => {
            let mut draft = draft(o);
            set_state(&mut draft, SendState::Unknown);
            draft.stalled(
                Reason::CredentialsChanged,
                format!("the credentials now belong to another account than the one that message {name} was sent to, where it cannot be found: restore them"),
            );
            return Plan::store(o, draft.finish()).again(o.timing.fault_wait_max);
        }
    }
    let said = o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Reconciling.as_str()).is_some_and(
            |reconciling| {
                reconciling.status == ConditionStatus::True && reconciling.reason == reason.as_str()
            },
        )
    });
    if claim.record.state == SendState::Claimed || !said {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Unknown);
        draft.reconciling(reason, looking);
        return Plan::store(o, draft.finish());
    }
    Plan::store(o, draft(o).finish())
}

/// Proven absent, and yet nothing may be sent: says so once and goes on looking.
fn still_looking(
    o: &Observed<'_>,
    claim: &OpenClaim<'_>,
    effective: &Effective,
    why: &str,
) -> Plan {
    let plan = still_unknown(o, why);
    match claim.until_next_look() {
        _ if plan.before.is_some() || o.stopping => plan,
        Some(wait) => plan.again(wait),
        // Somebody has found it: that is looked at instead of searching on.
        None => Plan::act(match o.session.adopt.filter(|_| !stop_wanted(o)) {
            Some(id) => Effect::Examine(SessionRef {
                session_id: SessionId::new(id),
                run_id: None,
            }),
            None => lookup(o, claim.record, effective),
        }),
    }
}

/// It is still being looked for, but somebody should know.
fn still_unknown(o: &Observed<'_>, why: &str) -> Plan {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    draft.stalled(
        Reason::LaunchOutcomeUnknown,
        format!("{why}; nothing is sent again, the operator goes on looking. If you find the session at the provider, annotate this object with codeagents.dev/adopt: <its id>"),
    );
    Plan::store(o, draft.finish()).again(o.timing.fault_wait_max)
}

/// What is needed to look is missing.
fn not_ready(o: &Observed<'_>) -> Plan {
    match &o.readiness {
        Readiness::Unverified if !o.stopping => Plan::act(Effect::VerifyCredentials),
        Readiness::NotReady(NotReady {
            blocker,
            transient,
            again,
        }) => {
            let mut draft = draft(o);
            set_state(&mut draft, SendState::Unknown);
            if *transient {
                draft.reconciling(blocker.reason, &blocker.message);
            } else {
                draft.stalled(blocker.reason, &blocker.message);
            }
            Plan::store(o, draft.finish()).again(*again)
        }
        Readiness::NotGathered | Readiness::Ready(_) | Readiness::Unverified => {
            Plan::wait(o.timing.fault_wait_max)
        }
    }
}

/// Nobody will find out any more.
pub(super) fn give_up(o: &Observed<'_>, why: &str) -> Plan {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    let message = format!("{why}. {IF_FOUND}");
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::LaunchOutcomeUnknown,
        &message,
    );
    if stop_wanted(o) {
        draft.end(
            SessionPhase::Cancelled,
            true,
            Reason::LaunchOutcomeUnknown,
            &message,
        );
    } else {
        draft.end(
            SessionPhase::Error,
            false,
            Reason::LaunchOutcomeUnknown,
            &message,
        );
    }
    Plan::store(o, draft.finish()).with_event(Event::warning(Reason::LaunchOutcomeUnknown, message))
}

/// The object goes although the outcome is open.
fn orphan(send: OpenSend<'_>) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    plan.events.push(match send {
        OpenSend::Launch(_) => Event::warning(
            Reason::LaunchOutcomeUnknown,
            "deleted while it was unknown whether the launch had arrived: a session may be running at the provider",
        ),
        OpenSend::Message { name, .. } => Event::warning(
            Reason::MessageOutcomeUnknown,
            format!("deleted while it was unknown whether message {name} had arrived: it may be running at the provider"),
        ),
    });
    plan
}

/// What is stored and remembered after a look for a launch.
pub(super) fn looked_up(
    o: &Observed<'_>,
    plan: &LookupPlan,
    begun: Duration,
    answer: &Result<AdoptAnswer, ProviderError>,
) -> Recorded {
    let so_far = o.own_lookups();
    // A round is as old as its first page; one that begins anew is another round.
    let begun = so_far
        .filter(|lookups| lookups.goes_on())
        .and_then(|lookups| lookups.begun)
        .unwrap_or(begun);
    // Where looks compare, nobody promises that what is there shows: that it does not is no proof.
    let provable = plan.recovery.proves_absence();
    let mut lookups = one_more(o, so_far);
    let told_nothing = so_far
        .map_or(0, |lookups| lookups.fruitless_in_a_row)
        .saturating_add(1);
    match answer {
        Ok(AdoptAnswer::Found(found)) => match found.split_first() {
            Some((first, others)) => match &plan.message {
                Some(of) => message::found(o, &of.name, first, others.len()),
                None => adopt(o, first, others.len(), None),
            },
            None => {
                lookups.fruitless_in_a_row = told_nothing;
                Recorded {
                    lookups: Some(lookups),
                    fault: true,
                    ..Recorded::default()
                }
            }
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
            lookups.fruitless_in_a_row = told_nothing;
            Recorded {
                lookups: Some(lookups),
                again: Some(Duration::ZERO),
                fault: true,
                ..Recorded::default()
            }
        }
        Ok(AdoptAnswer::Inconclusive { why, resume }) => {
            lookups.resume.clone_from(resume);
            let rounds = so_far.map_or(0, |lookups| lookups.inconclusive);
            undecided(lookups, (begun, rounds), why)
        }
        Ok(AdoptAnswer::Foreign { why } | AdoptAnswer::Ambiguous { why }) => match &plan.message {
            Some(of) => message::ambiguous(o, &of.name, why),
            None => id_taken(o, why),
        },
        Err(error) => {
            lookups.fruitless_in_a_row = told_nothing;
            lookups.unclear = Some(Unclear::Failed(error.clone()));
            Recorded {
                lookups: Some(lookups),
                // The next decision says for what, and for how long, the next look waits.
                again: Some(Duration::ZERO),
                fault: true,
                ..Recorded::default()
            }
        }
    }
}

/// A look that tells nothing yet: it goes on where it stands, or begins anew after a while. `so_far` says when this round was begun, and
/// how many came to their end before it without a verdict.
fn undecided(mut lookups: Lookups, so_far: (Duration, i32), why: &str) -> Recorded {
    let (begun, rounds) = so_far;
    if lookups.goes_on() {
        lookups.begun = Some(begun);
        lookups.inconclusive = rounds;
    } else {
        lookups.inconclusive = rounds.saturating_add(1);
        lookups.unclear = Some(Unclear::Undecided(why.to_owned()));
    }
    Recorded {
        lookups: Some(lookups),
        // The next decision goes on with it, or says for what, and for how long, the next round waits.
        again: Some(Duration::ZERO),
        ..Recorded::default()
    }
}

/// What is remembered of the lookups after one more that has shown nothing yet.
fn one_more(o: &Observed<'_>, so_far: Option<&Lookups>) -> Lookups {
    let account = o
        .readiness
        .connected()
        .map(|connected| connected.account.clone());
    Lookups {
        account,
        absent: so_far
            .map(|lookups| lookups.absent.clone())
            .unwrap_or_default(),
        fruitless: so_far.and_then(|lookups| lookups.fruitless),
        last: Some(o.uptime),
        ..Lookups::default()
    }
}

/// The id that we chose belongs to a session that is not ours: nothing was launched, and nothing with this id can be.
fn id_taken(o: &Observed<'_>, why: &str) -> Recorded {
    let reason = Reason::AgentIdConflict;
    let message = format!("the id of this session is taken at the provider by another one: {why}");
    let mut draft = draft(o);
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::False,
        reason,
        &message,
    );
    draft.end(SessionPhase::Error, false, reason, &message);
    let mut recorded = store(o, draft.finish());
    recorded.events.push(Event::warning(reason, message));
    recorded
}

/// Takes over a session that was found.
///
/// Stored only on the status it was decided on: an adoption can be repeated, and one that was decided on a stale status
/// would overwrite what others recorded under the same claim since, such as the end.
pub(super) fn adopt(
    o: &Observed<'_>,
    found: &Found,
    duplicates: usize,
    account: Option<&str>,
) -> Recorded {
    let snapshot = &found.snapshot;
    let mut draft = draft(o);
    let now = draft.now();
    let phase = phase_once_there(snapshot.phase);
    let Some(kind) = o.provider.as_ref().map(|facts| facts.kind) else {
        return Recorded::default();
    };
    // The provider's clock need not be ours, and a deadline counts from here: what was launched by a claim began after it.
    let claimed = stored_record(o).map(SendRecord::first_claim);
    let created = snapshot.created_at.map(|created| {
        let created = whole_seconds(created).min(now);
        claimed.map_or(created, |claimed| created.max(whole_seconds(claimed)))
    });
    prepare_for_adoption(o, &mut draft, kind, account);
    let status = draft.status();
    status.phase = phase;
    status.error = None;
    status.completed_at = None;
    status.started_at = status.started_at.or(created).or(Some(now));
    let started = status.started_at;
    if let Some(provider) = status.provider.as_mut() {
        provider.session_id = Some(snapshot.session_id.as_str().to_owned());
    }
    if let Some(record) = status.launch.as_mut() {
        record.state = SendState::Confirmed;
        record.refusal = None;
        record.attempt = found.attempt.unwrap_or(record.attempt);
    }
    let seen = Snapshot {
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
    recorded.events.push(Event::normal(
        Reason::Adopted,
        format!("found again as {}", snapshot.session_id),
    ));
    if let Some(doubt) = &found.doubt {
        recorded.events.push(Event::warning(
            Reason::Adopted,
            format!(
                "{} is taken over although {doubt}: look at it at the provider",
                snapshot.session_id
            ),
        ));
    }
    if duplicates > 0 {
        recorded.events.push(Event::warning(
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
    let connected = o.readiness.connected();
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
        claim_id: o.fresh_claim_id.as_str().to_owned(),
        posts: 1,
        state: SendState::Confirmed,
        claimed_at: o.now,
        first_claimed_at: None,
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
                .map(|effective| effective.secret_path())
                .unwrap_or_default(),
            template_id: connected
                .and_then(|connected| connected.inputs.as_ref())
                .and_then(|inputs| inputs.template_id.clone()),
            issue: o.session.spec.issue.clone(),
        },
        recovery: None,
        baseline: None,
        request_digest: String::new(),
        refusal: None,
    });
}

/// A look at the session that the user handed over.
pub(super) fn examined(
    o: &Observed<'_>,
    account: &AccountFingerprint,
    owner: Option<&Owner>,
    result: &Result<Snapshot, ProviderError>,
) -> Recorded {
    let refused = |why: String, fault| {
        let mut draft = draft(o);
        draft.stalled(Reason::LaunchOutcomeUnknown, why);
        Recorded {
            again: Some(o.timing.fault_wait_max),
            fault,
            ..store(o, draft.finish())
        }
    };
    let named = "the session named by the annotation codeagents.dev/adopt";
    match (owner, result) {
        // Two objects on one session: the end of one would stop the other.
        (Some(Owner::Named(name)), _) => refused(
            format!(
                "{named} belongs to CodeSession {name}, which follows it: name another session, or remove the annotation"
            ),
            false,
        ),
        (Some(Owner::Elsewhere), _) => refused(
            format!(
                "{named} belongs to a CodeSession of another namespace, which follows it: name another session, or remove the annotation"
            ),
            false,
        ),
        (None, Ok(snapshot)) => {
            let found = Found {
                snapshot: snapshot.clone(),
                attempt: None,
                doubt: None,
            };
            adopt(o, &found, 0, Some(account.as_str()))
        }
        (None, Err(error)) => refused(format!("{named} cannot be read: {error}"), true),
    }
}
