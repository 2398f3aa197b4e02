//! Telling people of orphans: Events, metrics and the status of a CodeAgent.

use super::super::context::Context;
use super::super::metrics::Loose;
use super::ledger::find_session;
use super::staff::Employer;
use crate::api::{MAX_ORPHANS, OrphanReason, OrphanStatus, Reason};
use crate::domain::orphan::{Ledger, Marked, Orphan, Stop};
use crate::runtime::lock::lock;

/// Tells people of an orphan, on its CodeAgent and, of a second launch, on its CodeSession.
pub(super) async fn tell(
    context: &Context,
    employer: &Employer,
    ledger: &Ledger,
    marked: &Marked,
    orphan: &Orphan,
) {
    let id = &marked.snapshot.session_id;
    let owner = orphan.owner.as_deref().and_then(|uid| ledger.session(uid));
    let owner_name = owner.map_or("a CodeSession", |owner| owner.name.as_str());
    let page = marked
        .snapshot
        .url
        .as_deref()
        .map(|url| format!(" ({url})"))
        .unwrap_or_default();
    let (reason, loose, note) = match orphan.reason {
        OrphanReason::Duplicate => {
            let what = match orphan.stop {
                Stop::Yes => "it is being stopped",
                Stop::Ended => "it has ended, and was paid for as well",
                Stop::NotWanted => {
                    "look at it there, it may cost money (spec.orphanPolicy: Cancel has such sessions stopped)"
                }
                Stop::Never => {
                    "look at it there, it may cost money; it is not stopped because it is not certain that the launch of this CodeSession made it"
                }
            };
            (
                Reason::DuplicateLaunch,
                Loose::Duplicate,
                format!("session {id}{page} was launched for {owner_name} as well: {what}"),
            )
        }
        OrphanReason::NotRecorded => {
            let (_, name) = owner_name.split_once('/').unwrap_or(("", owner_name));
            (
                Reason::Orphaned,
                Loose::Orphaned,
                format!(
                    "session {id}{page} was launched for {owner_name}, which has no session recorded: look at it at the provider; if that CodeSession says LaunchOutcomeUnknown, kubectl annotate csess {name} codeagents.dev/adopt={id} hands it over"
                ),
            )
        }
        OrphanReason::NoCodeSession => (
            Reason::Orphaned,
            Loose::Orphaned,
            format!(
                "session {id}{page} runs at the provider, and the CodeSession that it was launched for is gone: look at it there, it may cost money"
            ),
        ),
        // It was said when it was released.
        OrphanReason::Released => return,
    };
    context.metrics.loose(loose);
    tracing::warn!(reason = reason.as_str(), note, "reports");
    let publisher = &context.publisher;
    publisher
        .publish(
            employer.agent.as_ref(),
            true,
            reason.as_str(),
            "Sweep",
            &note,
        )
        .await;
    let session = owner.and_then(|owner| find_session(context, &owner.name));
    if let (OrphanReason::Duplicate, Some((_, session))) = (orphan.reason, session) {
        publisher
            .publish(session.as_ref(), true, reason.as_str(), "Sweep", &note)
            .await;
    }
}

/// Keeps the orphans of a CodeAgent, and has its status written if they have changed.
pub(super) fn publish(context: &Context, employer: &Employer, mut orphans: Vec<OrphanStatus>) {
    orphans.sort_by_key(|orphan| (orphan.reason == OrphanReason::Released, orphan.since));
    let alarming = orphans
        .iter()
        .filter(|orphan| orphan.reason != OrphanReason::Released)
        .count();
    let (namespace, name) = employer.name();
    context
        .metrics
        .orphans(&employer.uid(), namespace, name, alarming);
    orphans.truncate(MAX_ORPHANS);
    let stored = employer.agent.status.as_ref();
    let news = stored.is_none_or(|status| status.orphans != orphans);
    lock(&context.sweeper.reports).insert(employer.uid(), orphans);
    if news {
        employer.scope.look_at_agent(&employer.agent);
    }
}
