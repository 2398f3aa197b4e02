//! What the sweep shares with the controllers: which CodeSessions were deleted, and what it has found of each CodeAgent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use super::finished::released;
use crate::api::{CodeSession, OrphanStatus};
use crate::domain::ids::SessionId;
use crate::runtime::cache::Kept;
use crate::runtime::lock::lock;

/// CodeSessions that were deleted, of which it is remembered whose they were.
const MOST_DELETED: usize = 1000;

/// What the sweep shares with the controllers.
#[derive(Default)]
pub struct Orphans {
    deleted: Mutex<VecDeque<DeletedSession>>,
    /// The orphans of each CodeAgent, by its uid.
    reports: Mutex<HashMap<String, Vec<OrphanStatus>>>,
}

/// A CodeSession that was deleted.
#[derive(Clone, Debug)]
pub struct DeletedSession {
    /// Its uid.
    pub uid: String,
    /// Namespace and name of its CodeAgent.
    pub agent: (String, String),
    /// Its provider session, as far as it is known.
    pub session: Option<SessionId>,
    /// Whether its provider session was left running on purpose.
    pub released: bool,
}

impl DeletedSession {
    /// The session that was last known as this.
    pub fn of(reference: &ObjectRef<CodeSession>, last: &Kept<CodeSession>) -> Self {
        let (uid, session, released) = match last {
            Kept::Whole(session) => {
                let status = session.status.as_ref();
                let id = status.and_then(|status| status.provider.as_ref()?.session_id.clone());
                let uid = session.uid().unwrap_or_default();
                (uid, id.map(SessionId::new), released(session))
            }
            Kept::Record(record) => (record.uid(), None, record.released()),
        };
        Self {
            uid,
            agent: (
                reference.namespace.clone().unwrap_or_default(),
                last.group().to_owned(),
            ),
            session,
            released,
        }
    }
}

impl Orphans {
    /// A CodeSession is gone.
    pub fn record_deletion(&self, session: DeletedSession) {
        let mut deleted = lock(&self.deleted);
        deleted.push_back(session);
        while deleted.len() > MOST_DELETED {
            deleted.pop_front();
        }
    }

    /// The CodeSessions that were deleted lately.
    pub fn deleted(&self) -> Vec<DeletedSession> {
        lock(&self.deleted).iter().cloned().collect()
    }

    /// The orphans of the CodeAgent with this uid; `None` as long as nobody has looked.
    pub fn report(&self, agent: &str) -> Option<Vec<OrphanStatus>> {
        lock(&self.reports).get(agent).cloned()
    }

    /// Keeps the orphans of the CodeAgent with this uid.
    pub fn set_report(&self, agent: String, orphans: Vec<OrphanStatus>) {
        lock(&self.reports).insert(agent, orphans);
    }

    /// Forgets the reports of CodeAgents that are not among `present` (uids).
    pub fn keep_reports(&self, present: &HashSet<String>) {
        lock(&self.reports).retain(|agent, _| present.contains(agent));
    }
}
