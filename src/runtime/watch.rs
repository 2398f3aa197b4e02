//! Watching one kind in one scope: a cache that is always there, and a queue of objects to look at.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube_runtime::controller::ReconcileRequest;
use kube_runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube_runtime::watcher::{self, Event, watcher};
use kube_runtime::{WatchStreamExt, reflector::Lookup};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// Something that happened to the watched objects.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// The object is new or changed, or was listed.
    Applied(&'a K),
    /// The object is gone.
    Deleted(&'a K),
    /// A list that began anew is complete: what is not in the cache is gone.
    Complete,
    /// An object in the store cannot be read. The others go on.
    Malformed {
        /// Its namespace and name.
        object: &'a str,
        /// What is wrong with it.
        error: &'a str,
    },
    /// The watch was interrupted; it goes on by itself.
    Interrupted(&'a watcher::Error),
}

/// Sends objects to be looked at. Cheap to clone; sending to a queue that is no longer read does nothing.
#[derive(Debug)]
pub struct Queue<K: Lookup<DynamicType = ()> + 'static>(mpsc::UnboundedSender<ObjectRef<K>>);

impl<K: Lookup<DynamicType = ()> + 'static> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Queue<K> {
    /// A queue and the stream of what is put into it.
    pub fn new() -> (Self, impl Stream<Item = ObjectRef<K>> + Send)
    where
        ObjectRef<K>: Send,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|object| (object, receiver))
        });
        (Self(sender), stream)
    }

    /// Asks for a look at `object`.
    pub fn push(&self, object: ObjectRef<K>) {
        // The reader is gone only while the process stops.
        let _ = self.0.send(object);
    }
}

/// A cache of `K` that [`follow`] keeps up to date.
pub fn cache<K>() -> (Store<K>, Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    reflector::store()
}

/// Watches `api` for ever, keeps the cache behind `writer` and reports every change to `on_change`, the cache first.
///
/// Managed fields are dropped before an object is kept: they are half of its size and nobody reads them.
pub async fn follow<K>(
    api: Api<DeserializeGuard<K>>,
    writer: Writer<K>,
    mut on_change: impl FnMut(Change<'_, K>) + Send,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let (malformed_sender, mut malformed) = mpsc::unbounded_channel();
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let event = match event {
                Ok(event) => readable(event, &malformed_sender).map(Ok),
                Err(error) => Some(Err(error)),
            };
            async move { event }
        });
    let mut events = std::pin::pin!(reflector::reflector(writer, events));
    while let Some(event) = events.next().await {
        while let Ok((object, error)) = malformed.try_recv() {
            let (object, error): (String, String) = (object, error);
            on_change(Change::Malformed {
                object: &object,
                error: &error,
            });
        }
        match &event {
            // Until the list is complete the cache stays as it was.
            Ok(Event::Init) => {}
            Ok(Event::InitDone) => on_change(Change::Complete),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                on_change(Change::Applied(object))
            }
            Ok(Event::Delete(object)) => on_change(Change::Deleted(object)),
            Err(error) => on_change(Change::Interrupted(error)),
        }
    }
}

/// The event with the object itself, or nothing if the object cannot be read, which is then reported.
fn readable<K: Resource<DynamicType = ()>>(
    event: Event<DeserializeGuard<K>>,
    malformed: &mpsc::UnboundedSender<(String, String)>,
) -> Option<Event<K>> {
    let read = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Some(object)
        }
        Err(invalid) => {
            let metadata = invalid.metadata;
            let object = format!(
                "{}/{}",
                metadata.namespace.unwrap_or_default(),
                metadata.name.unwrap_or_default()
            );
            // The reader lives as long as the watch.
            let _ = malformed.send((object, invalid.error));
            None
        }
    };
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(guard) => read(guard).map(Event::InitApply),
        Event::Apply(guard) => read(guard).map(Event::Apply),
        Event::Delete(guard) => read(guard).map(Event::Delete),
    }
}

/// The queue as a controller reads it.
pub fn requests<K>(
    objects: impl Stream<Item = ObjectRef<K>> + Send,
) -> impl Stream<Item = Result<ReconcileRequest<K>, std::convert::Infallible>> + Send
where
    K: Resource<DynamicType = ()> + 'static,
    ObjectRef<K>: Send,
{
    objects.map(|object| Ok(ReconcileRequest::from(object)))
}

/// The objects of a cache in a namespace.
pub fn in_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .state()
        .into_iter()
        .filter(|object| object.meta().namespace.as_deref() == Some(namespace))
        .collect()
}
