//! Our own writes, until the watch has shown them: the cache lags behind what we know we stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt};

/// The newest version of each object that this process has stored itself.
#[derive(Debug)]
pub struct Overlay<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Overlay<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Resource> Overlay<K> {
    /// Keeps `object`, which the API server has just answered with.
    pub fn keep(&self, object: Arc<K>) {
        if let Some(uid) = object.uid() {
            self.lock().insert(uid, object);
        }
    }

    /// The newer of `cached` and what was kept of the same object.
    pub fn newest(&self, cached: Arc<K>) -> Arc<K> {
        let Some(uid) = cached.uid() else {
            return cached;
        };
        let mut kept = self.lock();
        match kept.get(&uid) {
            Some(own) if version(own.as_ref()) > version(cached.as_ref()) => Arc::clone(own),
            Some(_) => {
                kept.remove(&uid);
                cached
            }
            None => cached,
        }
    }

    /// Forgets the object with this uid.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets everything: after a relist the cache is the truth, whatever we remember.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one object grow and may be compared as numbers (Kubernetes API concepts, since 1.35 in writing).
fn version<K: Resource>(object: &K) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
