//! Our own writes, until the watch has shown them: the cache lags behind what we know we stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::{Resource, ResourceExt};

use super::lock::lock;

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

    /// What was kept of the object, or else `known`, which does not come from the cache.
    pub fn kept_or(&self, known: &Arc<K>) -> Arc<K> {
        let kept = known.uid().and_then(|uid| self.lock().get(&uid).cloned());
        kept.unwrap_or_else(|| Arc::clone(known))
    }

    /// The newer of `cached`, which comes from the cache, and what was kept of the same object.
    ///
    /// A cache that has caught up makes what was kept superfluous.
    pub fn newest(&self, cached: Arc<K>) -> Arc<K> {
        let Some(uid) = cached.uid() else {
            return cached;
        };
        let mut kept = self.lock();
        match kept.get(&uid) {
            Some(own)
                if version(own.as_ref()) > version(cached.as_ref()) || removed(own.as_ref()) =>
            {
                Arc::clone(own)
            }
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
        lock(&self.0)
    }
}

/// Whether the write that was answered with `object` removed it: the API server then answers with the version of before.
fn removed<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty()
}

/// Resource versions of one object grow and may be compared as numbers (Kubernetes API concepts, since 1.35 in writing).
fn version<K: Resource>(object: &K) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::api::ObjectMeta;

    use super::*;

    fn stored(version: &str) -> Arc<ConfigMap> {
        Arc::new(ConfigMap {
            metadata: ObjectMeta {
                uid: Some("uid".to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        })
    }

    #[test]
    fn our_own_write_counts_until_the_cache_has_caught_up() {
        let overlay = Overlay::default();
        overlay.keep(stored("12"));
        assert_eq!(overlay.newest(stored("9")), stored("12"));
        assert_eq!(overlay.newest(stored("12")), stored("12"));
        // From now on the cache is the truth, also if a restored store counts from below.
        assert_eq!(overlay.newest(stored("9")), stored("9"));
    }

    #[test]
    fn the_write_that_removed_an_object_counts_until_the_watch_says_so() {
        let overlay = Overlay::default();
        let mut removed = stored("12");
        Arc::make_mut(&mut removed).metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        overlay.keep(Arc::clone(&removed));
        let mut held = Arc::clone(&removed);
        Arc::make_mut(&mut held).metadata.finalizers = Some(vec!["ours".to_owned()]);
        assert_eq!(overlay.newest(Arc::clone(&held)), removed);
        assert_eq!(overlay.newest(Arc::clone(&held)), removed);
        overlay.forget("uid");
        assert_eq!(overlay.newest(Arc::clone(&held)), held);
    }

    #[test]
    fn looking_at_ones_own_write_does_not_forget_it() {
        let overlay = Overlay::default();
        overlay.keep(stored("12"));
        assert_eq!(overlay.kept_or(&stored("12")), stored("12"));
        assert_eq!(overlay.kept_or(&stored("9")), stored("12"));
        assert_eq!(overlay.newest(stored("9")), stored("12"));
    }
}
