//! Keeping the serving certificate: in a Secret that all replicas share, or in files that somebody else keeps.
//!
//! Replicas that start at once all want to make one: whoever creates the Secret has made it, the others adopt it. The same holds for a
//! renewal, which is a write with the version that was read. Nobody waits for the leader, and nobody has to be restarted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::certificate::{Bundle, CertificateError, Standing};
use crate::runtime::lock::lock;

/// Marks the Secret as the operator's own: one of this name without it is somebody else's, and is left alone.
const OWN_LABEL: &str = "codeagents.dev/serving-certificate";

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// The operator makes it and keeps it in this Secret of its own namespace.
    Secret(String),
    /// Somebody else keeps it in these PEM files.
    Files {
        /// The certificate, and those between it and its authority.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The Secret cannot be read or written.
    #[error("the Secret {name} of the serving certificate cannot be {what}")]
    Secret {
        /// Its name.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// The Secret is somebody else's.
    #[error(
        "there is a Secret {0} already that the operator has not made: delete it, or choose another name with --timeline-tls-secret"
    )]
    NotOurs(String),
    /// A file cannot be read.
    #[error("{path} of the serving certificate cannot be read")]
    File {
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate cannot be made or used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Other replicas were faster, again and again.
    #[error("the Secret {0} of the serving certificate is written by others all the time")]
    Contended(String),
}

/// What the listener serves with; another one at any time.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<Option<Arc<CertifiedKey>>>);

impl Certificates {
    fn serve(&self, key: CertifiedKey) {
        *lock(&self.0) = Some(Arc::new(key));
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        lock(&self.0).clone()
    }
}

/// Keeps the certificate of one process.
pub struct Keeper {
    secrets: Api<Secret>,
    source: CertificateSource,
    /// The names that the certificate is for.
    names: Vec<String>,
    certificates: Arc<Certificates>,
    /// What is served now: certificate and key, as PEM.
    served: Option<(String, String)>,
    /// What was read or made last, if the operator makes it: a Secret that is deleted comes back with it.
    held: Option<Bundle>,
}

impl Keeper {
    /// A keeper that has none yet.
    pub fn new(
        client: Client,
        namespace: &str,
        source: CertificateSource,
        names: Vec<String>,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            source,
            names,
            certificates: Arc::default(),
            served: None,
            held: None,
        }
    }

    /// What the listener serves with.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Reads the certificate again, makes or renews it where that is due, and serves with it from now on. Safe to repeat.
    ///
    /// # Errors
    /// If it cannot be had; what was served before still is.
    pub async fn check(&mut self, now: OffsetDateTime) -> Result<(), KeeperError> {
        let pair = match self.source.clone() {
            CertificateSource::Files { certificate, key } => {
                (read(certificate).await?, read(key).await?)
            }
            CertificateSource::Secret(name) => {
                let bundle = self.in_secret(&name, now).await?;
                let pair = (bundle.certificate.clone(), bundle.key.clone());
                self.held = Some(bundle);
                pair
            }
        };
        if self.served.as_ref() == Some(&pair) {
            return Ok(());
        }
        self.certificates.serve(certified(&pair.0, &pair.1)?);
        if self.served.replace(pair).is_some() {
            tracing::info!("serves timelines with another certificate");
        }
        Ok(())
    }

    /// The bundle of the Secret, once it is good.
    async fn in_secret(&self, name: &str, now: OffsetDateTime) -> Result<Bundle, KeeperError> {
        let failed = |what| {
            let name = name.to_owned();
            move |source| KeeperError::Secret { name, what, source }
        };
        // Who loses against another replica reads what that one wrote, which is good.
        for _ in 0..3 {
            let stored = self.secrets.get_opt(name).await.map_err(failed("read"))?;
            let Some(mut stored) = stored else {
                let bundle = self.replacement(None, now)?;
                let secret = self.secret(name, &bundle);
                match self.secrets.create(&PostParams::default(), &secret).await {
                    Ok(_) => return Ok(bundle),
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(failed("created")(error)),
                }
            };
            if !stored.labels().contains_key(OWN_LABEL) {
                return Err(KeeperError::NotOurs(name.to_owned()));
            }
            let found = bundle_of(&stored);
            let bundle = match found.standing(&self.names, now) {
                Standing::Good => return Ok(found),
                Standing::Due(why) => {
                    tracing::info!(why, "renews the serving certificate");
                    found.renewed(&self.names, now)?
                }
                Standing::Unusable(why) => {
                    tracing::warn!(why, "makes the serving certificate anew");
                    self.replacement(Some(&found), now)?
                }
            };
            stored.data = Some(data_of(&bundle));
            // With the version that was read, so that of two who renew at once one loses.
            let params = PostParams::default();
            match self.secrets.replace(name, &params, &stored).await {
                Ok(_) => return Ok(bundle),
                Err(error) if is_conflict(&error) || is_gone(&error) => {}
                Err(error) => return Err(failed("updated")(error)),
            }
        }
        Err(KeeperError::Contended(name.to_owned()))
    }

    /// What takes the place of a Secret that is gone or of no use: what this process still holds, so that readers need not learn of
    /// another authority, or else something new.
    fn replacement(
        &self,
        instead_of: Option<&Bundle>,
        now: OffsetDateTime,
    ) -> Result<Bundle, KeeperError> {
        let held = self
            .held
            .as_ref()
            .filter(|held| Some(*held) != instead_of)
            .filter(|held| held.standing(&self.names, now) == Standing::Good);
        match held {
            Some(held) => Ok(held.clone()),
            None => Ok(Bundle::make(&self.names, now)?),
        }
    }

    fn secret(&self, name: &str, bundle: &Bundle) -> Secret {
        let labels = [
            (OWN_LABEL, "true"),
            ("app.kubernetes.io/managed-by", "codeagent-operator"),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(
                    labels
                        .map(|(label, value)| (label.to_owned(), value.to_owned()))
                        .into(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data_of(bundle)),
            ..Secret::default()
        }
    }
}

async fn read(path: PathBuf) -> Result<String, KeeperError> {
    let text = tokio::fs::read_to_string(&path).await;
    text.map_err(|source| KeeperError::File {
        path: path.display().to_string(),
        source,
    })
}

fn data_of(bundle: &Bundle) -> BTreeMap<String, ByteString> {
    [
        (CA_CERTIFICATE, &bundle.ca_certificate),
        (CA_KEY, &bundle.ca_key),
        (CERTIFICATE, &bundle.certificate),
        (KEY, &bundle.key),
    ]
    .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
    .into()
}

/// What is missing or is not text is empty, and so of no use.
fn bundle_of(secret: &Secret) -> Bundle {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        text.unwrap_or_default().to_owned()
    };
    Bundle {
        ca_certificate: text(CA_CERTIFICATE),
        ca_key: text(CA_KEY),
        certificate: text(CERTIFICATE),
        key: text(KEY),
    }
}

/// The pair as the TLS library takes it.
fn certified(certificate: &str, key: &str) -> Result<CertifiedKey, CertificateError> {
    let unusable = |why: &dyn std::fmt::Display| CertificateError::Unusable(why.to_string());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(&error))?;
    if chain.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(&error))?;
    let key = any_supported_type(&key).map_err(|error| unusable(&error))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| unusable(&error))?;
    Ok(certified)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A keeper whose API server is not there.
    fn keeper(source: CertificateSource) -> Keeper {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        Keeper::new(client, "own", source, vec!["localhost".to_owned()])
    }

    fn served(keeper: &Keeper) -> Option<CertificateDer<'static>> {
        let served = lock(&keeper.certificates.0).clone()?;
        served.cert.first().cloned()
    }

    #[tokio::test]
    async fn files_are_served_as_they_are_now_and_broken_ones_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let write = |bundle: &Bundle| {
            std::fs::write(&certificate, &bundle.certificate).unwrap();
            std::fs::write(&key, &bundle.key).unwrap();
        };
        let now = OffsetDateTime::now_utc();
        let make = || Bundle::make(&["localhost".to_owned()], now).unwrap();
        let mut keeper = keeper(CertificateSource::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        assert!(keeper.check(now).await.is_err());
        assert_eq!(served(&keeper), None);
        let (one, two) = (make(), make());
        write(&one);
        keeper.check(now).await.unwrap();
        let first = served(&keeper).unwrap();
        // A certificate whose key has not come yet.
        std::fs::write(&certificate, &two.certificate).unwrap();
        assert!(keeper.check(now).await.is_err());
        assert_eq!(served(&keeper).as_ref(), Some(&first));
        write(&two);
        keeper.check(now).await.unwrap();
        assert_ne!(served(&keeper), Some(first));
    }

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_is_an_error_and_no_certificate() {
        let mut keeper = keeper(CertificateSource::Secret("tls".to_owned()));
        let error = keeper.check(OffsetDateTime::now_utc()).await.unwrap_err();
        assert!(error.to_string().contains("the Secret tls"), "{error}");
        assert_eq!(served(&keeper), None);
    }
}
