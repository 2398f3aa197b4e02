//! The sweep: sessions of this installation that no CodeSession accounts for are found at their providers, reported, and
//! stopped where that is asked for and allowed (rules 10 and 12 of the launch protocol).
//!
//! Once in a slow interval the sessions of every account are listed, through the same rate limit as everything else. Whose
//! a session is takes a look of its own, once in the life of this process.

mod ledger;
mod report;
mod search;
mod staff;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use tracing::Instrument;

use self::ledger::{known, ledger, name_of};
use self::report::{publish, tell};
use self::search::{Watched, reference, refresh, search};
use self::staff::{Staff, connect, employer, policy_of, staffs};
use super::connection::Linked;
use super::context::Context;
use super::scope::Scope;
use crate::api::{CodeSession, DeletionPolicy, OrphanStatus};
use crate::domain::ids::SessionId;
use crate::domain::orphan::{Ground, Ledger, Marked, Orphan, Stop, Verdict, judge};
use crate::domain::requeue::jittered;
use crate::providers::contract::Provider;
use crate::runtime::heartbeat;
use crate::runtime::lock::lock;

/// CodeSessions that were deleted, of which it is remembered whose they were.
const MOST_DEPARTED: usize = 1000;

/// What the sweep shares with the controllers.
#[derive(Default)]
pub struct Sweeper {
    scopes: Mutex<Vec<Weak<Scope>>>,
    departed: Mutex<VecDeque<Departed>>,
    /// The orphans of each CodeAgent, by its uid.
    reports: Mutex<HashMap<String, Vec<OrphanStatus>>>,
}

/// A CodeSession that was deleted.
#[derive(Clone)]
struct Departed {
    uid: String,
    /// Namespace and name of its CodeAgent.
    agent: (String, String),
    session: Option<SessionId>,
    /// Whether its provider session was left running on purpose.
    released: bool,
}

impl Sweeper {
    /// Takes a scope into account.
    pub(super) fn join(&self, scope: &Arc<Scope>) {
        lock(&self.scopes).push(Arc::downgrade(scope));
    }

    /// A CodeSession is gone.
    pub(super) fn depart(&self, session: &CodeSession) {
        let status = session.status.as_ref();
        let policy = session.spec.deletion_policy.or(status
            .and_then(|status| status.effective.as_ref())
            .map(|effective| effective.deletion_policy));
        let mut departed = lock(&self.departed);
        departed.push_back(Departed {
            uid: session.uid().unwrap_or_default(),
            agent: (
                session.namespace().unwrap_or_default(),
                session.spec.agent_ref.name.clone(),
            ),
            session: status
                .and_then(|status| status.provider.as_ref()?.session_id.clone())
                .map(SessionId::new),
            released: policy == Some(DeletionPolicy::Orphan),
        });
        while departed.len() > MOST_DEPARTED {
            departed.pop_front();
        }
    }

    /// The orphans of the CodeAgent with this uid; `None` as long as nobody has looked.
    pub(super) fn report(&self, agent: &str) -> Option<Vec<OrphanStatus>> {
        lock(&self.reports).get(agent).cloned()
    }

    fn scopes(&self) -> Vec<Arc<Scope>> {
        let mut scopes = lock(&self.scopes);
        scopes.retain(|scope| scope.strong_count() > 0);
        scopes.iter().filter_map(Weak::upgrade).collect()
    }

    fn departed(&self) -> Vec<Departed> {
        lock(&self.departed).iter().cloned().collect()
    }
}

/// Sweeps until the context stops, while this process leads. To be begun once every scope's caches are filled: what they lack
/// would look like nobody's.
pub async fn run(context: Context) {
    let interval = context.settings.sweep_interval;
    if interval.is_zero() {
        return;
    }
    let work = async {
        let mut accounts = HashMap::new();
        loop {
            tokio::time::sleep(jittered(interval, rand::random())).await;
            if context.may_begin() {
                round(&context, &mut accounts).await;
            }
        }
    };
    let heartbeat = context.heartbeats.begin("sweep", heartbeat::SILENCE);
    let until_stopped = async {
        tokio::select! {
            () = work => {}
            () = context.stop.cancelled() => {}
        }
    };
    heartbeat.beside(until_stopped).await;
}

/// One round over all accounts.
async fn round(context: &Context, accounts: &mut HashMap<String, Watched>) {
    let staffs = staffs(context);
    accounts.retain(|account, _| staffs.contains_key(account));
    let mut seen = HashSet::new();
    for (account, staff) in &staffs {
        let watched = accounts.entry(account.clone()).or_default();
        let span = tracing::info_span!("sweep", account);
        sweep(context, staff, watched, &mut seen)
            .instrument(span)
            .await;
    }
    let present: HashSet<String> = context
        .sweeper
        .scopes()
        .iter()
        .flat_map(|scope| scope.agents.state())
        .filter_map(|agent| agent.uid())
        .collect();
    lock(&context.sweeper.reports).retain(|agent, _| present.contains(agent));
    context.metrics.keep_orphans(&present);
}

/// One round over one account. `seen` are the sessions that an earlier account has shown already: several keys of one
/// account may look like several accounts.
async fn sweep(
    context: &Context,
    staff: &Staff,
    watched: &mut Watched,
    seen: &mut HashSet<SessionId>,
) {
    let Some(linked) = connect(context, staff).await else {
        return;
    };
    let provider = linked.provider.as_ref();
    let mut ledger = ledger(context, staff);
    search(context, &linked, watched, &ledger).await;
    refresh(provider, watched).await;
    let mut reports: BTreeMap<String, Vec<OrphanStatus>> = BTreeMap::new();
    for id in watched.loose.keys().cloned().collect::<Vec<_>>() {
        let Some(tracked) = watched.loose.get(&id) else {
            continue;
        };
        let marked = tracked.marked.clone();
        let ground = ground(context, staff, &linked, tracked.since);
        let orphan = match judge(&marked, &ledger, &ground) {
            Verdict::Young => continue,
            // Known by its CodeSession from now on.
            Verdict::Owned => {
                watched.loose.remove(&id);
                continue;
            }
            Verdict::Foreign | Verdict::Ended => {
                watched.loose.remove(&id);
                watched.settled.insert(id, Timestamp::now());
                continue;
            }
            Verdict::Orphan(orphan) => orphan,
        };
        if !seen.insert(id.clone()) {
            continue;
        }
        let orphan = match orphan.stop {
            Stop::Yes => {
                match confirm(context, staff, &mut ledger, &marked, (orphan, &ground)).await {
                    Some(confirmed) => confirmed,
                    None => continue,
                }
            }
            Stop::Ended | Stop::NotWanted | Stop::Never => orphan,
        };
        let Some(employer) = employer(context, staff, &ledger, &marked, &orphan) else {
            continue;
        };
        let stored = employer.stored(&id);
        let since = stored.map_or(tracked.since, |stored| stored.since);
        let stopping = orphan.stop == Stop::Yes;
        let told =
            watched.told.contains(&(id.clone(), stopping)) || (stored.is_some() && !stopping);
        watched.told.insert((id.clone(), stopping));
        if !told {
            tell(context, employer, &ledger, &marked, &orphan).await;
        }
        if stopping && context.may_begin() {
            stop(provider, &marked).await;
        }
        if orphan.stop == Stop::Ended || marked.snapshot.phase.is_terminal() {
            watched.loose.remove(&id);
            watched.settled.insert(id, Timestamp::now());
            continue;
        }
        reports
            .entry(employer.uid())
            .or_default()
            .push(OrphanStatus {
                session_id: id.as_str().to_owned(),
                reason: orphan.reason,
                since,
                session: orphan
                    .owner
                    .as_deref()
                    .and_then(|uid| name_of(&ledger, uid)),
                session_url: marked.snapshot.url.clone(),
            });
    }
    for employer in &staff.employers {
        let mut orphans = reports.remove(&employer.uid()).unwrap_or_default();
        if !watched.read_through {
            // What an earlier process has reported was perhaps not come to again yet.
            let before = employer.reported().iter().filter(|orphan| {
                let id = SessionId::new(orphan.session_id.as_str());
                !watched.knows(&id) && !ledger.recorded().contains(&id)
            });
            orphans.extend(before.cloned());
        }
        publish(context, employer, orphans);
    }
}

fn ground<'a>(
    context: &'a Context,
    staff: &'a Staff,
    linked: &Linked,
    first_seen: Timestamp,
) -> Ground<'a> {
    Ground {
        installation: &context.installation,
        account: &staff.fingerprint,
        timing: context.timing(),
        clock: linked.clock.difference().unwrap_or_default(),
        first_seen,
        now: Timestamp::now(),
    }
}

/// Judges once more, on what is stored: caches lag behind, and a stop cannot be taken back. `None` if it is not known.
async fn confirm(
    context: &Context,
    staff: &Staff,
    ledger: &mut Ledger,
    marked: &Marked,
    (orphan, ground): (Orphan, &Ground<'_>),
) -> Option<Orphan> {
    let uid = orphan.owner?;
    let full_name = ledger.session(&uid)?.name.clone();
    let (namespace, name) = full_name.split_once('/')?;
    let api: Api<CodeSession> = Api::namespaced(context.client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(stored)) if stored.uid().as_deref() == Some(uid.as_str()) => {
            let policy = policy_of(staff, &stored);
            ledger.enter(uid, known(&stored, policy));
        }
        Ok(_) => ledger.strike(&uid),
        Err(_) => return None,
    }
    match judge(marked, ledger, ground) {
        Verdict::Orphan(orphan) => Some(orphan),
        Verdict::Owned | Verdict::Young | Verdict::Foreign | Verdict::Ended => None,
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
