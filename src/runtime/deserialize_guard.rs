//! An object of a list or a watch that may be unreadable without making the others so.
//!
//! The client library has such a guard, which copies every object twice before it reads it. This one keeps the object's text and
//! goes back to it only where the object cannot be read.

use std::borrow::Cow;

use kube::Resource;
use kube::api::{ObjectMeta, PartialObjectMeta};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct DeserializeGuard<K>(pub Result<K, InvalidObject>);

/// An object that cannot be read.
#[derive(Clone, Debug)]
pub struct InvalidObject {
    /// What is wrong with it.
    pub error: String,
    /// Its metadata, which can be read.
    pub metadata: ObjectMeta,
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for DeserializeGuard<K> {
    /// Reads JSON only: of another format there is no text to go back to.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let read = serde_json::from_str(text.get());
        let guarded = match read {
            Ok(object) => Ok(object),
            Err(error) => {
                let partial: PartialObjectMeta<K> =
                    serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Err(InvalidObject {
                    error: error.to_string(),
                    metadata: partial.metadata,
                })
            }
        };
        Ok(Self(guarded))
    }
}

impl<K: Resource> Resource for DeserializeGuard<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::{ObjectList, WatchEvent};

    use super::*;

    const GOOD: &str = r#"{"metadata":{"name":"good"},"data":{"a":"b"}}"#;
    const BAD: &str = r#"{"metadata":{"name":"bad","namespace":"here"},"data":"no map"}"#;

    #[test]
    fn one_unreadable_object_of_a_list_leaves_the_others_readable() {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMapList","metadata":{{}},"items":[{BAD},{GOOD}]}}"#
        );
        let list: ObjectList<DeserializeGuard<ConfigMap>> = serde_json::from_str(&text).unwrap();
        let [bad, good] = list.items.as_slice() else {
            unreachable!("two are listed");
        };
        assert_eq!(
            (bad.name_any(), good.name_any()),
            ("bad".into(), "good".into())
        );
        let invalid = bad.0.as_ref().unwrap_err();
        assert_eq!(invalid.metadata.namespace.as_deref(), Some("here"));
        assert!(
            invalid.error.contains("expected a map"),
            "{}",
            invalid.error
        );
        let data = good.0.as_ref().unwrap().data.as_ref().unwrap();
        assert_eq!(data.get("a").map(String::as_str), Some("b"));
    }

    #[test]
    fn a_watch_shows_an_unreadable_object_as_one() {
        let text = format!(r#"{{"type":"MODIFIED","object":{BAD}}}"#);
        let event: WatchEvent<DeserializeGuard<ConfigMap>> = serde_json::from_str(&text).unwrap();
        assert!(matches!(event, WatchEvent::Modified(guard) if guard.0.is_err()));
    }
}
