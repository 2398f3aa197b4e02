//! The CodeSessions of the served scopes, for whoever reads them beside the passes.

use std::sync::{Arc, Mutex};

use kube::Client;
use kube::api::Api;
use kube_runtime::reflector::ObjectRef;

use crate::api::CodeSession;
use crate::runtime::cache::Cache;
use crate::runtime::lock::lock;

/// The caches of the scopes, each with its namespace; `None` for all of them. Filled on every replica, whether it leads or not.
#[derive(Default)]
pub struct ServedSessions(Mutex<Vec<(Option<String>, Sessions)>>);

type Sessions = Arc<Cache<CodeSession>>;

impl ServedSessions {
    /// A scope is served from now on.
    pub(super) fn add(&self, namespace: Option<String>, sessions: Sessions) {
        lock(&self.0).push((namespace, sessions));
    }

    /// Whether this process serves the namespace.
    pub fn serves(&self, namespace: &str) -> bool {
        self.of(namespace).is_some()
    }

    fn of(&self, namespace: &str) -> Option<Sessions> {
        let scopes = lock(&self.0);
        let scope = scopes
            .iter()
            .find(|(served, _)| served.as_deref().is_none_or(|served| served == namespace));
        scope.map(|(_, sessions)| Arc::clone(sessions))
    }

    /// The session as it is known; read from the API server where the cache keeps no more than a record of it, or does not know it (yet).
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn get(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<CodeSession>>, kube::Error> {
        let Some(sessions) = self.of(namespace) else {
            return Ok(None);
        };
        if let Some(session) = sessions.get(&ObjectRef::new(name).within(namespace)) {
            return Ok(Some(session));
        }
        let api: Api<CodeSession> = Api::namespaced(client.clone(), namespace);
        Ok(api.get_opt(name).await?.map(Arc::new))
    }
}
