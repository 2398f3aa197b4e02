//! Following sessions at their providers, with as few calls as their lists allow.
//!
//! The sessions of one connection are followed by one task, which has a few looks in flight and chooses before each of them who
//! is looked at next: those that somebody waits for, then those that are due for longest. Several that are due share a list call
//! a page where the list says enough; where it only hints at movement, those that moved are looked at alone, and the rest once in
//! a slow round. What is wrong with a list says nothing of a session: each is then looked at alone.
//!
//! Losing the lead for a moment pauses the task, and a task that died is started anew. It ends with the process, or when there is
//! nobody left to follow.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::accounts::{Accounts, ConnectionKey};
use super::connection::links::Linked;
use super::memory::Memory;
use crate::api::CodeSession;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::{ErrorClass, PageToken, ProviderError, SessionRef};
use crate::domain::requeue::{jittered, poll_interval};
use crate::domain::session::Poll;
use crate::domain::snapshot::{RemotePhase, Snapshot};
use crate::domain::timing::Timing;
use crate::providers::contract::{ItemDetail, Provider};
use crate::providers::http::Lane;
use crate::runtime::expiring::Expiring;
use crate::runtime::lease::Lead;
use crate::runtime::lock::lock;
use crate::runtime::panics::broken_off;
use crate::runtime::queue::Queue;

/// Pages of one list that are read at most; who is not found by then is looked at alone.
const MOST_PAGES: usize = 20;
/// A session that only hints are known of is looked at after this many of the longest intervals.
const SLOW_ROUND: u32 = 4;
/// Looks of one connection that are in flight at once.
const POLLS: usize = 6;
/// A running session whose provider reports its end, and does so, is looked at once in so many of the longest intervals.
const SAFETY_ROUND: u32 = 10;
/// The shortest time between two looks at a session for which a provider's reports are the reason.
const HINT_INTERVAL: Duration = Duration::from_secs(5);
/// For how long a report counts that comes before the answer to the launch.
const EARLY: Duration = Duration::from_secs(60);
/// Such reports that are kept.
const MOST_EARLY_HINTS: usize = 1024;

/// A session to follow.
#[derive(Clone)]
pub struct Followed {
    /// Its uid.
    pub uid: String,
    /// Where it is at the provider.
    pub session: SessionRef,
    /// The object, for triggers.
    pub object: ObjectRef<CodeSession>,
    /// Where triggers go.
    pub queue: Queue<ObjectRef<CodeSession>>,
    /// How long its newest message has been running.
    pub age: Duration,
    /// When its newest message was sent: another one is another reason to look.
    pub started: Option<Timestamp>,
    /// The account that looks.
    pub account: AccountFingerprint,
    /// The connection.
    pub attached: Linked,
    /// Whether somebody waits for news: a stop was sent.
    pub urgent: bool,
    /// Whether its provider was told to report its end.
    pub reports: bool,
}

struct Member {
    followed: Followed,
    since: Instant,
    next: Instant,
    hint: Option<String>,
    looked: Instant,
    faults: i32,
    /// Whether a look, or a list that may show it, is under way.
    looking: bool,
    /// Whether a list has not said enough: it is looked at alone.
    alone: bool,
    /// When the provider last said that it has moved, and whether that was proven.
    hinted: Option<(Instant, bool)>,
    /// Until when a look has to begin because of it.
    hint_due: Option<Instant>,
}

struct Group {
    members: HashMap<String, Member>,
    wake: Arc<Notify>,
    /// Whether the list of this connection gives hints only: who is urgent is then not looked for there.
    hints: bool,
    list_faults: i32,
    /// When the list may be read again after a failure.
    list_again: Instant,
    /// Whether the last of these sessions whose provider was told to report its end did so.
    reports_come: bool,
    /// An outage that a list met. The next look tells whether it is the provider's: until then there is only one.
    suspected: bool,
}

impl Group {
    fn new(now: Instant) -> Self {
        Self {
            members: HashMap::new(),
            wake: Arc::new(Notify::new()),
            hints: false,
            list_faults: 0,
            list_again: now,
            reports_come: false,
            suspected: false,
        }
    }
}

/// What the poller needs of the process.
#[derive(Clone)]
pub struct Parts {
    /// When the process started; looks are dated by the time since.
    pub started: Instant,
    /// The durations.
    pub timing: Timing,
    /// Whether this process leads.
    pub lead: Lead,
    /// Set when the process is about to stop.
    pub stop: CancellationToken,
    /// Where looks are kept.
    pub memory: Arc<Memory>,
    /// Who is told what looks say about a key.
    pub accounts: Arc<Accounts>,
}

struct Inner {
    parts: Parts,
    /// Hints at sessions that are not followed, or not yet.
    early: Expiring<String, bool>,
    groups: Mutex<HashMap<ConnectionKey, Group>>,
}

/// Follows sessions at their providers. A clone is the same poller.
#[derive(Clone)]
pub struct Poller(Arc<Inner>);

/// What is to be done next for a connection.
enum Next {
    /// Nobody is followed any more.
    Over,
    /// These are looked at, and then the clock tells; `None` while every look that may be in flight is.
    Start {
        polls: Vec<Followed>,
        list: Vec<Covered>,
        wait: Option<Duration>,
    },
}

/// A session that a list may show.
#[derive(Clone)]
struct Covered {
    followed: Followed,
    hint: Option<String>,
    /// Whether it is time for a look whatever the hint says.
    slow: bool,
}

/// What a list said of one session.
enum Shown {
    All(Duration, Box<Snapshot>),
    /// The same hint as before.
    Unmoved,
    /// It takes a look.
    Alone(Option<String>),
}

/// What became of a call.
enum Done {
    Poll(Box<(Followed, Duration, Result<Snapshot, ProviderError>)>),
    List {
        covered: Vec<Covered>,
        shown: HashMap<String, Shown>,
        hints: bool,
        failure: Option<(Duration, ProviderError)>,
    },
}

impl Poller {
    /// A poller that follows nobody yet.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            early: Expiring::new(MOST_EARLY_HINTS),
            groups: Mutex::default(),
        }))
    }

    /// Follows a session from now on. Calling it again only tells what has changed.
    pub fn follow(&self, followed: Followed) {
        let timing = &self.0.parts.timing;
        let key = followed.attached.key.clone();
        let uid = followed.uid.clone();
        let now = Instant::now();
        let soon = now + jittered(timing.poll_min, rand::random());
        let mut groups = self.lock();
        for (other, group) in groups.iter_mut() {
            if *other != key {
                group.members.remove(&uid);
            }
        }
        let fresh = !groups.contains_key(&key);
        let group = groups.entry(key.clone()).or_insert_with(|| Group::new(now));
        match group.members.get_mut(&uid) {
            Some(member) => {
                if followed.urgent && !member.followed.urgent {
                    member.next = member.next.min(soon);
                    group.wake.notify_one();
                }
                if member.followed.session != followed.session
                    || member.followed.started != followed.started
                {
                    member.hint = None;
                    member.since = now.checked_sub(followed.age).unwrap_or(now);
                    member.next = member.next.min(soon);
                    group.wake.notify_one();
                }
                member.followed = followed;
            }
            None => {
                let age = followed.age;
                let early = self.0.early.take(&uid);
                let member = Member {
                    followed,
                    since: now.checked_sub(age).unwrap_or(now),
                    next: if early.is_some() { now } else { soon },
                    hint: None,
                    looked: now,
                    faults: 0,
                    looking: false,
                    alone: early.is_some(),
                    hinted: early.map(|proven| (now, proven)),
                    hint_due: None,
                };
                group.members.insert(uid, member);
                group.wake.notify_one();
            }
        }
        if fresh {
            let wake = Arc::clone(&group.wake);
            drop(groups);
            tokio::spawn(keep_running(self.clone(), key, wake));
        }
    }

    /// Follows the session with this uid no longer.
    pub fn forget(&self, uid: &str) {
        for group in self.lock().values_mut() {
            if group.members.remove(uid).is_some() {
                group.wake.notify_one();
            }
        }
    }

    /// Looks at the session with this uid as soon as it can: somebody says that it has moved.
    pub fn nudge(&self, uid: &str) {
        for group in self.lock().values_mut() {
            if let Some(member) = group.members.get_mut(uid) {
                member.next = Instant::now();
                member.alone = true;
                group.wake.notify_one();
            }
        }
    }

    /// The provider reports that the session with this uid has moved: it is looked at once more, soon after the last such report at the
    /// earliest. `proven`: nobody else can have said so. A report of a session that is not followed yet counts for a minute.
    pub fn hint(&self, uid: &str, proven: bool) {
        let now = Instant::now();
        // Held to the end: who begins to follow it meanwhile finds what is kept.
        let mut groups = self.lock();
        for group in groups.values_mut() {
            if let Some(member) = group.members.get_mut(uid) {
                let (last, before) = member.hinted.unzip();
                let due = last.map_or(now, |last| now.max(last + HINT_INTERVAL));
                let due = member.hint_due.map_or(due, |planned| planned.min(due));
                member.hinted = Some((due, proven || before.unwrap_or_default()));
                member.hint_due = Some(due);
                member.next = member.next.min(due);
                member.alone = true;
                group.wake.notify_one();
                return;
            }
        }
        self.0.early.put(uid.to_owned(), proven, EARLY);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectionKey, Group>> {
        lock(&self.0.groups)
    }

    fn uptime(&self) -> Duration {
        self.0.parts.started.elapsed()
    }

    /// Whose turn it is, with `in_flight` looks and perhaps a list under way.
    fn next(&self, key: &ConnectionKey, in_flight: usize, listing: bool) -> Next {
        let timing = &self.0.parts.timing;
        let slack = timing.poll_min / 2;
        let mut groups = self.lock();
        let Some(group) = groups.get_mut(key) else {
            return Next::Over;
        };
        if group.members.is_empty() {
            groups.remove(key);
            return Next::Over;
        }
        let now = Instant::now();
        let waiting = group.members.values().filter(|member| !member.looking);
        let first = waiting.clone().map(|member| member.next).min();
        let wait = first.map(|first| first.saturating_duration_since(now));
        if wait.is_none_or(|wait| !wait.is_zero()) {
            return Next::Start {
                polls: Vec::new(),
                list: Vec::new(),
                wait,
            };
        }
        // Who would be due soon comes along: one list call serves all.
        let mut due: Vec<(bool, Instant, String)> = waiting
            .filter(|member| member.next <= now + slack)
            .map(|member| {
                let followed = &member.followed;
                (!followed.urgent, member.next, followed.uid.clone())
            })
            .collect();
        due.sort();
        let may_list = !listing && group.list_again <= now;
        let (mut listed, mut alone): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for (_, _, uid) in due {
            let by_list = group
                .members
                .get(&uid)
                .is_some_and(|member| !(member.alone || group.hints && member.followed.urgent));
            // While a list is read, or cannot be, who it could show waits for it or is looked at alone.
            match (by_list, may_list) {
                (true, true) => listed.push(uid),
                (true, false) if listing => {}
                _ => alone.push(uid),
            }
        }
        if listed.len() == 1 {
            alone.append(&mut listed);
        }
        let most = if group.suspected { 1 } else { POLLS };
        let room = most.saturating_sub(in_flight);
        let held_back = alone.len() > room;
        alone.truncate(room);
        let slow = timing.poll_max * SLOW_ROUND;
        let mut take = |uid: &String| {
            let member = group.members.get_mut(uid)?;
            member.looking = true;
            // What is reported while it is under way takes another one.
            member.hint_due = None;
            Some(Covered {
                followed: member.followed.clone(),
                hint: member.hint.clone(),
                slow: member.looked.elapsed() >= slow,
            })
        };
        let list: Vec<Covered> = listed.iter().filter_map(&mut take).collect();
        let polls = alone
            .iter()
            .filter_map(&mut take)
            .map(|covered| covered.followed)
            .collect();
        let later = group
            .members
            .values()
            .filter(|member| !member.looking && member.next > now)
            .map(|member| member.next.saturating_duration_since(now))
            .min();
        Next::Start {
            polls,
            list,
            wait: if held_back { None } else { later },
        }
    }

    /// Plans the next look at a session; whether it is still followed.
    fn plan_next(
        &self,
        key: &ConnectionKey,
        uid: &str,
        result: Option<&Result<Snapshot, ProviderError>>,
    ) -> bool {
        let timing = &self.0.parts.timing;
        let mut groups = self.lock();
        let Some(group) = groups.get_mut(key) else {
            return false;
        };
        let Some(member) = group.members.get_mut(uid) else {
            return false;
        };
        let now = Instant::now();
        member.looking = false;
        member.alone = false;
        let wait = match result {
            Some(Err(error)) => {
                member.faults = member.faults.saturating_add(1);
                timing
                    .fault_wait(member.faults)
                    .max(error.retry_after.unwrap_or_default())
            }
            Some(Ok(snapshot)) if snapshot.phase.is_terminal() => {
                // One that was stopped need not be reported.
                if member.followed.reports && !member.followed.urgent {
                    group.reports_come = matches!(member.hinted, Some((_, true)));
                }
                // All is said; the pass that this look triggers ends the following.
                timing.poll_max * SLOW_ROUND
            }
            Some(Ok(snapshot))
                if snapshot.phase == RemotePhase::Running
                    && member.followed.reports
                    && !member.followed.urgent
                    && group.reports_come =>
            {
                member.faults = 0;
                timing.poll_max * SAFETY_ROUND
            }
            Some(Ok(_)) | None => {
                member.faults = 0;
                if member.followed.urgent {
                    timing.poll_min
                } else {
                    poll_interval(timing, member.since.elapsed())
                }
            }
        };
        if result.is_some() {
            member.looked = now;
        }
        member.next = now + jittered(wait, rand::random());
        if let Some(due) = member.hint_due {
            member.next = member.next.min(due);
            member.alone = true;
        }
        true
    }

    /// Keeps a look, plans the next one, and triggers a pass if something may have to be done.
    fn deposit(
        &self,
        key: &ConnectionKey,
        followed: &Followed,
        begun: Duration,
        result: Result<Snapshot, ProviderError>,
    ) {
        if !self.plan_next(key, &followed.uid, Some(&result)) {
            // It was let go meanwhile; nobody would forget what is remembered now.
            return;
        }
        let accounts = &self.0.parts.accounts;
        // Nothing new is said by these, but time makes a difference: a lost session, a mended key.
        let mut pressing = false;
        match &result {
            Ok(_) => accounts.worked(key),
            Err(error) => {
                tracing::debug!(session = %followed.session.session_id, class = error.class.as_str(), "a poll failed");
                let refused = matches!(
                    error.class,
                    ErrorClass::Unauthorized | ErrorClass::Forbidden
                );
                pressing = refused || error.class == ErrorClass::NotFound;
                if refused {
                    accounts.doubt(key);
                }
            }
        }
        let news = self.0.parts.memory.change(&followed.uid, |remembered| {
            let before = remembered.poll.as_ref();
            let news = before.is_none_or(|poll| !poll.shows(&result));
            let account = followed.account.clone();
            remembered.poll = Some(Poll::after(before, begun, result, account));
            news
        });
        if news || pressing {
            followed.queue.push(followed.object.clone());
        }
    }

    /// Whether the session was seen to run: from then on a hint tells of its end. The step before, from being created to
    /// running, moves nothing in a list.
    fn runs(&self, uid: &str) -> bool {
        self.0.parts.memory.change(uid, |remembered| {
            remembered.poll.as_ref().is_some_and(|poll| {
                poll.result
                    .as_ref()
                    .is_ok_and(|snapshot| snapshot.phase == RemotePhase::Running)
            })
        })
    }

    /// What a call that has ended says.
    fn settle(&self, key: &ConnectionKey, done: Done) {
        match done {
            Done::Poll(poll) => {
                let (followed, begun, result) = *poll;
                let outage = result.as_ref().err().filter(|error| is_outage(error));
                self.confirm_outage(key, begun, outage);
                self.deposit(key, &followed, begun, result);
            }
            Done::List {
                covered,
                mut shown,
                hints,
                failure,
            } => {
                self.note_list(key, hints, failure.as_ref());
                for Covered { followed, .. } in covered {
                    match (shown.remove(&followed.uid), &failure) {
                        (Some(Shown::All(begun, snapshot)), _) => {
                            self.deposit(key, &followed, begun, Ok(*snapshot));
                        }
                        (Some(Shown::Unmoved), _) if self.runs(&followed.uid) => {
                            self.plan_next(key, &followed.uid, None);
                        }
                        (Some(Shown::Unmoved), _) => self.look_alone(key, &followed.uid, None),
                        (Some(Shown::Alone(hint)), _) => {
                            self.look_alone(key, &followed.uid, hint);
                        }
                        (None, Some((begun, error))) if stands_for_all(error) => {
                            self.deposit(key, &followed, *begun, Err(error.clone()));
                        }
                        // It may be too new for the list, or gone, or the list cannot be read: a look of its own tells.
                        (None, _) => self.look_alone(key, &followed.uid, None),
                    }
                }
            }
        }
    }

    fn note_list(
        &self,
        key: &ConnectionKey,
        hints: bool,
        failure: Option<&(Duration, ProviderError)>,
    ) {
        let timing = &self.0.parts.timing;
        let mut groups = self.lock();
        let Some(group) = groups.get_mut(key) else {
            return;
        };
        group.hints |= hints;
        match failure {
            None => group.list_faults = 0,
            Some((_, error)) => {
                group.list_faults = group.list_faults.saturating_add(1);
                let wait = timing
                    .fault_wait(group.list_faults)
                    .max(error.retry_after.unwrap_or_default());
                group.list_again = Instant::now() + wait;
                group.suspected = is_outage(error);
                tracing::debug!(
                    class = error.class.as_str(),
                    "a list failed: sessions are polled one by one"
                );
            }
        }
    }

    /// A look after a list that met an outage: if it meets one too, it is the provider's and stands for all that are due.
    fn confirm_outage(&self, key: &ConnectionKey, begun: Duration, outage: Option<&ProviderError>) {
        let due: Vec<Followed> = {
            let mut groups = self.lock();
            let Some(group) = groups.get_mut(key) else {
                return;
            };
            if !std::mem::take(&mut group.suspected) || outage.is_none() {
                return;
            }
            let now = Instant::now();
            group
                .members
                .values_mut()
                .filter(|member| !member.looking && member.alone && member.next <= now)
                .map(|member| member.followed.clone())
                .collect()
        };
        let Some(error) = outage else { return };
        for followed in due {
            self.deposit(key, &followed, begun, Err(error.clone()));
        }
    }

    /// The session is looked at alone, at once.
    fn look_alone(&self, key: &ConnectionKey, uid: &str, hint: Option<String>) {
        if let Some(member) = self
            .lock()
            .get_mut(key)
            .and_then(|group| group.members.get_mut(uid))
        {
            member.looking = false;
            member.alone = true;
            member.hint = hint.or(member.hint.take());
            member.next = member.next.min(Instant::now());
        }
    }

    /// A call died: who it was for is looked at again after a while.
    fn died(&self, key: &ConnectionKey, (uids, list): (&[String], bool), error: &JoinError) {
        tracing::error!(
            error = broken_off(error),
            list,
            "a poll broke off; it is repeated"
        );
        let timing = &self.0.parts.timing;
        let again = Instant::now() + timing.fault_wait_min;
        if let Some(group) = self.lock().get_mut(key) {
            if list {
                group.list_faults = group.list_faults.saturating_add(1);
                group.list_again = Instant::now() + timing.fault_wait(group.list_faults);
            }
            for uid in uids {
                if let Some(member) = group.members.get_mut(uid) {
                    member.looking = false;
                    member.alone = list;
                    member.faults = member.faults.saturating_add(1);
                    member.next = again;
                }
            }
        }
    }

    /// Nobody is being looked at: the task that did has ended.
    fn begin_anew(&self, key: &ConnectionKey) {
        if let Some(group) = self.lock().get_mut(key) {
            for member in group.members.values_mut() {
                member.looking = false;
            }
        }
    }
}

/// Whether the provider seems to be down.
fn is_outage(error: &ProviderError) -> bool {
    matches!(error.class, ErrorClass::Unavailable | ErrorClass::Timeout)
}

/// Whether what a list met would meet every look as well: only what is said of the key.
fn stands_for_all(error: &ProviderError) -> bool {
    matches!(
        error.class,
        ErrorClass::Unauthorized | ErrorClass::RateLimited
    )
}

/// Follows the sessions of one connection until there are none. A task that dies is started anew.
async fn keep_running(poller: Poller, key: ConnectionKey, wake: Arc<Notify>) {
    while let Err(error) = tokio::spawn(run(poller.clone(), key.clone(), Arc::clone(&wake))).await {
        if !error.is_panic() || poller.0.parts.stop.is_cancelled() {
            return;
        }
        tracing::error!(
            error = broken_off(&error),
            "following the sessions of a connection broke off and begins anew"
        );
        tokio::time::sleep(poller.0.parts.timing.fault_wait_min).await;
        poller.begin_anew(&key);
    }
}

async fn run(poller: Poller, key: ConnectionKey, wake: Arc<Notify>) {
    let (lead, stop) = (&poller.0.parts.lead, &poller.0.parts.stop);
    let mut calls: JoinSet<Done> = JoinSet::new();
    let mut subjects: HashMap<Id, Vec<String>> = HashMap::new();
    let mut listing: HashSet<Id> = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // Not leading just now is a pause, not an end.
            () = lead.held() => {}
        }
        let in_flight = calls.len() - listing.len();
        let wait = match poller.next(&key, in_flight, !listing.is_empty()) {
            Next::Over => return,
            Next::Start { polls, list, wait } => {
                for followed in polls {
                    let uid = followed.uid.clone();
                    let call = calls.spawn(poll(poller.clone(), followed));
                    subjects.insert(call.id(), vec![uid]);
                }
                if !list.is_empty() {
                    let uids = list.iter().map(|one| one.followed.uid.clone()).collect();
                    let call = calls.spawn(read_list(poller.clone(), list));
                    subjects.insert(call.id(), uids);
                    listing.insert(call.id());
                }
                wait
            }
        };
        let timer = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = calls.join_next_with_id() => match ended {
                Ok((id, done)) => {
                    subjects.remove(&id);
                    listing.remove(&id);
                    poller.settle(&key, done);
                }
                Err(error) => {
                    let list = listing.remove(&error.id());
                    let uids = subjects.remove(&error.id()).unwrap_or_default();
                    poller.died(&key, (&uids, list), &error);
                }
            },
            () = timer => {}
            () = wake.notified() => {}
        }
    }
}

async fn poll(poller: Poller, followed: Followed) -> Done {
    let lane = if followed.urgent {
        Lane::Stop
    } else {
        Lane::Read
    };
    let provider = Arc::clone(followed.attached.in_lane(lane));
    let begun = poller.uptime();
    let result = provider.get(&followed.session).await;
    Done::Poll(Box::new((followed, begun, result)))
}

/// Reads the list until it has shown all of `covered`, or ends.
async fn read_list(poller: Poller, covered: Vec<Covered>) -> Done {
    let mut wanted: HashMap<&str, &Covered> = covered
        .iter()
        .map(|one| (one.followed.session.session_id.as_str(), one))
        .collect();
    let mut shown = HashMap::new();
    let (mut hints, mut failure) = (false, None);
    let urgent = covered.iter().any(|one| one.followed.urgent);
    let lane = if urgent { Lane::Stop } else { Lane::Read };
    let provider: Option<Arc<dyn Provider>> = covered
        .first()
        .map(|one| Arc::clone(one.followed.attached.in_lane(lane)));
    let mut page: Option<PageToken> = None;
    // Without a list, each is looked at alone.
    if let Some(listing) = provider.as_ref().and_then(|provider| provider.listing()) {
        for _ in 0..MOST_PAGES {
            let begun = poller.uptime();
            let answer = match listing.list(page.as_ref()).await {
                Ok(answer) => answer,
                Err(error) => {
                    failure = Some((begun, error));
                    break;
                }
            };
            for item in answer.items {
                let Some(one) = wanted.remove(item.session_id.as_str()) else {
                    continue;
                };
                let said = match item.detail {
                    ItemDetail::Full(snapshot) => Shown::All(begun, snapshot),
                    ItemDetail::Hint(hint) => {
                        hints = true;
                        let unmoved = one.hint.as_ref() == Some(&hint);
                        if unmoved && !one.slow && !one.followed.urgent {
                            Shown::Unmoved
                        } else {
                            Shown::Alone(Some(hint))
                        }
                    }
                };
                shown.insert(one.followed.uid.clone(), said);
            }
            page = answer.next;
            if wanted.is_empty() || page.is_none() {
                break;
            }
        }
    }
    Done::List {
        covered,
        shown,
        hints,
        failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::Ordering;

    use futures::StreamExt;

    use super::*;
    use crate::controllers::connection::lanes::Lanes;
    use crate::controllers::testing::Scripted;
    use crate::domain::ids::SessionId;
    use crate::domain::snapshot::Links;
    use crate::providers::contract::{ListItem, SessionPage};
    use crate::providers::credential::Credential;
    use crate::providers::http::{HttpSettings, HttpStack};

    fn snapshot(id: &SessionId, phase: RemotePhase) -> Snapshot {
        Snapshot {
            session_id: id.clone(),
            run_id: None,
            phase,
            raw_status: String::new(),
            repository: None,
            url: None,
            branch: None,
            pull_request_url: None,
            blocked: None,
            result: None,
            error: None,
            links: Links::default(),
            usage: None,
            duration: None,
            created_at: None,
        }
    }

    fn error(class: ErrorClass) -> ProviderError {
        ProviderError::unsent(class, "no")
    }

    struct World {
        poller: Poller,
        provider: Arc<Scripted>,
        attached: Linked,
        queue: Queue<ObjectRef<CodeSession>>,
        triggered: std::pin::Pin<Box<dyn futures::Stream<Item = ObjectRef<CodeSession>> + Send>>,
    }

    impl World {
        fn new(provider: Scripted, lead: Lead) -> Self {
            let often = (Duration::from_millis(20), Duration::from_millis(40));
            Self::polling(often, provider, lead)
        }

        fn polling(
            (poll_min, poll_max): (Duration, Duration),
            provider: Scripted,
            lead: Lead,
        ) -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let provider = Arc::new(provider);
            let http = HttpStack::new(HttpSettings::default()).unwrap();
            let url = "https://api.example.com".parse().unwrap();
            let rate = http.rate(&url, &Credential::new().with("api-key", "k"));
            let connect = |_| Ok::<Arc<dyn Provider>, ()>(Arc::clone(&provider) as _);
            let lanes = Lanes::new(rate, connect).unwrap();
            let timing = Timing {
                poll_min,
                poll_max,
                fault_wait_min: Duration::from_millis(10),
                fault_wait_max: Duration::from_millis(40),
                ..Timing::default()
            };
            let (queue, triggered) = Queue::new();
            Self {
                poller: Poller::new(Parts {
                    started: Instant::now(),
                    accounts: Arc::new(Accounts::new(timing.clone())),
                    timing,
                    lead,
                    stop: CancellationToken::new(),
                    memory: Arc::default(),
                }),
                attached: Linked {
                    key: ConnectionKey("key".to_owned()),
                    provider: Arc::clone(&provider) as _,
                    lanes,
                    clock: Arc::default(),
                    credential: String::new(),
                },
                provider,
                queue,
                triggered: Box::pin(triggered),
            }
        }

        fn follow(&self, name: &str, urgent: bool) {
            let followed = self.followed(name, urgent);
            self.poller.follow(followed);
        }

        /// Follows a session whose provider was told to report its end.
        fn follow_reporting(&self, name: &str) {
            let followed = self.followed(name, false);
            self.poller.follow(Followed {
                reports: true,
                ..followed
            });
        }

        fn member<T>(&self, name: &str, read: impl FnOnce(&Member) -> T) -> T {
            let groups = self.poller.lock();
            let member = groups.values().find_map(|group| group.members.get(name));
            read(member.expect("it is followed"))
        }

        fn followed(&self, name: &str, urgent: bool) -> Followed {
            self.poller.0.parts.memory.begin(name, |_| {});
            Followed {
                uid: name.to_owned(),
                session: SessionRef {
                    session_id: SessionId::new(name),
                    run_id: None,
                },
                object: ObjectRef::new(name).within("team-a"),
                queue: self.queue.clone(),
                started: None,
                age: Duration::ZERO,
                account: AccountFingerprint::new("account"),
                attached: self.attached.clone(),
                urgent,
                reports: false,
            }
        }

        async fn triggered(&mut self) -> String {
            let next = tokio::time::timeout(Duration::from_secs(20), self.triggered.next());
            next.await.expect("a look shows something").unwrap().name
        }

        fn polls(&self) -> usize {
            lock(&self.provider.looked_at).len()
        }
    }

    fn answering(
        get: impl Fn(&SessionRef) -> Result<Snapshot, ProviderError> + Send + Sync + 'static,
        list: impl Fn() -> Result<SessionPage, ProviderError> + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::looking(Box::new(get), Box::new(list), Duration::ZERO)
    }

    fn finished(session: &SessionRef) -> Result<Snapshot, ProviderError> {
        Ok(snapshot(&session.session_id, RemotePhase::Finished))
    }

    #[tokio::test]
    async fn a_lead_that_is_lost_for_a_moment_only_pauses_the_looks() {
        let (leads, lead) = Lead::switched(true);
        let provider = answering(
            |session| Ok(snapshot(&session.session_id, RemotePhase::Running)),
            || Err(error(ErrorClass::Unavailable)),
        );
        let mut world = World::new(provider, lead);
        world.follow("one", false);
        world.triggered().await;
        for _ in 0..3 {
            leads(false);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let before = world.polls();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(
                world.polls(),
                before,
                "nobody is looked at without the lead"
            );
            leads(true);
            let later = async {
                while world.polls() == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let resumed = tokio::time::timeout(Duration::from_secs(20), later).await;
            resumed.expect("it is looked at again");
        }
    }

    #[tokio::test]
    async fn an_adapter_that_panics_is_asked_again() {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let provider = answering(
            move |session| {
                assert!(
                    calls.fetch_add(1, Ordering::SeqCst) > 1,
                    "an adapter's mistake"
                );
                finished(session)
            },
            || panic!("a mistake in the list"),
        );
        let mut world = World::new(provider, Lead::alone());
        world.follow("one", false);
        assert_eq!(world.triggered().await, "one");
        world.follow("two", false);
        world.follow("three", false);
        let mut seen = [world.triggered().await, world.triggered().await];
        seen.sort();
        assert_eq!(seen, ["three", "two"]);
    }

    /// Whatever is wrong with the list but the key itself: every session is looked at, none is told what the list was told.
    #[tokio::test]
    async fn an_error_of_the_list_says_nothing_of_a_session() {
        for class in [
            ErrorClass::NotFound,
            ErrorClass::InvalidRequest,
            ErrorClass::Forbidden,
            ErrorClass::Protocol,
            ErrorClass::Unknown,
            ErrorClass::Unavailable,
            ErrorClass::Timeout,
        ] {
            let provider = answering(finished, move || Err(error(class)));
            let mut world = World::new(provider, Lead::alone());
            for name in ["a", "b", "c"] {
                world.follow(name, false);
            }
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(world.triggered().await);
            }
            seen.sort();
            assert_eq!(seen, ["a", "b", "c"], "{class:?}");
            for name in ["a", "b", "c"] {
                let poll = world.poller.0.parts.memory.of(name).poll.unwrap();
                assert!(poll.result.is_ok(), "{class:?}: {:?}", poll.result);
            }
        }
    }

    /// A provider that is down is not asked once for each of many sessions.
    #[tokio::test]
    async fn an_outage_that_a_look_confirms_stands_for_all() {
        let provider = answering(
            |_| Err(error(ErrorClass::Unavailable)),
            || Err(error(ErrorClass::Unavailable)),
        );
        let mut world = World::new(provider, Lead::alone());
        for n in 0..50 {
            world.follow(&format!("s-{n}"), false);
        }
        for _ in 0..50 {
            world.triggered().await;
        }
        assert!(world.polls() < 25, "{} looks", world.polls());
    }

    #[tokio::test]
    async fn a_few_looks_are_in_flight_and_who_is_waited_for_goes_first() {
        let provider = Scripted::looking(
            Box::new(finished),
            Box::new(|| Err(error(ErrorClass::NotFound))),
            Duration::from_millis(30),
        );
        let mut world = World::new(provider, Lead::alone());
        for n in 0..40 {
            world.follow(&format!("s-{n}"), false);
        }
        // The looks at the others are under way when this one comes.
        world.triggered().await;
        world.follow("urgent", true);
        world.poller.nudge("urgent");
        let before = world.polls();
        let mut passed = 0;
        while world.triggered().await != "urgent" {
            passed += 1;
        }
        assert!(passed <= 2 * POLLS, "{passed} went before, {before} looks");
        let most = world.provider.in_flight.1.load(Ordering::SeqCst);
        assert!((2..=POLLS).contains(&most), "{most} in flight");
    }

    /// A list that shows everything replaces the looks; what it does not show takes one.
    #[tokio::test]
    async fn a_list_that_says_enough_replaces_the_looks() {
        let provider = answering(finished, || {
            let items = ["a", "b"].map(SessionId::new).map(|id| ListItem {
                detail: ItemDetail::Full(Box::new(snapshot(&id, RemotePhase::Running))),
                session_id: id,
                created_at: None,
            });
            Ok(SessionPage {
                items: items.into(),
                next: None,
            })
        });
        let mut world = World::new(provider, Lead::alone());
        for name in ["a", "b", "c"] {
            world.follow(name, false);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(world.triggered().await);
        }
        seen.sort();
        assert_eq!(seen, ["a", "b", "c"]);
        let looked_at: HashSet<String> = lock(&world.provider.looked_at).drain(..).collect();
        assert!(looked_at.contains("c"), "{looked_at:?}");
    }

    const AN_HOUR: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(3600));

    #[tokio::test]
    async fn a_report_is_a_reason_to_look_now_and_many_are_one() {
        let provider = answering(
            |session| Ok(snapshot(&session.session_id, RemotePhase::Running)),
            || Err(error(ErrorClass::NotFound)),
        );
        let mut world = World::polling(AN_HOUR, provider, Lead::alone());
        world.follow("one", false);
        let before = Instant::now();
        world.poller.hint("one", true);
        assert_eq!(world.triggered().await, "one");
        for _ in 0..100 {
            world.poller.hint("one", true);
        }
        let due = world.member("one", |member| member.hint_due.unwrap());
        assert!(due >= before + HINT_INTERVAL, "not sooner");
        assert!(due <= Instant::now() + HINT_INTERVAL, "and not later");
        assert_eq!(world.polls(), 1);
    }

    /// What is reported while a look is under way may have happened after the provider answered it.
    #[tokio::test]
    async fn a_report_during_a_look_takes_another_one() {
        let provider = Scripted::looking(
            Box::new(|session| Ok(snapshot(&session.session_id, RemotePhase::Running))),
            Box::new(|| Err(error(ErrorClass::NotFound))),
            Duration::from_millis(300),
        );
        let mut world = World::polling(AN_HOUR, provider, Lead::alone());
        world.follow("one", false);
        world.poller.hint("one", true);
        while !world.member("one", |member| member.looking) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.poller.hint("one", true);
        world.triggered().await;
        let (next, due) = world.member("one", |member| (member.next, member.hint_due));
        assert_eq!(Some(next), due);
    }

    #[tokio::test]
    async fn a_report_before_the_session_is_followed_is_kept() {
        let provider = answering(finished, || Err(error(ErrorClass::NotFound)));
        let mut world = World::polling(AN_HOUR, provider, Lead::alone());
        world.poller.hint("early", true);
        world.follow("other", false);
        world.follow("early", false);
        assert_eq!(world.triggered().await, "early");
        assert_eq!(world.polls(), 1);
    }

    /// A running session is looked at less often only while the provider's reports are seen to come, proven ones.
    #[tokio::test]
    async fn looks_become_rare_only_where_ends_are_reported() {
        let provider = || {
            answering(
                |session| match session.session_id.as_str() {
                    "ends" => finished(session),
                    _ => Ok(snapshot(&session.session_id, RemotePhase::Running)),
                },
                || Err(error(ErrorClass::NotFound)),
            )
        };
        let slow = Duration::from_secs(3600 * 5);
        for (reported, rare) in [(Some(true), true), (Some(false), false), (None, false)] {
            let mut world = World::polling(AN_HOUR, provider(), Lead::alone());
            world.follow_reporting("ends");
            match reported {
                Some(proven) => world.poller.hint("ends", proven),
                None => world.poller.nudge("ends"),
            }
            assert_eq!(world.triggered().await, "ends");
            world.follow_reporting("runs");
            world.follow("not told to report", false);
            for (name, rare) in [("runs", rare), ("not told to report", false)] {
                world.poller.nudge(name);
                assert_eq!(world.triggered().await, name);
                let wait = world.member(name, |member| member.next - Instant::now());
                assert_eq!(wait > slow, rare, "{reported:?} {name}: {wait:?}");
            }
        }
    }
}
