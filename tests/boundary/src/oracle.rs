//! What must hold after every run.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use codeagent_operator::api::{CodeSession, ConditionStatus, SendState, SessionPhase, condition};
use codeagent_simulator::{Launch, SessionView};
use kube::ResourceExt;

use crate::boundary::{Boundary, Side};
use crate::fault::Fault;
use crate::history::Versions;
use crate::lifecycle::{End, Lifecycle, Message, NEW_KEY, is_archived, message_of, phase_of};
use crate::proxy::{Made, Published};
use crate::run::{Row, deletion_bound};

/// Writes of a session that one fault may cost more: the write that is repeated, that the outcome is being looked for, and that the
/// provider or the key is waited for and there again.
const WRITES_PER_FAULT: usize = 4;
/// Writes that another claim costs: itself, its outcome, and what is said of it.
const WRITES_PER_CLAIM: usize = 3;
/// Further tries to archive or to stop that a fault makes fail while it lasts, each of which is recorded with the time of the next one.
const FAILED_TRIES: usize = 4;
/// Claims beyond the first, whatever goes wrong: the window of one may close on a busy machine before it is used.
const MOST_CLAIMS: usize = 4;
/// Stops for each session of a crowd.
const STOPS: usize = 2;
/// What a busy machine may add to the deletion's bound: it was seen to add five seconds while something else compiled.
const BUSY: Duration = Duration::from_secs(20);
/// Writes that changes of the object by its user overtake on a busy machine, beyond the one that a life expects.
const OVERTAKEN: usize = 2;
/// After which the operator gives up a call that hangs. Documented: without the API server's answer no object is released, and what is
/// under way at the provider for a session ends before it is let go.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What two losses of the lead cost: each time the Lease has to end before another process may act, or the same that was started again.
const NOBODY_LEADS: Duration = Duration::from_secs(8);

/// All that is known of a run that is over.
pub(crate) struct Evidence<'a> {
    pub row: &'a Row,
    /// Every session by name.
    pub all: &'a [(&'a str, Versions)],
    pub made: &'a [Made],
    pub published: &'a [Published],
    pub launches: &'a [Launch],
    /// Further messages that the provider took.
    pub messages: &'a [Launch],
    pub sessions: &'a [SessionView],
    /// Faults that were handed to the simulated provider and hit nothing.
    pub unmet_at_provider: usize,
    pub log: &'a str,
}

/// What concerns one session.
struct Sight<'a> {
    row: &'a Row,
    name: &'a str,
    versions: &'a Versions,
    made: &'a [Made],
    launches: Vec<&'a Launch>,
    messages: Vec<&'a Launch>,
    sessions: &'a [SessionView],
}

impl<'a> Sight<'a> {
    fn new(evidence: &Evidence<'a>, name: &'a str, versions: &'a Versions) -> Self {
        // Alone, everything that was launched is its own; among others, what bears its uid.
        let uid = versions.newest().and_then(ResourceExt::uid);
        let own = |launch: &&Launch| {
            let marker = launch.marker.as_deref().unwrap_or_default();
            let named = uid.as_ref().is_some_and(|uid| marker.contains(uid));
            evidence.all.len() == 1 || named
        };
        Self {
            row: evidence.row,
            name,
            versions,
            made: evidence.made,
            launches: evidence.launches.iter().filter(own).collect(),
            messages: evidence.messages.iter().filter(own).collect(),
            sessions: evidence.sessions,
        }
    }
}

/// Everything that does not hold.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, versions) in evidence.all {
        let sight = Sight::new(evidence, name, versions);
        let mut own = Vec::new();
        own.extend(paid(&sight));
        own.extend(messages(&sight));
        own.extend(end(&sight));
        own.extend(budget(&sight));
        own.extend(forward_only(versions));
        let prefixed = own.into_iter().map(|what| match evidence.all.len() {
            1 => what,
            _ => format!("{name}: {what}"),
        });
        violations.extend(prefixed);
    }
    violations.extend(at_once(evidence));
    violations.extend(stops(evidence));
    violations.extend(loose(evidence));
    violations.extend(secrecy(evidence));
    if evidence.unmet_at_provider > 0 {
        violations.push("a fault of the simulated provider hit nothing".to_owned());
    }
    violations
}

/// A deletion that took longer than its bound.
pub(crate) fn deletion(took: Duration, row: &Row) -> Option<String> {
    let mute = |(_, fault): &(Boundary, Fault)| *fault == Fault::NeverAnswered;
    let leaderless = |(_, fault): &(Boundary, Fault)| fault.needs_election();
    let bound = deletion_bound(row);
    let mut most = bound + BUSY;
    if row.faults.iter().any(mute) {
        most += CALL_TIMEOUT;
    }
    if row.faults.iter().any(leaderless) {
        most += NOBODY_LEADS;
    }
    (took > most).then(|| format!("the deletion took {took:?}, its bound is {bound:?}"))
}

/// Launches that the provider has seen.
fn paid(sight: &Sight<'_>) -> Option<String> {
    let mut promised = sight.row.lifecycle.promise().launches;
    let said = sight.versions.newest().is_some_and(outcome_unknown);
    if said && may_stay_unknown(sight) {
        promised = 0..=*promised.end();
    }
    let paid = sight.launches.len();
    let ids: Vec<&str> = sight
        .launches
        .iter()
        .map(|launch| launch.session.as_str())
        .collect();
    (!promised.contains(&paid))
        .then(|| format!("launched {paid} times where {promised:?} was promised: {ids:?}"))
}

/// Each further message is sent once and ends as promised, and is told.
fn messages(sight: &Sight<'_>) -> Vec<String> {
    let promised = sight.row.lifecycle.messages(sight.row.provider);
    let (sent, asked) = (sight.messages.len(), promised.len());
    let mut violations = Vec::new();
    let unsent = promised
        .iter()
        .filter(|message| is_unknown(sight, message))
        .count();
    if !(asked - unsent..=asked).contains(&sent) {
        violations.push(format!(
            "{sent} messages were sent where {asked} were promised"
        ));
    }
    for message in promised {
        let told = sight
            .versions
            .newest()
            .and_then(|it| message_of(it, message.name));
        let ended = told.is_some_and(|told| told.phase == message.end);
        if !ended && !is_unknown(sight, &message) && !ended_by_itself(sight, &message) {
            violations.push(format!("the message {} ended as {told:?}", message.name));
        }
    }
    violations
}

/// Documented: nothing is sent to a session of which nobody knows whether it was launched.
fn is_unknown(sight: &Sight<'_>, message: &Message) -> bool {
    let told = sight
        .versions
        .newest()
        .and_then(|it| message_of(it, message.name));
    let unknown = told.is_some_and(|message| {
        let error = message.error.as_ref();
        error.is_some_and(|error| {
            matches!(
                error.reason.as_str(),
                "MessageOutcomeUnknown" | "LaunchOutcomeUnknown"
            )
        })
    });
    unknown && hidden(sight.row)
}

/// A message that was stopped and ended as if it had finished, where nobody can tell: see [`never_told`].
fn ended_by_itself(sight: &Sight<'_>, message: &Message) -> bool {
    let told = sight
        .versions
        .newest()
        .and_then(|it| message_of(it, message.name));
    // The record of its stop goes with the claim of the next message.
    let accepted = sight.versions.stored.iter().any(|session| {
        let status = session.status.as_ref();
        let cancel = status.and_then(|status| status.cancel.as_ref());
        cancel.is_some_and(|cancel| cancel.message == message.name && cancel.accepted_at.is_some())
    });
    message.end == SessionPhase::Cancelled
        && told.is_some_and(|told| told.phase == SessionPhase::Finished)
        && never_told(sight.row, accepted)
}

/// The final status, and the provider's truth.
fn end(sight: &Sight<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let End::Phase(promised) = sight.row.lifecycle.promise().end else {
        return violations;
    };
    let Some(session) = sight.versions.newest() else {
        return vec!["the session was never seen".to_owned()];
    };
    let phase = phase_of(session);
    let truth = truth_of(sight, session);
    let said = may_stay_unknown(sight) && outcome_unknown(session);
    let excused = promised == SessionPhase::Cancelled && never_known(sight, session);
    if phase != promised && !said && !excused {
        let why = session
            .status
            .as_ref()
            .and_then(|status| condition(&status.conditions, "Succeeded"))
            .map(|condition| format!("{}: {}", condition.reason, condition.message));
        violations.push(format!(
            "ended {phase:?} where {promised:?} was promised ({})",
            why.unwrap_or_default()
        ));
    }
    // Where another session goes on with a message, the launch's is an earlier one of it.
    let chain = session
        .status
        .as_ref()
        .and_then(|status| status.provider.as_ref()?.chain.first());
    let recorded = chain.map(String::as_str).or(recorded(session));
    let launched = sight.launches.first().map(|launch| &launch.session);
    if recorded != launched.map(String::as_str) && !said {
        violations.push(format!(
            "the status names the session {recorded:?}, the provider knows {launched:?}"
        ));
    }
    if let Some(truth) = truth {
        if truth.active {
            violations.push(format!(
                "the status says {phase:?}, at the provider it is {}",
                truth.status
            ));
        }
        let archived = is_archived(session) && sight.row.provider.archives;
        if archived != truth.archived {
            violations.push(format!(
                "the status says archived: {archived}, the provider {}",
                truth.archived
            ));
        }
        let pull_request = session
            .status
            .as_ref()
            .and_then(|status| status.pull_request.as_ref())
            .and_then(|pull_request| pull_request.url.as_ref());
        if sight.row.provider.tells_pull_request
            && phase == SessionPhase::Finished
            && pull_request != truth.pull_request.as_ref()
        {
            violations.push(format!(
                "the status has the pull request {pull_request:?}, the provider {:?}",
                truth.pull_request
            ));
        }
    }
    violations
}

/// Documented in docs/reliability.md: a launch stays unknown, and is said to, if it never arrived at a provider where that cannot be proven
/// (what did arrive there is found by its link), or if the provider gives prompts back in a form that does not tell whose they are.
fn may_stay_unknown(sight: &Sight<'_>) -> bool {
    let unprovable = !sight.row.provider.finds_launches && sight.launches.is_empty();
    (unprovable && !sight.row.faults.is_empty()) || hidden(sight.row)
}

/// Whether nothing tells whose a session is.
fn hidden(row: &Row) -> bool {
    let hides = |(_, fault): &(Boundary, Fault)| fault.hides_whose_it_is();
    row.faults.iter().any(hides)
}

/// Whether the status says that nobody knows: at its end, or of a session that was stopped before anybody knew.
fn outcome_unknown(session: &CodeSession) -> bool {
    let Some(status) = &session.status else {
        return false;
    };
    let error = status.error.as_ref();
    let launched = condition(&status.conditions, "Launched");
    error.is_some_and(|error| error.reason == "LaunchOutcomeUnknown")
        || (status.phase.is_terminal()
            && launched.is_some_and(|launched| launched.status == ConditionStatus::Unknown))
}

fn recorded(session: &CodeSession) -> Option<&str> {
    let provider = session.status.as_ref()?.provider.as_ref()?;
    provider.session_id.as_deref()
}

/// The session at the provider that the status names.
fn truth_of<'a>(sight: &Sight<'a>, session: &CodeSession) -> Option<&'a SessionView> {
    let recorded = recorded(session)?;
    sight.sessions.iter().find(|view| view.id == recorded)
}

/// A session that was stopped and ended as if it had finished, where nobody can tell: see [`never_told`].
fn never_known(sight: &Sight<'_>, session: &CodeSession) -> bool {
    let accepted = session
        .status
        .as_ref()
        .and_then(|status| status.cancel.as_ref())
        .is_some_and(|cancel| cancel.accepted_at.is_some());
    phase_of(session) == SessionPhase::Finished && never_told(sight.row, accepted)
}

/// Documented in docs/reliability.md: where a provider calls a stopped session finished, and the fault took away what was answered to the
/// stop, nobody can tell whether it was stopped or had finished before. Then the provider's word counts.
fn never_told(row: &Row, accepted: bool) -> bool {
    // A process that goes on knows what it was answered, whatever becomes of its record.
    let hidden = |(boundary, fault): &(Boundary, Fault)| {
        let crashed = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
        crashed || (boundary.call.side() == Side::Provider && boundary.call.verb.is_write())
    };
    row.faults.iter().any(hidden) && !row.provider.says_stopped && !accepted
}

/// More that ran at once than the account may.
fn at_once(evidence: &Evidence<'_>) -> Option<String> {
    let row = evidence.row;
    // Documented in docs/queue.md: one whose outcome stays unknown may go on uncounted.
    let most = row.at_once().filter(|_| !hidden(row))?;
    let prompts = || evidence.sessions.iter().flat_map(|view| &view.prompts);
    let running = prompts().filter_map(|prompt| {
        let begun = prompt.begun_at?;
        let with_it = prompts().filter(|other| {
            let ended = other.ended_at.is_some_and(|ended| ended <= begun);
            other.begun_at.is_some_and(|other| other <= begun) && !ended
        });
        Some(with_it.count())
    });
    let running = running.max().unwrap_or_default();
    (running > most).then(|| format!("{running} ran at once where {most} was promised"))
}

/// Sessions that go on at the provider although no object stands for them, and that nobody was told of.
fn loose(evidence: &Evidence<'_>) -> Vec<String> {
    let live = evidence.sessions.iter().filter(|view| view.active);
    let excuse = |(_, fault): &(Boundary, Fault)| fault.excuses_a_lost_session();
    let row = evidence.row;
    let excused = (row.faults.is_empty() && row.sessions() == 1)
        || hidden(row)
        || row.faults.iter().any(excuse);
    let told = |id: &str| {
        let by_event = evidence
            .published
            .iter()
            .any(|event| event.note.contains(id) || event.reason == "LaunchOutcomeUnknown");
        // Where the object is gone there is nothing to attach an event to: a metric and the log tell.
        let by_log = evidence.log.lines().any(|line| {
            line.contains("a session was launched while its object was deleted")
                && line.contains(id)
        });
        by_event || by_log
    };
    live.filter(|view| !(excused && told(&view.id)))
        .map(|view| {
            let why = match excused {
                true => "nobody was told",
                false => "nothing stood in the way of stopping it",
            };
            format!(
                "the session {} goes on at the provider ({}), and {why}",
                view.id, view.status
            )
        })
        .collect()
}

/// Stops that many sessions cost: one that is repeated before its effect shows is none too many, one that is repeated and repeated is.
fn stops(evidence: &Evidence<'_>) -> Option<String> {
    let stops = evidence
        .made
        .iter()
        .filter(|made| evidence.row.provider.is_stop(&made.boundary.call));
    let (stops, sessions) = (stops.count(), evidence.all.len());
    (sessions > 1 && stops > STOPS * sessions)
        .then(|| format!("{stops} stops of {sessions} sessions"))
}

/// Writes of the session.
fn budget(sight: &Sight<'_>) -> Option<String> {
    let arrived = sight.made.iter().filter(|made| {
        let call = &made.boundary.call;
        let refused = matches!(
            made.fault,
            Some(Fault::DropBefore | Fault::CrashBefore | Fault::Conflict | Fault::RateLimited)
        );
        let session = made.session.as_deref() == Some(sight.name);
        call.verb.is_write() && session && !refused && !made.kept_away
    });
    let written = arrived.count();
    let claims = sight.versions.stored.iter().filter_map(|session| {
        let launch = session.status.as_ref()?.launch.as_ref()?;
        Some(launch.claim_id.as_str())
    });
    let stored = sight.versions.stored.iter();
    let of_messages = stored.flat_map(|session| claims_of_messages(session));
    let first = 1 + sight.row.lifecycle.messages(sight.row.provider).len();
    let further = claims
        .chain(of_messages)
        .collect::<BTreeSet<_>>()
        .len()
        .saturating_sub(first);
    let lasts =
        |(_, fault): &(Boundary, Fault)| matches!(fault, Fault::StopRefused | Fault::Firewall);
    let tries = sight.row.lifecycle == Lifecycle::Archive || sight.row.faults.iter().any(lasts);
    let most = sight.row.lifecycle.promise().writes
        + usize::from(sight.row.provider.has_templates)
        // In a crowd a launch may wait for its turn for long enough that it is said.
        + usize::from(sight.row.sessions() > 1)
        + FAILED_TRIES * usize::from(tries)
        + OVERTAKEN
        + WRITES_PER_FAULT * sight.row.faults.len()
        + WRITES_PER_CLAIM * further.min(MOST_CLAIMS);
    (written > most).then(|| {
        format!("{written} writes of the session with {further} further claims, {most} at most")
    })
}

/// Nothing that people or scripts have seen goes back.
fn forward_only(versions: &Versions) -> Vec<String> {
    let pairs = versions.stored.iter().zip(versions.stored.iter().skip(1));
    let mut violations = BTreeSet::new();
    for (before, after) in pairs {
        violations.extend(step_back(before, after));
    }
    violations.into_iter().collect()
}

fn step_back(before: &CodeSession, after: &CodeSession) -> Vec<String> {
    let mut violations = Vec::new();
    let (was, is) = (phase_of(before), phase_of(after));
    let state = |session: &CodeSession| {
        let launch = session.status.as_ref()?.launch.as_ref()?;
        Some(launch.state)
    };
    let reopened = is_reopened(before, after);
    // Documented: a refused launch waits again.
    let refused = state(after) == Some(SendState::Rejected);
    if reopened {
        // Its phase is that of the message from here on.
    } else if was.is_terminal() && is != was {
        violations.push(format!("left the terminal phase {was:?} for {is:?}"));
    } else if rank(is) < rank(was) && !refused {
        violations.push(format!("the phase went back from {was:?} to {is:?}"));
    }
    let arrived = |object| state(object).is_some_and(SendState::arrived);
    if arrived(before) && !arrived(after) {
        violations.push(format!("a confirmed launch became {:?}", state(after)));
    }
    let id = |session: &CodeSession| {
        let provider = session.status.as_ref()?.provider.as_ref()?;
        provider.session_id.clone()
    };
    let chain = |session: &CodeSession| {
        let provider = session.status.as_ref()?.provider.as_ref()?;
        Some(provider.chain.len())
    };
    let goes_on_elsewhere = chain(after) > chain(before);
    if id(before).is_some() && id(before) != id(after) && !goes_on_elsewhere {
        violations.push(format!(
            "the session's id changed from {:?} to {:?}",
            id(before),
            id(after)
        ));
    }
    // Documented: a session with a message that waits, or is claimed, has not completed.
    let lasting: &[&str] = match reopened || has_message_to_send(after) {
        true => &["Launched"],
        false => &["Launched", "Completed", "Succeeded"],
    };
    let (Some(before), Some(after)) = (&before.status, &after.status) else {
        return violations;
    };
    if after.observed_generation < before.observed_generation {
        violations.push("observedGeneration went back".to_owned());
    }
    if before.completed_at.is_some() && after.completed_at != before.completed_at && !reopened {
        violations.push("completedAt changed".to_owned());
    }
    for kind in lasting {
        let of = |status: &[_]| condition(status, kind).cloned();
        let (Some(before), Some(after)) = (of(&before.conditions), of(&after.conditions)) else {
            continue;
        };
        if before.status == ConditionStatus::True && after.status != ConditionStatus::True {
            violations.push(format!("{kind} was True and is not any more"));
        }
        if after.last_transition_time < before.last_transition_time {
            violations.push(format!("{kind} changed in the past"));
        }
    }
    violations
}

/// Documented: a message that is claimed re-opens the session.
fn is_reopened(before: &CodeSession, after: &CodeSession) -> bool {
    !claims_of_messages(after).is_subset(&claims_of_messages(before))
}

/// Under which the messages of a session were sent.
fn claims_of_messages(session: &CodeSession) -> BTreeSet<&str> {
    let messages = session.status.iter().flat_map(|status| &status.messages);
    messages
        .filter_map(|message| Some(message.send.as_ref()?.claim_id.as_str()))
        .collect()
}

/// Whether the spec has a message that nothing became of yet.
fn has_message_to_send(session: &CodeSession) -> bool {
    let mut asked = session.spec.messages.iter().flatten();
    let is_over = |name| message_of(session, name).is_some_and(|told| told.phase.is_terminal());
    asked.any(|message| !is_over(&message.name))
}

fn rank(phase: SessionPhase) -> u8 {
    match phase {
        SessionPhase::Pending => 0,
        SessionPhase::Creating => 1,
        SessionPhase::Running => 2,
        SessionPhase::Finished
        | SessionPhase::Error
        | SessionPhase::Cancelled
        | SessionPhase::Expired => 3,
    }
}

/// No key in anything that people see.
fn secrecy(evidence: &Evidence<'_>) -> Vec<String> {
    let keys = evidence.row.provider.secret.iter().map(|(_, value)| *value);
    let mut violations = Vec::new();
    for key in keys.chain([NEW_KEY]) {
        let mut newest = evidence.all.iter().filter_map(|(_, all)| all.newest());
        let in_objects = newest.any(|session| shown(session).contains(key));
        let in_events = evidence
            .published
            .iter()
            .any(|event| event.note.contains(key));
        if evidence.log.contains(key) || in_objects || in_events {
            violations.push("a key is in a log, an event or the status".to_owned());
        }
    }
    violations
}

fn shown(object: &impl serde::Serialize) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

/// The reasons of its conditions (`Launched=False/Blocked …`).
fn reasons(session: &CodeSession) -> String {
    let conditions = session.status.iter().flat_map(|status| &status.conditions);
    let each =
        conditions.map(|it| format!("{}={:?}/{} {}", it.kind, it.status, it.reason, it.message));
    each.collect::<Vec<_>>().join(" ")
}

/// What became of one session, for people.
fn account_of(text: &mut String, name: &str, versions: &Versions) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "versions of {name}:");
    for session in &versions.stored {
        let launch = session
            .status
            .as_ref()
            .and_then(|status| status.launch.as_ref());
        let _ = writeln!(
            text,
            "  {}  {:?}  {}  launch {:?}  deleting {}  finalizers {}",
            session.resource_version().unwrap_or_default(),
            phase_of(session),
            reasons(session),
            launch.map(|launch| (launch.state, launch.attempt, launch.posts)),
            session.metadata.deletion_timestamp.is_some(),
            session.finalizers().len(),
        );
    }
    if versions.gone {
        text.push_str("  gone\n");
    }
    if let Some(session) = versions.newest() {
        let _ = writeln!(text, "status: {}", shown(&session.status));
    }
}

/// What happened, for people.
pub(crate) fn account(evidence: &Evidence<'_>, begun: Instant) -> String {
    let mut text = String::from("calls:\n");
    // Writing to a String does not fail.
    for made in evidence.made {
        let at = made.at.saturating_duration_since(begun).as_millis();
        let fault = made.fault.map(|fault| format!("   <- {fault}"));
        let _ = writeln!(
            text,
            "{at:>6} ms  {}{}",
            made.boundary,
            fault.unwrap_or_default()
        );
    }
    for (name, versions) in evidence.all {
        account_of(&mut text, name, versions);
    }
    text.push_str("events:\n");
    for event in evidence.published {
        let _ = writeln!(text, "  {}: {}", event.reason, event.note);
    }
    let _ = writeln!(text, "at the provider: {}", shown(&evidence.sessions));
    let _ = writeln!(text, "the operator's log:\n{}", evidence.log);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    const UNPAID: &[Launch] = &[];

    fn session(status: Value) -> Arc<CodeSession> {
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeSession",
            "metadata": {"name": "one", "namespace": "team-a", "uid": "1"},
            "spec": {"agentRef": {"name": "agent"}, "prompt": "Do it"},
            "status": status,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    /// What is found wrong with a session in this row.
    fn found(
        row: &str,
        versions: &Versions,
        sessions: &[SessionView],
        published: &[Published],
        log: &str,
    ) -> Vec<String> {
        let row: Row = row.parse().unwrap();
        let all = [("one", versions.clone())];
        judge(&Evidence {
            row: &row,
            all: &all,
            made: &[],
            published,
            launches: UNPAID,
            messages: UNPAID,
            sessions,
            unmet_at_provider: 0,
            log,
        })
    }

    const CANCELLED: &str = "cursor-v1|cancel-pending";

    /// With one that was cancelled before its launch.
    fn plainly(versions: &Versions, sessions: &[SessionView]) -> Vec<String> {
        found(CANCELLED, versions, sessions, &[], "")
    }

    fn phases(phases: &[&str]) -> Versions {
        let stored = phases.iter().map(|phase| session(json!({"phase": phase})));
        Versions {
            stored: stored.collect(),
            gone: false,
        }
    }

    #[test]
    fn what_was_promised_is_no_violation() {
        let versions = phases(&["Pending", "Cancelled"]);
        assert_eq!(plainly(&versions, &[]), [] as [&str; 0]);
    }

    #[test]
    fn a_terminal_phase_that_is_left_is_one() {
        let versions = phases(&["Finished", "Cancelled"]);
        let found = plainly(&versions, &[]);
        assert_eq!(found, ["left the terminal phase Finished for Cancelled"]);
    }

    #[test]
    fn a_phase_that_goes_back_is_one_unless_the_launch_was_refused() {
        let versions = phases(&["Creating", "Pending", "Cancelled"]);
        let found = plainly(&versions, &[]);
        assert_eq!(found, ["the phase went back from Creating to Pending"]);
    }

    #[test]
    fn another_end_than_promised_is_one() {
        let versions = phases(&["Pending", "Error"]);
        let found = plainly(&versions, &[]);
        assert!(found.concat().contains("ended Error"), "{found:?}");
    }

    #[test]
    fn a_launch_too_few_is_one() {
        let versions = phases(&["Finished"]);
        let found = found("cursor-v1|run", &versions, &[], &[], "");
        assert!(found.concat().contains("launched 0 times"), "{found:?}");
    }

    /// A session at the provider that worked on one prompt, in these seconds of a minute.
    fn view(begun: u8, ended: Option<u8>) -> SessionView {
        let at = |second| format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
        SessionView {
            provider: codeagent_simulator::Provider::Cursor,
            id: "bc-1".to_owned(),
            account: "a".to_owned(),
            status: "RUNNING".to_owned(),
            active: ended.is_none(),
            archived: false,
            deleted: false,
            repository: None,
            pull_request: None,
            on_behalf_of: None,
            webhook: None,
            created_at: at(begun),
            prompts: vec![codeagent_simulator::PromptView {
                run: None,
                text: String::new(),
                status: String::new(),
                begun_at: Some(at(begun)),
                ended_at: ended.map(at),
            }],
        }
    }

    #[test]
    fn more_at_once_than_the_account_may_is_one() {
        let versions = phases(&["Finished"]);
        let found = |views: &[SessionView]| {
            let found = found("cursor-v1|hand-over", &versions, views, &[], "");
            found
                .concat()
                .contains("2 ran at once where 1 was promised")
        };
        assert!(!found(&[view(1, Some(5)), view(5, Some(9))]));
        assert!(found(&[view(1, Some(5)), view(4, Some(9))]));
        assert!(found(&[view(1, None), view(30, Some(31))]));
    }

    #[test]
    fn a_message_that_ends_otherwise_than_promised_is_one() {
        let messages = |more: &str| {
            let told = |name: &str, phase: &str| json!({"name": name, "phase": phase});
            let status = json!({"phase": "Finished", "messages": [told("more", more), told("next", "Finished")]});
            let versions = Versions {
                stored: vec![session(status)],
                gone: false,
            };
            found("firebender|message-stop", &versions, &[], &[], "").concat()
        };
        assert!(messages("Finished").contains("the message more ended as"));
        let stopped = messages("Cancelled");
        assert!(!stopped.contains("ended as"), "{stopped}");
        assert!(stopped.contains("0 messages were sent where 2 were promised"));
    }

    #[test]
    fn a_session_that_goes_on_is_one_until_somebody_is_told() {
        let versions = phases(&["Cancelled"]);
        let live = [view(0, None)];
        let alone = plainly(&versions, &live);
        assert!(alone.concat().contains("nobody was told"), "{alone:?}");
        let told = [Published {
            reason: "Orphaned".to_owned(),
            note: "session bc-1: left running".to_owned(),
        }];
        let reported = found(CANCELLED, &versions, &live, &told, "");
        assert_eq!(reported, [] as [&str; 0]);
        // Unless nothing stood in the way.
        let late = "cursor-v1|cancel-pending|POST events #1|late-answer";
        let excuse = found(late, &versions, &live, &told, "");
        assert!(
            excuse.concat().contains("nothing stood in the way"),
            "{excuse:?}"
        );
    }

    #[test]
    fn a_key_in_a_log_is_one() {
        let versions = phases(&["Cancelled"]);
        let found = found(CANCELLED, &versions, &[], &[], "the key is cursor-demo-key");
        assert!(!found.is_empty());
    }
}
