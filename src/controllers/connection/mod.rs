//! From a CodeAgent's settings and a Secret to a connection, or to what stands in its way.

mod cluster;
pub mod lanes;
pub mod links;

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use self::cluster::ClusterNamespace;
use self::lanes::Lanes;
pub use self::links::{Linked, Links};
use super::accounts::{ConnectionKey, CredentialState, Hold};
use super::context::Shared;
use super::secrets::{LabelledSecret, NoSource, SourceError};
use crate::api::{ALLOWED_HOSTS_ANNOTATION, CodeSession, KeyReference, ProviderSpec, Reason};
use crate::domain::blocker::{Blocker, Cause, NotReady};
use crate::domain::endpoint::EndpointHost;
use crate::domain::ids::hex;
use crate::domain::remote::{ErrorClass, Subject};
use crate::domain::status::whole_seconds;
use crate::providers::contract::{Cluster, Connection, ProviderType};
use crate::providers::credential::Credential;
use crate::providers::http::{HttpStack, Lane, Reach};

/// The base URL that will be used, without a trailing slash. Of a provider whose sessions run in the cluster it is the namespace, as
/// `kubernetes://NAMESPACE`; nothing is ever dialled there.
pub fn endpoint(
    shared: &Shared,
    provider: &dyn ProviderType,
    spec: &ProviderSpec,
    namespace: &str,
) -> String {
    if provider.runs_in_cluster() {
        return format!("kubernetes://{namespace}");
    }
    spec.endpoint()
        .map_or_else(
            || shared.installed_endpoint(provider, spec).to_string(),
            str::to_owned,
        )
        .trim_end_matches('/')
        .to_owned()
}

/// Provider and Secret of a session as its claim recorded them; `None` before the first claim. What its CodeAgent says by now does not
/// count: the session is where it was launched.
pub fn recorded_target(session: &CodeSession) -> Option<(ProviderSpec, Option<KeyReference>)> {
    let status = session.stored_status()?;
    let effective = status.effective.as_ref()?;
    let spec = effective.provider.spec.clone();
    let target = status.launch.as_ref().map(|record| &record.target);
    let spec = match target {
        Some(target) if !target.endpoint.is_empty() => {
            spec.pinned(&target.endpoint, &target.api_version)
        }
        Some(_) | None => spec,
    };
    Some((spec, effective.credentials_ref.clone()))
}

/// Connects with the values of a Secret. Nothing is sent to the provider.
///
/// # Errors
/// What stands in the way: the Secret, one of its values, or an endpoint that it does not allow.
pub async fn link(
    shared: &Shared,
    namespace: &str,
    provider: &dyn ProviderType,
    spec: &ProviderSpec,
    secret: Option<&KeyReference>,
) -> Result<Linked, NotReady> {
    let recheck = shared.timing().recheck;
    let mend = |blocker| NotReady {
        blocker,
        transient: false,
        again: recheck,
    };
    let endpoint = endpoint(shared, provider, spec, namespace);
    let url = Url::parse(&endpoint).map_err(|error| {
        mend(invalid(
            Reason::EndpointNotAllowed,
            format!("the endpoint {endpoint} is not a URL: {error}"),
        ))
    })?;
    let (http, credential, cluster) = if provider.runs_in_cluster() {
        let cluster: Arc<dyn Cluster> = Arc::new(ClusterNamespace::new(shared, namespace));
        (shared.http.clone(), Credential::new(), Some(cluster))
    } else {
        let Some(secret) = secret else {
            return Err(mend(invalid(
                Reason::SecretNotFound,
                "no Secret with the provider's key is named: set spec.credentials of the CodeAgent"
                    .to_owned(),
            )));
        };
        let marked = shared
            .sources
            .secret(namespace, &secret.name)
            .await
            .map_err(|missing| without(missing, &format!("the Secret {}", secret.name)))?;
        let own = [
            provider.default_endpoint(spec),
            shared.installed_endpoint(provider, spec),
        ];
        let http = way_to(shared, &url, &own, &marked, namespace).map_err(mend)?;
        let credential = marked
            .credential(&secret.key, provider.further_secret_keys())
            .map_err(mend)?;
        (http, credential, None)
    };
    let digest = credential.digest();
    let key = connection_key(provider, spec, &endpoint, &digest);
    let rate = shared.http.rate(&url, &credential);
    let lanes = shared.links.get_or(&key, || {
        Lanes::new(rate, |lane| {
            provider.connect(Connection {
                spec: spec.clone(),
                endpoint: url.clone(),
                credential: credential.clone(),
                cluster: cluster.clone(),
                http: http.in_lane(lane),
            })
        })
    });
    let lanes = lanes.map_err(|error| match (error.class, secret) {
        // The value is there but cannot be a key.
        (ErrorClass::Unauthorized, Some(secret)) => mend(invalid(
            Reason::SecretKeyMissing,
            format!("the Secret {}: {error}", secret.name),
        )),
        _ => mend(invalid(Reason::NotSupportedYet, error.to_string())),
    })?;
    Ok(Linked {
        key,
        provider: Arc::clone(lanes.provider(Lane::Read)),
        lanes,
        clock: http.clock(&url),
        credential: digest,
    })
}

/// Tells a connection from others: by the credential, and by every setting, since a connection keeps its settings. Whether endpoint and
/// version are written out, as a claim records them, makes no difference.
fn connection_key(
    provider: &dyn ProviderType,
    spec: &ProviderSpec,
    endpoint: &str,
    credential: &str,
) -> ConnectionKey {
    let version = provider.api_version(spec);
    let settings = json!(spec.clone().pinned(endpoint, version)).to_string();
    let settings = hex(&Sha256::digest(settings), 8);
    ConnectionKey(format!(
        "{}/{version}@{endpoint}/{settings}#{credential}",
        provider.kind()
    ))
}

/// What somebody outside of the session has to correct.
fn invalid(reason: Reason, message: String) -> Blocker {
    Blocker {
        reason,
        message,
        cause: Cause::Environment,
    }
}

/// The way to an endpoint that may be used: one of our `own`, one that the administrator names, or a public address that the owner of
/// the Secret allows.
fn way_to(
    shared: &Shared,
    url: &Url,
    own: &[Url],
    secret: &LabelledSecret,
    namespace: &str,
) -> Result<HttpStack, Blocker> {
    let endpoint = url.as_str().trim_end_matches('/');
    if url.scheme() != "https" && !shared.settings.allow_http {
        return Err(invalid(
            Reason::InsecureEndpoint,
            format!(
                "the endpoint {endpoint} is not https: use https, or start the operator with --allow-http-endpoints in a development installation"
            ),
        ));
    }
    let elsewhere = own.iter().all(|own| own.origin() != url.origin());
    let Some(host) = EndpointHost::of(url).filter(|_| elsewhere) else {
        return Ok(shared.http.clone());
    };
    if !secret.allows(&host) {
        return Err(invalid(
            Reason::EndpointNotAllowed,
            format!(
                "the Secret {name} does not allow its values to be sent to {host}: kubectl -n {namespace} annotate secret {name} {ALLOWED_HOSTS_ANNOTATION}={host}",
                name = secret.name()
            ),
        ));
    }
    if shared.settings.endpoint_hosts.contains(&host) {
        return Ok(shared.http.clone());
    }
    let http = shared.http.clone().reaching(Reach::Public);
    http.check_endpoint(url).map_err(|refused| {
        invalid(
            Reason::EndpointNotAllowed,
            format!("the endpoint {endpoint} cannot be used: {refused}={host}"),
        )
    })?;
    Ok(http)
}

/// What the state of a key means for whoever wants to use it.
pub fn not_ready(state: &CredentialState, secret: &str) -> Option<NotReady> {
    match state {
        CredentialState::Accepted(_) => None,
        CredentialState::Refused { error, again }
            if error.subject == Some(Subject::CodingAgent) =>
        {
            Some(NotReady {
                blocker: Blocker {
                    reason: Reason::CodingAgentNotFound,
                    message: error.to_string(),
                    cause: Cause::Environment,
                },
                transient: false,
                again: *again,
            })
        }
        CredentialState::Refused { error, again } if error.subject == Some(Subject::Pod) => {
            Some(NotReady {
                blocker: Blocker {
                    reason: Reason::SettingsRefused,
                    message: error.to_string(),
                    cause: Cause::Environment,
                },
                transient: false,
                again: *again,
            })
        }
        CredentialState::Refused { error, again } => Some(NotReady {
            blocker: Blocker {
                reason: Reason::CredentialsInvalid,
                message: format!(
                    "the provider does not accept the key in the Secret {secret}: {error}. Put a valid key into it"
                ),
                cause: Cause::Environment,
            },
            transient: false,
            // The Secret is read more often than the provider is asked: a mended key is another key.
            again: *again,
        }),
        CredentialState::Unreachable { error, again } => Some(NotReady {
            blocker: Blocker {
                reason: error.outage(),
                message: error.why_waiting(),
                cause: Cause::Environment,
            },
            transient: true,
            again: *again,
        }),
    }
}

/// What it means that launches are held.
pub fn held(hold: &Hold) -> Blocker {
    let said = hold.error.to_string();
    Blocker {
        reason: hold.scope.reason(),
        message: format!(
            "the provider refuses launches {}: {}. One launch tries again at {}, or sooner if the CodeAgent or its credentials change",
            hold.scope.described(),
            said.trim_end_matches('.'),
            whole_seconds(hold.again_at)
        ),
        cause: Cause::Environment,
    }
}

/// What a source that could not be had means for whoever needs it.
pub fn without((error, again): NoSource, what: &str) -> NotReady {
    match error {
        SourceError::Unusable(blocker) => NotReady {
            blocker,
            transient: false,
            again,
        },
        SourceError::Unreadable(why) => NotReady {
            blocker: Blocker {
                reason: Reason::SecretNotFound,
                message: format!("{what} cannot be read: {why}"),
                cause: Cause::Environment,
            },
            transient: true,
            again,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;
    use crate::providers::registry::Registry;

    fn key(spec: Value, credential: &str) -> ConnectionKey {
        let spec: ProviderSpec = serde_json::from_value(spec).unwrap();
        let provider = Registry::get(spec.kind().unwrap()).unwrap();
        let endpoint = spec.endpoint().unwrap_or("https://default.example");
        connection_key(provider, &spec, endpoint, credential)
    }

    /// A connection keeps its settings: a CodeAgent must not get the one of another that has the same key and another mode or image.
    #[test]
    fn each_setting_makes_another_connection() {
        let job = |image| json!({"job": {"adapter": "Claude", "image": image}});
        for (one, other) in [
            (
                json!({"firebender": {"mode": "read"}}),
                json!({"firebender": {"mode": "write"}}),
            ),
            (
                json!({"flapjack": {"orgId": "a"}}),
                json!({"flapjack": {"orgId": "b"}}),
            ),
            (job("agent:1"), job("agent:2")),
        ] {
            assert_ne!(key(one.clone(), "k"), key(other, "k"));
            assert_eq!(key(one.clone(), "k"), key(one.clone(), "k"));
            assert_ne!(key(one.clone(), "k"), key(one, "l"));
        }
    }

    /// The CodeAgent leaves endpoint and version to the default, the claim of its session records both.
    #[test]
    fn a_recorded_session_shares_the_connection_of_its_agent() {
        let own = json!({"cursor": {}});
        let recorded =
            json!({"cursor": {"endpoint": "https://default.example", "apiVersion": "v1"}});
        assert_eq!(key(own, "k"), key(recorded, "k"));
    }
}
