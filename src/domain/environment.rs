//! Environment variables of a hosted agent: what can be sent, and what is known of them without their values.
//!
//! The limits are those of Cursor's API v1 (its documentation of October 2026), the only one that takes variables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The most variables that are sent.
pub const MAX_VARIABLES: usize = 50;
/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The largest value, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 4096;
/// Names that begin like this are the provider's own.
const RESERVED: &str = "CURSOR_";

/// The variables that a launch sends. `Debug` shows how many there are, and the values are wiped from memory when the last clone is
/// dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, Zeroizing<String>>,
}

impl Environment {
    /// The variables of several Secrets: of a name that stands in several the last counts.
    ///
    /// # Errors
    /// If there are more than [`MAX_VARIABLES`].
    pub fn merged(secrets: impl IntoIterator<Item = Environment>) -> Result<Self, TooMany> {
        let variables = secrets.into_iter().flat_map(|secret| secret.variables);
        let variables: BTreeMap<_, _> = variables.collect();
        match variables.len() {
            0..=MAX_VARIABLES => Ok(Self { variables }),
            count => Err(TooMany { count }),
        }
    }

    /// The variables of one Secret: its keys and their values.
    ///
    /// # Errors
    /// If a key cannot be the name of a variable, a value cannot be one's value, or there is none at all.
    pub fn of_secret(
        data: impl IntoIterator<Item = (String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Self, EnvironmentFault> {
        let mut variables = BTreeMap::new();
        for (name, value) in data {
            let value = check(&name, &value)?;
            variables.insert(name, value);
        }
        if variables.is_empty() {
            return Err(EnvironmentFault::Empty);
        }
        Ok(Self { variables })
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let variables = self.variables.iter();
        variables.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names.
    pub fn names(&self) -> BTreeSet<String> {
        self.variables.keys().cloned().collect()
    }

    /// Every value: what must never appear in a message, an event, a log line.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.variables.values().map(|value| value.as_str())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.variables.len())
    }
}

fn check(name: &str, value: &[u8]) -> Result<Zeroizing<String>, EnvironmentFault> {
    let key = || name.to_owned();
    let mut characters = name.bytes();
    let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let named = characters.next().is_some_and(begins)
        && characters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !named {
        return Err(EnvironmentFault::NoName(key()));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(EnvironmentFault::LongName(key()));
    }
    let beginning = name.get(..RESERVED.len()).unwrap_or_default();
    if beginning.eq_ignore_ascii_case(RESERVED) {
        return Err(EnvironmentFault::Reserved(key()));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(EnvironmentFault::LongValue(key()));
    }
    match std::str::from_utf8(value) {
        // No process can be started with it.
        Ok(text) if text.contains('\0') => Err(EnvironmentFault::NoText(key())),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(EnvironmentFault::NoText(key())),
    }
}

/// Why a Secret cannot be an environment. Reads on from "the Secret NAME of envFrom"; a value is never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentFault {
    /// There is nothing in it.
    #[error("has no keys: add the variables, or remove it from envFrom")]
    Empty,
    /// A key that is no name which every shell reads.
    #[error(
        "has the key {0}, which cannot be the name of an environment variable: rename it to letters, digits and underscores, with no digit at the beginning"
    )]
    NoName(String),
    /// A longer name than [`MAX_NAME_BYTES`].
    #[error("has the key {0}, which is longer than {MAX_NAME_BYTES} bytes: shorten it")]
    LongName(String),
    /// A name of the provider's own.
    #[error(
        "has the key {0}, and names that begin with {RESERVED} are reserved by the provider: rename it"
    )]
    Reserved(String),
    /// A larger value than [`MAX_VALUE_BYTES`].
    #[error(
        "has a value of more than {MAX_VALUE_BYTES} bytes under the key {0}: shorten it, or put the file into the repository or the agent's machine"
    )]
    LongValue(String),
    /// A value that is not UTF-8, or has a NUL in it.
    #[error("has something that is not text under the key {0}: encode it, in base64 for example")]
    NoText(String),
}

/// More variables than can be sent. Reads on from "the Secrets of envFrom (NAMES)".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "hold {count} environment variables together, and at most {MAX_VARIABLES} can be sent: remove some"
)]
pub struct TooMany {
    /// How many there are.
    pub count: usize,
}

/// What tells the content of a Secret from every other content that a Secret of this name has or had: its version.
///
/// It is not made of the values. Whoever may read a status could try out short ones against their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// What tells an environment from every other one, without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentDigest(pub(super) [u8; 32]);

impl EnvironmentDigest {
    /// Of the variables of these Secrets, in order; `None` without any.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a SecretVersion>) -> Option<Self> {
        let mut secrets = secrets.into_iter().peekable();
        secrets.peek()?;
        let mut all = Sha256::new().chain_update(b"environment");
        for SecretVersion {
            uid,
            resource_version,
        } in secrets
        {
            for part in [uid, resource_version] {
                all.update([0]);
                all.update(part.as_bytes());
            }
        }
        Some(Self(all.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(data: &[(&str, &[u8])]) -> Result<Environment, EnvironmentFault> {
        let data = data.iter();
        Environment::of_secret(
            data.map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.to_vec()))),
        )
    }

    fn many(prefix: &str, count: usize) -> Environment {
        let keys: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
        let data: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b"x"[..])).collect();
        secret(&data).unwrap()
    }

    #[test]
    fn what_cannot_be_sent_is_named_and_its_value_is_not() {
        let long_name = "N".repeat(MAX_NAME_BYTES + 1);
        let long_value = "secret".repeat(MAX_VALUE_BYTES);
        for (key, value, words) in [
            (
                "my-key",
                &b"secret"[..],
                "has the key my-key, which cannot be",
            ),
            ("a.b", b"secret", "has the key a.b, which cannot be"),
            ("1ST", b"secret", "has the key 1ST, which cannot be"),
            (&long_name, b"secret", "is longer than 255 bytes"),
            ("CURSOR_API_KEY", b"secret", "reserved by the provider"),
            ("cursor_x", b"secret", "reserved by the provider"),
            (
                "A",
                long_value.as_bytes(),
                "more than 4096 bytes under the key A",
            ),
            ("A", b"secret\xff", "not text under the key A"),
            ("A", b"secret\0", "not text under the key A"),
        ] {
            let fault = secret(&[("FINE", b"fine"), (key, value)]).unwrap_err();
            let said = fault.to_string();
            assert!(said.contains(words), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
        assert_eq!(secret(&[]), Err(EnvironmentFault::Empty));
    }

    #[test]
    fn what_is_just_allowed_is_sent() {
        let name = "N".repeat(MAX_NAME_BYTES);
        let value = "é".repeat(MAX_VALUE_BYTES / 2);
        let found = secret(&[(&name, value.as_bytes()), ("_1", b""), ("CURSOR", b"x")]).unwrap();
        let sent: Vec<_> = found.iter().collect();
        assert_eq!(
            sent,
            [("CURSOR", "x"), (name.as_str(), value.as_str()), ("_1", "")]
        );
    }

    #[test]
    fn the_last_of_one_name_counts_and_counts_once() {
        let first = secret(&[("A", b"1"), ("B", b"1")]).unwrap();
        let second = secret(&[("B", b"2"), ("C", b"2")]).unwrap();
        let both = Environment::merged([first, second]).unwrap();
        let sent: Vec<_> = both.iter().collect();
        assert_eq!(sent, [("A", "1"), ("B", "2"), ("C", "2")]);
        let full = Environment::merged([many("A", 50), many("A", 50)]).unwrap();
        assert_eq!(full.iter().len(), MAX_VARIABLES);
        let more = Environment::merged([many("A", 50), many("B", 1)]);
        assert_eq!(more.unwrap_err(), TooMany { count: 51 });
    }

    #[test]
    fn nobody_is_shown_a_value() {
        let shown = format!("{:?}", secret(&[("TOKEN", b"secret")]).unwrap());
        assert_eq!(shown, "Environment(1 variables)");
    }

    #[test]
    fn every_change_of_a_secret_makes_another_digest() {
        let version = |uid: &str, version: &str| SecretVersion {
            uid: uid.into(),
            resource_version: version.into(),
        };
        let (a, b) = (version("a", "1"), version("b", "1"));
        let digests = [
            EnvironmentDigest::of([&a]),
            EnvironmentDigest::of([&version("a", "2")]),
            EnvironmentDigest::of([&b]),
            EnvironmentDigest::of([&a, &b]),
            EnvironmentDigest::of([&b, &a]),
            EnvironmentDigest::of([]),
        ];
        for (index, one) in digests.iter().enumerate() {
            let same = digests.iter().filter(|other| *other == one).count();
            assert_eq!(same, 1, "{index}");
        }
        assert_eq!(EnvironmentDigest::of([&a]), EnvironmentDigest::of([&a]));
    }
}
