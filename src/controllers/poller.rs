//! Following sessions at their providers, with as few calls as their lists allow.
//!
//! Sessions of one connection are looked at together. A single one costs a look; several cost one list call a page where
//! the list says enough, and where it only hints at movement a look for those that moved, and for the rest a look once in a
//! slow round.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube_runtime::reflector::ObjectRef;
use tokio::sync::Notify;

use super::accounts::ConnectionKey;
use super::context::Context;
use super::memory::Attached;
use crate::api::CodeSession;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::{ErrorClass, PageToken, ProviderError, SessionRef};
use crate::domain::requeue::{jittered, poll_interval};
use crate::domain::session::Look;
use crate::domain::snapshot::{RemotePhase, Snapshot};
use crate::providers::contract::{ItemDetail, Provider};
use crate::runtime::lock::lock;
use crate::runtime::watch::Queue;

/// Pages of one list that are read at most in one round; who is not found by then is looked at alone.
const MOST_PAGES: usize = 20;
/// A session that only hints are known of is looked at after this many of the longest intervals.
const SLOW_ROUND: u32 = 4;

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
    pub queue: Queue<CodeSession>,
    /// How long it has been running.
    pub age: Duration,
    /// The account that looks.
    pub account: AccountFingerprint,
    /// The connection.
    pub attached: Attached,
    /// Whether somebody waits for news: a stop was sent, or the session has just been launched.
    pub urgent: bool,
}

struct Member {
    followed: Followed,
    since: Instant,
    next: Instant,
    hint: Option<String>,
    looked: Instant,
    faults: i32,
}

#[derive(Default)]
struct Group {
    members: HashMap<String, Member>,
    wake: Arc<Notify>,
}

/// Follows sessions at their providers.
#[derive(Default)]
pub struct Poller {
    groups: Mutex<HashMap<ConnectionKey, Group>>,
}

impl Poller {
    /// Follows a session from now on. Calling it again only tells what has changed.
    pub fn follow(&self, context: &Context, followed: Followed) {
        let timing = context.timing();
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
        let group = groups.entry(key.clone()).or_default();
        match group.members.get_mut(&uid) {
            Some(member) => {
                if followed.urgent && !member.followed.urgent {
                    member.next = member.next.min(soon);
                    group.wake.notify_one();
                }
                if member.followed.session != followed.session {
                    member.hint = None;
                }
                member.followed = followed;
            }
            None => {
                let age = followed.age;
                let member = Member {
                    followed,
                    since: now.checked_sub(age).unwrap_or(now),
                    next: soon,
                    hint: None,
                    looked: now,
                    faults: 0,
                };
                group.members.insert(uid, member);
                group.wake.notify_one();
            }
        }
        if fresh {
            let wake = Arc::clone(&group.wake);
            drop(groups);
            tokio::spawn(run(context.clone(), key, wake));
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectionKey, Group>> {
        lock(&self.groups)
    }

    /// Who is due, or how long until somebody is; `None` if nobody is followed here any more.
    fn due(&self, key: &ConnectionKey, slack: Duration) -> Option<Result<Vec<Followed>, Duration>> {
        let mut groups = self.lock();
        let group = groups.get(key)?;
        if group.members.is_empty() {
            groups.remove(key);
            return None;
        }
        let now = Instant::now();
        let first = group
            .members
            .values()
            .map(|member| member.next)
            .min()
            .unwrap_or(now);
        if first > now {
            return Some(Err(first - now));
        }
        // Who would be due soon comes along: one list call serves all.
        let due = group
            .members
            .values()
            .filter(|member| member.next <= now + slack);
        Some(Ok(due.map(|member| member.followed.clone()).collect()))
    }

    /// The hint seen last, and whether it is time for a look whatever the hint says.
    fn hint(
        &self,
        key: &ConnectionKey,
        uid: &str,
        slow: Duration,
    ) -> Option<(Option<String>, bool)> {
        let groups = self.lock();
        let member = groups.get(key)?.members.get(uid)?;
        Some((member.hint.clone(), member.looked.elapsed() >= slow))
    }

    fn follows(&self, key: &ConnectionKey, uid: &str) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|group| group.members.contains_key(uid))
    }

    fn set_hint(&self, key: &ConnectionKey, uid: &str, hint: &str) {
        if let Some(member) = self
            .lock()
            .get_mut(key)
            .and_then(|group| group.members.get_mut(uid))
        {
            member.hint = Some(hint.to_owned());
        }
    }

    /// Plans the next look at a session.
    fn plan_next(
        &self,
        context: &Context,
        key: &ConnectionKey,
        uid: &str,
        result: Option<&Result<Snapshot, ProviderError>>,
    ) {
        let timing = context.timing();
        let mut groups = self.lock();
        let Some(member) = groups
            .get_mut(key)
            .and_then(|group| group.members.get_mut(uid))
        else {
            return;
        };
        let now = Instant::now();
        let wait = match result {
            Some(Err(error)) => {
                member.faults = member.faults.saturating_add(1);
                timing
                    .fault_wait(member.faults)
                    .max(error.retry_after.unwrap_or_default())
            }
            Some(Ok(snapshot)) if snapshot.phase.is_terminal() => {
                // All is said; the pass that this look triggers ends the following.
                timing.poll_max * SLOW_ROUND
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
    }
}

/// Follows the sessions of one connection until there are none.
async fn run(context: Context, key: ConnectionKey, wake: Arc<Notify>) {
    let slack = context.timing().poll_min / 2;
    loop {
        let due = match context.poller.due(&key, slack) {
            None => return,
            Some(Ok(due)) => due,
            Some(Err(wait)) => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = wake.notified() => {}
                    () = context.stop.cancelled() => return,
                }
                continue;
            }
        };
        if !context.may_begin() {
            return;
        }
        tokio::select! {
            () = round(&context, &key, due) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// One round over the sessions that are due.
async fn round(context: &Context, key: &ConnectionKey, due: Vec<Followed>) {
    let Some(provider) = due
        .first()
        .map(|followed| Arc::clone(&followed.attached.provider))
    else {
        return;
    };
    let alone = match due.as_slice() {
        [_] => due,
        _ => listed(context, key, provider.as_ref(), due).await,
    };
    for followed in alone {
        // Looks take time: this one may have ended meanwhile.
        if !context.poller.follows(key, &followed.uid) {
            continue;
        }
        let begun = context.uptime();
        let result = provider.get(&followed.session).await;
        deposit(context, key, &followed, begun, result);
    }
}

/// Looks at `due` through the list; answers with those that need a look of their own.
async fn listed(
    context: &Context,
    key: &ConnectionKey,
    provider: &dyn Provider,
    due: Vec<Followed>,
) -> Vec<Followed> {
    let mut waiting: HashMap<String, Followed> = due
        .into_iter()
        .map(|followed| (followed.session.session_id.as_str().to_owned(), followed))
        .collect();
    let mut alone = Vec::new();
    let mut page: Option<PageToken> = None;
    let slow = context.timing().poll_max * SLOW_ROUND;
    for _ in 0..MOST_PAGES {
        let begun = context.uptime();
        let answer = match provider.list(page.as_ref()).await {
            Ok(answer) => answer,
            Err(error) => {
                for followed in waiting.into_values() {
                    deposit(context, key, &followed, begun, Err(error.clone()));
                }
                return alone;
            }
        };
        for item in answer.items {
            let Some(followed) = waiting.remove(item.session_id.as_str()) else {
                continue;
            };
            match item.detail {
                ItemDetail::Full(snapshot) => {
                    deposit(context, key, &followed, begun, Ok(*snapshot))
                }
                ItemDetail::Hint(hint) => match context.poller.hint(key, &followed.uid, slow) {
                    Some((Some(seen), false))
                        if seen == hint && !followed.urgent && runs(context, &followed.uid) =>
                    {
                        context.poller.plan_next(context, key, &followed.uid, None);
                    }
                    _ => {
                        context.poller.set_hint(key, &followed.uid, &hint);
                        alone.push(followed);
                    }
                },
            }
        }
        page = answer.next;
        if waiting.is_empty() || page.is_none() {
            break;
        }
    }
    // Who is not in the list may be too new for it, or gone: a look of its own tells.
    alone.extend(waiting.into_values());
    alone
}

/// Whether the session was seen to run: from then on a hint tells of its end. The step before, from being created to
/// running, moves nothing in a list.
fn runs(context: &Context, uid: &str) -> bool {
    let look = context.memory.of(uid).look;
    look.is_some_and(|look| {
        look.result
            .is_ok_and(|snapshot| snapshot.phase == RemotePhase::Running)
    })
}

/// Keeps a look, plans the next one, and triggers a pass if something may have to be done.
fn deposit(
    context: &Context,
    key: &ConnectionKey,
    followed: &Followed,
    begun: Duration,
    result: Result<Snapshot, ProviderError>,
) {
    context
        .poller
        .plan_next(context, key, &followed.uid, Some(&result));
    let pressing = match &result {
        // Nothing new is said, but time makes a difference: a lost session, a mended key.
        Err(error) => {
            matches!(
                error.class,
                ErrorClass::NotFound | ErrorClass::Unauthorized | ErrorClass::Forbidden
            )
        }
        Ok(_) => false,
    };
    if let Err(error) = &result {
        tracing::debug!(session = %followed.session.session_id, class = error.class.as_str(), "a look failed");
        if matches!(
            error.class,
            ErrorClass::Unauthorized | ErrorClass::Forbidden
        ) {
            context.accounts.doubt(key);
        }
    }
    let news = context.memory.change(&followed.uid, |remembered| {
        let before = remembered.look.as_ref();
        let news = before.is_none_or(|look| !look.shows(&result));
        let account = followed.account.clone();
        remembered.look = Some(Look::after(before, begun, result, account));
        news
    });
    if news || pressing {
        followed.queue.push(followed.object.clone());
    }
}
