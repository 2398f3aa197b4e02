//! Reading the sources of images: by name, only what its owner has marked for us.
//!
//! An image is read twice: once for its digest, which decisions and the claim need, and once, when a session has its turn, to be sent. Between
//! the two its content is not held: a hundred sessions that wait hold no image. And what is held is bounded: an object has at most 1 MiB, and
//! takes some 4 MiB while it is read, or while its request is under way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::secrets::{NoSource, Purpose, SourceError, Sources, no_config_map};
use crate::api::{ImageSource, KeyReference, Reason};
use crate::domain::blocker::{Blocker, Cause};
use crate::domain::image::{Image, ImageData, ImageDigest, ImageFault};
use crate::runtime::shared_reads::SharedReads;

/// The most objects that are read for their digests at once.
const MOST_EXAMINED: usize = 4;
/// The most objects whose images are held for requests under way.
const MOST_HELD: usize = 10;
/// How long a request waits for others to let go of theirs, before it goes back in line: a stop of its session must not wait for longer.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

/// By key, what its image is, or why it is none.
type Digests = BTreeMap<String, Result<ImageDigest, ImageFault>>;

/// By key, its image, or why it is none.
type Contents = BTreeMap<String, Result<ImageData, ImageFault>>;

/// An object that holds images.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageObject {
    namespace: String,
    kind: ObjectKind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ObjectKind {
    ConfigMap,
    Secret,
}

impl ObjectKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// Where an image is.
enum Place<'a> {
    Url(&'a str),
    Key(ImageObject, &'a KeyReference),
}

impl<'a> Place<'a> {
    fn of(namespace: &str, source: &'a ImageSource) -> Option<Self> {
        let object = |kind, reference: &'a KeyReference| {
            let object = ImageObject {
                namespace: namespace.to_owned(),
                kind,
                name: reference.name.clone(),
            };
            Self::Key(object, reference)
        };
        let url = source.url.as_deref().map(Self::Url);
        let map = source.config_map_key_ref.as_ref();
        let secret = source.secret_key_ref.as_ref();
        url.or_else(|| map.map(|map| object(ObjectKind::ConfigMap, map)))
            .or_else(|| secret.map(|secret| object(ObjectKind::Secret, secret)))
    }
}

/// Reads the sources of images.
pub struct ImageSources {
    /// What is kept of each object that holds images.
    digests: SharedReads<ImageObject, Arc<Digests>, SourceError>,
    examining: Semaphore,
    held: Arc<Semaphore>,
}

/// Images that are about to be sent, and the room that they take until this is dropped.
#[derive(Debug, Default)]
pub struct HeldImages {
    /// In order.
    pub images: Vec<Image>,
    /// Room for them; none where nothing but URLs is held.
    pub room: Option<Room>,
}

/// Room that images take. Dropping it lets others have it.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl ImageSources {
    /// Keeps the digests that it read for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            digests: SharedReads::new(keep),
            examining: Semaphore::new(MOST_EXAMINED),
            held: Arc::new(Semaphore::new(MOST_HELD)),
        }
    }

    /// Drops what is too old to be used; called now and then.
    pub fn expire(&self) {
        self.digests.expire();
    }

    /// The digests of images, in order. `owner` is what they belong to, as a path in the manifest: `spec`, `spec.messages[NAME]`.
    ///
    /// # Errors
    /// If one is not there, cannot be sent, or could not be read: it is named.
    pub async fn digests(
        &self,
        sources: &Sources,
        namespace: &str,
        images: &[ImageSource],
        owner: &str,
    ) -> Result<Vec<ImageDigest>, NoSource> {
        let mut digests = Vec::new();
        for (index, source) in images.iter().enumerate() {
            let at = format!("{owner}.images[{index}]");
            let digest = match Place::of(namespace, source) {
                None => Err((no_source(&at), self.digests.keep())),
                Some(Place::Url(url)) => Ok(ImageDigest::of_url(url)),
                Some(Place::Key(object, KeyReference { key, .. })) => {
                    let read = self.examine(sources, &object);
                    let known = self.digests.get(object.clone(), read).await;
                    known.and_then(|known| {
                        found(known.get(key).copied(), &object, key, &at)
                            .map_err(|error| (error, self.digests.keep()))
                    })
                }
            };
            digests.push(digest?);
        }
        Ok(digests)
    }

    async fn examine(
        &self,
        sources: &Sources,
        object: &ImageObject,
    ) -> Result<Arc<Digests>, SourceError> {
        // It is never closed.
        let _turn = self.examining.acquire().await.ok();
        Ok(Arc::new(digests_of(contents(sources, object).await?)))
    }

    /// The images themselves, if they are still those of `digests`; otherwise what is known of them is forgotten, so that it is read anew.
    /// `None` as well if there is no room for them now.
    pub async fn read(
        &self,
        sources: &Sources,
        namespace: &str,
        images: &[ImageSource],
        digests: &[ImageDigest],
    ) -> Option<HeldImages> {
        let places = images.iter().filter_map(|it| Place::of(namespace, it));
        let objects: HashSet<ImageObject> = places
            .filter_map(|place| match place {
                Place::Url(_) => None,
                Place::Key(object, _) => Some(object),
            })
            .collect();
        let room = match u32::try_from(objects.len()).ok()? {
            0 => None,
            objects => Some(self.room_for(objects).await?),
        };
        let found = read_all(sources, namespace, images).await;
        let unchanged =
            |found: &Vec<Image>| found.iter().map(Image::digest).eq(digests.iter().copied());
        match found.filter(unchanged) {
            Some(images) => Some(HeldImages { images, room }),
            None => {
                for object in &objects {
                    self.digests.forget(object);
                }
                None
            }
        }
    }

    /// Room for the images of so many objects; all of it is taken at once, so that no two requests wait for each other's.
    async fn room_for(&self, objects: u32) -> Option<Room> {
        let room = Arc::clone(&self.held).acquire_many_owned(objects);
        let room = tokio::time::timeout(ROOM_PATIENCE, room).await.ok()?;
        room.ok().map(Room)
    }
}

async fn read_all(
    sources: &Sources,
    namespace: &str,
    images: &[ImageSource],
) -> Option<Vec<Image>> {
    let mut objects: Vec<(ImageObject, Contents)> = Vec::new();
    let mut found = Vec::new();
    for source in images {
        let (object, key) = match Place::of(namespace, source)? {
            Place::Url(url) => {
                found.push(Image::Url(url.to_owned()));
                continue;
            }
            Place::Key(object, reference) => (object, &reference.key),
        };
        if !objects.iter().any(|(read, _)| *read == object) {
            let contents = contents(sources, &object).await.ok()?;
            objects.push((object.clone(), contents));
        }
        let (_, contents) = objects.iter().find(|(read, _)| *read == object)?;
        let image = contents.get(key)?.clone().ok()?;
        found.push(Image::Data(image));
    }
    Some(found)
}

/// Everything in an object.
async fn contents(sources: &Sources, object: &ImageObject) -> Result<Contents, SourceError> {
    let (namespace, name) = (&object.namespace, &object.name);
    match object.kind {
        ObjectKind::Secret => {
            let secret = sources
                .fetch_secret(Purpose::Image, namespace, name)
                .await?;
            let values = secret.data.unwrap_or_default().into_iter();
            Ok(values
                .map(|(key, value)| (key, ImageData::new(value.0)))
                .collect())
        }
        ObjectKind::ConfigMap => {
            let Some(map) = sources.fetch_config_map(namespace, name).await? else {
                return Err(unavailable(no_config_map(namespace, name)));
            };
            let binary = map.binary_data.unwrap_or_default().into_iter();
            // A text cannot be an image, but it can encode one.
            let texts = map.data.unwrap_or_default().into_iter();
            Ok(binary
                .map(|(key, value)| (key, ImageData::new(value.0)))
                .chain(texts.map(|(key, text)| (key, ImageData::from_base64(&text))))
                .collect())
        }
    }
}

fn digests_of(contents: Contents) -> Digests {
    let contents = contents.into_iter();
    contents
        .map(|(key, image)| (key, image.map(|image| image.digest())))
        .collect()
}

/// What was found under a key.
fn found(
    image: Option<Result<ImageDigest, ImageFault>>,
    object: &ImageObject,
    key: &str,
    at: &str,
) -> Result<ImageDigest, SourceError> {
    let (kind, name) = (object.kind.as_str(), &object.name);
    match image {
        Some(Ok(digest)) => Ok(digest),
        Some(Err(fault)) => Err(unavailable(format!(
            "the image of {at} ({kind} {name}, key {key}) {fault}"
        ))),
        None => Err(unavailable(format!(
            "the {kind} {name} has no key {key}, which {at} names: add it"
        ))),
    }
}

fn no_source(at: &str) -> SourceError {
    unavailable(format!(
        "{at} names no source: set url, configMapKeyRef or secretKeyRef"
    ))
}

fn unavailable(message: String) -> SourceError {
    SourceError::Unusable(Blocker {
        reason: Reason::ImageUnavailable,
        message,
        cause: Cause::Environment,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::lock::lock;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    const KEEP: Duration = Duration::from_secs(10);

    /// An API server on which every ConfigMap is the same.
    #[derive(Default)]
    struct Cluster {
        binary: Mutex<Value>,
        reads: AtomicUsize,
    }

    impl Cluster {
        fn with(binary: Value) -> Arc<Self> {
            let cluster = Self::default();
            *lock(&cluster.binary) = binary;
            Arc::new(cluster)
        }

        fn sources(self: &Arc<Self>) -> Sources {
            let cluster = Arc::clone(self);
            let answer = tower::service_fn(move |_: Request<Body>| {
                cluster.reads.fetch_add(1, Ordering::SeqCst);
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "any"},
                    "binaryData": *lock(&cluster.binary),
                });
                let body = Body::from(map.to_string().into_bytes());
                async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
            });
            Sources::new(Client::new(answer, "default"), KEEP)
        }

        fn reads(&self) -> usize {
            self.reads.swap(0, Ordering::SeqCst)
        }
    }

    fn image(map: &str, key: &str) -> ImageSource {
        let reference = json!({"configMapKeyRef": {"name": map, "key": key}});
        serde_json::from_value(reference).unwrap()
    }

    fn url() -> ImageSource {
        serde_json::from_value(json!({"url": "https://acme.com/a.png"})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_that_wait_cost_one_read_and_what_is_sent_is_read_when_it_is_sent() {
        let cluster = Cluster::with(json!({"a": PNG, "b": GIF}));
        let (sources, images) = (cluster.sources(), ImageSources::new(KEEP));
        let wanted = [image("m", "b"), url(), image("m", "a")];
        let mut digests = Vec::new();
        for _ in 0..100 {
            digests = images
                .digests(&sources, "ns", &wanted, "spec")
                .await
                .unwrap();
        }
        assert_eq!(cluster.reads(), 1);
        let held = images
            .read(&sources, "ns", &wanted, &digests)
            .await
            .unwrap();
        assert_eq!(cluster.reads(), 1, "both images are in one object");
        let [Image::Data(gif), Image::Url(_), Image::Data(png)] = held.images.as_slice() else {
            unreachable!("{held:?}")
        };
        assert_eq!(gif, &ImageData::from_base64(GIF).unwrap());
        assert_eq!(png, &ImageData::from_base64(PNG).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_what_was_decided_on_is_not_sent_and_is_read_anew() {
        let cluster = Cluster::with(json!({"a": PNG}));
        let (sources, images) = (cluster.sources(), ImageSources::new(KEEP));
        let wanted = [image("m", "a")];
        let before = images
            .digests(&sources, "ns", &wanted, "spec")
            .await
            .unwrap();
        for changed in [json!({"a": GIF}), json!({"b": PNG}), json!({"a": "aGk="})] {
            *lock(&cluster.binary) = changed;
            let read = images.read(&sources, "ns", &wanted, &before).await;
            assert!(read.is_none());
            let now = images.digests(&sources, "ns", &wanted, "spec").await;
            assert!(now.is_err() || now.is_ok_and(|now| now != before));
        }
        *lock(&cluster.binary) = json!({"a": PNG});
        assert!(
            images
                .read(&sources, "ns", &wanted, &before)
                .await
                .is_some()
        );
    }

    /// However many requests are under way, the images that they hold are bounded.
    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_for_it_and_goes_back_in_line() {
        let cluster = Cluster::with(json!({"a": PNG}));
        let (sources, images) = (cluster.sources(), ImageSources::new(KEEP));
        let five: Vec<ImageSource> = (0..5).map(|n| image(&format!("m{n}"), "a")).collect();
        let digests = images.digests(&sources, "ns", &five, "spec").await.unwrap();
        let read = || images.read(&sources, "ns", &five, &digests);
        let first = read().await.unwrap();
        let _second = read().await.unwrap();
        assert!(read().await.is_none());
        // A URL takes no room.
        let of_url = [ImageDigest::of_url("https://acme.com/a.png")];
        let by_url = images.read(&sources, "ns", &[url()], &of_url).await;
        assert!(by_url.unwrap().room.is_none());
        let (third, ()) = tokio::join!(read(), async { drop(first) });
        assert_eq!(third.unwrap().images.len(), 5);
    }
}
