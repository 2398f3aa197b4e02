//! A message without a known outcome: what a look for it comes to.

use super::super::super::remote::Found;
use super::super::super::send::judge::OpenClaim;
use super::super::super::send::refusal;
use super::super::super::snapshot::{RemotePhase, Snapshot};
use super::super::super::status::{MESSAGE_BYTES, clip, whole_seconds};
use super::super::conclusion;
use super::super::launch::under_way;
use super::super::observed::{Observed, Origin, Readiness};
use super::super::pending::spec_of;
use super::super::plan::{Effect, Event, Plan, Recorded};
use super::super::progress::apply;
use super::super::view::{draft, set_state, stop_wanted, store};
use super::entry::{recorded, settle};
use super::gates::open;
use super::send::{self, arrived, close_again, continue_as, record, refuse, reopen};
use crate::api::{CodeSessionStatus, ErrorStatus, MessageSpec, Reason, SendState, SessionPhase};

/// The message of an open claim is proven not to have arrived.
pub(in crate::domain::session) fn absent(
    o: &Observed<'_>,
    name: &str,
    claim: &OpenClaim<'_>,
) -> Plan {
    let record = claim.record;
    let dropped = spec_of(o, name).is_none_or(MessageSpec::is_cancelled);
    if stop_wanted(o) || dropped {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Absent);
        close_again(&mut draft, name);
        settle(
            &mut draft,
            name,
            SessionPhase::Cancelled,
            Reason::MessageDropped,
            "stopped; it never reached the provider",
        );
        conclusion::tell(&mut draft, o);
        return Plan::store(o, draft.finish());
    }
    if let (Some(refusal), true) = (&record.refusal, record.posts > 1) {
        // The last request was refused, and now the earlier ones are known not to have arrived either.
        let (status, event) = refuse(o, name, refusal.clone());
        let plan = Plan::store(o, status).again(refusal::next_look(refusal, o.clock()));
        return match event {
            Some(event) => plan.with_event(event),
            None => plan,
        };
    }
    if claim.exhausted() {
        return give_up(o, name, "every request for it was lost");
    }
    let again = (spec_of(o, name), &o.readiness);
    if let (true, (Some(message), Readiness::Ready(connected))) = (open(o), again)
        && let Some(inputs) = &connected.inputs
    {
        if o.stopping {
            return Plan::nothing();
        }
        if !o.session.has_finalizer || o.session.origin == Origin::None {
            return Plan::act(Effect::AddFinalizer);
        }
        let posts = record.posts.saturating_add(1);
        let baseline = record.baseline.as_deref();
        return send::claim(o, message, connected, inputs, posts, baseline);
    }
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Absent);
    close_again(&mut draft, name);
    draft.message(name).phase = SessionPhase::Pending;
    let why = format!(
        "message {name} never reached the provider; it is sent again when nothing holds it back"
    );
    draft.reconciling(Reason::MessagePending, &why);
    draft.incomplete(Reason::MessagePending, &why);
    Plan::store(o, draft.finish())
}

/// Nobody will find out any more whether the message arrived.
pub(in crate::domain::session) fn give_up(o: &Observed<'_>, name: &str, why: &str) -> Plan {
    let (status, message) = lost_track(o, name, why);
    Plan::store(o, status).with_event(Event::warning(Reason::MessageOutcomeUnknown, message))
}

/// The same after a look.
pub(in crate::domain::session) fn ambiguous(o: &Observed<'_>, name: &str, why: &str) -> Recorded {
    let (status, message) = lost_track(o, name, why);
    let mut recorded = store(o, status);
    recorded
        .events
        .push(Event::warning(Reason::MessageOutcomeUnknown, message));
    recorded
}

fn lost_track(o: &Observed<'_>, name: &str, why: &str) -> (CodeSessionStatus, String) {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    let page = draft
        .status()
        .provider
        .as_ref()
        .and_then(|provider| provider.session_url.clone())
        .map_or_else(
            || "look at the session at the provider".to_owned(),
            |url| format!("look at {url}"),
        );
    let message = format!(
        "it could not be found out whether message {name} arrived: {why}. It is not sent again: {page}, and add another message if it is not there"
    );
    let phase = if stop_wanted(o) {
        SessionPhase::Cancelled
    } else {
        SessionPhase::Error
    };
    draft.end(
        phase,
        phase == SessionPhase::Cancelled,
        Reason::MessageOutcomeUnknown,
        &message,
    );
    draft.message(name).error = Some(ErrorStatus {
        reason: Reason::MessageOutcomeUnknown.as_str().to_owned(),
        message: clip(&message, MESSAGE_BYTES),
    });
    conclusion::tell_pending(&mut draft, o);
    (draft.finish(), message)
}

/// Takes over a message that was found. Stored only on the status it was decided on, as an adoption is.
pub(in crate::domain::session) fn found(
    o: &Observed<'_>,
    name: &str,
    found: &Found,
    duplicates: usize,
) -> Recorded {
    let snapshot = &found.snapshot;
    let Readiness::Ready(connected) = &o.readiness else {
        return Recorded::default();
    };
    let mut draft = draft(o);
    if recorded(o, name).is_none_or(|record| !record.state.is_open()) {
        // Found before it was sent: the record of its claim is lost.
        let account = connected.account.as_str();
        let Some(record) = record(o, name, account, SendState::Confirmed, 1) else {
            return Recorded::default();
        };
        reopen(&mut draft, name);
        draft.message(name).send = Some(record);
    }
    let claimed = draft
        .message(name)
        .send
        .as_ref()
        .map_or(o.now, |record| record.claimed_at);
    continue_as(&mut draft, &snapshot.session_id);
    let run_id = snapshot.run_id.as_ref().map(|run| run.as_str().to_owned());
    // One that has ended meanwhile is first taken over, then ended by the next look: nothing is skipped.
    arrived(
        &mut draft,
        name,
        run_id,
        whole_seconds(claimed),
        snapshot.phase,
    );
    let seen = Snapshot {
        phase: RemotePhase::Running,
        ..snapshot.clone()
    };
    apply(&mut draft, &seen);
    let phase = draft.status().phase;
    let mut recorded = under_way(o, draft, phase);
    recorded.events.push(Event::normal(
        Reason::Adopted,
        format!("message {name} was found again"),
    ));
    if duplicates > 0 {
        recorded.events.push(Event::warning(
            Reason::DuplicateLaunch,
            format!("message {name} was found {duplicates} more time(s) at the provider: look at it there, it may cost money"),
        ));
    }
    recorded
}
