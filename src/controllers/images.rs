//! Reading the sources of images: by name, only what its owner has marked for us.
//!
//! An image is read twice: once for its digest, which decisions and the claim need, and once, when a session has its turn, to be sent. Between
//! the two its content is not held: a hundred sessions that wait hold no image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::secrets::{NoSource, Purpose, SourceError, Sources, no_config_map};
use crate::api::{ImageSource, KeyReference, Reason};
use crate::domain::blocker::{Blocker, Cause};
use crate::domain::image::{Image, ImageData, ImageDigest, ImageFault};
use crate::runtime::shared_reads::SharedReads;

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
}

impl ImageSources {
    /// Keeps the digests that it read for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            digests: SharedReads::new(keep),
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
                    let read =
                        async { Ok(Arc::new(digests_of(contents(sources, &object).await?))) };
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

    /// The images themselves, if they are still those of `digests`; otherwise what is known of them is forgotten, so that it is read anew.
    pub async fn read(
        &self,
        sources: &Sources,
        namespace: &str,
        images: &[ImageSource],
        digests: &[ImageDigest],
    ) -> Option<Vec<Image>> {
        let found = read_all(sources, namespace, images).await;
        let found =
            found.filter(|found| found.iter().map(Image::digest).eq(digests.iter().copied()));
        if found.is_none() {
            for source in images {
                if let Some(Place::Key(object, _)) = Place::of(namespace, source) {
                    self.digests.forget(&object);
                }
            }
        }
        found
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
