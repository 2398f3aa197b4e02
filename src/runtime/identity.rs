//! Who this installation is: the uid of its Lease.

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

/// The [original uid](original_uid) of the Lease `namespace/name`, which is created if it is not there.
///
/// # Errors
/// If it can neither be read nor created: the namespace is missing, or a permission.
pub async fn lease_uid(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<String, IdentityError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let fail = |source| IdentityError {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source,
    };
    loop {
        if let Some(lease) = api.get_opt(name).await.map_err(fail)? {
            return Ok(original_uid(&lease).to_owned());
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        };
        match api.create(&PostParams::default(), &lease).await {
            Ok(lease) => return Ok(original_uid(&lease).to_owned()),
            // Another replica was faster: read what it made.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(fail(error)),
        }
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
