//! Reading Secrets and the sources of prompts: by name, only what its owner has marked for us, and not more often than needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt};
use zeroize::Zeroizing;

use crate::api::{
    ALLOWED_HOSTS_ANNOTATION, CREDENTIAL_LABEL, ENVIRONMENT_LABEL, KeyReference, PROMPT_LABEL,
    Reason, TextSource, WEBHOOK_LABEL,
};
use crate::domain::blocker::{Blocker, Cause};
use crate::domain::endpoint::EndpointHost;
use crate::providers::contract::API_KEY;
use crate::providers::credential::Credential;
use crate::runtime::shared_reads::SharedReads;

/// What a Secret's owner gave it to us for. A value of a credential must never end up in a prompt, where an agent could repeat it; so a
/// Secret serves one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Credential,
    Prompt,
    Image,
    Environment,
    Webhook,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Credential => CREDENTIAL_LABEL,
            Self::Prompt | Self::Image => PROMPT_LABEL,
            Self::Environment => ENVIRONMENT_LABEL,
            Self::Webhook => WEBHOOK_LABEL,
        }
    }

    /// Why a credential does not serve it.
    fn not_a_credential(self, name: &str) -> Option<(Reason, String)> {
        let (reason, what, it) = match self {
            // What a webhook's secret signs does not hold it.
            Self::Credential | Self::Webhook => return None,
            Self::Prompt => (Reason::PromptUnavailable, "a prompt", "the prompt"),
            Self::Image => (Reason::ImageUnavailable, "an image", "the image"),
            Self::Environment => (
                Reason::EnvironmentUnavailable,
                "an environment variable",
                "the variables",
            ),
        };
        Some((
            reason,
            format!(
                "the Secret {name} is labelled {CREDENTIAL_LABEL}: a credential is never sent as {what}. Put {it} into a Secret of its own with the label {}: \"true\"",
                self.label(),
            ),
        ))
    }
}

/// What we took from a Secret.
pub struct LabelledSecret {
    name: String,
    values: HashMap<String, Zeroizing<Vec<u8>>>,
    allowed_hosts: Vec<EndpointHost>,
}

impl LabelledSecret {
    /// The credential: the value of `key` as the API key, and `further` under their own names.
    ///
    /// # Errors
    /// If one is missing or is not text.
    pub fn credential(&self, key: &str, further: &[&'static str]) -> Result<Credential, Blocker> {
        let mut credential = Credential::new();
        // Where a provider has keys of its own and no API key, the API key may be absent.
        match self.text(key) {
            Ok(value) => credential = credential.with(API_KEY, value),
            Err(blocker) if further.is_empty() => return Err(blocker),
            Err(_) => {}
        }
        for name in further {
            credential = credential.with(name, self.text(name)?);
        }
        Ok(credential)
    }

    /// Whether the values may be sent to `host`, which is not the provider's own.
    pub fn allows(&self, host: &EndpointHost) -> bool {
        self.allowed_hosts.contains(host)
    }

    /// Name of the Secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of all values, in bytes.
    fn size(&self) -> usize {
        self.values.values().map(|value| value.len()).sum()
    }

    fn text(&self, key: &str) -> Result<&str, Blocker> {
        let name = &self.name;
        let missing = |what: &str| Blocker {
            reason: Reason::SecretKeyMissing,
            message: format!("the Secret {name} {what} {key}: add it"),
            cause: Cause::Environment,
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

/// Why a source could not be had.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceError {
    /// It is not there, or not as it must be: somebody has to mend it.
    Unusable(Blocker),
    /// It could not be read: why, for people. That passes by itself, or by a permission.
    Unreadable(String),
}

/// A source that could not be had, and when it is read again at the earliest.
pub type NoSource = (SourceError, Duration);

/// Reads Secrets and prompt sources.
pub struct Sources {
    client: Client,
    /// By namespace, name and purpose.
    secrets: SharedReads<(String, String, Purpose), Arc<LabelledSecret>, SourceError>,
    /// By namespace, name and key of a ConfigMap.
    texts: SharedReads<(String, String, String), Arc<str>, SourceError>,
}

impl Sources {
    /// Keeps what it read for `keep`, so that a hundred sessions of one agent cost one read; and so does what is missing, for
    /// up to sixteen times as long.
    pub fn new(client: Client, keep: Duration) -> Self {
        Self {
            client,
            secrets: SharedReads::new(keep),
            texts: SharedReads::new(keep),
        }
    }

    /// The Secret `namespace/name`, as a credential.
    ///
    /// # Errors
    /// If it is not there, not labelled as a credential, or could not be read.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<LabelledSecret>, NoSource> {
        self.secret_for(Purpose::Credential, namespace, name).await
    }

    async fn secret_for(
        &self,
        purpose: Purpose,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<LabelledSecret>, NoSource> {
        let at = (namespace.to_owned(), name.to_owned(), purpose);
        let secret = self
            .secrets
            .get(at.clone(), self.read_secret(purpose, namespace, name))
            .await;
        if purpose != Purpose::Credential
            && secret.as_ref().is_ok_and(|it| it.size() > MOST_KEPT_BYTES)
        {
            self.secrets.forget(&at);
        }
        secret
    }

    async fn read_secret(
        &self,
        purpose: Purpose,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<LabelledSecret>, SourceError> {
        let secret = self.fetch_secret(purpose, namespace, name).await?;
        let allowed_hosts = secret
            .annotations()
            .get(ALLOWED_HOSTS_ANNOTATION)
            .map(|hosts| {
                // What names no host allows none.
                hosts
                    .split(',')
                    .filter_map(|host| host.trim().parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        let values = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, Zeroizing::new(value.0)));
        Ok(Arc::new(LabelledSecret {
            name: name.to_owned(),
            values: values.collect(),
            allowed_hosts,
        }))
    }

    /// The Secret, if its owner has marked it for this purpose.
    pub(super) async fn fetch_secret(
        &self,
        purpose: Purpose,
        namespace: &str,
        name: &str,
    ) -> Result<Secret, SourceError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let refuse = |reason, message| {
            Err(SourceError::Unusable(Blocker {
                reason,
                message,
                cause: Cause::Environment,
            }))
        };
        let Some(secret) = api
            .get_opt(name)
            .await
            .map_err(|error| unreadable(&error))?
        else {
            return refuse(
                Reason::SecretNotFound,
                format!(
                    "there is no Secret {name} in namespace {namespace}: create it with the label {}: \"true\"",
                    purpose.label()
                ),
            );
        };
        let labelled = |label: &str| secret.labels().get(label).map(String::as_str) == Some("true");
        if let (Some((reason, message)), true) =
            (purpose.not_a_credential(name), labelled(CREDENTIAL_LABEL))
        {
            return refuse(reason, message);
        }
        let label = purpose.label();
        if !labelled(label) {
            return refuse(
                Reason::SecretNotLabelled,
                format!(
                    "the Secret {name} is not marked for this operator: kubectl -n {namespace} label secret {name} {label}=true"
                ),
            );
        }
        Ok(secret)
    }

    /// What the secret of a webhook holds, as text.
    ///
    /// # Errors
    /// If it is not there, not labelled for webhooks, or could not be read.
    pub(super) async fn webhook_secret(
        &self,
        namespace: &str,
        reference: &KeyReference,
    ) -> Result<Zeroizing<String>, SourceError> {
        let secret = self
            .secret_for(Purpose::Webhook, namespace, &reference.name)
            .await
            .map_err(|(error, _)| error)?;
        let text = secret.text(&reference.key);
        text.map(|text| Zeroizing::new(text.to_owned()))
            .map_err(SourceError::Unusable)
    }

    /// Drops what is too old to be used; called now and then, so that keys do not linger in memory.
    pub fn expire(&self) {
        self.secrets.expire();
        self.texts.expire();
    }

    /// The text of a prompt source.
    ///
    /// # Errors
    /// If it is not there, unusable, or could not be read.
    pub async fn text(&self, namespace: &str, source: &TextSource) -> Result<Arc<str>, NoSource> {
        match (&source.config_map_key_ref, &source.secret_key_ref) {
            (Some(map), _) => {
                let at = (namespace.to_owned(), map.name.clone(), map.key.clone());
                let read = self.read_text(namespace, &map.name, &map.key);
                let text = self.texts.get(at.clone(), read).await;
                if text.as_ref().is_ok_and(|text| text.len() > MOST_KEPT_BYTES) {
                    self.texts.forget(&at);
                }
                text
            }
            (None, Some(reference)) => {
                let secret = self
                    .secret_for(Purpose::Prompt, namespace, &reference.name)
                    .await?;
                let text = match secret.text(&reference.key) {
                    Ok(text) => checked(text),
                    Err(blocker) => Err(no_prompt(blocker.message)),
                };
                text.map(Arc::from)
                    .map_err(|error| (error, self.secrets.keep()))
            }
            (None, None) => Err((
                no_prompt(
                    "promptFrom names no source: set configMapKeyRef or secretKeyRef".to_owned(),
                ),
                self.texts.keep(),
            )),
        }
    }

    async fn read_text(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Arc<str>, SourceError> {
        let Some(map) = self.fetch_config_map(namespace, name).await? else {
            return Err(no_prompt(no_config_map(namespace, name)));
        };
        let Some(text) = map.data.unwrap_or_default().remove(key) else {
            return Err(no_prompt(format!(
                "the ConfigMap {name} has no key {key}: add it"
            )));
        };
        checked(&text).map(Arc::from)
    }

    pub(super) async fn fetch_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, SourceError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await.map_err(|error| unreadable(&error))
    }
}

pub(super) fn no_config_map(namespace: &str, name: &str) -> String {
    format!("there is no ConfigMap {name} in namespace {namespace}: create it")
}

fn no_prompt(message: String) -> SourceError {
    SourceError::Unusable(Blocker {
        reason: Reason::PromptUnavailable,
        message,
        cause: Cause::Environment,
    })
}

/// The text, if it can be a prompt.
fn checked(text: &str) -> Result<&str, SourceError> {
    if text.trim().is_empty() {
        return Err(no_prompt("the prompt's source is empty".to_owned()));
    }
    if text.len() > MOST_PROMPT_BYTES {
        return Err(no_prompt(format!(
            "the prompt's source is larger than {} KiB",
            MOST_PROMPT_BYTES / 1024
        )));
    }
    Ok(text)
}

/// Why something of the cluster could not be read.
fn unreadable(error: &kube::Error) -> SourceError {
    SourceError::Unreadable(match error {
        kube::Error::Api(status) if status.code == 403 => {
            "the operator has no permission for it in this namespace".to_owned()
        }
        kube::Error::Api(status) => status.message.clone(),
        _ => "the API server did not answer".to_owned(),
    })
}

/// The most that is kept of a source for others that may want the same one.
const MOST_KEPT_BYTES: usize = 16 * 1024;

/// Largest prompt from a source: what fits into one object of the API server, with room.
const MOST_PROMPT_BYTES: usize = 512 * 1024;
