//! A cache of one kind that a watch keeps up to date: what is worked on as a whole, what is done with as a small record, and our
//! own writes until the watch has shown them.
//!
//! It is a map of our own, not a reflector: a reflector holds whole objects and fills a second map before it swaps, so that a
//! list that begins anew doubles it. Here every object of a list replaces the old one at once, and what no list has named is
//! taken away at its end (mark and sweep); until then readers see the old state with what has been confirmed of the new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use kube::api::{Api, ObjectMeta};
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher::{self, Event, InitialListStrategy, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::lock::lock;

/// Objects of one page of a list: as many are in memory as they came.
const PAGE: u32 = 100;

/// What `kubectl apply` leaves behind: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A kind that can be cached.
pub trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// What is kept of an object with which nothing is left to do.
    type Record: Record;

    /// The record, if nothing is left to do with the object: then only that is kept.
    fn record(&self, names: &mut Names) -> Option<Self::Record>;

    /// What the objects of a namespace are grouped by.
    fn group(&self) -> &str;
}

/// What is kept of an object with which nothing is left to do.
pub trait Record: Send + Sync + 'static {
    /// Whether it is of the object with this uid.
    fn is_of(&self, uid: &str) -> bool;
    /// The resource version of the object.
    fn version(&self) -> u64;
    /// What the objects of a namespace are grouped by.
    fn group(&self) -> &Arc<str>;
}

/// Names that many records have in common.
#[derive(Default)]
pub struct Names {
    known: BTreeSet<Arc<str>>,
    /// With so many the ones that nobody has any more are dropped.
    limit: usize,
}

impl Names {
    /// The one copy of `name`.
    pub fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.limit {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.limit = (self.known.len() * 2).max(64);
        }
        let name: Arc<str> = Arc::from(name);
        self.known.insert(Arc::clone(&name));
        name
    }
}

/// The record of a kind with which something is always left to do.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

impl Record for Never {
    fn is_of(&self, _: &str) -> bool {
        match *self {}
    }

    fn version(&self) -> u64 {
        match *self {}
    }

    fn group(&self) -> &Arc<str> {
        match *self {}
    }
}

/// An object as it is kept.
pub enum Kept<K: Cached> {
    /// As a whole.
    Whole(Arc<K>),
    /// Nothing is left to do with it.
    Record(Box<K::Record>),
}

impl<K: Cached> Kept<K> {
    fn new(object: &Arc<K>, names: &mut Names) -> Self {
        match object.record(names) {
            Some(record) => Self::Record(Box::new(record)),
            None => Self::Whole(Arc::clone(object)),
        }
    }

    /// The object, if it is kept as a whole.
    pub fn whole(&self) -> Option<&Arc<K>> {
        match self {
            Self::Whole(object) => Some(object),
            Self::Record(_) => None,
        }
    }

    fn is_of(&self, uid: &str) -> bool {
        match self {
            Self::Whole(object) => object.meta().uid.as_deref() == Some(uid),
            Self::Record(record) => record.is_of(uid),
        }
    }

    fn version(&self) -> u64 {
        match self {
            Self::Whole(object) => version(object.as_ref()),
            Self::Record(record) => record.version(),
        }
    }

    /// What the objects of its namespace are grouped by.
    pub fn group(&self) -> &str {
        match self {
            Self::Whole(object) => object.group(),
            Self::Record(record) => record.group(),
        }
    }

    /// Whether the write that was answered with this removed the object: the API server then answers with the version of before.
    fn is_removal(&self) -> bool {
        match self {
            Self::Whole(object) => {
                object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty()
            }
            Self::Record(_) => false,
        }
    }
}

/// Something that happened to the cached objects. The cache has it already.
pub enum Change<'a, K: Cached> {
    /// The object is new or changed, or was listed.
    Applied {
        /// As it is now.
        object: &'a Arc<K>,
        /// As it was.
        before: Option<Kept<K>>,
        /// Whether it is what we have stored ourselves: whoever stored it has acted on it.
        own: bool,
    },
    /// The object is gone.
    Deleted {
        /// Its namespace and name.
        reference: ObjectRef<K>,
        /// The last that is known of it.
        last: Kept<K>,
    },
    /// A list that began anew is complete.
    Complete,
    /// An object in the store cannot be read. The others go on, and this one stays as it was last read.
    Malformed {
        /// Its namespace and name.
        object: &'a str,
        /// What is wrong with it.
        error: &'a str,
    },
    /// The watch was interrupted; it goes on by itself.
    Interrupted(&'a watcher::Error),
}

/// The cache.
pub struct Cache<K: Cached> {
    state: Mutex<State<K>>,
    ready: watch::Sender<bool>,
}

struct State<K: Cached> {
    /// Lists that have begun.
    round: u32,
    namespaces: HashMap<Arc<str>, Namespace<K>>,
    names: Names,
}

/// B-trees, because a hash table is half empty after each doubling, and both halves are there while it doubles.
struct Namespace<K: Cached> {
    objects: BTreeMap<Box<str>, Slot<K>>,
    groups: BTreeMap<Arc<str>, Group>,
}

struct Slot<K: Cached> {
    kept: Kept<K>,
    /// The list that has named it last.
    round: u32,
    /// The list that had begun last when we stored it ourselves, until the watch has shown that.
    own: Option<u32>,
}

#[derive(Default)]
struct Group {
    /// Names of those that are kept as a whole.
    whole: BTreeSet<Box<str>>,
    records: usize,
}

impl<K: Cached> Default for Cache<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                round: 0,
                namespaces: HashMap::new(),
                names: Names::default(),
            }),
            ready: watch::Sender::new(false),
        }
    }
}

impl<K: Cached> Cache<K> {
    /// Waits until the first list is complete.
    pub async fn filled(&self) {
        // The sender lives as long as the cache.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// The object, if it is kept as a whole.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        let state = self.lock();
        let slot = state.slot(reference)?;
        slot.kept.whole().cloned()
    }

    /// Whether the object is there, as a whole or as a record.
    pub fn contains(&self, reference: &ObjectRef<K>) -> bool {
        self.lock().slot(reference).is_some()
    }

    /// What `look` sees in what is kept of the object.
    pub fn look<T>(&self, reference: &ObjectRef<K>, look: impl FnOnce(&Kept<K>) -> T) -> Option<T> {
        let state = self.lock();
        state.slot(reference).map(|slot| look(&slot.kept))
    }

    /// Those of a group that are kept as a whole, by name.
    pub fn group(&self, namespace: &str, group: &str) -> Vec<Arc<K>> {
        let state = self.lock();
        let Some(space) = state.namespaces.get(namespace) else {
            return Vec::new();
        };
        let names = space.groups.get(group).map(|group| group.whole.iter());
        let slots = names
            .into_iter()
            .flatten()
            .filter_map(|name| space.objects.get(name));
        slots
            .filter_map(|slot| slot.kept.whole().cloned())
            .collect()
    }

    /// How many of a group are kept as records.
    pub fn records(&self, namespace: &str, group: &str) -> usize {
        let state = self.lock();
        let space = state.namespaces.get(namespace);
        let group = space.and_then(|space| space.groups.get(group));
        group.map_or(0, |group| group.records)
    }

    /// Whether there is anything in the namespace.
    pub fn is_empty(&self, namespace: &str) -> bool {
        !self.lock().namespaces.contains_key(namespace)
    }

    /// Those in the namespace that are kept as a whole.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.lock();
        let space = state.namespaces.get(namespace).into_iter();
        space.flat_map(Namespace::whole).cloned().collect()
    }

    /// All that are kept as a whole.
    pub fn all(&self) -> Vec<Arc<K>> {
        let state = self.lock();
        let spaces = state.namespaces.values();
        spaces.flat_map(Namespace::whole).cloned().collect()
    }

    /// Looks at everything, in the order of namespaces and names. For what is done once in a while.
    pub fn for_each(&self, mut look: impl FnMut(&str, &str, &Kept<K>)) {
        for (namespace, space) in &self.lock().namespaces {
            for (name, slot) in &space.objects {
                look(namespace, name, &slot.kept);
            }
        }
    }

    /// Keeps `object`, which the API server has just answered a write of ours with, until the watch shows it.
    pub fn store(&self, object: &Arc<K>) {
        let mut state = self.lock();
        let State {
            round,
            namespaces,
            names,
        } = &mut *state;
        let (namespace, name) = name_of(object.as_ref());
        let Some(space) = namespaces.get_mut(namespace.as_str()) else {
            return;
        };
        let uid = object.uid().unwrap_or_default();
        // Without one its removal was seen before the answer.
        let Some(slot) = space.objects.get(name.as_str()) else {
            return;
        };
        if slot.kept.is_of(&uid) && slot.kept.version() <= version(object.as_ref()) {
            let slot = Slot {
                kept: Kept::new(object, names),
                round: slot.round,
                own: Some(*round),
            };
            space.put(&name, slot, names);
        }
    }

    /// Watches `api` for ever, and reports every change to `on_change` once the cache has it.
    ///
    /// Lists are read in small pages, and as lists: an API server before 1.34 refuses to stream them, for ever.
    pub async fn follow(
        &self,
        api: Api<DeserializeGuard<K>>,
        mut on_change: impl FnMut(Change<'_, K>) + Send,
    ) {
        let mut config = watcher::Config::default().page_size(PAGE);
        config.initial_list_strategy = InitialListStrategy::ListWatch;
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut on_change),
                Err(error) => on_change(Change::Interrupted(&error)),
            }
        }
    }

    /// Takes one event of a watch.
    pub fn take(
        &self,
        event: Event<DeserializeGuard<K>>,
        on_change: &mut impl FnMut(Change<'_, K>),
    ) {
        let (guard, listed) = match event {
            Event::Init => {
                self.lock().round += 1;
                return;
            }
            Event::InitDone => {
                for (reference, last) in self.sweep() {
                    on_change(Change::Deleted { reference, last });
                }
                self.ready.send_replace(true);
                return on_change(Change::Complete);
            }
            Event::Delete(guard) => {
                let (meta, object) = match guard.0 {
                    Ok(object) => (object.meta().clone(), Some(object)),
                    Err(invalid) => (invalid.metadata, None),
                };
                if let Some((reference, last)) = self.delete(&meta, object) {
                    on_change(Change::Deleted { reference, last });
                }
                return;
            }
            Event::InitApply(guard) => (guard, true),
            Event::Apply(guard) => (guard, false),
        };
        match guard.0 {
            Ok(mut object) => {
                prune(&mut object);
                let object = Arc::new(object);
                if let Some((before, own)) = self.apply(&object, listed) {
                    on_change(Change::Applied {
                        object: &object,
                        before,
                        own,
                    });
                }
            }
            Err(invalid) => {
                let namespace = invalid.metadata.namespace.unwrap_or_default();
                let name = invalid.metadata.name.unwrap_or_default();
                self.lock().confirm(&namespace, &name);
                on_change(Change::Malformed {
                    object: &format!("{namespace}/{name}"),
                    error: &invalid.error,
                });
            }
        }
    }

    /// Takes what the watch shows; answers with what was kept before and whether it is what we stored ourselves, or nothing if
    /// we have stored something newer.
    fn apply(&self, object: &Arc<K>, listed: bool) -> Option<(Option<Kept<K>>, bool)> {
        let mut state = self.lock();
        let State {
            round,
            namespaces,
            names,
        } = &mut *state;
        let round = *round;
        let (namespace, name) = name_of(object.as_ref());
        let space = namespaces
            .entry(names.share(&namespace))
            .or_insert_with(Namespace::new);
        let mut own = false;
        if let Some(slot) = space.objects.get_mut(name.as_str())
            && let Some(stored) = slot.own
            && slot.kept.is_of(&object.uid().unwrap_or_default())
        {
            // A list that began after our write is the truth, also where a store that was restored counts from below.
            let truth = listed && stored < round;
            let (ours, theirs) = (slot.kept.version(), version(object.as_ref()));
            // Versions of one object grow, and may be compared as numbers (Kubernetes API concepts, since 1.35 in writing).
            if !truth && (theirs < ours || slot.kept.is_removal()) {
                slot.round = round;
                return None;
            }
            own = theirs == ours;
        }
        let slot = Slot {
            kept: Kept::new(object, names),
            round,
            own: None,
        };
        let before = space.put(&name, slot, names);
        Some((before.map(|slot| slot.kept), own))
    }

    /// Takes away what the watch says is gone; `object` is how it says it was, if that can be read.
    fn delete(&self, meta: &ObjectMeta, object: Option<K>) -> Option<(ObjectRef<K>, Kept<K>)> {
        let name = meta.name.as_deref().unwrap_or_default();
        let reference = ObjectRef::new(name).within(meta.namespace.as_deref().unwrap_or_default());
        let mut state = self.lock();
        let slot = state.slot(&reference)?;
        if !slot.kept.is_of(meta.uid.as_deref().unwrap_or_default()) {
            return None;
        }
        let kept = state.remove(&reference)?;
        let last = object.map_or(kept, |object| Kept::Whole(Arc::new(object)));
        Some((reference, last))
    }

    /// Takes away what the list that is complete now has not named.
    fn sweep(&self) -> Vec<(ObjectRef<K>, Kept<K>)> {
        let mut state = self.lock();
        let round = state.round;
        let mut gone = Vec::new();
        for (namespace, space) in &state.namespaces {
            let unnamed = space.objects.iter().filter(|(_, slot)| slot.round != round);
            gone.extend(unnamed.map(|(name, _)| ObjectRef::new(name).within(namespace)));
        }
        gone.into_iter()
            .filter_map(|reference| {
                let last = state.remove(&reference)?;
                Some((reference, last))
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }
}

impl<K: Cached> State<K> {
    fn slot(&self, reference: &ObjectRef<K>) -> Option<&Slot<K>> {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let space = self.namespaces.get(namespace)?;
        space.objects.get(reference.name.as_str())
    }

    fn remove(&mut self, reference: &ObjectRef<K>) -> Option<Kept<K>> {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let space = self.namespaces.get_mut(namespace)?;
        let slot = space.objects.remove(reference.name.as_str())?;
        leave(&mut space.groups, &reference.name, &slot.kept);
        if space.objects.is_empty() {
            self.namespaces.remove(namespace);
        }
        Some(slot.kept)
    }

    /// The list has named an object that cannot be read.
    fn confirm(&mut self, namespace: &str, name: &str) {
        let round = self.round;
        let space = self.namespaces.get_mut(namespace);
        if let Some(slot) = space.and_then(|space| space.objects.get_mut(name)) {
            slot.round = round;
        }
    }
}

impl<K: Cached> Namespace<K> {
    fn whole(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().filter_map(|slot| slot.kept.whole())
    }

    fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    fn put(&mut self, name: &str, slot: Slot<K>, names: &mut Names) -> Option<Slot<K>> {
        if let Some(before) = self.objects.get(name) {
            leave(&mut self.groups, name, &before.kept);
        }
        let group = names.share(slot.kept.group());
        let group = self.groups.entry(group).or_default();
        match &slot.kept {
            Kept::Whole(_) => drop(group.whole.insert(name.into())),
            Kept::Record(_) => group.records += 1,
        }
        match self.objects.get_mut(name) {
            Some(before) => Some(std::mem::replace(before, slot)),
            None => self.objects.insert(name.into(), slot),
        }
    }
}

fn leave<K: Cached>(groups: &mut BTreeMap<Arc<str>, Group>, name: &str, kept: &Kept<K>) {
    let Some(group) = groups.get_mut(kept.group()) else {
        return;
    };
    match kept {
        Kept::Whole(_) => drop(group.whole.remove(name)),
        Kept::Record(_) => group.records = group.records.saturating_sub(1),
    }
    if group.whole.is_empty() && group.records == 0 {
        groups.remove(kept.group());
    }
}

/// Takes away what nobody reads: the managed fields are half of an object, the last applied configuration is the object again.
/// An annotation map that becomes empty stays, so that it is known to be there.
pub fn prune<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

fn name_of<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn version<K: Resource>(object: &K) -> u64 {
    let version = object.resource_version();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
    use kube::core::error_boundary::InvalidObject;

    use super::*;

    pub struct Done {
        uid: String,
        version: u64,
        group: Arc<str>,
    }

    impl Record for Done {
        fn is_of(&self, uid: &str) -> bool {
            self.uid == uid
        }

        fn version(&self) -> u64 {
            self.version
        }

        fn group(&self) -> &Arc<str> {
            &self.group
        }
    }

    fn datum<'a>(map: &'a ConfigMap, key: &str) -> &'a str {
        let data = map.data.as_ref().and_then(|data| data.get(key));
        data.map_or("", String::as_str)
    }

    impl Cached for ConfigMap {
        type Record = Done;

        fn record(&self, names: &mut Names) -> Option<Done> {
            (datum(self, "done") == "yes").then(|| Done {
                uid: self.uid().unwrap(),
                version: version(self),
                group: names.share(datum(self, "group")),
            })
        }

        fn group(&self) -> &str {
            datum(self, "group")
        }
    }

    fn map(name: &str, version: u32, data: &[(&str, &str)]) -> ConfigMap {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("team-a".to_owned()),
                name: Some(name.to_owned()),
                uid: Some(format!("uid-{name}")),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            ..ConfigMap::default()
        }
    }

    fn plain(name: &str, version: u32) -> ConfigMap {
        map(name, version, &[])
    }

    fn at(name: &str) -> ObjectRef<ConfigMap> {
        ObjectRef::new(name).within("team-a")
    }

    type Events = Vec<Event<DeserializeGuard<ConfigMap>>>;

    fn listed(maps: impl IntoIterator<Item = ConfigMap>) -> Events {
        let maps = maps
            .into_iter()
            .map(|map| Event::InitApply(DeserializeGuard(Ok(map))));
        [Event::Init]
            .into_iter()
            .chain(maps)
            .chain([Event::InitDone])
            .collect()
    }

    fn shown(map: ConfigMap) -> Events {
        vec![Event::Apply(DeserializeGuard(Ok(map)))]
    }

    fn deleted(map: ConfigMap) -> Events {
        vec![Event::Delete(DeserializeGuard(Ok(map)))]
    }

    /// What is reported while `events` are taken.
    fn take(cache: &Cache<ConfigMap>, events: Events) -> Vec<String> {
        let mut reported = Vec::new();
        for event in events {
            cache.take(event, &mut |change| {
                reported.push(match change {
                    Change::Applied { object, own, .. } => {
                        let own = if own { " own" } else { "" };
                        format!("{} {}{own}", object.name_any(), version(object.as_ref()))
                    }
                    Change::Deleted { reference, .. } => format!("{} gone", reference.name),
                    Change::Complete => "complete".to_owned(),
                    Change::Malformed { object, .. } => format!("{object} malformed"),
                    Change::Interrupted(_) => panic!(),
                });
            });
        }
        reported
    }

    fn version_of(cache: &Cache<ConfigMap>, name: &str) -> Option<u64> {
        cache.look(&at(name), Kept::version)
    }

    #[test]
    fn our_own_write_counts_until_the_watch_has_caught_up() {
        let cache = Cache::default();
        take(&cache, listed([plain("a", 9)]));
        cache.store(&Arc::new(plain("a", 12)));
        assert_eq!(take(&cache, shown(plain("a", 10))), [""; 0], "older");
        assert_eq!(version_of(&cache, "a"), Some(12));
        cache.store(&Arc::new(plain("a", 11)));
        assert_eq!(
            version_of(&cache, "a"),
            Some(12),
            "an answer that came late"
        );
        assert_eq!(take(&cache, shown(plain("a", 12))), ["a 12 own"]);
        // From now on the watch is the truth.
        assert_eq!(take(&cache, shown(plain("a", 11))), ["a 11"]);
        assert_eq!(version_of(&cache, "a"), Some(11));
    }

    /// A list that began after the write is the truth, also where a restored store counts from below; one that was under way may
    /// have been read before it.
    #[test]
    fn a_list_that_began_later_is_the_truth() {
        let cache = Cache::default();
        take(&cache, listed([plain("a", 9)]));
        cache.store(&Arc::new(plain("a", 12)));
        take(&cache, listed([plain("a", 5)]));
        assert_eq!(version_of(&cache, "a"), Some(5));
        take(&cache, vec![Event::Init]);
        cache.store(&Arc::new(plain("a", 20)));
        let read_before = Event::InitApply(DeserializeGuard(Ok(plain("a", 19))));
        take(&cache, vec![read_before, Event::InitDone]);
        assert_eq!(version_of(&cache, "a"), Some(20));
    }

    /// The write that removed an object is answered with the version of before: it counts until the watch says so.
    #[test]
    fn the_write_that_removed_an_object_counts() {
        let mut held = plain("a", 12);
        held.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        held.metadata.finalizers = Some(vec!["ours".to_owned()]);
        let removed = ConfigMap {
            metadata: ObjectMeta {
                finalizers: None,
                ..held.metadata.clone()
            },
            ..held.clone()
        };
        let cache = Cache::default();
        take(&cache, listed([held.clone()]));
        cache.store(&Arc::new(removed.clone()));
        assert_eq!(take(&cache, shown(held.clone())), [""; 0]);
        assert!(cache.get(&at("a")).unwrap().finalizers().is_empty());
        assert_eq!(take(&cache, deleted(removed.clone())), ["a gone"]);
        // An answer that comes in after that brings nothing back.
        cache.store(&Arc::new(removed));
        assert!(!cache.contains(&at("a")));
        assert!(cache.is_empty("team-a"));
    }

    #[test]
    fn what_no_list_has_named_is_gone_once_it_is_complete() {
        let cache = Cache::default();
        take(&cache, listed([plain("a", 1), plain("b", 2)]));
        let first = Event::InitApply(DeserializeGuard(Ok(plain("b", 3))));
        assert_eq!(take(&cache, vec![Event::Init, first]), ["b 3"]);
        assert!(cache.contains(&at("a")), "the list has broken off");
        let again = listed([plain("b", 3), plain("c", 4)]);
        assert_eq!(take(&cache, again), ["b 3", "c 4", "a gone", "complete"]);
        // A namesake that was made anew is not the one that was deleted.
        let mut old = plain("b", 3);
        old.metadata.uid = Some("another".to_owned());
        assert_eq!(take(&cache, deleted(old)), [""; 0]);
        assert!(cache.contains(&at("b")));
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was_until_it_is_deleted() {
        let cache = Cache::default();
        take(&cache, listed([plain("a", 1)]));
        let unreadable = || {
            DeserializeGuard(Err(InvalidObject {
                error: "what is this".to_owned(),
                metadata: plain("a", 2).metadata,
            }))
        };
        let list = vec![Event::Init, Event::InitApply(unreadable()), Event::InitDone];
        assert_eq!(take(&cache, list), ["team-a/a malformed", "complete"]);
        assert_eq!(version_of(&cache, "a"), Some(1));
        let gone = take(&cache, vec![Event::Delete(unreadable())]);
        assert_eq!(gone, ["a gone"]);
    }

    /// With which nothing is left to do is kept as a record, by its own write already, and found and counted by its group.
    #[test]
    fn what_is_done_is_a_record() {
        let cache = Cache::default();
        let red = [("group", "red")];
        let red_done = [("group", "red"), ("done", "yes")];
        take(
            &cache,
            listed([map("a", 1, &red), map("b", 2, &red), map("c", 3, &red_done)]),
        );
        let names = |group| -> Vec<String> {
            let maps = cache.group("team-a", group);
            maps.iter().map(|map| map.name_any()).collect()
        };
        assert_eq!(
            (names("red"), cache.records("team-a", "red")),
            (vec!["a".into(), "b".into()], 1)
        );
        cache.store(&Arc::new(map("a", 4, &red_done)));
        assert_eq!(
            (names("red"), cache.records("team-a", "red")),
            (vec!["b".into()], 2)
        );
        assert!(cache.get(&at("a")).is_none() && cache.contains(&at("a")));
        assert_eq!(take(&cache, shown(map("a", 4, &red_done))), ["a 4 own"]);
        take(&cache, shown(map("c", 5, &[("group", "blue")])));
        assert_eq!(
            (names("blue"), cache.records("team-a", "red")),
            (vec!["c".into()], 1)
        );
        assert_eq!(cache.all().len(), 2);
        take(&cache, deleted(map("b", 6, &red)));
        take(&cache, deleted(map("a", 7, &red_done)));
        let state = cache.lock();
        let groups = &state.namespaces.get("team-a").unwrap().groups;
        assert!(!groups.contains_key("red"));
    }

    #[test]
    fn nobody_keeps_what_nobody_reads() {
        let mut map = plain("a", 1);
        map.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        map.metadata.annotations = Some([(LAST_APPLIED.to_owned(), "{}".to_owned())].into());
        let cache = Cache::default();
        take(&cache, listed([map]));
        let kept = cache.get(&at("a")).unwrap();
        assert_eq!(kept.metadata.managed_fields, None);
        assert_eq!(kept.metadata.annotations, Some(BTreeMap::new()));
    }

    #[test]
    fn names_that_nobody_has_any_more_are_dropped() {
        let mut names = Names::default();
        let kept = names.share("kept");
        for number in 0..10_000 {
            names.share(&number.to_string());
        }
        assert!(names.known.len() <= 128, "{}", names.known.len());
        assert!(Arc::ptr_eq(&kept, &names.share("kept")));
    }
}
