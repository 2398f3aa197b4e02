//! Which provider session belongs to which CodeSession: an index in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use crate::api::CodeSession;
use crate::domain::ids::{SessionId, SessionSet};
use crate::domain::session::Stage;
use crate::runtime::lock::lock;

/// 128 bits of SHA-256 stand for an id and for a uid: there may be a hundred thousand of each, and they are only compared.
type Print = u128;

fn print(text: &str) -> Print {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(16)
        .fold(0, |print, byte| (print << 8) | Print::from(*byte))
}

/// Which provider session belongs to which CodeSession. Cheap to clone.
#[derive(Clone, Default)]
pub struct Owners(Arc<Mutex<Index>>);

/// B-trees: a hash table is half empty after each doubling.
#[derive(Default)]
struct Index {
    /// The CodeSession of each provider session.
    owners: BTreeMap<Print, Print>,
    /// Each CodeSession with each of its provider sessions.
    sessions: BTreeSet<(Print, Print)>,
}

impl Owners {
    /// Notes that a provider session belongs to the CodeSession with this uid.
    pub fn own(&self, session: &SessionId, uid: &str) {
        let (session, uid) = (print(session.as_str()), print(uid));
        let mut index = self.lock();
        if let Some(before) = index.owners.insert(session, uid) {
            index.sessions.remove(&(before, session));
        }
        index.sessions.insert((uid, session));
    }

    /// Notes every provider session of a CodeSession that was launched.
    pub fn note(&self, session: &CodeSession) {
        let status = session.status.as_ref();
        let provider = status
            .filter(|status| Stage::of(Some(status)).launched().is_some())
            .and_then(|status| status.provider.as_ref());
        if let (Some(provider), Some(uid)) = (provider, session.metadata.uid.as_deref()) {
            for id in provider.session_id.iter().chain(&provider.chain) {
                self.own(&SessionId::new(id.as_str()), uid);
            }
        }
    }

    /// Forgets the provider sessions of the CodeSession with this uid.
    pub fn disown(&self, uid: &str) {
        let uid = print(uid);
        let mut index = self.lock();
        let sessions: Vec<Print> = index.of(uid).collect();
        for session in sessions {
            index.owners.remove(&session);
            index.sessions.remove(&(uid, session));
        }
    }

    /// Whether a provider session is known to belong to the CodeSession with this uid.
    pub fn owns_any(&self, uid: &str) -> bool {
        self.lock().of(print(uid)).next().is_some()
    }

    /// Whether this provider session belongs to the CodeSession with this uid.
    pub fn owns(&self, uid: &str, session: &SessionId) -> bool {
        let owner = print(session.as_str());
        self.lock().owners.get(&owner) == Some(&print(uid))
    }

    /// The provider sessions that belong to any CodeSession.
    pub fn all(&self) -> SessionSet {
        let this = self.clone();
        SessionSet::of(move |session| this.lock().owners.contains_key(&print(session.as_str())))
    }

    /// The provider sessions that belong to other CodeSessions than the one with this uid.
    pub fn others(&self, uid: &str) -> SessionSet {
        let (this, uid) = (self.clone(), print(uid));
        SessionSet::of(move |session| {
            let index = this.lock();
            let owner = index.owners.get(&print(session.as_str()));
            owner.is_some_and(|owner| *owner != uid)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        lock(&self.0)
    }
}

impl Index {
    fn of(&self, uid: Print) -> impl Iterator<Item = Print> {
        let all = self.sessions.range((uid, Print::MIN)..=(uid, Print::MAX));
        all.map(|(_, session)| *session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_agree() {
        let owners = Owners::default();
        let id = |name: &str| SessionId::new(name);
        owners.own(&id("bc-1"), "a");
        owners.own(&id("bc-2"), "a");
        owners.own(&id("bc-3"), "b");
        assert!(owners.owns_any("a") && !owners.owns_any("c"));
        let others = owners.others("a");
        assert!(others.contains(&id("bc-3")) && !others.contains(&id("bc-1")));
        assert!(!others.contains(&id("bc-9")));
        // Handed over.
        owners.own(&id("bc-2"), "b");
        assert!(others.contains(&id("bc-2")), "as it is now, not as it was");
        owners.disown("b");
        assert!(!owners.owns_any("b") && !others.contains(&id("bc-2")));
        assert!(owners.all().contains(&id("bc-1")) && !owners.all().contains(&id("bc-2")));
        owners.disown("a");
        let index = owners.lock();
        assert!(index.owners.is_empty() && index.sessions.is_empty());
    }
}
