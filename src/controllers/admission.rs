//! Who may be launched: the slots of a CodeAgent and of an account, the lock of an issue or a branch, as one thing.
//!
//! A session asks for all it needs at once and gets all of it or nothing, so that nobody holds what another could use while it
//! waits for the rest. Who has reached a slot of its CodeAgent and waits for one of its account keeps its place in both lines:
//! otherwise every session behind it would move up in its stead, and back again when a slot of the account is free. What it got is a reservation until a claim is stored; from then on the stored object counts, whoever
//! wrote it. Both are handed out under one lock: two sessions that are looked at in the same moment cannot both get the last one.
//!
//! Only whoever may go is woken. A waiting session is never looked at because another one moved.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use crate::api::{CodeSession, Effective, QueueResource, SendTarget, SessionPhase};
use crate::domain::effective::pushed_branch;
use crate::domain::ids::AccountFingerprint;
use crate::domain::queue::{Line, Rank};
use crate::domain::repository::canonical;
use crate::domain::session::{OpenSend, Stage, newest_send, next_message};
use crate::runtime::lock::lock;
use crate::runtime::queue::Queue;

/// Only so many of those that wait are told their position: each of them has to be told again whenever one goes.
const POSITIONS: usize = 10;

/// Something scarce.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `spec.maxConcurrentSessions` of a CodeAgent.
    Slots {
        /// Its namespace.
        namespace: String,
        /// Its name.
        agent: String,
    },
    /// `--max-concurrent-per-credential`, over all namespaces.
    Account(AccountKey),
    /// An issue, on which one launch at a time may be open: what is new there tells which launch made it only then.
    Issue(IssueKey),
    /// A branch, to which one session at a time may push.
    Branch(BranchKey),
}

impl Resource {
    /// Whether it counts sessions, rather than letting one at a time work on something.
    fn is_slot(&self) -> bool {
        match self {
            Self::Slots { .. } | Self::Account(_) => true,
            Self::Issue(_) | Self::Branch(_) => false,
        }
    }
}

/// An account at an endpoint, as a digest of both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey(String);

impl AccountKey {
    /// The account with this fingerprint at this endpoint.
    pub fn new(endpoint: &str, account: &str) -> Self {
        let digest = AccountFingerprint::of("account slots", &[endpoint, account]);
        Self(digest.as_str().to_owned())
    }

    fn of_target(target: &SendTarget) -> Self {
        Self::new(&target.endpoint, &target.account)
    }

    /// The digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A branch of a repository. Of one namespace alone: whoever is in another one must not be able to hold up this one's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BranchKey {
    /// The namespace of the sessions.
    pub namespace: String,
    /// In one spelling.
    pub repository: String,
    /// Empty is the repository's default branch.
    pub branch: String,
}

impl BranchKey {
    /// The branch that a session with these settings pushes to, where that is settled before it starts.
    pub fn of(namespace: &str, effective: &Effective) -> Option<Self> {
        Some(Self {
            namespace: namespace.to_owned(),
            repository: canonical(effective.repository.as_deref()?),
            branch: pushed_branch(effective)?.into_owned(),
        })
    }
}

/// An issue at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssueKey {
    /// Base URL of the provider.
    pub endpoint: String,
    /// The provider's name of the issue.
    pub issue: String,
}

/// What a session needs before it can be launched.
#[derive(Clone, Debug)]
pub struct Want {
    /// Of what.
    pub resource: Resource,
    /// How many may hold it at a time.
    pub capacity: usize,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It has everything; the first of it since then, by uptime.
    Granted {
        /// Since when.
        since: Duration,
    },
    /// It waits.
    Waiting {
        /// For what.
        on: Resource,
        /// 1 is next; `None` beyond the first ten. It is as old as [`Admission::new`] was told at most.
        position: Option<i32>,
        /// One that holds it.
        by: Option<ObjectRef<CodeSession>>,
    },
}

/// A session that asks, and where it is woken.
pub struct Applicant<'a> {
    /// The object.
    pub session: &'a CodeSession,
    /// Where a look at it is asked for.
    pub queue: &'a Queue<ObjectRef<CodeSession>>,
}

/// What is known of a session that holds or waits for something.
struct Ticket {
    rank: Rank,
    object: ObjectRef<CodeSession>,
    queue: Queue<ObjectRef<CodeSession>>,
    holds: Vec<(Resource, Duration)>,
    /// The lines that it stands in. It waits for the last; what the others lead to it could have.
    waits: Vec<Resource>,
    /// The position that it was told last, and when.
    shown: Option<(Option<i32>, Duration)>,
}

impl Ticket {
    /// Whether this is what keeps it.
    fn waits_for(&self, resource: &Resource) -> bool {
        self.waits.last() == Some(resource)
    }
}

#[derive(Default)]
struct State {
    lines: HashMap<Resource, Line>,
    /// By uid.
    tickets: HashMap<String, Ticket>,
    /// Whether the sessions of every namespace that is served are known.
    counted: bool,
}

/// Who holds and who waits for what.
pub struct Admission {
    state: Mutex<State>,
    interval: Duration,
    per_account: Option<usize>,
}

impl Admission {
    /// Nobody holds anything. A session is told another position at most once in `interval`. At most `per_account` sessions are active
    /// for an account; without it as many as there are. None is launched for one before [`Admission::counted`].
    pub fn new(interval: Duration, per_account: Option<usize>) -> Self {
        Self {
            state: Mutex::default(),
            interval,
            per_account,
        }
    }

    /// What a session needs of its account, if that is limited.
    pub fn of_account(&self, account: AccountKey) -> Option<Want> {
        Some(Want {
            resource: Resource::Account(account),
            capacity: self.per_account?,
        })
    }

    /// Whether the sessions of every namespace that is served are known.
    pub fn is_counted(&self) -> bool {
        self.lock().counted
    }

    /// The sessions of every namespace that is served are known from now on: who waited for that may go.
    pub fn counted(&self) {
        let mut state = self.lock();
        state.counted = true;
        let Some(limit) = self.per_account else {
            return;
        };
        let accounts: Vec<Resource> = state
            .lines
            .iter_mut()
            .filter(|(resource, _)| matches!(resource, Resource::Account(_)))
            .map(|(resource, line)| {
                line.set_capacity(limit);
                resource.clone()
            })
            .collect();
        for account in accounts {
            state.wake(&account);
        }
    }

    /// What a stored session holds, whoever let it have it.
    fn holdings(&self, session: &CodeSession) -> Vec<Resource> {
        let active = has_slot(session.phase());
        let slots = active.then(|| slots_of(session));
        let account = account_in_use(session).filter(|_| self.per_account.is_some());
        let account = account.map(Resource::Account);
        let issue = open_claim(session).map(Resource::Issue);
        let branch = branch_in_use(session).map(Resource::Branch);
        let all = slots.into_iter().chain(account).chain(issue).chain(branch);
        all.collect()
    }

    /// Asks for everything in `wants`, at `now` by uptime. Asking for what one has changes nothing.
    pub fn request(&self, applicant: &Applicant<'_>, wants: &[Want], now: Duration) -> Grant {
        let rank = rank_of(applicant.session);
        let mut state = self.lock();
        state.ticket(applicant, &rank);
        let mut missing = None;
        let mut stands = Vec::new();
        for want in wants {
            let resource = &want.resource;
            let capacity = match resource {
                // Nobody knows yet how many are active.
                Resource::Account(_) if !state.counted => 0,
                Resource::Account(_)
                | Resource::Slots { .. }
                | Resource::Issue(_)
                | Resource::Branch(_) => want.capacity,
            };
            let line = state.lines.entry(resource.clone()).or_default();
            line.set_capacity(capacity);
            if missing.is_some() {
                continue;
            }
            if !line.admits(&rank) {
                missing = Some(resource.clone());
            } else if resource.is_slot() && !line.holds(rank.uid()) {
                stands.push(resource.clone());
            }
        }
        if let Some(resource) = missing {
            // Who waits for a lock does not stand in the way of those that could use the slot.
            stands.retain(|_| resource.is_slot());
            stands.push(resource.clone());
            return state.wait(&rank, stands, resource, now, self.interval);
        }
        let mut since = now;
        for want in wants {
            since = since.min(state.take(&rank, &want.resource, now));
        }
        state.stop_waiting(rank.uid());
        Grant::Granted { since }
    }

    /// The session cannot be launched now whatever it gets: it waits for nothing.
    pub fn withdraw(&self, uid: &str) {
        let mut state = self.lock();
        state.stop_waiting(uid);
        state.drop_idle(uid);
    }

    /// Takes note of what a stored session holds and waits for, at `now` by uptime. A reservation that is not stored yet is left
    /// alone: its pass is still under way.
    pub fn observe(&self, applicant: &Applicant<'_>, now: Duration) {
        let session = applicant.session;
        let rank = rank_of(session);
        let mut state = self.lock();
        if is_over(session) {
            return state.leave(rank.uid());
        }
        let claimed = claimed_at(session);
        for resource in self.holdings(session) {
            state.ticket(applicant, &rank);
            let line = state.lines.entry(resource.clone()).or_default();
            line.restore(&rank, claimed);
            state.take(&rank, &resource, now);
        }
        let queued = session
            .status
            .as_ref()
            .and_then(|status| status.queue.as_ref());
        let waits = queued.and_then(|queued| {
            let on = match queued.of {
                QueueResource::Capacity => slots_of(session),
                QueueResource::Account => {
                    let account = queued
                        .account
                        .clone()
                        .filter(|_| self.per_account.is_some())?;
                    Resource::Account(AccountKey(account))
                }
                QueueResource::Issue | QueueResource::Branch => return None,
            };
            Some((on, queued.position))
        });
        // An earlier process let it wait: those that come later must not overtake it.
        if let (Some((on, position)), false) = (waits, state.tickets.contains_key(rank.uid())) {
            state.ticket(applicant, &rank);
            state.stand(&rank, vec![on]);
            if let Some(ticket) = state.tickets.get_mut(rank.uid()) {
                ticket.shown = Some((position, now));
            }
        }
    }

    /// The last pass over the session is over: reservations that no stored claim stands for are given back.
    pub fn settle(&self, session: &CodeSession, launching: bool) {
        let uid = session.uid().unwrap_or_default();
        let mut state = self.lock();
        if is_over(session) {
            return state.leave(&uid);
        }
        let stored = self.holdings(session);
        let Some(ticket) = state.tickets.get(&uid).filter(|_| !launching) else {
            return;
        };
        let unused: Vec<Resource> = ticket
            .holds
            .iter()
            .map(|(resource, _)| resource)
            .filter(|resource| !stored.contains(resource))
            .cloned()
            .collect();
        for resource in unused {
            state.release(&uid, &resource);
        }
        state.drop_idle(&uid);
    }

    /// The session is gone: it holds and waits for nothing.
    pub fn forget(&self, uid: &str) {
        self.lock().leave(uid);
    }

    /// Wakes those among the first of every line whose position is not what they were told; to be called now and then.
    pub fn refresh(&self, now: Duration) {
        let state = self.lock();
        for (resource, line) in &state.lines {
            for (index, rank) in line.front(POSITIONS).enumerate() {
                let ticket = state.tickets.get(rank.uid());
                let Some(ticket) = ticket.filter(|ticket| ticket.waits_for(resource)) else {
                    continue;
                };
                let old = ticket.shown.is_none_or(|(shown, at)| {
                    shown != position(index) && now.saturating_sub(at) >= self.interval
                });
                if old {
                    ticket.queue.push(ticket.object.clone());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Keeps who `applicant` is; a changed priority changes its place in line.
    fn ticket(&mut self, applicant: &Applicant<'_>, rank: &Rank) {
        let ticket = self
            .tickets
            .entry(rank.uid().to_owned())
            .or_insert_with(|| Ticket {
                rank: rank.clone(),
                object: ObjectRef::from_obj(applicant.session),
                queue: applicant.queue.clone(),
                holds: Vec::new(),
                waits: Vec::new(),
                shown: None,
            });
        if ticket.rank != *rank {
            let before = std::mem::replace(&mut ticket.rank, rank.clone());
            for on in &ticket.waits {
                if let Some(line) = self.lines.get_mut(on) {
                    line.withdraw(&before);
                    line.wait(rank.clone());
                }
            }
        }
    }

    /// Lets `rank` wait for `resource` in these lines, of which its own is the last.
    fn wait(
        &mut self,
        rank: &Rank,
        stands: Vec<Resource>,
        resource: Resource,
        now: Duration,
        interval: Duration,
    ) -> Grant {
        let ticket = self.tickets.get(rank.uid());
        let waited = ticket.is_some_and(|ticket| ticket.waits_for(&resource));
        self.stand(rank, stands);
        if waited {
            // The order of turns changes with each that is taken: whoever may go in its stead may not know it yet.
            self.wake(&resource);
        }
        let line = self.lines.get(&resource);
        let current = line
            .and_then(|line| line.position(rank, POSITIONS))
            .and_then(|place| position(place - 1));
        // Who is first of those that wait is held up by whoever holds it, and else by who waits before it.
        let by = line
            .and_then(|line| {
                let before = line.front(1).next().map(Rank::uid);
                line.holder()
                    .or(before.filter(|before| *before != rank.uid()))
            })
            .and_then(|uid| self.tickets.get(uid))
            .map(|ticket| ticket.object.clone());
        let mut position = current;
        if let Some(ticket) = self.tickets.get_mut(rank.uid()) {
            match ticket.shown {
                Some((shown, at)) if now.saturating_sub(at) < interval => position = shown,
                Some(_) | None => ticket.shown = Some((current, now)),
            }
        }
        Grant::Waiting {
            on: resource,
            position,
            by,
        }
    }

    /// `rank` stands in these lines, and in no others.
    fn stand(&mut self, rank: &Rank, stands: Vec<Resource>) {
        let Some(ticket) = self.tickets.get_mut(rank.uid()) else {
            return;
        };
        if ticket.waits == stands {
            return;
        }
        if ticket.waits.last() != stands.last() {
            ticket.shown = None;
        }
        let before = std::mem::replace(&mut ticket.waits, stands.clone());
        for resource in &stands {
            let line = self.lines.entry(resource.clone()).or_default();
            line.wait(rank.clone());
        }
        for resource in before.iter().filter(|before| !stands.contains(before)) {
            self.withdraw_from(rank, resource);
        }
    }

    /// `rank` takes `resource`; answers with since when it has it.
    fn take(&mut self, rank: &Rank, resource: &Resource, now: Duration) -> Duration {
        let Some(ticket) = self.tickets.get_mut(rank.uid()) else {
            return now;
        };
        if ticket.waits_for(resource) {
            ticket.shown = None;
        }
        ticket.waits.retain(|waits| waits != resource);
        if let Some(line) = self.lines.get_mut(resource) {
            line.take(rank);
        }
        match ticket.holds.iter().find(|(held, _)| held == resource) {
            Some((_, since)) => *since,
            None => {
                ticket.holds.push((resource.clone(), now));
                now
            }
        }
    }

    fn stop_waiting(&mut self, uid: &str) {
        let Some(ticket) = self.tickets.get_mut(uid) else {
            return;
        };
        ticket.shown = None;
        let waits = std::mem::take(&mut ticket.waits);
        let rank = ticket.rank.clone();
        for resource in waits {
            self.withdraw_from(&rank, &resource);
        }
    }

    /// Who stood behind `rank` may be able to go.
    fn withdraw_from(&mut self, rank: &Rank, resource: &Resource) {
        let line = self.lines.get_mut(resource);
        if line.is_some_and(|line| line.withdraw(rank)) {
            self.wake(resource);
        }
    }

    fn release(&mut self, uid: &str, resource: &Resource) {
        if let Some(ticket) = self.tickets.get_mut(uid) {
            ticket.holds.retain(|(held, _)| held != resource);
        }
        let line = self.lines.get_mut(resource);
        if line.is_some_and(|line| line.release(uid)) {
            self.wake(resource);
        }
    }

    /// The session gives back everything.
    fn leave(&mut self, uid: &str) {
        self.stop_waiting(uid);
        let held: Vec<Resource> = match self.tickets.get(uid) {
            Some(ticket) => ticket.holds.iter().map(|(held, _)| held.clone()).collect(),
            None => return,
        };
        for resource in held {
            self.release(uid, &resource);
        }
        self.drop_idle(uid);
    }

    fn drop_idle(&mut self, uid: &str) {
        let idle = |ticket: &Ticket| ticket.holds.is_empty() && ticket.waits.is_empty();
        if self.tickets.get(uid).is_some_and(idle) {
            self.tickets.remove(uid);
        }
    }

    /// Asks for a look at whoever may go now, and drops a line that nobody needs.
    fn wake(&mut self, resource: &Resource) {
        let Some(line) = self.lines.get(resource) else {
            return;
        };
        if line.is_idle() {
            self.lines.remove(resource);
            return;
        }
        for rank in line.may_go() {
            let ticket = self.tickets.get(rank.uid());
            if let Some(ticket) = ticket.filter(|ticket| ticket.waits_for(resource)) {
                ticket.queue.push(ticket.object.clone());
            }
        }
    }
}

/// The position of the one with this index among those that wait, as it is told.
fn position(index: usize) -> Option<i32> {
    i32::try_from(index).ok()?.checked_add(1)
}

/// Whether a session needs nothing any more: it has ended, and no message of it waits to be sent.
fn is_over(session: &CodeSession) -> bool {
    let waits = session.metadata.deletion_timestamp.is_none()
        && next_message(&session.spec, session.status.as_ref()).is_some();
    session.phase().is_terminal() && !waits
}

/// The account that an active session holds a slot of: the one that its newest request was sent to.
pub fn account_in_use(session: &CodeSession) -> Option<AccountKey> {
    let active = has_slot(session.phase());
    let record = newest_send(session.status.as_ref()).filter(|_| active)?;
    Some(AccountKey::of_target(&record.target))
}

/// When the newest request of a session was claimed, in Unix seconds; zero if none was.
fn claimed_at(session: &CodeSession) -> u64 {
    let record = newest_send(session.status.as_ref());
    let second = record.map_or(0, |record| record.claimed_at.as_second());
    u64::try_from(second).unwrap_or_default()
}

/// The branch that an active session pushes to.
fn branch_in_use(session: &CodeSession) -> Option<BranchKey> {
    let active = has_slot(session.phase());
    let status = session.status.as_ref().filter(|_| active)?;
    BranchKey::of(
        session.metadata.namespace.as_deref()?,
        status.effective.as_ref()?,
    )
}

/// The slots of the session's CodeAgent.
pub fn slots_of(session: &CodeSession) -> Resource {
    Resource::Slots {
        namespace: session.namespace().unwrap_or_default(),
        agent: session.spec.agent_ref.name.clone(),
    }
}

fn has_slot(phase: SessionPhase) -> bool {
    match phase {
        SessionPhase::Creating | SessionPhase::Running => true,
        SessionPhase::Pending
        | SessionPhase::Finished
        | SessionPhase::Error
        | SessionPhase::Cancelled
        | SessionPhase::Expired => false,
    }
}

fn rank_of(session: &CodeSession) -> Rank {
    Rank::new(
        session.spec.priority,
        session.created_at(),
        session.namespace().unwrap_or_default(),
        session.name_any(),
        session.uid().unwrap_or_default(),
    )
}

/// The issue on which a launch of the session is open: claimed, and its outcome not known.
pub fn open_claim(session: &CodeSession) -> Option<IssueKey> {
    let Stage::Open(OpenSend::Launch(record)) = Stage::of(session.status.as_ref()) else {
        return None;
    };
    record.target.issue.as_ref().map(|issue| IssueKey {
        endpoint: record.target.endpoint.clone(),
        issue: issue.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use futures::{FutureExt, Stream, StreamExt};
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    const fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The `number`th session of the agent, in `phase`.
    fn session(number: usize, phase: &str) -> CodeSession {
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
            "metadata": {
                "namespace": "team-a", "name": format!("s{number:03}"), "uid": format!("uid-{number}"),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"agentRef": {"name": "agent"}, "prompt": "Do it"}, "status": {"phase": phase},
        });
        serde_json::from_value(object).unwrap()
    }

    /// One whose launch on the issue is claimed.
    fn claimed(number: usize, issue: &IssueKey) -> CodeSession {
        let mut session = serde_json::to_value(session(number, "Creating")).unwrap();
        session["status"]["launch"] = json!({
            "key": "key", "attempt": 1, "claimId": "claim", "posts": 1, "state": "Claimed",
            "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
            "target": {
                "kind": "firetiger", "apiVersion": "v1", "endpoint": issue.endpoint, "account": "account",
                "secretRef": "key/api-key", "issue": issue.issue,
            },
            "requestDigest": "digest",
        });
        serde_json::from_value(session).unwrap()
    }

    fn issue(name: &str) -> IssueKey {
        IssueKey {
            endpoint: "https://api.example.com".to_owned(),
            issue: name.to_owned(),
        }
    }

    struct World<S> {
        admission: Admission,
        queue: Queue<ObjectRef<CodeSession>>,
        triggers: S,
    }

    fn world() -> World<impl Stream<Item = ObjectRef<CodeSession>> + Unpin> {
        let (queue, triggers) = Queue::new();
        World {
            admission: Admission::new(MINUTE, None),
            queue,
            triggers,
        }
    }

    impl<S: Stream<Item = ObjectRef<CodeSession>> + Unpin> World<S> {
        fn applicant<'a>(&'a self, session: &'a CodeSession) -> Applicant<'a> {
            Applicant {
                session,
                queue: &self.queue,
            }
        }

        fn observe(&self, session: &CodeSession) {
            self.admission.observe(&self.applicant(session), second(0));
        }

        /// Asks for a slot of `limit`, and for the lock of `issue`.
        fn ask(
            &self,
            session: &CodeSession,
            limit: usize,
            issue: Option<&IssueKey>,
            now: Duration,
        ) -> Grant {
            let mut wants = vec![Want {
                resource: slots_of(session),
                capacity: limit,
            }];
            wants.extend(issue.map(|issue| Want {
                resource: Resource::Issue(issue.clone()),
                capacity: 1,
            }));
            self.admission
                .request(&self.applicant(session), &wants, now)
        }

        fn slot(&self, number: usize, limit: usize) -> bool {
            let grant = self.ask(&session(number, "Pending"), limit, None, second(0));
            matches!(grant, Grant::Granted { .. })
        }

        fn position(&self, number: usize, now: Duration) -> Option<i32> {
            match self.ask(&session(number, "Pending"), 1, None, now) {
                Grant::Waiting { position, .. } => position,
                Grant::Granted { .. } => Some(0),
            }
        }

        /// The names of those that were woken since.
        fn woken(&mut self) -> Vec<String> {
            let mut names = Vec::new();
            while let Some(Some(object)) = self.triggers.next().now_or_never() {
                names.push(object.name);
            }
            names
        }
    }

    /// However many wait, an end wakes as many as may go: one for each slot.
    #[test]
    fn a_freed_slot_wakes_one() {
        let mut world = world();
        assert!(world.slot(0, 1));
        world.observe(&session(0, "Running"));
        for number in 1..=899 {
            assert!(!world.slot(number, 1));
        }
        assert_eq!(
            world.woken(),
            [""; 0],
            "nobody is woken because another one comes"
        );
        let mut woken = 0;
        for number in 0..899 {
            world.observe(&session(number, "Finished"));
            let next = world.woken();
            assert_eq!(next, [format!("s{:03}", number + 1)]);
            woken += next.len();
            assert!(world.slot(number + 1, 1));
            world.observe(&session(number + 1, "Running"));
        }
        assert_eq!(woken, 899);
    }

    /// A reservation that no claim is stored for is given back after the pass; a stored one stays, whatever the limit is now.
    #[test]
    fn what_was_not_used_is_given_back() {
        let mut world = world();
        assert!(
            world.slot(1, 1) && world.slot(1, 1),
            "taken twice is taken once"
        );
        assert!(!world.slot(2, 1));
        world.observe(&session(1, "Pending"));
        assert!(!world.slot(2, 1), "its pass is under way");
        world.admission.settle(&session(1, "Pending"), true);
        assert!(!world.slot(2, 1), "its launch is under way");
        world.admission.settle(&session(1, "Pending"), false);
        assert_eq!(world.woken(), ["s002"]);
        assert!(world.slot(2, 1));
        world.observe(&session(2, "Creating"));
        world.admission.settle(&session(2, "Creating"), false);
        assert!(!world.slot(3, 1) && world.slot(2, 0), "who has it has it");
        world.admission.forget("uid-2");
        world.admission.forget("uid-3");
        let state = world.admission.lock();
        assert!(
            state.tickets.is_empty() && state.lines.is_empty(),
            "nothing is left behind"
        );
    }

    /// Who waits and cannot be launched any more lets those behind it pass.
    #[test]
    fn who_withdraws_lets_others_pass() {
        let mut world = world();
        world.observe(&session(0, "Running"));
        assert!(!world.slot(1, 1) && !world.slot(2, 1));
        world.observe(&session(0, "Finished"));
        assert_eq!(world.woken(), ["s001"]);
        world.admission.withdraw("uid-1");
        assert_eq!(world.woken(), ["s002"]);
        assert!(world.slot(2, 1));
    }

    /// Those that an earlier process let wait are not overtaken, and their stored position is not written anew at once.
    #[test]
    fn a_successor_keeps_the_order() {
        let mut world = world();
        let mut first = session(1, "Pending");
        let queue = json!({"position": 4, "since": "2026-01-01T00:00:00Z"});
        first.status.as_mut().unwrap().queue = Some(serde_json::from_value(queue).unwrap());
        world.observe(&first);
        assert!(!world.slot(2, 1));
        assert!(world.slot(1, 1));
        world.observe(&session(1, "Finished"));
        assert_eq!(world.woken(), ["s002"]);
        world.observe(&session(0, "Running"));
        world.observe(&first);
        assert_eq!(world.position(1, second(59)), Some(4));
        assert_eq!(world.position(1, second(60)), Some(1));
    }

    /// Only the first ten know their position, it changes once a minute at most, and only those are woken whose position changed.
    #[test]
    fn positions_are_told_to_few_and_seldom() {
        let mut world = world();
        world.observe(&session(0, "Running"));
        for number in 1..=40 {
            let told = (number <= 10).then(|| i32::try_from(number).unwrap());
            assert_eq!(world.position(number, second(0)), told);
        }
        world.admission.withdraw("uid-1");
        assert_eq!(world.position(2, second(30)), Some(2));
        world.admission.refresh(second(30));
        assert_eq!(world.woken(), [""; 0]);
        world.admission.refresh(second(60));
        assert_eq!(world.woken().len(), 10, "the ten that are first now");
        assert_eq!(world.position(2, second(60)), Some(1));
        assert_eq!(world.position(11, second(60)), Some(10));
        assert_eq!(world.position(12, second(60)), None);
    }

    #[test]
    fn one_launch_at_a_time_is_open_on_an_issue() {
        let mut world = world();
        let (ft_42, ft_43) = (issue("issues/FT-42"), issue("issues/FT-43"));
        let ask = |world: &World<_>, number, issue: &IssueKey, now| {
            world.ask(&session(number, "Pending"), 9, Some(issue), second(now))
        };
        let since = |now| Grant::Granted { since: second(now) };
        assert_eq!(ask(&world, 1, &ft_42, 1), since(1));
        assert_eq!(ask(&world, 1, &ft_42, 2), since(1), "taken once");
        assert!(matches!(
            ask(&world, 2, &ft_42, 3),
            Grant::Waiting { on: Resource::Issue(_), by: Some(by), .. } if by.name == "s001"
        ));
        assert_eq!(ask(&world, 3, &ft_43, 3), since(3));
        let elsewhere = IssueKey {
            endpoint: "https://eu.example.com".to_owned(),
            ..ft_42.clone()
        };
        assert_eq!(ask(&world, 4, &elsewhere, 4), since(4));
        // The claim is stored, then the launch is over.
        world.observe(&claimed(1, &ft_42));
        world.admission.settle(&claimed(1, &ft_42), false);
        assert_eq!(world.woken(), [""; 0]);
        world.admission.settle(&session(1, "Running"), false);
        assert_eq!(world.woken(), ["s002"]);
        assert_eq!(ask(&world, 2, &ft_42, 5), since(5));
    }

    #[test]
    fn a_stored_claim_holds_the_issue_whatever_this_process_knew_before() {
        let world = world();
        let ft_42 = issue("issues/FT-42");
        world.observe(&claimed(1, &ft_42));
        let other = world.ask(&session(2, "Pending"), 9, Some(&ft_42), second(2));
        assert!(matches!(
            other,
            Grant::Waiting {
                on: Resource::Issue(_),
                ..
            }
        ));
        world.admission.forget("uid-1");
        let other = world.ask(&session(2, "Pending"), 9, Some(&ft_42), second(3));
        assert_eq!(other, Grant::Granted { since: second(3) });
    }

    /// Of one namespace, and of one repository however it is spelled.
    #[test]
    fn one_active_session_has_a_branch() {
        let world = world();
        let effective = |repository: &str, branch: &str| -> Effective {
            let effective = json!({
                "provider": {"cursor": {}, "endpoint": "https://api.cursor.com"},
                "credentialsRef": {"name": "key", "key": "api-key"}, "repository": repository,
                "model": {"id": "auto"}, "activeDeadlineSeconds": 7200, "deletionPolicy": "Cancel",
                "onUnknownLaunch": "Recover", "agentGeneration": 1,
                "pullRequest": {
                    "autoCreate": true, "workOnCurrentBranch": false, "skipReviewerRequest": false,
                    "branchName": branch,
                },
            });
            serde_json::from_value(effective).unwrap()
        };
        let mut running = session(1, "Running");
        running.status.as_mut().unwrap().effective =
            Some(effective("https://github.com/acme/app", "fix"));
        world.observe(&running);
        let ask = |number, namespace: &str, repository: &str, branch: &str| {
            let key = BranchKey::of(namespace, &effective(repository, branch)).unwrap();
            let want = Want {
                resource: Resource::Branch(key),
                capacity: 1,
            };
            let applicant = session(number, "Pending");
            let applicant = Applicant {
                session: &applicant,
                queue: &world.queue,
            };
            let grant = world.admission.request(&applicant, &[want], second(1));
            matches!(grant, Grant::Granted { .. })
        };
        assert!(!ask(2, "team-a", "https://github.com/Acme/App.git", "fix"));
        assert!(ask(3, "team-a", "https://github.com/acme/app", "other"));
        assert!(ask(4, "team-a", "https://github.com/acme/lib", "fix"));
        assert!(ask(5, "team-b", "https://github.com/acme/app", "fix"));
        world.observe(&session(1, "Finished"));
        assert!(ask(2, "team-a", "https://github.com/acme/app", "fix"));
    }

    /// Who waits for an issue holds no slot that another could use.
    #[test]
    fn all_or_nothing() {
        let world = world();
        let ft_42 = issue("issues/FT-42");
        world.observe(&claimed(1, &ft_42));
        let waits = world.ask(&session(2, "Pending"), 2, Some(&ft_42), second(1));
        assert!(matches!(
            waits,
            Grant::Waiting {
                on: Resource::Issue(_),
                ..
            }
        ));
        assert!(world.slot(3, 2), "the second slot is free");
    }

    /// A session of a CodeAgent, which is its namespace's only one, as far as admission goes.
    fn session_in(namespace: &str, number: usize, phase: &str) -> CodeSession {
        let mut session = serde_json::to_value(session(number, phase)).unwrap();
        session["metadata"]["namespace"] = json!(namespace);
        session["status"]["launch"] = json!({
            "key": "key", "attempt": 1, "claimId": "claim", "posts": 1, "state": "Confirmed",
            "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
            "target": {
                "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.example.com", "account": "account",
                "secretRef": "key/api-key",
            },
            "requestDigest": "digest",
        });
        serde_json::from_value(session).unwrap()
    }

    fn the_account() -> AccountKey {
        AccountKey::new("https://api.example.com", "account")
    }

    impl<S: Stream<Item = ObjectRef<CodeSession>> + Unpin> World<S> {
        /// Asks for a slot of the account, and of the agent if it has a limit.
        fn ask_account(&self, session: &CodeSession, limit: Option<usize>) -> Grant {
            let slots = limit.map(|capacity| Want {
                resource: slots_of(session),
                capacity,
            });
            let account = self.admission.of_account(the_account());
            let wants: Vec<Want> = slots.into_iter().chain(account).collect();
            self.admission
                .request(&self.applicant(session), &wants, second(0))
        }

        fn goes(&self, namespace: &str, number: usize) -> bool {
            let grant = self.ask_account(&session_in(namespace, number, "Pending"), None);
            matches!(grant, Grant::Granted { .. })
        }
    }

    fn limited(per_account: usize) -> World<impl Stream<Item = ObjectRef<CodeSession>> + Unpin> {
        let mut world = world();
        world.admission = Admission::new(MINUTE, Some(per_account));
        world
    }

    /// One slot for the sessions of all namespaces: an end wakes one, of the namespace whose turn it is.
    #[test]
    fn the_slots_of_an_account_go_round_the_namespaces() {
        let mut world = limited(1);
        world.admission.counted();
        assert!(world.goes("team-a", 0));
        world.observe(&session_in("team-a", 0, "Running"));
        for number in 1..=3 {
            assert!(!world.goes("team-a", number));
        }
        assert!(!world.goes("team-b", 4));
        let mut order = Vec::new();
        let mut running = session_in("team-a", 0, "Finished");
        for _ in 1..=4 {
            world.observe(&running);
            let woken = world.woken();
            let [next] = woken.as_slice() else {
                panic!("one for one slot: {woken:?}");
            };
            let number: usize = next.trim_start_matches('s').parse().unwrap();
            let namespace = if number == 4 { "team-b" } else { "team-a" };
            assert!(world.goes(namespace, number));
            world.observe(&session_in(namespace, number, "Running"));
            running = session_in(namespace, number, "Finished");
            order.push(number);
        }
        assert_eq!(order, [4, 1, 2, 3]);
        world.observe(&running);
        let state = world.admission.lock();
        assert!(state.tickets.is_empty() && state.lines.is_empty());
    }

    /// What a session holds of its account is what its newest request was sent to, whatever its agent's key is now.
    #[test]
    fn a_stored_session_holds_a_slot_of_its_account() {
        let world = limited(1);
        world.admission.counted();
        world.observe(&session_in("team-a", 0, "Creating"));
        assert!(!world.goes("team-b", 1));
        let elsewhere = session_in("team-b", 2, "Pending");
        let wants = world
            .admission
            .of_account(AccountKey::new("https://api.example.com", "another"));
        let wants: Vec<Want> = wants.into_iter().collect();
        let grant = world
            .admission
            .request(&world.applicant(&elsewhere), &wants, second(0));
        assert!(matches!(grant, Grant::Granted { .. }), "another account");
        assert!(
            Admission::new(MINUTE, None)
                .of_account(the_account())
                .is_none()
        );
    }

    /// Before every namespace is read nobody knows how many are active.
    #[test]
    fn nothing_goes_before_all_are_counted() {
        let mut world = limited(2);
        assert!(!world.goes("team-a", 1) && !world.goes("team-a", 2));
        world.observe(&session_in("team-b", 3, "Running"));
        assert_eq!(world.woken(), [""; 0]);
        world.admission.counted();
        assert_eq!(world.woken(), ["s001"], "one of two slots is taken");
        assert!(world.goes("team-a", 1) && !world.goes("team-a", 2));
    }

    /// Those that an earlier process let wait for their account are not overtaken by those that ask first.
    #[test]
    fn a_successor_keeps_the_order_of_an_account() {
        let mut world = limited(1);
        let mut first = session_in("team-a", 1, "Pending");
        let queue = json!({
            "of": "Account", "account": the_account().as_str(), "since": "2026-01-01T00:00:00Z",
        });
        first.status.as_mut().unwrap().launch = None;
        first.status.as_mut().unwrap().queue = Some(serde_json::from_value(queue).unwrap());
        world.observe(&first);
        world.admission.counted();
        assert_eq!(world.woken(), ["s001"]);
        assert!(!world.goes("team-a", 2), "the older one goes first");
        assert!(world.goes("team-a", 1));
    }

    /// With more slots of the agent than of the account: whoever has reached a slot of the agent waits for both, and those behind it
    /// are not moved up and back again.
    #[test]
    fn an_end_wakes_one_also_where_agent_and_account_are_full() {
        let mut world = limited(1);
        world.admission.counted();
        let ask = |world: &World<_>, number| {
            let grant = world.ask_account(&session_in("team-a", number, "Pending"), Some(2));
            match grant {
                Grant::Granted { .. } => "goes",
                Grant::Waiting {
                    on: Resource::Slots { .. },
                    ..
                } => "agent",
                Grant::Waiting { .. } => "account",
            }
        };
        assert_eq!(ask(&world, 0), "goes");
        world.observe(&session_in("team-a", 0, "Running"));
        assert_eq!(ask(&world, 1), "account");
        for number in 2..100 {
            assert_eq!(ask(&world, number), "agent");
        }
        for number in 0..99 {
            world.observe(&session_in("team-a", number, "Finished"));
            // The one that goes, and the one that reaches the agent's slot in its stead.
            let mut woken = world.woken();
            woken.sort();
            let both = (number + 1..(number + 3).min(100)).map(|number| format!("s{number:03}"));
            assert_eq!(woken, both.collect::<Vec<_>>());
            assert_eq!(ask(&world, number + 1), "goes");
            world.observe(&session_in("team-a", number + 1, "Running"));
            if number + 2 < 100 {
                assert_eq!(ask(&world, number + 2), "account");
            }
        }
    }

    mod random {
        use std::collections::BTreeMap;

        use proptest::prelude::*;

        use super::*;

        #[derive(Clone, Debug)]
        enum Step {
            Add(u8),
            /// One of those that were woken is looked at.
            Look(u8),
            End(u8),
            Withdraw(u8),
            Priority(u8, i32),
            /// Another process takes over.
            Restart,
        }

        fn step() -> impl Strategy<Value = Step> {
            prop_oneof![
                5 => (0_u8..36).prop_map(Step::Add),
                6 => any::<u8>().prop_map(Step::Look),
                4 => any::<u8>().prop_map(Step::End),
                1 => (0_u8..36).prop_map(Step::Withdraw),
                1 => ((0_u8..36), -2_i32..3).prop_map(|(n, priority)| Step::Priority(n, priority)),
                1 => Just(Step::Restart),
            ]
        }

        const PER_ACCOUNT: usize = 3;
        const PER_AGENT: usize = 2;

        struct Cluster<S> {
            world: World<S>,
            /// Priority and phase of every session that is there.
            sessions: BTreeMap<u8, (i32, &'static str)>,
            woken: Vec<u8>,
        }

        impl<S: Stream<Item = ObjectRef<CodeSession>> + Unpin> Cluster<S> {
            fn object(&self, number: u8) -> CodeSession {
                let (priority, phase) = self.sessions[&number];
                let namespace = format!("team-{}", number % 3);
                let mut session = session_in(&namespace, usize::from(number), phase);
                session.spec.priority = priority;
                session
            }

            fn hear(&mut self) {
                for name in self.world.woken() {
                    let number = name.trim_start_matches('s').parse().unwrap();
                    if !self.woken.contains(&number) {
                        self.woken.push(number);
                    }
                }
            }

            /// A pass over a session.
            fn look(&mut self, number: u8) {
                let Some((_, "Pending")) = self.sessions.get(&number) else {
                    return;
                };
                let session = self.object(number);
                if let Grant::Granted { .. } = self.world.ask_account(&session, Some(PER_AGENT)) {
                    self.sessions.get_mut(&number).unwrap().1 = "Running";
                    self.world.observe(&self.object(number));
                }
            }

            fn running(&self, namespace: Option<u8>) -> usize {
                let of = |number: &u8| namespace.is_none_or(|namespace| number % 3 == namespace);
                let running = self.sessions.iter();
                running
                    .filter(|(number, (_, phase))| of(number) && *phase == "Running")
                    .count()
            }

            fn restart(&mut self) {
                let numbers: Vec<u8> = self.sessions.keys().copied().collect();
                self.world.admission = Admission::new(MINUTE, Some(PER_ACCOUNT));
                for number in &numbers {
                    self.world.observe(&self.object(*number));
                }
                self.world.admission.counted();
                self.woken = numbers;
            }
        }

        proptest! {
            /// Whatever happens in whatever order, and however late those that were woken are looked at: never more are active than the
            /// agent and the account allow, and once all that were woken were looked at, no slot is free that somebody waits for.
            #[test]
            fn never_too_many_and_never_idle(steps in prop::collection::vec(step(), 0..150)) {
                let world = limited(PER_ACCOUNT);
                world.admission.counted();
                let mut cluster = Cluster { world, sessions: BTreeMap::new(), woken: Vec::new() };
                let settle = steps.len();
                for (index, step) in steps.into_iter().enumerate() {
                    match step {
                        Step::Add(number) => {
                            if let std::collections::btree_map::Entry::Vacant(new) = cluster.sessions.entry(number) {
                                new.insert((0, "Pending"));
                                cluster.woken.push(number);
                            }
                        }
                        Step::Look(which) => {
                            if !cluster.woken.is_empty() {
                                let which = usize::from(which) % cluster.woken.len();
                                let number = cluster.woken.swap_remove(which);
                                cluster.look(number);
                            }
                        }
                        Step::End(which) => {
                            let running: Vec<u8> = cluster.sessions.iter()
                                .filter(|(_, (_, phase))| *phase == "Running")
                                .map(|(number, _)| *number).collect();
                            if !running.is_empty() {
                                let number = running[usize::from(which) % running.len()];
                                cluster.world.admission.forget(&format!("uid-{number}"));
                                cluster.sessions.remove(&number);
                            }
                        }
                        Step::Withdraw(number) => {
                            if let Some((_, "Pending")) = cluster.sessions.get(&number) {
                                cluster.sessions.remove(&number);
                                cluster.woken.retain(|woken| *woken != number);
                                cluster.world.admission.withdraw(&format!("uid-{number}"));
                            }
                        }
                        Step::Priority(number, priority) => {
                            if let Some((before, "Pending")) = cluster.sessions.get_mut(&number) {
                                *before = priority;
                                cluster.woken.push(number);
                            }
                        }
                        Step::Restart => cluster.restart(),
                    }
                    cluster.hear();
                    for namespace in 0..3 {
                        prop_assert!(cluster.running(Some(namespace)) <= PER_AGENT);
                    }
                    prop_assert!(cluster.running(None) <= PER_ACCOUNT);
                    if index % 10 == 9 || index + 1 == settle {
                        let mut looks = 0;
                        while let Some(number) = cluster.woken.pop() {
                            cluster.look(number);
                            cluster.hear();
                            looks += 1;
                            prop_assert!(looks < 10_000, "they wake each other for ever");
                        }
                        for (number, (_, phase)) in &cluster.sessions {
                            let idle = *phase == "Pending"
                                && cluster.running(Some(number % 3)) < PER_AGENT
                                && cluster.running(None) < PER_ACCOUNT;
                            prop_assert!(!idle, "{number} waits for nothing");
                        }
                    }
                }
            }
        }
    }
}
