//! Webhooks that a provider calls for one session: where, and how a delivery shows that it comes from who was given that address.
//!
//! Nothing is stored of them. Address and secret of a session follow from a key of the installation, the provider and the session's uid: they
//! are the same whenever a launch is sent again, whichever replica sends it, and any replica can tell a delivery from a forged one. A delivery is
//! only ever a hint that something has moved; what has moved is read at the provider.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use url::Url;
use zeroize::Zeroizing;

use crate::api::ProviderKind;
use crate::domain::ids::hex;

/// What the path of an address begins with, behind the base URL.
pub const PATH: &str = "provider-webhooks";
/// Keys at the same time: the new one and the old one while it is replaced.
const MOST_KEYS: usize = 2;
/// The shortest key, in characters.
const SHORTEST_KEY: usize = 32;
/// Bytes of what makes an address one that cannot be guessed.
const TOKEN_BYTES: usize = 16;
/// The longest uid that is looked at; Kubernetes' have 36 characters.
const LONGEST_UID: usize = 64;
/// The longest address, in characters (Cursor's OpenAPI of March 2026).
const LONGEST_URL: usize = 2048;

/// Why providers cannot be given an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Nothing, or too many lines.
    #[error("the key file must hold one key, or two, one a line, while one replaces the other")]
    Number,
    /// A key that can be guessed.
    #[error("a key has at least {SHORTEST_KEY} characters: make one with openssl rand -base64 32")]
    Short,
    /// No provider would call it.
    #[error(
        "the base URL must be https, without user, query and fragment, and shorter than {LONGEST_URL} characters: it is what providers call"
    )]
    BaseUrl,
}

/// Where providers call, and the keys of the installation.
pub struct ProviderWebhooks {
    base: String,
    /// The first makes addresses; all of them are recognised.
    keys: Vec<Zeroizing<Vec<u8>>>,
}

/// The address of one session, and the secret with which its provider signs. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderWebhook {
    /// Where the provider calls. Nobody else knows it.
    pub url: String,
    /// 64 characters.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for ProviderWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderWebhook(withheld)")
    }
}

impl fmt::Debug for ProviderWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderWebhooks(withheld)")
    }
}

impl ProviderWebhooks {
    /// With the base URL that leads to this installation and the text of its key file. `allow_http`: for development.
    ///
    /// # Errors
    /// If no provider could be given such an address, or it could be guessed.
    pub fn new(base: &Url, keys: &str, allow_http: bool) -> Result<Self, SetupError> {
        let scheme = base.scheme() == "https" || allow_http && base.scheme() == "http";
        let plain = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        let base = base.as_str().trim_end_matches('/').to_owned();
        if !scheme || !plain || base.len() > LONGEST_URL - 256 {
            return Err(SetupError::BaseUrl);
        }
        let lines: Vec<&str> = keys.lines().map(str::trim).collect();
        if lines.is_empty() || lines.len() > MOST_KEYS {
            return Err(SetupError::Number);
        }
        if lines.iter().any(|key| key.chars().count() < SHORTEST_KEY) {
            return Err(SetupError::Short);
        }
        let keys = lines
            .into_iter()
            .map(|key| Zeroizing::new(key.as_bytes().to_vec()));
        Ok(Self {
            base,
            keys: keys.collect(),
        })
    }

    /// What the provider of the session with this uid is given.
    pub fn of(&self, kind: ProviderKind, uid: &str) -> Option<ProviderWebhook> {
        let key = self.keys.first()?;
        let token = mac(key, Purpose::Address, kind, uid)?
            .finalize()
            .into_bytes();
        Some(ProviderWebhook {
            url: format!(
                "{}/{PATH}/{}/{uid}/{}",
                self.base,
                kind.as_str(),
                hex(&token, TOKEN_BYTES)
            ),
            secret: secret(key, kind, uid)?,
        })
    }

    /// The secrets with which a delivery to this path may be signed; `None` if no session was given such an address. The path ends with
    /// `provider-webhooks/KIND/UID/TOKEN`, whatever an Ingress has left of what comes before.
    pub fn recognise(&self, path: &str) -> Option<Called> {
        let mut parts = path.rsplit('/');
        let (token, uid, kind, own) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let kind = ProviderKind::ALL
            .into_iter()
            .find(|known| known.as_str() == kind)?;
        let plain = uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if own != PATH || uid.is_empty() || uid.len() > LONGEST_UID || !plain {
            return None;
        }
        let token = bytes_of(token).filter(|token| token.len() == TOKEN_BYTES)?;
        let key = self.keys.iter().find(|key| {
            // In constant time.
            let mac = mac(key, Purpose::Address, kind, uid);
            mac.is_some_and(|mac| mac.verify_truncated_left(&token).is_ok())
        })?;
        Some(Called {
            kind,
            uid: uid.to_owned(),
            secret: secret(key, kind, uid)?,
        })
    }
}

/// Whose address was called.
pub struct Called {
    /// The provider that was given it.
    pub kind: ProviderKind,
    /// The uid of the session.
    pub uid: String,
    secret: Zeroizing<String>,
}

/// How the deliveries of a provider show that they are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryFormat {
    /// The header with `sha256=` and the HMAC-SHA256 of the raw body in lower-case hex.
    pub signature: Option<&'static str>,
    /// Whether one without that header is refused. Else it is believed for its address alone, which nobody but the provider was given.
    pub must_be_signed: bool,
    /// The header that tells one delivery from another, and is the same when it is repeated.
    pub id: Option<&'static str>,
}

/// What a delivery proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It was signed with the session's secret.
    Signed,
    /// It knows the address, which is all that this provider's deliveries show.
    AddressAlone,
    /// Nothing: it is none of the provider's.
    None,
}

impl Called {
    /// What a delivery with this signature and this body proves.
    pub fn proof(&self, format: DeliveryFormat, signature: Option<&str>, body: &[u8]) -> Proof {
        match signature {
            None if format.must_be_signed => Proof::None,
            None => Proof::AddressAlone,
            Some(signature) if self.signed(signature, body) => Proof::Signed,
            Some(_) => Proof::None,
        }
    }

    fn signed(&self, signature: &str, body: &[u8]) -> bool {
        let Some(signature) = signature.strip_prefix("sha256=").and_then(bytes_of) else {
            return false;
        };
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes());
        // In constant time.
        mac.is_ok_and(|mac| mac.chain_update(body).verify_slice(&signature).is_ok())
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Address,
    Secret,
}

fn mac(key: &[u8], purpose: Purpose, kind: ProviderKind, uid: &str) -> Option<Hmac<Sha256>> {
    let purpose = match purpose {
        Purpose::Address => "address",
        Purpose::Secret => "secret",
    };
    // HMAC takes a key of any length. No part can hold the separator.
    let mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    let text = format!(
        "codeagents.dev/provider-webhook\n{purpose}\n{}\n{uid}",
        kind.as_str()
    );
    Some(mac.chain_update(text))
}

fn secret(key: &[u8], kind: ProviderKind, uid: &str) -> Option<Zeroizing<String>> {
    let bytes = mac(key, Purpose::Secret, kind, uid)?
        .finalize()
        .into_bytes();
    Some(Zeroizing::new(hex(&bytes, bytes.len())))
}

/// Lower-case hex, as bytes.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !hex.len().is_multiple_of(2) || hex.len() > 128 {
        return None;
    }
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEY: &str = "a key of this installation, long enough";
    const UID: &str = "0b5f9c1e-0000-4000-8000-000000000001";
    const SIGNED: DeliveryFormat = DeliveryFormat {
        signature: Some("x-webhook-signature"),
        must_be_signed: true,
        id: Some("x-webhook-id"),
    };

    fn webhooks(keys: &str) -> ProviderWebhooks {
        let base = Url::parse("https://hooks.example.com/agents/").unwrap();
        ProviderWebhooks::new(&base, keys, false).unwrap()
    }

    fn signature(secret: &str, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        let bytes = mac.chain_update(body).finalize().into_bytes();
        format!("sha256={}", hex(&bytes, bytes.len()))
    }

    #[test]
    fn a_session_has_the_same_address_and_secret_whoever_asks_and_no_other_has_them() {
        let own = webhooks(KEY).of(ProviderKind::Cursor, UID).unwrap();
        assert_eq!(webhooks(KEY).of(ProviderKind::Cursor, UID).unwrap(), own);
        assert!(
            own.url
                .starts_with("https://hooks.example.com/agents/provider-webhooks/cursor/")
        );
        assert_eq!(own.secret.len(), 64);
        assert!(!format!("{own:?}").contains("http"));
        let others = [
            webhooks(KEY).of(ProviderKind::Firebender, UID),
            webhooks(KEY).of(ProviderKind::Cursor, "another"),
            webhooks("another key of another installation!").of(ProviderKind::Cursor, UID),
        ];
        for other in others {
            let other = other.unwrap();
            assert_ne!(other.secret, own.secret);
            assert_ne!(other.url.rsplit('/').next(), own.url.rsplit('/').next());
        }
    }

    #[test]
    fn an_address_is_recognised_whatever_an_ingress_leaves_of_it_and_nothing_else_is() {
        let webhooks = webhooks(KEY);
        let url = Url::parse(&webhooks.of(ProviderKind::Cursor, UID).unwrap().url).unwrap();
        let path = url.path();
        let without_prefix = path.strip_prefix("/agents").unwrap();
        for path in [path, without_prefix] {
            let called = webhooks.recognise(path).unwrap();
            assert_eq!(
                (called.kind, called.uid.as_str()),
                (ProviderKind::Cursor, UID)
            );
        }
        let (front, token) = path.rsplit_once('/').unwrap();
        for wrong in [
            String::new(),
            "/".to_owned(),
            front.to_owned(),
            format!("{front}/"),
            format!("{front}/{}", &token[2..]),
            format!("{front}/{token}0"),
            format!("{front}/{}", token.to_uppercase()),
            format!("{front}/{}", "0".repeat(32)),
            format!("{path}/"),
            path.replace("cursor", "firebender"),
            path.replace("cursor", "nobody"),
            path.replace(PATH, "other"),
            path.replace(UID, &UID.replace('1', "2")),
            path.replace(UID, &"1".repeat(65)),
        ] {
            assert!(webhooks.recognise(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_delivery_is_believed_only_with_the_signature_of_its_raw_body() {
        let webhooks = webhooks(KEY);
        let own = webhooks.of(ProviderKind::Cursor, UID).unwrap();
        let url = Url::parse(&own.url).unwrap();
        let called = webhooks.recognise(url.path()).unwrap();
        let body = b"{\"status\": \"FINISHED\"}";
        let good = signature(&own.secret, body);
        let proof = |signature: Option<&str>, body: &[u8]| called.proof(SIGNED, signature, body);
        assert_eq!(proof(Some(&good), body), Proof::Signed);
        let other = signature("another secret", body);
        for (wrong, body) in [
            (None, body.as_slice()),
            (Some(""), body),
            (Some("sha256="), body),
            (Some(good.trim_start_matches("sha256=")), body),
            (Some(&good[..good.len() - 2]), body),
            (Some(&good.to_uppercase()), body),
            (Some(&other), body),
            (Some(&good), b"{\"status\":\"FINISHED\"}"),
        ] {
            assert_eq!(proof(wrong, body), Proof::None, "{wrong:?}");
        }
        let lenient = DeliveryFormat {
            must_be_signed: false,
            ..SIGNED
        };
        assert_eq!(called.proof(lenient, None, body), Proof::AddressAlone);
        assert_eq!(called.proof(lenient, Some(&other), body), Proof::None);
    }

    #[test]
    fn a_key_is_replaced_without_a_delivery_that_is_refused() {
        let (old, new) = (KEY, "the new key of this installation, as long");
        let before = webhooks(old).of(ProviderKind::Flapjack, UID).unwrap();
        let both = webhooks(&format!("{new}\n{old}\n"));
        let path = Url::parse(&before.url).unwrap().path().to_owned();
        assert!(both.recognise(&path).is_some());
        let after = both.of(ProviderKind::Flapjack, UID).unwrap();
        assert_eq!(webhooks(new).of(ProviderKind::Flapjack, UID), Some(after));
        assert!(webhooks(new).recognise(&path).is_none());
    }

    #[test]
    fn what_no_provider_could_call_is_refused() {
        let new = |base: &str, keys: &str| {
            ProviderWebhooks::new(&Url::parse(base).unwrap(), keys, false).err()
        };
        for base in [
            "http://hooks.example.com",
            "https://user@hooks.example.com",
            "https://hooks.example.com/?a",
            "https://hooks.example.com/#a",
            &format!("https://hooks.example.com/{}", "a".repeat(2000)),
        ] {
            assert_eq!(new(base, KEY), Some(SetupError::BaseUrl), "{base}");
        }
        let base = "https://hooks.example.com";
        assert_eq!(new(base, ""), Some(SetupError::Number));
        assert_eq!(new(base, "short"), Some(SetupError::Short));
        assert_eq!(
            new(base, &format!("{KEY}\n{KEY}\n{KEY}")),
            Some(SetupError::Number)
        );
    }
}
