//! Guarded writes: JSON patches that only the object they were decided on accepts.
//!
//! A merge patch with a wrong uid is silently accepted by a re-created namesake, a server-side apply re-creates a deleted
//! object. A failed `test` of a JSON patch is neither.

use std::fmt::Debug;

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, Patch as JsonPatch, PatchOperation, RemoveOperation, TestOperation,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cache::prune;

/// Why a write was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object has changed since it was read: decide again.
    #[error("the object has changed meanwhile")]
    Stale,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// The API server does not take what was written.
    #[error("the API server refuses the write: {0}")]
    Refused(String),
    /// It is not known whether it was stored.
    #[error("the write failed")]
    Failed(#[source] kube::Error),
}

impl WriteError {
    /// The API server's own words where it answered and does not take the write: a policy, a quota, a missing permission, or a
    /// webhook that it could not ask.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Refused(said) => Some(said.clone()),
            Self::Failed(kube::Error::Api(status)) if status.code != 429 => {
                Some(status.message.clone())
            }
            Self::Stale | Self::Gone | Self::Failed(_) => None,
        }
    }
}

/// A guarded write in the making.
#[derive(Debug, Default)]
pub struct Write {
    operations: Vec<PatchOperation>,
}

impl Write {
    /// Only if the object is still exactly the one that was read.
    pub fn if_unchanged<K: Resource>(object: &K) -> Self {
        let version = object.meta().resource_version.clone().unwrap_or_default();
        Self::if_same(object).and_if(&["metadata", "resourceVersion"], json!(version))
    }

    /// Only if the object is still the same one, changed or not.
    pub fn if_same<K: Resource>(object: &K) -> Self {
        Self::default().and_if(
            &["metadata", "uid"],
            json!(object.meta().uid.clone().unwrap_or_default()),
        )
    }

    /// Only if the value at `path` is this.
    #[must_use]
    pub fn and_if(mut self, path: &[&str], value: Value) -> Self {
        self.operations.push(PatchOperation::Test(TestOperation {
            path: pointer(path),
            value,
        }));
        self
    }

    /// Sets the value at `path`.
    #[must_use]
    pub fn set(mut self, path: &[&str], value: Value) -> Self {
        self.operations.push(PatchOperation::Add(AddOperation {
            path: pointer(path),
            value,
        }));
        self
    }

    /// Removes what is at `path`.
    #[must_use]
    pub fn remove(mut self, path: &[&str]) -> Self {
        self.operations
            .push(PatchOperation::Remove(RemoveOperation {
                path: pointer(path),
            }));
        self
    }

    /// Sends it to the status.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is repeated.
    pub async fn to_status<K>(self, api: &Api<K>, name: &str) -> Result<K, WriteError>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let patch = Patch::Json::<()>(JsonPatch(self.operations));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .map_err(judge)
            .map(pruned)
    }

    /// Sends it to the object beside its status.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is repeated.
    pub async fn to_object<K>(self, api: &Api<K>, name: &str) -> Result<K, WriteError>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let patch = Patch::Json::<()>(JsonPatch(self.operations));
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(judge)
            .map(pruned)
    }
}

/// Deletes exactly this object, unchanged since it was read.
///
/// # Errors
/// See [`WriteError`].
pub async fn delete<K>(api: &Api<K>, object: &K) -> Result<(), WriteError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: object.meta().resource_version.clone(),
        }),
        ..DeleteParams::background()
    };
    match api.delete(&object.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        Err(error) => match judge(error) {
            WriteError::Gone => Ok(()),
            error => Err(error),
        },
    }
}

fn pruned<K: Resource>(mut object: K) -> K {
    prune(&mut object);
    object
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

/// What an answer of the API server says of a guarded write.
fn judge(error: kube::Error) -> WriteError {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => WriteError::Gone,
            409 => WriteError::Stale,
            // A failed test and an object that breaks the schema are both 422; only the latter names its causes.
            422 => match status
                .details
                .as_ref()
                .is_some_and(|details| !details.causes.is_empty())
            {
                true => WriteError::Refused(status.message.clone()),
                false => WriteError::Stale,
            },
            400 | 403 | 405 | 413 | 415 => WriteError::Refused(status.message.clone()),
            _ => WriteError::Failed(kube::Error::Api(status)),
        },
        other => WriteError::Failed(other),
    }
}
