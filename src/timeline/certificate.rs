//! The serving certificate: made, checked, and told when it is due to be renewed. Pure but for the keys, which are random.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// How long the authority is valid that readers trust: nobody copies it a second time within an installation's life.
const AUTHORITY_LIFE: Duration = Duration::days(10 * 365);
/// How long a certificate is valid.
const LIFE: Duration = Duration::days(90);
/// A certificate is renewed when no more than this is left of it.
const RENEWED_BEFORE_END: Duration = Duration::days(30);
/// How far the clock of a reader may be behind ours.
const CLOCK_SKEW: Duration = Duration::days(1);

/// Why a certificate could not be made, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The library refuses.
    #[error("no certificate could be made")]
    Make(#[from] rcgen::Error),
    /// It is not what it should be.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// An authority, a certificate that it signed, and both private keys; all as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Certificate of the authority: what readers trust.
    pub ca_certificate: String,
    /// Key of the authority.
    pub ca_key: String,
    /// The serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What is to be done about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Good,
    /// It still serves; another one of the same authority is due, because of this.
    Due(&'static str),
    /// It is of no use, because of this; everything is made anew.
    Unusable(String),
}

impl Bundle {
    /// A new authority and a certificate for `names` (DNS names or addresses).
    ///
    /// # Errors
    /// If a name cannot stand in a certificate.
    pub fn make(names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "codeagent-operator timeline authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.not_before = now - CLOCK_SKEW;
        parameters.not_after = now + AUTHORITY_LIFE;
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let ca_certificate = parameters.self_signed(&ca_key)?.pem();
        signed(ca_certificate, ca_key.serialize_pem(), names, now)
    }

    /// Another certificate of the same authority, for `names`.
    ///
    /// # Errors
    /// If the authority's key cannot be read, or a name cannot stand in a certificate.
    pub fn renewed(&self, names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        signed(self.ca_certificate.clone(), self.ca_key.clone(), names, now)
    }

    /// What is to be done about it.
    pub fn standing(&self, names: &[String], now: OffsetDateTime) -> Standing {
        match self.check(names, now) {
            Ok(due) => due.map_or(Standing::Good, Standing::Due),
            Err(why) => Standing::Unusable(why),
        }
    }

    fn check(&self, names: &[String], now: OffsetDateTime) -> Result<Option<&'static str>, String> {
        let authority_pem = parse_pem(&self.ca_certificate, "ca.crt")?;
        let authority = parse_certificate(&authority_pem, "ca.crt")?;
        let certificate_pem = parse_pem(&self.certificate, "tls.crt")?;
        let certificate = parse_certificate(&certificate_pem, "tls.crt")?;
        let authority_key =
            KeyPair::from_pem(&self.ca_key).map_err(|error| format!("ca.key: {error}"))?;
        Issuer::from_ca_cert_pem(&self.ca_certificate, authority_key)
            .map_err(|error| format!("ca.crt: {error}"))?;
        let key = KeyPair::from_pem(&self.key).map_err(|error| format!("tls.key: {error}"))?;
        let public = certificate.public_key().subject_public_key.data.as_ref();
        if key.public_key_raw() != public {
            return Err("tls.key is not the key of tls.crt".to_owned());
        }
        certificate
            .verify_signature(Some(authority.public_key()))
            .map_err(|_| "tls.crt is not signed by ca.crt".to_owned())?;
        let left = |certificate: &X509Certificate<'_>| {
            certificate.validity().not_after.to_datetime() - now
        };
        if left(&authority) <= LIFE {
            return Err("the authority ends soon".to_owned());
        }
        if authority.validity().not_before.to_datetime() > now {
            return Err("the authority is not valid yet".to_owned());
        }
        if left(&certificate) <= RENEWED_BEFORE_END {
            return Ok(Some("it ends soon"));
        }
        if certificate.validity().not_before.to_datetime() > now {
            return Ok(Some("it is not valid yet"));
        }
        let stands = names_of(&certificate);
        if names.iter().any(|name| !stands.contains(name)) {
            return Ok(Some("it lacks a name"));
        }
        Ok(None)
    }
}

/// A certificate for `names`, signed by an authority.
fn signed(
    ca_certificate: String,
    ca_key: String,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Bundle, CertificateError> {
    let issuer = Issuer::from_ca_cert_pem(&ca_certificate, KeyPair::from_pem(&ca_key)?)?;
    let mut parameters = CertificateParams::new(names)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "codeagent-operator timeline");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    parameters.not_before = now - CLOCK_SKEW;
    parameters.not_after = now + LIFE;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = parameters.signed_by(&key, &issuer)?.pem();
    Ok(Bundle {
        ca_certificate,
        ca_key,
        certificate,
        key: key.serialize_pem(),
    })
}

fn parse_pem(text: &str, what: &str) -> Result<x509_parser::pem::Pem, String> {
    parse_x509_pem(text.as_bytes())
        .map(|(_, pem)| pem)
        .map_err(|_| format!("{what} is not PEM"))
}

fn parse_certificate<'a>(
    pem: &'a x509_parser::pem::Pem,
    what: &str,
) -> Result<X509Certificate<'a>, String> {
    pem.parse_x509()
        .map_err(|_| format!("{what} is not a certificate"))
}

/// The names that a certificate is for.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => std::net::IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names() -> Vec<String> {
        ["timeline.team.svc", "localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec()
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
    }

    #[test]
    fn one_that_was_just_made_is_good_also_by_a_clock_that_is_behind() {
        let bundle = Bundle::make(&names(), now()).unwrap();
        assert_eq!(bundle.standing(&names(), now()), Standing::Good);
        let behind = now() - Duration::hours(23);
        assert_eq!(bundle.standing(&names(), behind), Standing::Good);
    }

    #[test]
    fn it_is_renewed_by_the_same_authority_before_it_ends_and_when_a_name_is_missing() {
        let bundle = Bundle::make(&names(), now()).unwrap();
        let later = now() + Duration::days(59);
        assert_eq!(bundle.standing(&names(), later), Standing::Good);
        let due = now() + Duration::days(61);
        assert_eq!(
            bundle.standing(&names(), due),
            Standing::Due("it ends soon")
        );
        let renewed = bundle.renewed(&names(), due).unwrap();
        assert_eq!(renewed.ca_certificate, bundle.ca_certificate);
        assert_ne!(renewed.certificate, bundle.certificate);
        assert_eq!(renewed.standing(&names(), due), Standing::Good);
        let more = [names(), vec!["other.team.svc".to_owned()]].concat();
        assert_eq!(
            bundle.standing(&more, now()),
            Standing::Due("it lacks a name")
        );
    }

    #[test]
    fn what_does_not_fit_together_is_unusable() {
        let (one, other) = (
            Bundle::make(&names(), now()).unwrap(),
            Bundle::make(&names(), now()).unwrap(),
        );
        let cases = [
            Bundle {
                key: other.key.clone(),
                ..one.clone()
            },
            Bundle {
                ca_certificate: other.ca_certificate.clone(),
                ..one.clone()
            },
            Bundle {
                certificate: "nonsense".to_owned(),
                ..one.clone()
            },
            Bundle {
                ca_key: String::new(),
                ..one.clone()
            },
        ];
        for bundle in cases {
            let standing = bundle.standing(&names(), now());
            assert!(matches!(standing, Standing::Unusable(_)), "{standing:?}");
        }
        let ends = now() + AUTHORITY_LIFE - Duration::days(30);
        assert!(matches!(
            one.standing(&names(), ends),
            Standing::Unusable(_)
        ));
    }
}
