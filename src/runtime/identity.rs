//! Who this installation is: the uid of its Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

/// Annotation of a Lease that was deleted and made anew by a process that knew the first one: the uid of that first one.
pub const ORIGINAL_UID: &str = "codeagents.dev/original-uid";

/// Why the identity could not be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Lease {namespace}/{name}, which identifies this installation, can neither be read nor created"
)]
pub struct IdentityError {
    namespace: String,
    name: String,
    source: kube::Error,
}

/// First pause after an attempt that failed; it doubles up to thirty times itself.
const PAUSE: Duration = Duration::from_secs(1);

/// The [original uid](original_uid) of the Lease `namespace/name`, which is created if it is not there. Waits for an API
/// server that cannot be reached or does not work: a process that ended instead would be started again later and later.
///
/// # Errors
/// If the API server refuses it: the namespace is missing, or a permission.
pub async fn lease_uid(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<String, IdentityError> {
    let mut pause = PAUSE;
    loop {
        match read_or_create(client, namespace, name).await {
            Ok(lease) => return Ok(original_uid(&lease).to_owned()),
            Err(error) if is_refusal(&error) => {
                return Err(IdentityError {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    source: error,
                });
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the Lease cannot be read yet; it is tried again in {pause:?}"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE * 30);
            }
        }
    }
}

async fn read_or_create(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Lease, kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    loop {
        if let Some(lease) = api.get_opt(name).await? {
            return Ok(lease);
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        };
        match api.create(&PostParams::default(), &lease).await {
            // Another replica was faster: read what it made.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => return made,
        }
    }
}

/// Whether the API server has understood and said no. Everything else passes by itself.
fn is_refusal(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            (400..500).contains(&status.code) && ![408, 429].contains(&status.code)
        }
        _ => false,
    }
}

/// The uid by which a Lease identifies its installation: its own, or that of the one that it stands in for. Markers that
/// were sent with it must stay ours, or a launch whose answer was lost would not be found.
pub fn original_uid(lease: &Lease) -> &str {
    let annotations = lease.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(ORIGINAL_UID))
        .filter(|uid| !uid.is_empty())
        .or(lease.metadata.uid.as_ref())
        .map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use kube::Config;
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::client::bounded;

    /// An API server that answers with one status and body after the other, and the last one again and again.
    async fn answering(answers: &'static [(u16, &'static str)]) -> (Client, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let router = Router::new().fallback(move || {
            let n = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let (status, body) = answers.get(n).copied().unwrap();
            async move { (StatusCode::from_u16(status).unwrap(), body) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        (bounded(config).unwrap(), asked)
    }

    /// An outage of the API server at the start is waited for; a refusal is an answer.
    #[tokio::test]
    async fn an_outage_at_the_start_is_waited_for() {
        const LEASE: &str = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease",
            "metadata":{"name":"operator","uid":"the-uid"}}"#;
        const FORBIDDEN: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},
            "status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        let (client, asked) = answering(&[(503, "starting"), (200, LEASE)]).await;
        let uid = lease_uid(&client, "default", "operator").await;
        assert_eq!(uid.unwrap(), "the-uid");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let (client, asked) = answering(&[(403, FORBIDDEN)]).await;
        assert!(lease_uid(&client, "default", "operator").await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
