//! Reading the Secrets of an environment: by name, only what its owner has marked for us.
//!
//! A Secret is read twice: once for its version, which the claim needs, and once, when a session has its turn, to be sent. Between the two no
//! value is held: what is kept of a Secret are its version and the names of its variables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use zeroize::Zeroizing;

use super::secrets::{NoSource, Purpose, SourceError, Sources};
use crate::api::Reason;
use crate::domain::blocker::{Blocker, Cause};
use crate::domain::environment::{
    Environment, EnvironmentDigest, MAX_VARIABLES, SecretVersion, TooMany,
};
use crate::runtime::shared_reads::SharedReads;

/// What is kept of a Secret.
struct Known {
    version: SecretVersion,
    names: BTreeSet<String>,
}

/// Reads the Secrets of environments.
pub struct EnvironmentSources {
    /// By namespace and name.
    known: SharedReads<(String, String), Arc<Known>, SourceError>,
}

impl EnvironmentSources {
    /// Keeps what it knows of a Secret for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            known: SharedReads::new(keep),
        }
    }

    /// Drops what is too old to be used; called now and then.
    pub fn expire(&self) {
        self.known.expire();
    }

    /// What tells the variables of these Secrets from any other; `None` without Secrets.
    ///
    /// # Errors
    /// If one is not there, cannot be sent, or could not be read, or if they hold too many together.
    pub async fn digest(
        &self,
        sources: &Sources,
        namespace: &str,
        secrets: &[String],
    ) -> Result<Option<EnvironmentDigest>, NoSource> {
        let mut versions = Vec::new();
        let mut names = BTreeSet::new();
        for name in secrets {
            let at = (namespace.to_owned(), name.clone());
            let known = self
                .known
                .get(at, examine(sources, namespace, name))
                .await?;
            versions.push(known.version.clone());
            names.extend(known.names.iter().cloned());
        }
        if names.len() > MAX_VARIABLES {
            let too_many = TooMany { count: names.len() };
            let all = secrets.join(", ");
            let message = format!("the Secrets of envFrom ({all}) {too_many}");
            return Err((unavailable(message), self.known.keep()));
        }
        Ok(EnvironmentDigest::of(&versions))
    }

    /// The variables of these Secrets, if they are still those of `digest`; otherwise what is known of them is forgotten, so that it is
    /// read anew.
    pub async fn read(
        &self,
        sources: &Sources,
        namespace: &str,
        secrets: &[String],
        digest: Option<EnvironmentDigest>,
    ) -> Option<Environment> {
        let mut versions = Vec::new();
        let mut read = Vec::new();
        for name in secrets {
            let found = read_one(sources, namespace, name).await.ok();
            let Some((version, environment)) = found else {
                self.forget(namespace, secrets);
                return None;
            };
            versions.push(version);
            read.push(environment);
        }
        if EnvironmentDigest::of(&versions) != digest {
            self.forget(namespace, secrets);
            return None;
        }
        Environment::merged(read).ok()
    }

    fn forget(&self, namespace: &str, secrets: &[String]) {
        for name in secrets {
            self.known.forget(&(namespace.to_owned(), name.clone()));
        }
    }
}

async fn examine(
    sources: &Sources,
    namespace: &str,
    name: &str,
) -> Result<Arc<Known>, SourceError> {
    let (version, environment) = read_one(sources, namespace, name).await?;
    Ok(Arc::new(Known {
        version,
        names: environment.names(),
    }))
}

async fn read_one(
    sources: &Sources,
    namespace: &str,
    name: &str,
) -> Result<(SecretVersion, Environment), SourceError> {
    let secret = sources
        .fetch_secret(Purpose::Environment, namespace, name)
        .await?;
    let version = version_of(&secret);
    let data = secret.data.unwrap_or_default().into_iter();
    // Before anything is looked at: whatever is refused is wiped as well.
    let data: Vec<_> = data
        .map(|(key, value)| (key, Zeroizing::new(value.0)))
        .collect();
    let environment = Environment::of_secret(data)
        .map_err(|fault| unavailable(format!("the Secret {name} of envFrom {fault}")))?;
    Ok((version, environment))
}

fn version_of(secret: &Secret) -> SecretVersion {
    SecretVersion {
        uid: secret.uid().unwrap_or_default(),
        resource_version: secret.resource_version().unwrap_or_default(),
    }
}

fn unavailable(message: String) -> SourceError {
    SourceError::Unusable(Blocker {
        reason: Reason::EnvironmentUnavailable,
        message,
        cause: Cause::Environment,
    })
}
