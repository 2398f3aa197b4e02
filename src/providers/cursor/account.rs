//! The account behind a key: how it signs in, and whose it is (`GET /vN/me`).

use serde::Deserialize;

use crate::api::{CursorApiVersion, ProviderKind};
use crate::domain::ids::AccountFingerprint;
use crate::providers::contract::{API_KEY, Account, Connection};
use crate::providers::error::ProviderError;
use crate::providers::http::{Api, Auth, Operation};
use crate::providers::wire::lenient;

/// The API of either version with the key of a connection, which is the user of basic authentication. Nothing is sent.
pub(super) fn sign_in(connection: &Connection) -> Result<Api, ProviderError> {
    let auth = Auth::Basic {
        user: connection.credential.require(API_KEY)?,
        password: "",
    };
    connection.http.api(
        ProviderKind::Cursor,
        &connection.endpoint,
        &connection.credential,
        auth,
    )
}

/// The answer. Keys of service accounts have no user.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyInfo {
    #[serde(default, deserialize_with = "lenient")]
    api_key_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<String>,
    /// With API v1 alone.
    #[serde(default, deserialize_with = "lenient")]
    user_id: Option<UserId>,
    #[serde(default, deserialize_with = "lenient")]
    user_email: Option<String>,
}

/// Numbers have been seen where the documentation says text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum UserId {
    Text(String),
    Number(i64),
}

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(id) => f.write_str(id),
            Self::Number(id) => write!(f, "{id}"),
        }
    }
}

/// Asks whose the key is. The two versions make different fingerprints of the same key: v1 tells more of it, and a claim is bound to
/// a version anyway.
pub(super) async fn verify(api: &Api, version: CursorApiVersion) -> Result<Account, ProviderError> {
    let (path, kind) = match version {
        CursorApiVersion::V0 => ("v0", "cursor-v0"),
        CursorApiVersion::V1 => ("v1", "cursor"),
    };
    let info: KeyInfo = api.get(Operation::Verify, &[path, "me"], &[]).await?;
    let name = info.api_key_name.as_deref();
    let user_id = info.user_id.filter(|_| version == CursorApiVersion::V1);
    let fingerprint = match (user_id, &info.user_email, name, &info.created_at) {
        (Some(id), _, _, _) => AccountFingerprint::of(kind, &["user", &id.to_string()]),
        (None, Some(email), _, _) => AccountFingerprint::of(kind, &["email", email]),
        (None, None, Some(name), Some(created)) => {
            AccountFingerprint::of(kind, &["key", name, created])
        }
        (None, None, _, _) => {
            return Err(ProviderError::unreadable(
                None,
                format!("/{path}/me does not say whose key it is"),
            ));
        }
    };
    Ok(Account {
        fingerprint,
        name: name.map(|name| api.message(name)),
        email: info.user_email.map(|email| api.message(&email)),
    })
}
