//! A namespace of a test's own.

use std::fmt;

use k8s_openapi::{NamespaceResourceScope, api::core::v1 as core};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, ObjectMeta, PostParams},
};

use crate::{access::Access, manifests, manifests::ApplyError};

/// A namespace with a name that nobody else has. Dropping it asks for its deletion and does not wait: that takes
/// the controller manager about five seconds.
pub struct Namespace {
    name: String,
    client: Client,
    access: Access,
}

impl Namespace {
    pub(crate) async fn create(access: &Access, prefix: &str) -> Result<Namespace, kube::Error> {
        let client = Client::try_from(access.config())?;
        let name = format!("{prefix}-{}", crate::random_suffix());
        let namespace = core::Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..core::Namespace::default()
        };
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(Namespace {
            name,
            client,
            access: access.clone(),
        })
    }

    /// Its unique name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An administrator's client, of the runtime that created the namespace.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// An administrator's view of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.name)
    }

    /// Applies every document of `yaml` in order (server-side, forced) and waits until CustomResourceDefinitions
    /// are established. Objects that name no namespace go into this one. New RBAC rules take effect a moment later.
    ///
    /// # Errors
    ///
    /// At the first document that is malformed or refused.
    pub async fn apply_manifests(&self, yaml: &str) -> Result<Vec<DynamicObject>, ApplyError> {
        manifests::apply(&self.client, &self.name, yaml).await
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Namespace")
            .field(&self.name)
            .finish()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let config = self.access.config();
        // On a thread of its own: the test's runtime is about to end, and must not be blocked.
        std::thread::spawn(move || {
            let deleted = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map(|runtime| {
                    runtime.block_on(async {
                        let namespaces: Api<core::Namespace> = Api::all(Client::try_from(config)?);
                        namespaces.delete(&name, &DeleteParams::default()).await
                    })
                });
            // Often enough the control plane has ended with the test.
            tracing::debug!(
                name,
                ?deleted,
                "asked for the deletion of a test's namespace"
            );
        });
    }
}
