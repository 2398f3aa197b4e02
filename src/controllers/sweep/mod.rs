//! The sweep: sessions of this installation that no CodeSession accounts for are found at their providers, reported, and
//! stopped where that is asked for and allowed (rules 10 and 12 of the launch protocol).
//!
//! Once in a slow interval the sessions of every account are listed, through the same rate limit as everything else. Whose
//! a session is takes a look of its own, once in the life of this process.

mod accounts;
mod ledger;
mod report;
mod search;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use tracing::Instrument;

use self::accounts::{AccountAgents, accounts, connect};
use self::ledger::{Named, known, ledger, name_of};
use self::report::{emit, publish, report_on};
use self::search::{Watched, reference, refresh, search};
use super::connection::Linked;
use super::context::Context;
use super::scope::Scope;
use crate::api::{CodeSession, OrphanStatus};
use crate::domain::ids::SessionId;
use crate::domain::orphan::{self, Ledger, Marked, Orphan, Stop, Verdict, judge};
use crate::domain::requeue::jittered;
use crate::providers::contract::Provider;
use crate::runtime::heartbeat;

/// Sweeps until the context stops, while this process leads. To be begun once the caches of all `scopes` are filled: what they
/// lack would look like nobody's.
pub async fn run(context: Context, scopes: Vec<Arc<Scope>>) {
    let interval = context.settings.sweep_interval;
    if interval.is_zero() {
        return;
    }
    let heartbeat = context.heartbeats.begin("sweep", heartbeat::SILENCE);
    let work = async {
        let mut watched = HashMap::new();
        loop {
            tokio::time::sleep(jittered(interval, rand::random())).await;
            if context.may_begin() {
                round(&context, &scopes, &mut watched).await;
            }
        }
    };
    let until_stopped = async {
        tokio::select! {
            () = work => {}
            () = context.stop.cancelled() => {}
        }
    };
    heartbeat.beside(until_stopped).await;
}

/// One round over all accounts.
async fn round(context: &Context, scopes: &[Arc<Scope>], watched: &mut HashMap<String, Watched>) {
    let accounts = accounts(context, scopes);
    watched.retain(|account, _| accounts.contains_key(account));
    let mut seen = HashSet::new();
    for (name, account) in &accounts {
        let round = Round {
            context,
            scopes,
            account,
        };
        let span = tracing::info_span!("sweep", account = name);
        let watched = watched.entry(name.clone()).or_default();
        round.sweep(watched, &mut seen).instrument(span).await;
    }
    let agents = scopes.iter().flat_map(|scope| scope.agents.all());
    let present: HashSet<String> = agents.filter_map(|agent| agent.uid()).collect();
    context.orphans.keep_reports(&present);
    context.metrics.keep_orphans(&present);
}

/// One round over one account.
struct Round<'a> {
    context: &'a Context,
    scopes: &'a [Arc<Scope>],
    account: &'a AccountAgents,
}

impl Round<'_> {
    /// `seen` are the sessions that an earlier account has shown already: several keys of one account may look like several
    /// accounts.
    async fn sweep(&self, watched: &mut Watched, seen: &mut HashSet<SessionId>) {
        let Some(linked) = connect(self.context, self.account).await else {
            return;
        };
        let provider = linked.provider.as_ref();
        search(self.context, &linked, watched).await;
        refresh(provider, watched).await;
        let named = Named::by(watched.loose.values().map(|tracked| &tracked.marked.mark));
        let mut ledger = ledger(self.context, self.scopes, self.account, &named);
        let mut reports: BTreeMap<String, Vec<OrphanStatus>> = BTreeMap::new();
        for id in watched.loose.keys().cloned().collect::<Vec<_>>() {
            let judged = self.judge(&id, &linked, watched, seen, &mut ledger).await;
            let Some((marked, orphan)) = judged else {
                continue;
            };
            let reported = self
                .handle(provider, watched, &ledger, &marked, &orphan)
                .await;
            if let Some((agent, status)) = reported {
                reports.entry(agent).or_default().push(status);
            }
        }
        for agent in &self.account.agents {
            let mut orphans = reports.remove(&agent.uid()).unwrap_or_default();
            if !watched.read_through {
                // What an earlier process has reported was perhaps not come to again yet.
                let before = agent.reported().iter().filter(|orphan| {
                    let id = SessionId::new(orphan.session_id.as_str());
                    !watched.knows(&id) && !ledger.is_recorded(&id)
                });
                orphans.extend(before.cloned());
            }
            publish(self.context, agent, orphans);
        }
        watched.expire();
    }

    /// Whose a session is that was found; answers if it is nobody's.
    async fn judge(
        &self,
        id: &SessionId,
        linked: &Linked,
        watched: &mut Watched,
        seen: &mut HashSet<SessionId>,
        ledger: &mut Ledger,
    ) -> Option<(Marked, Orphan)> {
        let tracked = watched.loose.get(id)?;
        let marked = tracked.marked.clone();
        let viewpoint = self.viewpoint(linked, tracked.since);
        let orphan = match judge(&marked, ledger, &viewpoint) {
            Verdict::TooRecent => return None,
            // Known by its CodeSession from now on.
            Verdict::Owned => {
                watched.loose.remove(id);
                return None;
            }
            Verdict::Foreign | Verdict::Ended => {
                watched.settle(id);
                return None;
            }
            Verdict::Orphan(orphan) => orphan,
        };
        if !seen.insert(id.clone()) {
            return None;
        }
        let orphan = match orphan.stop {
            Stop::Yes => self.confirm(ledger, &marked, orphan, &viewpoint).await?,
            Stop::Ended | Stop::NotWanted | Stop::Never => orphan,
        };
        Some((marked, orphan))
    }

    /// Tells people of an orphan, and stops it where it is to be stopped; answers with what its CodeAgent, which is named by its
    /// uid, is to list.
    async fn handle(
        &self,
        provider: &dyn Provider,
        watched: &mut Watched,
        ledger: &Ledger,
        marked: &Marked,
        orphan: &Orphan,
    ) -> Option<(String, OrphanStatus)> {
        let (context, id) = (self.context, &marked.snapshot.session_id);
        let agent = report_on(context, self.account, self.scopes, ledger, marked, orphan)?;
        let stored = agent.stored(id);
        let since = stored.map_or(watched.loose.get(id)?.since, |stored| stored.since);
        let stopping = orphan.stop == Stop::Yes;
        let reported = !watched.told.insert((id.clone(), stopping));
        if !reported && (stored.is_none() || stopping) {
            emit(context, agent, ledger, marked, orphan).await;
        }
        if stopping && context.may_begin() {
            stop(provider, marked).await;
        }
        if orphan.stop == Stop::Ended || marked.snapshot.phase.is_terminal() {
            watched.settle(id);
            return None;
        }
        let owner = orphan.owner.as_deref();
        let status = OrphanStatus {
            session_id: id.as_str().to_owned(),
            reason: orphan.reason,
            since,
            session: owner.and_then(|uid| name_of(ledger, uid)),
            session_url: marked.snapshot.url.clone(),
        };
        Some((agent.uid(), status))
    }

    fn viewpoint(&self, linked: &Linked, first_seen: Timestamp) -> orphan::Context<'_> {
        orphan::Context {
            installation: &self.context.installation,
            account: &self.account.fingerprint,
            timing: self.context.timing(),
            clock: linked.clock.difference().unwrap_or_default(),
            first_seen,
            now: Timestamp::now(),
        }
    }

    /// Judges once more, on what is stored: caches lag behind, and a stop cannot be taken back. `None` if it is not known.
    async fn confirm(
        &self,
        ledger: &mut Ledger,
        marked: &Marked,
        orphan: Orphan,
        viewpoint: &orphan::Context<'_>,
    ) -> Option<Orphan> {
        let uid = orphan.owner?;
        let full_name = ledger.session(&uid)?.name.clone();
        let (namespace, name) = full_name.split_once('/')?;
        let api: Api<CodeSession> = Api::namespaced(self.context.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(stored)) if stored.uid().as_deref() == Some(uid.as_str()) => {
                let agent = stored.spec.agent_ref.name.as_str();
                let policy = self.account.policy_of(namespace, agent);
                ledger.insert(uid, known(&stored, policy));
            }
            Ok(_) => ledger.remove(&uid),
            Err(_) => return None,
        }
        match judge(marked, ledger, viewpoint) {
            Verdict::Orphan(orphan) => Some(orphan),
            Verdict::Owned | Verdict::TooRecent | Verdict::Foreign | Verdict::Ended => None,
        }
    }
}

/// Sends a stop. The next round sees what became of it, and repeats it.
async fn stop(provider: &dyn Provider, marked: &Marked) {
    let session = reference(marked);
    match provider.cancel(&session).await {
        Ok(answer) => {
            tracing::info!(session = %session.session_id, ?answer, "stops a second launch");
        }
        Err(error) => {
            tracing::warn!(session = %session.session_id, class = error.class.as_str(), "a second launch could not be stopped yet");
        }
    }
}
