//! Who this installation is: the uid of its Lease.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

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

/// The uid of the Lease `namespace/name`, which is created if it is not there.
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
            return Ok(lease.metadata.uid.unwrap_or_default());
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        };
        match api.create(&PostParams::default(), &lease).await {
            Ok(lease) => return Ok(lease.metadata.uid.unwrap_or_default()),
            // Another replica was faster: read what it made.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(fail(error)),
        }
    }
}
