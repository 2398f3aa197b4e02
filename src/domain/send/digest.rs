//! What tells one request from another, without what it sends.

use sha2::{Digest, Sha256};

use crate::domain::environment::EnvironmentDigest;
use crate::domain::ids::hex;
use crate::domain::image::ImageDigest;

/// Digest of a request that sends this prompt, these images and these environment variables. One without either has the digest of its
/// prompt, as it had before anything else could be sent: a claim of an earlier version is still recognised.
pub fn request_digest(
    prompt: &str,
    images: &[ImageDigest],
    environment: Option<EnvironmentDigest>,
) -> String {
    let of_prompt = Sha256::digest(prompt.as_bytes());
    if images.is_empty() && environment.is_none() {
        return hex(&of_prompt, 16);
    }
    let mut all = Sha256::new().chain_update(of_prompt);
    for ImageDigest(image) in images {
        all.update(image);
    }
    if let Some(EnvironmentDigest(environment)) = environment {
        all.update(environment);
    }
    hex(&all.finalize(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::SecretVersion;

    #[test]
    fn a_request_is_the_same_only_with_all_that_it_sends_in_the_same_order() {
        let [a, b] = ["https://acme.com/a.png", "https://acme.com/b.png"].map(ImageDigest::of_url);
        let environment = |version: &str| {
            let version = SecretVersion {
                uid: "uid".to_owned(),
                resource_version: version.to_owned(),
            };
            EnvironmentDigest::of([&version])
        };
        let none = request_digest("Fix it", &[], None);
        assert_eq!(none, hex(&Sha256::digest(b"Fix it"), 16));
        let all = [
            none,
            request_digest("Fix it", &[a], None),
            request_digest("Fix that", &[a], None),
            request_digest("Fix it", &[a, a], None),
            request_digest("Fix it", &[a, b], None),
            request_digest("Fix it", &[b, a], None),
            request_digest("Fix it", &[], environment("1")),
            request_digest("Fix it", &[], environment("2")),
            request_digest("Fix it", &[a], environment("1")),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all.get(1), Some(&request_digest("Fix it", &[a], None)));
    }
}
