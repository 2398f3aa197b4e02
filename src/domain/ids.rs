//! Identities: what we derive, what a provider gives us, and what must never be mixed up.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Declares a newtype over `String` for an identity that is compared and shown but never computed with.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the identity as it is.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The identity as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

string_id! {
    /// The provider's id of a session (`bc-…`, `fb_…`).
    SessionId
}
string_id! {
    /// The provider's id of the execution of one message (`run-…`).
    RunId
}
string_id! {
    /// One launch claim. A new one is drawn for every POST; a record that carries another claim's id is stale.
    ClaimId
}
string_id! {
    /// Which account a credential belongs to: a digest of what the provider says of the key, or, where it says
    /// nothing, a salted digest of the key. Never the key.
    AccountFingerprint
}
string_id! {
    /// This installation of the operator: 8 hexadecimal digits of the uid of its Lease. Two installations that
    /// share a provider account must not take each other's sessions for their own.
    InstallationId
}

/// A set of provider sessions that is asked, never listed: there may be a hundred thousand of them.
#[derive(Clone)]
pub struct SessionSet(Arc<dyn Fn(&SessionId) -> bool + Send + Sync>);

impl SessionSet {
    /// The set of those for which `contains` says so, whenever it is asked.
    pub fn of(contains: impl Fn(&SessionId) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(contains))
    }

    /// Whether the session is in it.
    pub fn contains(&self, session: &SessionId) -> bool {
        (self.0)(session)
    }

    /// This set with `more` in it as well.
    #[must_use]
    pub fn and(self, more: BTreeSet<SessionId>) -> Self {
        Self::of(move |session| more.contains(session) || self.contains(session))
    }
}

impl Default for SessionSet {
    fn default() -> Self {
        Self::of(|_| false)
    }
}

impl<const N: usize> From<[SessionId; N]> for SessionSet {
    fn from(sessions: [SessionId; N]) -> Self {
        BTreeSet::from(sessions).into()
    }
}

impl FromIterator<SessionId> for SessionSet {
    fn from_iter<I: IntoIterator<Item = SessionId>>(sessions: I) -> Self {
        sessions.into_iter().collect::<BTreeSet<_>>().into()
    }
}

impl From<BTreeSet<SessionId>> for SessionSet {
    fn from(sessions: BTreeSet<SessionId>) -> Self {
        Self::of(move |session| sessions.contains(session))
    }
}

impl fmt::Debug for SessionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSet")
    }
}

impl AccountFingerprint {
    /// Digest of `parts`, domain-separated by `salt`; 16 hexadecimal digits.
    pub fn of(salt: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        hash.update(salt.as_bytes());
        for part in parts {
            hash.update([0]);
            hash.update(part.as_bytes());
        }
        Self(hex(&hash.finalize(), 8))
    }
}

impl InstallationId {
    /// The id of the installation whose Lease has this uid.
    pub fn from_lease_uid(uid: &str) -> Self {
        Self(
            uid.chars()
                .filter(char::is_ascii_hexdigit)
                .take(8)
                .collect::<String>()
                .to_ascii_lowercase(),
        )
    }
}

/// The first `bytes` bytes as lower-case hexadecimal digits.
pub fn hex(digest: &[u8], bytes: usize) -> String {
    digest
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The key of a launch attempt: what a client-chosen session id is made of.
///
/// 128 bits of SHA-256 over the namespace's uid, the session's uid and the attempt, shaped as a version-4 UUID
/// (rule 3 of the launch protocol). It never depends on names or time: the same attempt has the same key for
/// ever, another object never has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaunchKey(String);

impl LaunchKey {
    /// Derives the key of `attempt` (counted from 1) of the session with `uid` in the namespace with `namespace_uid`.
    pub fn derive(namespace_uid: &str, uid: &str, attempt: i32) -> Self {
        Self::made_of(&[namespace_uid, uid, "/", &attempt.to_string()])
    }

    /// The key of the follow-up message of this name, from the key of its session's launch.
    pub fn of_message(launch: &str, name: &str) -> Self {
        Self::made_of(&[launch, "/m/", name])
    }

    fn made_of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.as_bytes());
        }
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(
            uuid::Builder::from_random_bytes(bytes)
                .into_uuid()
                .to_string(),
        )
    }

    /// Takes a key that an earlier claim recorded.
    pub fn recorded(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key as a hyphenated, lower-case UUID.
    pub fn as_uuid(&self) -> &str {
        &self.0
    }

    /// 8 hexadecimal digits, for names that people see.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for LaunchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_a_version_4_uuid_and_depends_on_namespace_uid_and_attempt_alone() {
        let key = LaunchKey::derive("ns-1", "uid-1", 1);
        let uuid: uuid::Uuid = key.as_uuid().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(key, LaunchKey::derive("ns-1", "uid-1", 1));
        for other in [
            ("ns-2", "uid-1", 1),
            ("ns-1", "uid-2", 1),
            ("ns-1", "uid-1", 2),
        ] {
            assert_ne!(key, LaunchKey::derive(other.0, other.1, other.2));
        }
    }

    #[test]
    fn a_fingerprint_never_contains_what_it_was_made_of() {
        let fingerprint = AccountFingerprint::of("firebender", &["fb_secret_key"]);
        assert_eq!(fingerprint.as_str().len(), 16);
        assert!(!fingerprint.as_str().contains("secret"));
        assert_ne!(
            AccountFingerprint::of("s", &["ab", "c"]),
            AccountFingerprint::of("s", &["a", "bc"])
        );
    }
}
