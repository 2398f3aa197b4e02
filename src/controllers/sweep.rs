//! The sweep: sessions of this installation that no CodeSession accounts for are found at their providers, reported, and
//! stopped where that is asked for and allowed (rules 10 and 12 of the launch protocol).
//!
//! Once in a slow interval the sessions of every account are listed, through the same rate limit as everything else. Whose
//! a session is takes a look of its own, once in the life of this process.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::Api;
use tracing::Instrument;

use super::accounts::{ConnectionKey, Standing};
use super::connection::{Linked, endpoint, link};
use super::context::Context;
use super::metrics::Loose;
use super::scope::Scope;
use crate::api::{
    CodeAgent, CodeSession, DeletionPolicy, KeyReference, MAX_ORPHANS, OrphanPolicy, OrphanReason,
    OrphanStatus, Reason,
};
use crate::domain::ids::{AccountFingerprint, LaunchKey, SessionId};
use crate::domain::orphan::{
    Ground, KnownLaunch, KnownSession, Ledger, Mark, Marked, Orphan, Released, Stop, Verdict,
    grown_up, judge,
};
use crate::domain::remote::{Capability, ErrorClass, Recovery, SessionRef};
use crate::domain::requeue::jittered;
use crate::domain::status::whole_seconds;
use crate::providers::contract::{MarkedRequest, Provider};
use crate::runtime::lock::lock;

/// How far back sessions are looked at: the longest that one may run (`activeDeadlineSeconds`).
const REACH: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How far back sessions are looked at that have ended: of them only a second launch is of interest.
const REACH_ENDED: SignedDuration = SignedDuration::from_hours(24);
/// Calls of [`Provider::marked`] in one round; the next round goes on where the last one stopped.
const CALLS_PER_ROUND: usize = 5;
/// Looks in one round at sessions that were found before, to see whether they still run.
const LOOKS_PER_ROUND: usize = 50;
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
    tokio::select! {
        () = work => {}
        () = context.stop.cancelled() => {}
    }
}

/// A CodeAgent, and where it is watched.
#[derive(Clone)]
struct Employer {
    scope: Arc<Scope>,
    agent: Arc<CodeAgent>,
    key: ConnectionKey,
}

impl Employer {
    fn uid(&self) -> String {
        self.agent.uid().unwrap_or_default()
    }

    fn name(&self) -> (String, String) {
        (
            self.agent.namespace().unwrap_or_default(),
            self.agent.name_any(),
        )
    }

    fn stored(&self, session: &SessionId) -> Option<&OrphanStatus> {
        let status = self.agent.status.as_ref()?;
        let mut orphans = status.orphans.iter();
        orphans.find(|orphan| orphan.session_id == session.as_str())
    }
}

/// An account, and the CodeAgents that work with it, by namespace and name.
struct Staff {
    fingerprint: AccountFingerprint,
    employers: Vec<Employer>,
}

/// What is remembered of an account from round to round.
#[derive(Default)]
struct Watched {
    /// Sessions that need no look any more, and when that was found out.
    settled: BTreeMap<SessionId, Timestamp>,
    /// Sessions of ours that nobody has.
    loose: BTreeMap<SessionId, Tracked>,
    /// Where the list is read on.
    resume: Option<crate::domain::remote::ScanState<Marked>>,
    /// What people have been told of.
    told: HashSet<(SessionId, bool)>,
}

struct Tracked {
    marked: Marked,
    since: Timestamp,
    /// Whether it was looked at in this round.
    fresh: bool,
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

/// The accounts whose sessions can be listed, also those whose keys do not stand right now: what is remembered of them would
/// have to be found out again.
fn staffs(context: &Context) -> BTreeMap<String, Staff> {
    let mut staffs: BTreeMap<String, Staff> = BTreeMap::new();
    for scope in context.sweeper.scopes() {
        for agent in scope.agents.state() {
            let spec = &agent.spec.provider;
            let Some(provider) = context.provider(spec) else {
                continue;
            };
            let lists = provider.capabilities(spec).contains(&Capability::List)
                && provider.recovery(spec) != Recovery::None;
            let key = scope.key_of(&agent.uid().unwrap_or_default());
            let (true, Some(key)) = (lists, key) else {
                continue;
            };
            let Some(account) = context.accounts.last_account(&key) else {
                continue;
            };
            let name = format!(
                "{}/{}@{}#{}",
                provider.kind(),
                provider.api_version(spec),
                endpoint(context, provider, spec),
                account.fingerprint
            );
            staffs
                .entry(name)
                .or_insert_with(|| Staff {
                    fingerprint: account.fingerprint,
                    employers: Vec::new(),
                })
                .employers
                .push(Employer {
                    agent: scope.agents_overlay.newest(agent),
                    scope: Arc::clone(&scope),
                    key,
                });
        }
    }
    for staff in staffs.values_mut() {
        staff.employers.sort_by_key(Employer::name);
    }
    staffs
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
        let orphan = match judge(&marked, &ledger, &ground(context, staff)) {
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
            Stop::Yes => match confirm(context, staff, &mut ledger, &marked, orphan).await {
                Some(confirmed) => confirmed,
                None => continue,
            },
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
        let orphans = reports.remove(&employer.uid()).unwrap_or_default();
        publish(context, employer, orphans);
    }
}

/// A connection with a key of the account that stands.
async fn connect(context: &Context, staff: &Staff) -> Option<Linked> {
    for employer in &staff.employers {
        let standing = context.accounts.standing(&employer.key);
        if !matches!(standing, Some(Standing::Accepted(_))) {
            continue;
        }
        let agent = &employer.agent;
        let spec = &agent.spec.provider;
        let reference = &agent.spec.credentials.secret_ref;
        let secret = KeyReference {
            name: reference.name.clone(),
            key: reference.key.clone(),
        };
        let namespace = agent.namespace().unwrap_or_default();
        let Some(provider) = context.provider(spec) else {
            continue;
        };
        match link(context, &namespace, provider, spec, &secret).await {
            // With another key than the one that was checked it may be another account.
            Ok(linked) if linked.key == employer.key => return Some(linked),
            Ok(_) | Err(_) => {}
        }
    }
    None
}

/// What the caches say of who owns what.
fn ledger(context: &Context, staff: &Staff) -> Ledger {
    let mut released = Released::default();
    for departed in context.sweeper.departed() {
        if departed.released {
            released.uids.insert(departed.uid);
            released.ids.extend(departed.session);
        }
    }
    let stored = staff
        .employers
        .iter()
        .filter_map(|employer| employer.agent.status.as_ref())
        .flat_map(|status| &status.orphans)
        .filter(|orphan| orphan.reason == OrphanReason::Released);
    released
        .ids
        .extend(stored.map(|orphan| SessionId::new(orphan.session_id.as_str())));
    let mut ledger = Ledger::new(released);
    for scope in context.sweeper.scopes() {
        for session in scope.sessions.state() {
            let session = scope.sessions_overlay.newest(session);
            let policy = policy_of(staff, &session);
            ledger.enter(session.uid().unwrap_or_default(), known(&session, policy));
        }
    }
    ledger
}

fn policy_of(staff: &Staff, session: &CodeSession) -> OrphanPolicy {
    let agent = (
        session.namespace().unwrap_or_default(),
        session.spec.agent_ref.name.clone(),
    );
    let mut employers = staff.employers.iter();
    employers
        .find(|employer| employer.name() == agent)
        .map(|employer| employer.agent.spec.orphan_policy)
        .unwrap_or_default()
}

/// What a CodeSession says of its launch.
fn known(session: &CodeSession, policy: OrphanPolicy) -> KnownSession {
    let status = session.status.as_ref();
    let provider = status.and_then(|status| status.provider.as_ref());
    let recorded = provider
        .into_iter()
        .flat_map(|provider| provider.session_id.iter().chain(&provider.chain))
        .map(|id| SessionId::new(id.as_str()))
        .collect();
    let launch = status
        .and_then(|status| status.launch.as_ref())
        .map(|record| KnownLaunch {
            key: LaunchKey::recorded(record.key.as_str()),
            state: record.state,
            claimed_at: record.claimed_at,
            posts: record.posts,
            account: AccountFingerprint::new(record.target.account.as_str()),
        });
    KnownSession {
        name: format!(
            "{}/{}",
            session.namespace().unwrap_or_default(),
            session.name_any()
        ),
        recorded,
        launch,
        ended: status.is_some_and(|status| status.phase.is_terminal()),
        policy,
    }
}

fn ground<'a>(context: &'a Context, staff: &'a Staff) -> Ground<'a> {
    Ground {
        installation: &context.installation,
        account: &staff.fingerprint,
        timing: context.timing(),
        now: Timestamp::now(),
    }
}

/// Reads the list on, and looks at whom nobody knows.
async fn search(context: &Context, linked: &Linked, watched: &mut Watched, ledger: &Ledger) {
    let now = Timestamp::now();
    let created_from = now - REACH;
    watched.settled.retain(|_, since| *since >= created_from);
    let young =
        SignedDuration::try_from(grown_up(context.timing())).unwrap_or(SignedDuration::ZERO);
    for _ in 0..CALLS_PER_ROUND {
        let known: BTreeSet<SessionId> = ledger
            .recorded()
            .iter()
            .chain(watched.settled.keys())
            .chain(watched.loose.keys())
            .cloned()
            .collect();
        let request = MarkedRequest {
            installation: context.installation.clone(),
            created_from,
            created_until: now - young,
            ended_from: now - REACH_ENDED,
            known,
            resume: watched.resume.take(),
        };
        match linked.provider.marked(&request).await {
            Ok(page) => {
                let settled = page.foreign.into_iter().map(|id| (id, now));
                watched.settled.extend(settled);
                for marked in page.found {
                    let tracked = Tracked {
                        since: whole_seconds(now),
                        fresh: true,
                        marked,
                    };
                    let id = tracked.marked.snapshot.session_id.clone();
                    watched.loose.insert(id, tracked);
                }
                watched.resume = page.resume;
                if watched.resume.is_none() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(class = error.class.as_str(), "the sweep goes on later");
                watched.resume = request.resume;
                if error.class == ErrorClass::Unauthorized {
                    context.accounts.doubt(&linked.key);
                }
                return;
            }
        }
    }
}

/// Looks again at those that were found in earlier rounds.
async fn refresh(provider: &dyn Provider, watched: &mut Watched) {
    let mut gone = Vec::new();
    let mut looks = 0;
    for (id, tracked) in &mut watched.loose {
        if std::mem::take(&mut tracked.fresh) {
            continue;
        }
        if looks == LOOKS_PER_ROUND {
            break;
        }
        looks += 1;
        match provider.get(&reference(&tracked.marked)).await {
            Ok(snapshot) => {
                // A look may leave out when it was created.
                let created_at = snapshot.created_at.or(tracked.marked.snapshot.created_at);
                tracked.marked.snapshot = snapshot;
                tracked.marked.snapshot.created_at = created_at;
            }
            Err(error) if error.class == ErrorClass::NotFound => gone.push(id.clone()),
            Err(_) => {}
        }
    }
    for id in gone {
        watched.loose.remove(&id);
        watched.settled.insert(id, Timestamp::now());
    }
}

fn reference(marked: &Marked) -> SessionRef {
    SessionRef {
        session_id: marked.snapshot.session_id.clone(),
        run_id: marked.snapshot.run_id.clone(),
    }
}

/// Judges once more, on what is stored: caches lag behind, and a stop cannot be taken back. `None` if it is not known.
async fn confirm(
    context: &Context,
    staff: &Staff,
    ledger: &mut Ledger,
    marked: &Marked,
    orphan: Orphan,
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
    match judge(marked, ledger, &ground(context, staff)) {
        Verdict::Orphan(orphan) => Some(orphan),
        Verdict::Owned | Verdict::Young | Verdict::Foreign | Verdict::Ended => None,
    }
}

/// The CodeAgent that an orphan is reported on: the one that launched it, where that is known; else the one that reported it
/// before, one that works on the same repository, or any of the account.
fn employer<'a>(
    context: &Context,
    staff: &'a Staff,
    ledger: &Ledger,
    marked: &Marked,
    orphan: &Orphan,
) -> Option<&'a Employer> {
    let id = &marked.snapshot.session_id;
    let named = match &orphan.owner {
        Some(uid) => ledger
            .session(uid)
            .and_then(|owner| agent_of(context, &owner.name)),
        None => context
            .sweeper
            .departed()
            .into_iter()
            .find(|departed| {
                departed.session.as_ref() == Some(id)
                    || matches!(&marked.mark, Mark::Prompt(marker) if marker.uid == departed.uid)
            })
            .map(|departed| departed.agent),
    };
    let find = |test: &dyn Fn(&Employer) -> bool| {
        let mut employers = staff.employers.iter();
        employers.find(|employer| test(employer))
    };
    let works_there = |employer: &Employer| {
        let own = employer.agent.spec.repository.as_ref();
        let own = own.and_then(|repository| repository.url.as_deref());
        match (own, marked.snapshot.repository.as_deref()) {
            (Some(own), Some(theirs)) => crate::providers::same_repository(own, theirs),
            _ => false,
        }
    };
    named
        .and_then(|name| find(&|employer| employer.name() == name))
        .or_else(|| find(&|employer| employer.stored(id).is_some()))
        .or_else(|| find(&works_there))
        .or_else(|| staff.employers.first())
}

/// Namespace and name of the CodeAgent of a CodeSession (`namespace/name`).
fn agent_of(context: &Context, session: &str) -> Option<(String, String)> {
    let (namespace, _) = session.split_once('/')?;
    let session = find_session(context, session)?.1;
    Some((namespace.to_owned(), session.spec.agent_ref.name.clone()))
}

fn find_session(context: &Context, name: &str) -> Option<(Arc<Scope>, Arc<CodeSession>)> {
    let (namespace, name) = name.split_once('/')?;
    context.sweeper.scopes().into_iter().find_map(|scope| {
        let reference = kube_runtime::reflector::ObjectRef::new(name).within(namespace);
        let session = scope.sessions.get(&reference)?;
        Some((scope, session))
    })
}

fn name_of(ledger: &Ledger, uid: &str) -> Option<String> {
    let (_, name) = ledger.session(uid)?.name.split_once('/')?;
    Some(name.to_owned())
}

/// Tells people of an orphan, on its CodeAgent and, of a second launch, on its CodeSession.
async fn tell(
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

/// Keeps the orphans of a CodeAgent, and has its status written if they have changed.
fn publish(context: &Context, employer: &Employer, mut orphans: Vec<OrphanStatus>) {
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
