//! Sending a message: the look and the baseline before it, the claim under which it is sent, and what its answer comes to.

use std::time::Duration;

use super::super::super::ids::{LaunchKey, SessionId};
use super::super::super::remote::{MessageRecovery, Messaged, ProviderError};
use super::super::super::send::answer::MessageOutcome;
use super::super::super::send::baseline::{self, Baseline};
use super::super::super::send::refusal::{self, MOST_UNCLEAR, Own};
use super::super::super::send::seen::Unclear;
use super::super::super::snapshot::RemotePhase;
use super::super::super::status::{Draft, EARLIER_RESULT_BYTES, FIRST_MESSAGE, clip};
use super::super::conclusion;
use super::super::gates::Hold;
use super::super::launch::{
    may_have_arrived, phase_once_there, refused_with, under_way, waits_after_refusal,
    was_rate_limited,
};
use super::super::observed::{Connected, Inputs, Observed, Origin, Readiness};
use super::super::pending::spec_of;
use super::super::plan::{Effect, Event, Guard, MessagePlan, Plan, Recorded, StatusWrite, Unsent};
use super::super::stage::Stage;
use super::super::view::{draft, session_ref, set_state, store};
use super::entry::{lookup, recorded, settle, waiting};
use crate::api::{
    CodeSessionStatus, MendedBy, MessageSpec, MessageStatus, ModelSpec, Reason, RefusalRecord,
    SendRecord, SendState, SessionPhase,
};

/// No gate holds the message: finalizer, look, baseline, claim, in this order, one thing a pass.
pub(super) fn send(o: &Observed<'_>, message: &MessageSpec) -> Plan {
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin != Origin::Own {
        return Plan::act(Effect::AddFinalizer);
    }
    let (Some(provider), Readiness::Ready(connected)) = (&o.provider, &o.readiness) else {
        // The gates have seen to it that all of it is there.
        return Plan::nothing();
    };
    let (Some(inputs), Some(recovery)) = (&connected.inputs, provider.message_recovery) else {
        return Plan::wait(o.timing.fault_wait_min);
    };
    let before = recorded(o, &message.name);
    if look_first(o, recovery, before) {
        if let Some((unclear, left)) = o.wait_before_sending() {
            return unclear_before_sending(o, &message.name, unclear).again(left);
        }
        return match lookup(o, &message.name, before) {
            Some(effect) => Plan::act(effect),
            None => Plan::nothing(),
        };
    }
    let posts = match before {
        // What was proven absent may still arrive late: it stays one of the requests for this message.
        Some(record) if record.state == SendState::Absent => record.posts.saturating_add(1),
        Some(_) | None => 1,
    };
    let compared = match before.filter(|_| posts > 1) {
        Some(record) => Baseline::Done(record.baseline.as_deref()),
        None => baseline::baseline(
            recovery == MessageRecovery::Baseline,
            o.baseline_read,
            &connected.account,
            Some(Duration::ZERO),
            o.clock(),
        ),
    };
    match compared {
        Baseline::Done(baseline) => claim(o, message, connected, inputs, posts, baseline),
        Baseline::Due => match session_ref(o.session.status) {
            Some(session) => Plan::act(Effect::ReadBaseline {
                of: Unsent::Message(session),
            }),
            None => Plan::nothing(),
        },
        Baseline::Failed(error, wait) => {
            let (reason, _) = refusal::verdict(&Own::of_message(false), error);
            if reason == Reason::SessionBusy {
                let why = format!("message {} waits: {error}", message.name);
                return held(o, reason, &why).again(wait);
            }
            unanswered(o, error, &format!("message {} waits", message.name)).again(wait)
        }
    }
}

/// It goes on by itself.
fn held(o: &Observed<'_>, reason: Reason, why: &str) -> Plan {
    let hold = Hold::new(reason, why);
    let mut draft = draft(o);
    draft.reconciling(hold.reason, &hold.message);
    waiting(o, draft, &hold)
}

/// What is asked before the message is sent got no answer.
fn unanswered(o: &Observed<'_>, error: &ProviderError, waits: &str) -> Plan {
    // All sessions of the key wait for the end of an outage, and say so in the same words, whichever of them met it.
    let why = if error.is_outage() {
        error.why_waiting()
    } else {
        format!("{waits}: {error}")
    };
    held(o, error.outage(), &why)
}

/// The look before the first request could not tell whether there was one already: nothing is sent until one can.
fn unclear_before_sending(o: &Observed<'_>, name: &str, unclear: &Unclear) -> Plan {
    let asked = format!(
        "message {name} waits: before it is sent the provider is asked whether it is there already"
    );
    match unclear {
        Unclear::Failed(error) => unanswered(o, error, &format!("{asked}, and it does not tell")),
        // A first round may pass over what only the second one reads.
        Unclear::Undecided(_) if o.lookups.inconclusive <= 1 => Plan::nothing(),
        // The answer may stay like this for ever.
        Unclear::Undecided(why) => {
            let hold = Hold::new(
                Reason::MessagePending,
                format!(
                    "{asked}, and its answer leaves that open: {why}. Look at the session's page; if the message is not there, go on in a CodeSession with a new name"
                ),
            );
            let mut draft = draft(o);
            let left = draft.blocked(hold.reason, &hold.message, o.timing.stalled_after);
            waiting(o, draft, &hold).due(left)
        }
    }
}

/// Whether the provider is looked at before a request: a rate limit may have hidden an acceptance, what was proven absent long
/// ago may have arrived since, and the record of an earlier one may be lost, as with a store that was restored from a backup.
fn look_first(o: &Observed<'_>, recovery: MessageRecovery, before: Option<&SendRecord>) -> bool {
    let doubtful = match (before, recovery) {
        (Some(record), _) => record.state == SendState::Absent || was_rate_limited(record),
        (None, MessageRecovery::Marker) => o.session.older_than_process,
        // What runs at the provider beyond what is recorded may be a person's.
        (None, MessageRecovery::Baseline) => false,
    };
    let looked = o
        .own_lookups()
        .is_some_and(|looks| !looks.absent.is_empty());
    doubtful && !looked
}

/// The record of a message that is claimed now, or found without a claim.
pub(super) fn record(
    o: &Observed<'_>,
    name: &str,
    account: &str,
    state: SendState,
    posts: i32,
) -> Option<SendRecord> {
    let launch = Stage::of(o.session.status).launched()?;
    let before = recorded(o, name);
    let mut target = launch.target.clone();
    target.account = account.to_owned();
    target.template_id = None;
    target.issue = None;
    Some(SendRecord {
        key: LaunchKey::of_message(&launch.key, name)
            .as_uuid()
            .to_owned(),
        attempt: 1,
        claim_id: o.fresh_claim_id.as_str().to_owned(),
        posts,
        state,
        claimed_at: o.now,
        first_claimed_at: before
            .filter(|record| may_have_arrived(record, posts))
            .map(SendRecord::first_claim),
        not_after: o.now + o.timing.send_window,
        target,
        recovery: None,
        baseline: None,
        request_digest: String::new(),
        refusal: before
            .filter(|_| posts == 1)
            .and_then(|record| record.refusal.clone()),
    })
}

/// Claims a request and sends it. The session is open again from here on.
pub(super) fn claim(
    o: &Observed<'_>,
    message: &MessageSpec,
    connected: &Connected,
    inputs: &Inputs,
    posts: i32,
    baseline: Option<&str>,
) -> Plan {
    let account = connected.account.as_str();
    let claimed = record(o, &message.name, account, SendState::Claimed, posts);
    let (Some(record), Some(session)) = (claimed, session_ref(o.session.status)) else {
        return Plan::nothing();
    };
    let not_after = record.not_after;
    let mut draft = draft(o);
    reopen(&mut draft, &message.name);
    let entry = draft.message(&message.name);
    entry.phase = SessionPhase::Creating;
    entry.completed_at = None;
    entry.error = None;
    entry.send = Some(SendRecord {
        baseline: baseline.map(str::to_owned),
        request_digest: inputs.digest.clone(),
        ..record
    });
    draft.status().phase = SessionPhase::Creating;
    draft.reconciling(
        Reason::SendingMessage,
        format!("sending message {}", message.name),
    );
    let model = message.model.as_ref().map(|model| ModelSpec {
        id: model.id.clone(),
        params: model.params.clone(),
    });
    Plan {
        before: Some(StatusWrite {
            status: Box::new(draft.finish()),
            guard: Guard::Unchanged,
        }),
        effect: Some(Effect::Message(Box::new(MessagePlan {
            name: message.name.clone(),
            session,
            claim_id: o.fresh_claim_id.clone(),
            not_after,
            model,
        }))),
        ..Plan::default()
    }
}

/// The session is not over any more: what was said of its end goes to the message that had it.
pub(super) fn reopen(draft: &mut Draft, name: &str) {
    let error = draft.status().error.take();
    let ended = draft.newest_message();
    if ended.name != name && ended.error.is_none() {
        ended.error = error;
    }
    let status = draft.status();
    status.completed_at = None;
    status.queue = None;
    // It stopped the message before this one.
    status.cancel = status
        .cancel
        .take()
        .filter(|cancel| cancel.reason.ends_session());
    for earlier in status.messages.iter_mut().filter(|it| it.name != name) {
        earlier.result = earlier
            .result
            .take()
            .map(|result| clip(&result, EARLIER_RESULT_BYTES));
    }
}

/// The claim of the message of this name came to nothing: the session stands as it did before.
pub(super) fn close_again(draft: &mut Draft, name: &str) {
    let sent = |entry: &&MessageStatus| entry.name == FIRST_MESSAGE || entry.may_be_there();
    let status = draft.status();
    let before = status
        .messages
        .iter()
        .take_while(|entry| entry.name != name)
        .filter(sent)
        .last()
        .map(|entry| (entry.phase, entry.completed_at, entry.error.clone()));
    if let Some((phase, completed_at, error)) = before {
        status.phase = phase;
        status.completed_at = completed_at;
        status.error = error.filter(|_| phase == SessionPhase::Error);
    }
}

/// What is stored once the answer to a message is there.
pub(in crate::domain::session) fn sent(
    o: &Observed<'_>,
    plan: &MessagePlan,
    outcome: &MessageOutcome,
) -> Recorded {
    let claimed = o.session.status.and_then(|status| {
        let newest = status.messages.last()?;
        let record = newest.send.as_ref()?;
        (record.claim_id == plan.claim_id.as_str()).then_some((newest, record))
    });
    // Somebody else has claimed since.
    let Some((entry, record)) = claimed else {
        return Recorded::default();
    };
    let mut recorded = match outcome {
        MessageOutcome::Accepted(messaged) if record.state.arrived() => {
            return duplicate(o, entry, messaged);
        }
        MessageOutcome::Accepted(messaged) => accepted(o, plan, messaged),
        // It was judged without this answer, which is no news then.
        MessageOutcome::Rejected(_) | MessageOutcome::Unknown(_) if !record.state.is_open() => {
            return Recorded::default();
        }
        MessageOutcome::Rejected(error) => rejected(o, &plan.name, record, error),
        MessageOutcome::Unknown(error) => {
            let mut draft = draft(o);
            set_state(&mut draft, SendState::Unknown);
            draft.reconciling(
                Reason::RecoveringMessage,
                format!(
                    "it is not known whether message {} arrived ({error}); it is being looked for at the provider",
                    plan.name
                ),
            );
            Recorded {
                again: Some(o.timing.fault_wait_min),
                ..store(o, draft.finish())
            }
        }
    };
    if let Some(write) = recorded.write.as_mut() {
        write.guard = Guard::Claim(plan.claim_id.clone());
    }
    recorded
}

/// The message is recorded as arrived already: another run of it is the extra.
fn duplicate(o: &Observed<'_>, entry: &MessageStatus, messaged: &Messaged) -> Recorded {
    let recorded = session_ref(o.session.status);
    let same = match &messaged.run_id {
        Some(run) => entry.run_id.as_deref() == Some(run.as_str()),
        None => recorded.is_some_and(|recorded| recorded.session_id == messaged.session_id),
    };
    if same {
        return Recorded::default();
    }
    Recorded {
        events: vec![Event::warning(
            Reason::DuplicateLaunch,
            format!(
                "message {} was also accepted as {}: look at it at the provider, it may cost money",
                entry.name,
                messaged.id()
            ),
        )],
        ..Recorded::default()
    }
}

fn accepted(o: &Observed<'_>, plan: &MessagePlan, messaged: &Messaged) -> Recorded {
    let mut draft = draft(o);
    let now = draft.now();
    continue_as(&mut draft, &messaged.session_id);
    let run_id = messaged.run_id.as_ref().map(|run| run.as_str().to_owned());
    arrived(&mut draft, &plan.name, run_id, now, messaged.phase);
    let phase = draft.status().phase;
    let mut recorded = under_way(o, draft, phase);
    recorded.events.push(Event::normal(
        Reason::Accepted,
        format!("message {} was sent: {}", plan.name, messaged.id()),
    ));
    recorded
}

/// The provider has the message.
pub(super) fn arrived(
    draft: &mut Draft,
    name: &str,
    run_id: Option<String>,
    started_at: jiff::Timestamp,
    remote: RemotePhase,
) {
    let phase = phase_once_there(remote);
    let entry = draft.message(name);
    entry.run_id = run_id;
    entry.phase = phase;
    entry.started_at = Some(started_at);
    entry.completed_at = None;
    entry.duration_seconds = None;
    entry.error = None;
    if let Some(record) = entry.send.as_mut() {
        record.state = SendState::Confirmed;
        record.refusal = None;
    }
    let status = draft.status();
    status.phase = phase;
    if let Some(provider) = status.provider.as_mut() {
        // It is of the message before.
        provider.raw_status = None;
    }
    // Others may have given up on it.
    status.error = None;
    status.completed_at = None;
}

/// The session goes on under this id: some providers answer a message to a stopped session with another one.
pub(super) fn continue_as(draft: &mut Draft, session: &SessionId) {
    let Some(provider) = draft.status().provider.as_mut() else {
        return;
    };
    let before = provider.session_id.replace(session.as_str().to_owned());
    if let Some(before) = before.filter(|before| before != session.as_str()) {
        provider.chain.push(before);
        // It is the page of the session before.
        provider.session_url = None;
    }
}

/// A refusal settles a message only if it answers the only request there was for it (rule 8).
fn rejected(o: &Observed<'_>, name: &str, record: &SendRecord, error: &ProviderError) -> Recorded {
    let message = spec_of(o, name);
    let own = Own::of_message(message.is_some_and(|message| message.model.is_some()));
    let refusal = refused_with(o, Some(record), own, error);
    if record.posts == 1 {
        let (status, event) = refuse(o, name, refusal);
        return Recorded {
            again: Some(Duration::ZERO),
            events: event.into_iter().collect(),
            ..store(o, status)
        };
    }
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    if let Some(record) = draft.newest_send() {
        record.refusal = Some(refusal);
    }
    draft.reconciling(
        Reason::RecoveringMessage,
        format!("message {name} was refused ({error}), but an earlier request may have arrived; it is being looked for at the provider"),
    );
    Recorded {
        again: Some(o.timing.fault_wait_min),
        ..store(o, draft.finish())
    }
}

/// The message was refused and nothing of it is under way: it waits, or is not sent.
pub(super) fn refuse(
    o: &Observed<'_>,
    name: &str,
    refusal: RefusalRecord,
) -> (CodeSessionStatus, Option<Event>) {
    let reason = refusal::reason(&refusal);
    let said = refusal.message.trim_end_matches('.').to_owned();
    let final_word = match refusal.mended_by {
        MendedBy::Nobody => true,
        MendedBy::Unclear => refusal.count >= MOST_UNCLEAR,
        MendedBy::Time | MendedBy::Others => false,
    };
    let mut draft = draft(o);
    close_again(&mut draft, name);
    let entry = draft.message(name);
    entry.phase = SessionPhase::Pending;
    if let Some(record) = entry.send.as_mut() {
        record.state = SendState::Rejected;
        record.refusal = Some(refusal.clone());
    }
    if !final_word {
        let what = format!("message {name} is not sent");
        waits_after_refusal(&mut draft, &refusal, &what, o.timing);
        draft.incomplete(reason, &said);
        return (draft.finish(), None);
    }
    let why = format!("the provider refuses it: {said}");
    settle(&mut draft, name, SessionPhase::Error, reason, &why);
    conclusion::tell(&mut draft, o);
    let event = Event::warning(reason, format!("message {name} is not sent: {why}"));
    (draft.finish(), Some(event))
}
