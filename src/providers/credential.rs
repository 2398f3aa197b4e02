//! Credentials in memory: readable by name, wiped when dropped, never shown.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::{ErrorClass, ProviderError};
use crate::domain::ids::hex;

/// The values of one Secret that a provider needs, under the names of the contract (`api-key`, `username`, …).
///
/// `Debug` shows names only. The values are wiped from memory when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Credential {
    values: BTreeMap<&'static str, Zeroizing<String>>,
}

impl Credential {
    /// A credential without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. White space around it is dropped: a trailing newline in a Secret is a common mistake and no key has one.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.values
            .insert(name, Zeroizing::new(value.trim().to_owned()));
        self
    }

    /// The value of this name, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(|value| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of this name.
    ///
    /// # Errors
    /// [`ErrorClass::Unauthorized`] if it is missing or empty.
    pub fn require(&self, name: &str) -> Result<&str, ProviderError> {
        self.get(name).ok_or_else(|| {
            ProviderError::unsent(
                ErrorClass::Unauthorized,
                format!("the Secret holds no value for {name}"),
            )
        })
    }

    /// Every value: what must never appear in a message, an event, a log line.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.values().map(|value| value.as_str())
    }

    /// A digest that tells one credential from another in memory. Never leaves the process.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.values {
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(value.as_bytes());
            hash.update([0]);
        }
        hex(&hash.finalize(), 16)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
