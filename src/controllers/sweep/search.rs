//! Reading an account's list of sessions, a part in each round, and what is remembered of it.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::super::connection::Linked;
use super::super::context::Context;
use crate::domain::ids::SessionId;
use crate::domain::orphan::Marked;
use crate::domain::remote::{ErrorClass, ScanState, SessionRef};
use crate::domain::status::whole_seconds;
use crate::providers::contract::{MarkedRequest, Provider};

/// How far back sessions are looked at: the longest that one may run (`activeDeadlineSeconds`).
const REACH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How far back sessions are looked at that have ended: of them only a second launch is of interest.
const REACH_ENDED: SignedDuration = SignedDuration::from_hours(24);

/// Calls of [`Listing::marked`](crate::providers::contract::Listing::marked) in one round; the next round goes on where the last one stopped.
const CALLS_PER_ROUND: usize = 5;

/// Looks in one round at sessions that were found before, to see whether they still run.
const LOOKS_PER_ROUND: usize = 50;

/// What is remembered of an account from round to round.
#[derive(Default)]
pub(super) struct Watched {
    /// Sessions that need no look any more, and when that was found out.
    pub settled: BTreeMap<SessionId, Timestamp>,
    /// Sessions of ours that nobody has.
    pub loose: BTreeMap<SessionId, Tracked>,
    /// Where the list is read on.
    resume: Option<ScanState<Marked>>,
    /// Whether the list has been read to its end by this process.
    pub read_through: bool,
    /// What people have been told of, and whether it was being stopped then.
    pub told: HashSet<(SessionId, bool)>,
}

impl Watched {
    /// Forgets what people have been told of sessions that are not remembered any more.
    pub fn expire(&mut self) {
        let Self {
            settled,
            loose,
            told,
            ..
        } = self;
        told.retain(|(id, _)| settled.contains_key(id) || loose.contains_key(id));
    }

    /// The session needs no look any more.
    pub fn settle(&mut self, session: &SessionId) {
        self.loose.remove(session);
        self.settled.insert(session.clone(), Timestamp::now());
    }

    /// Whether it is known what becomes of the session.
    pub fn knows(&self, session: &SessionId) -> bool {
        self.settled.contains_key(session) || self.loose.contains_key(session)
    }
}

pub(super) struct Tracked {
    pub marked: Marked,
    pub since: Timestamp,
    /// Whether it was looked at in this round.
    fresh: bool,
}

/// Reads the list on, and looks at whom nobody knows.
pub(super) async fn search(context: &Context, linked: &Linked, watched: &mut Watched) {
    let Some(listing) = linked.provider.listing() else {
        watched.read_through = true;
        return;
    };
    let now = Timestamp::now();
    let created_from = now - REACH;
    watched.settled.retain(|_, since| *since >= created_from);
    for _ in 0..CALLS_PER_ROUND {
        let seen = watched.settled.keys().chain(watched.loose.keys());
        let known = context.owners.all().and(seen.cloned().collect());
        let request = MarkedRequest {
            installation: context.installation.clone(),
            created_from,
            ended_from: now - REACH_ENDED,
            known,
            resume: watched.resume.take(),
        };
        match listing.marked(&request).await {
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
                    watched.read_through = true;
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
pub(super) async fn refresh(provider: &dyn Provider, watched: &mut Watched) {
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

pub(super) fn reference(marked: &Marked) -> SessionRef {
    SessionRef {
        session_id: marked.snapshot.session_id.clone(),
        run_id: marked.snapshot.run_id.clone(),
    }
}
