//! Reading Secrets and prompt sources: by name, only what its owner has marked for us, and not more often than needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt};
use url::Url;
use zeroize::Zeroizing;

use crate::api::{ALLOWED_HOSTS_ANNOTATION, CREDENTIAL_LABEL, Reason, TextSource};
use crate::domain::effective::{Fault, Objection};
use crate::providers::contract::API_KEY;
use crate::providers::credential::Credential;
use crate::runtime::lock::lock;

/// What we took from a Secret.
pub struct MarkedSecret {
    name: String,
    values: HashMap<String, Zeroizing<Vec<u8>>>,
    allowed_hosts: Vec<String>,
}

impl MarkedSecret {
    /// The credential: the value of `key` as the API key, and `further` under their own names.
    ///
    /// # Errors
    /// If one is missing or is not text.
    pub fn credential(&self, key: &str, further: &[&'static str]) -> Result<Credential, Objection> {
        let mut credential = Credential::new();
        // Where a provider has keys of its own and no API key, the API key may be absent.
        match self.text(key) {
            Ok(value) => credential = credential.with(API_KEY, value),
            Err(objection) if further.is_empty() => return Err(objection),
            Err(_) => {}
        }
        for name in further {
            credential = credential.with(name, self.text(name)?);
        }
        Ok(credential)
    }

    /// Whether the values may be sent to `endpoint`'s host, which is not the provider's own.
    pub fn allows(&self, endpoint: &Url) -> bool {
        let host = endpoint.host_str().unwrap_or_default();
        let with_port = endpoint.port().map(|port| format!("{host}:{port}"));
        self.allowed_hosts.iter().any(|allowed| {
            allowed.eq_ignore_ascii_case(host)
                || with_port
                    .as_deref()
                    .is_some_and(|full| allowed.eq_ignore_ascii_case(full))
        })
    }

    /// Name of the Secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn text(&self, key: &str) -> Result<&str, Objection> {
        let name = &self.name;
        let missing = |what: &str| Objection {
            reason: Reason::SecretKeyMissing,
            message: format!("the Secret {name} {what} {key}: add it"),
            fault: Fault::Surroundings,
        };
        let bytes = self.values.get(key).ok_or_else(|| missing("has no key"))?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| missing("has something that is not text under the key"))?;
        if text.trim().is_empty() {
            Err(missing("has an empty value under the key"))
        } else {
            Ok(text)
        }
    }
}

/// What was read, and when, by namespace and name.
type Cache = HashMap<(String, String), (Instant, Arc<MarkedSecret>)>;

/// Reads Secrets and prompt sources.
pub struct Sources {
    client: Client,
    cache: Mutex<Cache>,
    keep: Duration,
}

impl Sources {
    /// Keeps what it read of a Secret for `keep`, so that a hundred sessions of one agent cost one read.
    pub fn new(client: Client, keep: Duration) -> Self {
        Self {
            client,
            cache: Mutex::new(HashMap::new()),
            keep,
        }
    }

    /// The Secret `namespace/name`.
    ///
    /// # Errors
    /// An objection if it is not there or not marked for us; `Err(Err(_))` if it could not be read.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<MarkedSecret>, Result<Objection, kube::Error>> {
        let at = (namespace.to_owned(), name.to_owned());
        if let Some((read, secret)) = self.lock().get(&at)
            && read.elapsed() < self.keep
        {
            return Ok(Arc::clone(secret));
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = api.get_opt(name).await.map_err(Err)?;
        let refuse = |reason, message| {
            self.lock().remove(&at);
            Err(Ok(Objection {
                reason,
                message,
                fault: Fault::Surroundings,
            }))
        };
        let Some(secret) = secret else {
            return refuse(
                Reason::SecretNotFound,
                format!(
                    "there is no Secret {name} in namespace {namespace}: create it with the label {CREDENTIAL_LABEL}: \"true\""
                ),
            );
        };
        if secret.labels().get(CREDENTIAL_LABEL).map(String::as_str) != Some("true") {
            return refuse(
                Reason::SecretNotLabelled,
                format!(
                    "the Secret {name} is not marked for this operator: kubectl -n {namespace} label secret {name} {CREDENTIAL_LABEL}=true"
                ),
            );
        }
        let allowed_hosts = secret
            .annotations()
            .get(ALLOWED_HOSTS_ANNOTATION)
            .map(|hosts| {
                hosts
                    .split(',')
                    .map(|host| host.trim().to_owned())
                    .filter(|host| !host.is_empty())
                    .collect()
            })
            .unwrap_or_default();
        let values = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, Zeroizing::new(value.0)));
        let marked = Arc::new(MarkedSecret {
            name: name.to_owned(),
            values: values.collect(),
            allowed_hosts,
        });
        self.lock()
            .insert(at, (Instant::now(), Arc::clone(&marked)));
        Ok(marked)
    }

    /// Drops what is too old to be used; called now and then, so that keys do not linger in memory.
    pub fn expire(&self) {
        let keep = self.keep;
        self.lock().retain(|_, (read, _)| read.elapsed() < keep);
    }

    /// The text of a prompt source.
    ///
    /// # Errors
    /// An objection if it is not there or unusable; `Err(Err(_))` if it could not be read.
    pub async fn text(
        &self,
        namespace: &str,
        source: &TextSource,
    ) -> Result<String, Result<Objection, kube::Error>> {
        let refuse = |message: String| {
            Err(Ok(Objection {
                reason: Reason::PromptUnavailable,
                message,
                fault: Fault::Surroundings,
            }))
        };
        let text = match (&source.config_map_key_ref, &source.secret_key_ref) {
            (Some(reference), _) => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let Some(map) = api.get_opt(&reference.name).await.map_err(Err)? else {
                    return refuse(format!(
                        "there is no ConfigMap {} in namespace {namespace}: create it",
                        reference.name
                    ));
                };
                let Some(text) = map.data.unwrap_or_default().remove(&reference.key) else {
                    return refuse(format!(
                        "the ConfigMap {} has no key {}: add it",
                        reference.name, reference.key
                    ));
                };
                text
            }
            (None, Some(reference)) => {
                let secret = self.secret(namespace, &reference.name).await?;
                match secret.text(&reference.key) {
                    Ok(text) => text.to_owned(),
                    Err(objection) => return refuse(objection.message),
                }
            }
            (None, None) => {
                return refuse(
                    "promptFrom names no source: set configMapKeyRef or secretKeyRef".to_owned(),
                );
            }
        };
        if text.trim().is_empty() {
            return refuse("the prompt's source is empty".to_owned());
        }
        if text.len() > MOST_PROMPT_BYTES {
            return refuse(format!(
                "the prompt's source is larger than {} KiB",
                MOST_PROMPT_BYTES / 1024
            ));
        }
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        lock(&self.cache)
    }
}

/// Largest prompt from a source: what fits into one object of the API server, with room.
const MOST_PROMPT_BYTES: usize = 512 * 1024;
