//! API keys: which secrets are accepted, and whose sessions they see.

use serde::{Deserialize, Serialize};

use super::operation::Provider;

/// An API key of one provider.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub provider: Provider,
    /// What a client sends; for Firetiger `USER:PASSWORD`. Never recorded.
    pub secret: String,
    /// The key's name, as records and `/me` show it.
    pub name: String,
    /// Keys of one account see the same sessions, keys of two accounts never do.
    pub account: String,
    #[serde(default)]
    pub kind: KeyKind,
    /// Whether the account's plan has enterprise features (Firebender: traces).
    #[serde(default)]
    pub enterprise: bool,
}

impl Key {
    /// A user's key whose account is `{name}@example.com`.
    pub fn user(provider: Provider, name: &str, secret: &str) -> Self {
        Self {
            provider,
            secret: secret.to_owned(),
            name: name.to_owned(),
            account: format!("{name}@example.com"),
            kind: KeyKind::User,
            enterprise: false,
        }
    }

    /// The keys that are accepted unless others are given: one user key per provider, and a service account's for Cursor.
    pub fn demo() -> Vec<Self> {
        vec![
            Self::user(Provider::Cursor, "demo", "cursor-demo-key"),
            Self {
                kind: KeyKind::ServiceAccount,
                ..Self::user(Provider::Cursor, "demo-service", "cursor-demo-service-key")
            },
            Self::user(Provider::Firebender, "demo", "firebender-demo-key"),
            Self::user(Provider::Flapjack, "demo", "fj_live_demo_key"),
            Self::user(Provider::Firetiger, "demo", "demo:firetiger-demo-password"),
            Self::user(Provider::Http, "demo", "http-demo-key"),
        ]
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("provider", &self.provider)
            .field("name", &self.name)
            .field("account", &self.account)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Whom a key stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    #[default]
    User,
    ServiceAccount,
}

/// The keys that are accepted now.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    pub(crate) fn find(&self, provider: Provider, secret: &str) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.provider == provider && key.secret == secret)
    }

    pub(crate) fn all(&self) -> &[Key] {
        &self.keys
    }

    /// Adds a key; one with the same provider and name is replaced (a rotation).
    pub(crate) fn add(&mut self, key: Key) {
        self.revoke(key.provider, &key.name);
        self.keys.push(key);
    }

    /// Returns whether there was such a key.
    pub(crate) fn revoke(&mut self, provider: Provider, name: &str) -> bool {
        let before = self.keys.len();
        self.keys
            .retain(|key| !(key.provider == provider && key.name == name));
        self.keys.len() < before
    }
}
