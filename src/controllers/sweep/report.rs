//! Telling people of orphans: Events, metrics and the status of a CodeAgent.

use std::sync::Arc;

use kube::api::Api;
use kube_runtime::reflector::ObjectRef;

use super::super::context::Context;
use super::super::metrics::Loose;
use super::super::scope::Scope;
use super::accounts::{AccountAgents, ReportingAgent};
use crate::api::{CodeSession, MAX_ORPHANS, OrphanReason, OrphanStatus, Reason};
use crate::domain::effective::repository;
use crate::domain::orphan::{Ledger, Mark, Marked, Orphan, Stop};
use crate::domain::repository::same_repository;
use crate::runtime::cache::Kept;

/// Tells people of an orphan, on its CodeAgent and, of a second launch, on its CodeSession.
pub(super) async fn emit(
    context: &Context,
    reporting: &ReportingAgent,
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
    tracing::warn!(reason = reason.as_str(), note, "event");
    let publisher = &context.publisher;
    publisher
        .publish(
            reporting.agent.as_ref(),
            true,
            reason.as_str(),
            "Sweep",
            &note,
        )
        .await;
    if let (OrphanReason::Duplicate, Some(owner)) = (orphan.reason, owner)
        && let Some(session) = read_session(context, &owner.name).await
    {
        publisher
            .publish(&session, true, reason.as_str(), "Sweep", &note)
            .await;
    }
}

/// The CodeSession `namespace/name`, as it is stored: of one that has finished only a record is kept.
async fn read_session(context: &Context, name: &str) -> Option<CodeSession> {
    let (namespace, name) = name.split_once('/')?;
    let api: Api<CodeSession> = Api::namespaced(context.client.clone(), namespace);
    api.get_opt(name).await.ok().flatten()
}

/// Keeps the orphans of a CodeAgent, and has its status written if they have changed.
pub(super) fn publish(
    context: &Context,
    reporting: &ReportingAgent,
    mut orphans: Vec<OrphanStatus>,
) {
    orphans.sort_by_key(|orphan| (orphan.reason == OrphanReason::Released, orphan.since));
    let alarming = orphans
        .iter()
        .filter(|orphan| orphan.reason != OrphanReason::Released)
        .count();
    let (namespace, name) = reporting.name();
    context
        .metrics
        .orphans(&reporting.uid(), namespace, name, alarming);
    orphans.truncate(MAX_ORPHANS);
    let stored = reporting.agent.status.as_ref();
    let news = stored.is_none_or(|status| status.orphans != orphans);
    context.orphans.set_report(reporting.uid(), orphans);
    if news {
        reporting.scope.look_at_agent(&reporting.agent);
    }
}

/// The CodeAgent that an orphan is reported on: the one that launched it, where that is known; else the one that reported it
/// before, one that works on the same repository, or any of the account.
pub(super) fn report_on<'a>(
    context: &Context,
    account: &'a AccountAgents,
    scopes: &[Arc<Scope>],
    ledger: &Ledger,
    marked: &Marked,
    orphan: &Orphan,
) -> Option<&'a ReportingAgent> {
    let id = &marked.snapshot.session_id;
    let named = match &orphan.owner {
        Some(uid) => ledger
            .session(uid)
            .and_then(|owner| agent_of(scopes, &owner.name)),
        None => context
            .orphans
            .deleted()
            .into_iter()
            .find(|deleted| {
                deleted.session.as_ref() == Some(id)
                    || matches!(&marked.mark, Mark::Prompt(marker) if marker.uid == deleted.uid)
            })
            .map(|deleted| deleted.agent),
    };
    let find = |test: &dyn Fn(&ReportingAgent) -> bool| {
        let mut agents = account.agents.iter();
        agents.find(|agent| test(agent))
    };
    let works_there = |reporting: &ReportingAgent| {
        let own = repository(None, reporting.agent.spec.repository.as_ref());
        match (own.url.as_deref(), marked.snapshot.repository.as_deref()) {
            (Some(own), Some(theirs)) => same_repository(own, theirs),
            _ => false,
        }
    };
    named
        .and_then(|name| find(&|agent| agent.name() == name))
        .or_else(|| find(&|agent| agent.stored(id).is_some()))
        .or_else(|| find(&works_there))
        .or_else(|| account.agents.first())
}

/// Namespace and name of the CodeAgent of a CodeSession (`namespace/name`).
fn agent_of(scopes: &[Arc<Scope>], session: &str) -> Option<(String, String)> {
    let (namespace, name) = session.split_once('/')?;
    let reference = ObjectRef::new(name).within(namespace);
    let mut scopes = scopes.iter();
    let agent = scopes.find_map(|scope| {
        let look = |kept: &Kept<CodeSession>| kept.group().to_owned();
        scope.sessions.look(&reference, look)
    })?;
    Some((namespace.to_owned(), agent))
}
