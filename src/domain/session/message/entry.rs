//! The entry of a message in the status, and what is common to all that is done about it.

use super::super::super::remote::Recovery;
use super::super::super::send::judge::{CLOCK_SKEW, created_from};
use super::super::super::status::{Draft, MESSAGE_BYTES, clip, entry};
use super::super::gates::Hold;
use super::super::observed::Observed;
use super::super::plan::{Effect, LookupPlan, MessageLookup, Plan};
use super::super::view::session_ref;
use crate::api::{ErrorStatus, Reason, SendRecord, SessionPhase};

/// The record of the sending of the message of this name.
pub(in crate::domain::session) fn recorded<'a>(
    o: &Observed<'a>,
    name: &str,
) -> Option<&'a SendRecord> {
    entry(o.session.status?, name)?.send.as_ref()
}

/// It waits, as the conditions in `draft` say.
pub(super) fn waiting(o: &Observed<'_>, mut draft: Draft, hold: &Hold) -> Plan {
    draft.incomplete(hold.reason, &hold.message);
    Plan::store(o, draft.finish()).no_later_than(hold.again)
}

/// The verdict on a message that nobody has.
pub(in crate::domain::session) fn settle(
    draft: &mut Draft,
    name: &str,
    phase: SessionPhase,
    reason: Reason,
    why: &str,
) {
    let now = draft.now();
    let entry = draft.message(name);
    entry.phase = phase;
    entry.completed_at = Some(now);
    entry.error = Some(ErrorStatus {
        reason: reason.as_str().to_owned(),
        message: clip(why, MESSAGE_BYTES),
    });
}

/// A look for the message of this name; `None` where no session is recorded.
pub(in crate::domain::session) fn lookup(
    o: &Observed<'_>,
    name: &str,
    record: Option<&SendRecord>,
) -> Option<Effect> {
    let until = record.map_or(o.now + o.timing.fence(), |record| {
        record.claimed_at + o.timing.fence_after(record.posts) + o.timing.clock_margin
    });
    Some(Effect::Lookup(Box::new(LookupPlan {
        message: Some(MessageLookup {
            name: name.to_owned(),
            session: session_ref(o.session.status)?,
        }),
        keys: Vec::new(),
        repository: o
            .session
            .status
            .and_then(|status| status.effective.as_ref())
            .and_then(|effective| effective.repository.clone()),
        recovery: Recovery::Marker,
        template_id: None,
        baseline: record.and_then(|record| record.baseline.clone()),
        created_from: record.map_or(o.session.created_at - CLOCK_SKEW, created_from),
        created_until: until,
        prove_absence: true,
        evidence_seen: o.agent.evidence_seen(),
        resume: o.own_lookups().and_then(|looks| looks.resume.clone()),
    })))
}
