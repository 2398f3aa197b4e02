//! What this process remembers of a session beside what is stored. All of it may be lost: then it is found out again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::accounts::ConnectionKey;
use crate::domain::session::{Look, Lookups};
use crate::providers::contract::Provider;
use crate::runtime::lock::lock;

/// A connection that a session uses.
#[derive(Clone)]
pub struct Attached {
    /// Tells it from others.
    pub key: ConnectionKey,
    /// The connection; it holds the credential while the session is active, whatever becomes of the Secret.
    pub provider: Arc<dyn Provider>,
    /// Digest of the credential, salted with the session's uid.
    pub credential: String,
}

/// What is remembered of one session.
#[derive(Clone, Default)]
pub struct Remembered {
    /// The claim, and when it was first seen by this process's uptime.
    pub claim: Option<(String, Duration)>,
    /// What looks for that claim have shown.
    pub lookups: Lookups,
    /// The newest look at the session.
    pub look: Option<Look>,
    /// When a stop was last sent.
    pub last_stop: Option<Duration>,
    /// Passing faults in a row.
    pub faults: i32,
    /// Whether a launch of this session is under way in this process.
    pub in_flight: bool,
    /// The connection it uses.
    pub attached: Option<Attached>,
}

/// The memory of all sessions, by uid.
#[derive(Default)]
pub struct Memory {
    sessions: Mutex<HashMap<String, Remembered>>,
    places: Mutex<HashMap<(String, String), HashSet<String>>>,
}

impl Memory {
    /// What is remembered of the session with this uid.
    pub fn of(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Changes what is remembered of the session with this uid.
    pub fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Forgets the session with this uid.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.leave_place(uid);
    }

    /// Takes one of `most` places of an agent, counting those in `taken`. Taking it twice is taking it once.
    ///
    /// Places are handed out under one lock: two sessions that are looked at in the same moment cannot both get the last one.
    pub fn take_place(
        &self,
        agent: (&str, &str),
        uid: &str,
        taken: &HashSet<String>,
        ahead: usize,
        most: usize,
    ) -> bool {
        let mut places = lock(&self.places);
        let reserved = places
            .entry((agent.0.to_owned(), agent.1.to_owned()))
            .or_default();
        if reserved.contains(uid) || taken.contains(uid) {
            return true;
        }
        let used = taken.union(reserved).count();
        let free = used.saturating_add(ahead) < most;
        if free {
            reserved.insert(uid.to_owned());
        }
        free
    }

    /// Gives back the place of the session with this uid; answers whether it had one.
    pub fn leave_place(&self, uid: &str) -> bool {
        let mut places = lock(&self.places);
        let mut left = false;
        places.retain(|_, reserved| {
            left |= reserved.remove(uid);
            !reserved.is_empty()
        });
        left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        lock(&self.sessions)
    }
}
