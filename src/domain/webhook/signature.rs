//! Signatures as of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a secret may begin with.
const PREFIX: &str = "whsec_";
/// Keys at the same time: the new one and the old one while they are replaced.
const MOST_KEYS: usize = 2;
/// Bytes of a key.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a secret signs nothing. It never holds a part of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing, or too many lines.
    #[error("it must hold one secret, or two, one a line, while one replaces the other")]
    Number,
    /// Not what the libraries of Standard Webhooks read.
    #[error("a secret is whsec_ followed by padded standard base64")]
    Form,
    /// A key that can be guessed, or that libraries refuse.
    #[error("a secret must be the base64 of 24 to 64 bytes")]
    Length,
}

/// The keys of a webhook.
pub struct SigningKeys(Vec<Zeroizing<Vec<u8>>>);

impl SigningKeys {
    /// Reads one secret, or two, one a line. The forms are those that all reference libraries agree on.
    ///
    /// # Errors
    /// If a library would refuse it, or take it for another key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() || lines.len() > MOST_KEYS {
            return Err(KeyError::Number);
        }
        let keys = lines.into_iter().map(|line| {
            let encoded = line.strip_prefix(PREFIX).unwrap_or(line);
            let key = STANDARD.decode(encoded).map_err(|_| KeyError::Form)?;
            let key = Zeroizing::new(key);
            if KEY_BYTES.contains(&key.len()) {
                Ok(key)
            } else {
                Err(KeyError::Length)
            }
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// The header `webhook-signature`: one signature for each key, separated by a space. In one header line, because libraries read
    /// the first alone. `timestamp` in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signatures: Vec<String> = self
            .0
            .iter()
            .filter_map(|key| {
                // HMAC takes a key of any length.
                let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
                mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
                Some(format!(
                    "v1,{}",
                    STANDARD.encode(mac.finalize().into_bytes())
                ))
            })
            .collect();
        signatures.join(" ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use standardwebhooks::Webhook;

    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";

    fn headers(id: &str, timestamp: i64, signature: &str) -> http::HeaderMap {
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature.to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_str(&value).unwrap(),
            )
        })
        .collect()
    }

    /// The example of the specification's reference implementation.
    #[test]
    fn a_known_signature_is_the_same() {
        let keys = SigningKeys::parse(OLD).unwrap();
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn the_reference_library_takes_each_signature_of_a_rotation() {
        let now = jiff::Timestamp::now().as_second();
        for body in ["{}", "{\"text\": \"Grüße ✓\"}", " {\"a\": 1} \n"] {
            let both = SigningKeys::parse(&format!("{NEW}\n{OLD}\n")).unwrap();
            let signature = both.sign("msg_1", now, body);
            assert_eq!(signature.split(' ').count(), 2);
            for secret in [OLD, NEW] {
                let library = Webhook::new(secret).unwrap();
                let told = headers("msg_1", now, &signature);
                library.verify(body.as_bytes(), &told).unwrap();
                let ours = SigningKeys::parse(secret).unwrap();
                let theirs = library.sign("msg_1", now, body.as_bytes()).unwrap();
                assert_eq!(ours.sign("msg_1", now, body), theirs);
                let other = headers("msg_2", now, &signature);
                assert!(library.verify(body.as_bytes(), &other).is_err());
            }
        }
    }

    #[test]
    fn what_a_library_refuses_or_anybody_guesses_is_no_key() {
        let whole = STANDARD.encode([7_u8; 24]);
        for (text, why) in [
            ("", KeyError::Number),
            ("a\nb\nc", KeyError::Number),
            ("whsec_", KeyError::Length),
            ("\n", KeyError::Length),
            ("whsec_c2hvcnQ=", KeyError::Length),
            ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", KeyError::Form),
            (" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", KeyError::Form),
            ("correct horse battery staple", KeyError::Form),
            ("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NQ", KeyError::Form),
            ("_-_-MTIzNDU2Nzg5MDEyMzQ1Njc4OTAx", KeyError::Form),
        ] {
            assert_eq!(SigningKeys::parse(text).err(), Some(why), "{text:?}");
        }
        let long = STANDARD.encode([7_u8; 65]);
        assert_eq!(SigningKeys::parse(&long).err(), Some(KeyError::Length));
        for text in [
            whole.clone(),
            format!("{whole}\n"),
            format!("{PREFIX}{whole}\r\n{whole}"),
        ] {
            assert!(SigningKeys::parse(&text).is_ok(), "{text:?}");
        }
    }
}
