//! The pull request that a session starts from, and where a session starts at all.

use super::repository::same_repository;

/// The address of a pull request, as GitHub and GitHub Enterprise write it: `https://HOST/OWNER/NAME/pull/NUMBER`, with nothing
/// behind the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestUrl {
    text: String,
    repository: String,
    number: u64,
}

impl PullRequestUrl {
    /// Reads an address; `None` if it is not one of a pull request.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix("https://")?.split('/').collect();
        let [host, owner, name, "pull", number] = parts.as_slice() else {
            return None;
        };
        let is_word = |word: &str, more: &str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let (domain, port) = host
            .split_once(':')
            .map_or((*host, None), |(domain, port)| (domain, Some(port)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let readable = is_word(domain, "-.")
            && port.is_none_or(digits)
            && is_word(owner, "-._")
            && is_word(name, "-._")
            && digits(number);
        let number = number.parse().ok().filter(|number| *number > 0)?;
        readable.then(|| Self {
            repository: format!("https://{host}/{owner}/{name}"),
            text: text.to_owned(),
            number,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The https address of the repository that it belongs to.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Git's name of its newest commit, the same however the address and its branch are spelled: `refs/pull/NUMBER/head`.
    pub fn head_ref(&self) -> String {
        format!("refs/pull/{}/head", self.number)
    }

    /// Whether `other` is the address of the same pull request, in whatever spelling.
    pub fn is_same_as(&self, other: &str) -> bool {
        Self::parse(other).is_some_and(|other| {
            self.number == other.number && same_repository(&self.repository, &other.repository)
        })
    }
}

/// Where a session starts in its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingPoint {
    /// The repository's default branch.
    DefaultBranch,
    /// A branch, tag or commit.
    Reference(String),
    /// The branches of a pull request.
    PullRequest(PullRequestUrl),
}

impl StartingPoint {
    /// The starting point that these settings name.
    ///
    /// # Errors
    /// With the address of what is no pull request: it must not become another starting point.
    pub fn new<'a>(
        reference: Option<&str>,
        pull_request_url: Option<&'a str>,
    ) -> Result<Self, &'a str> {
        match (pull_request_url, reference) {
            (Some(url), _) => PullRequestUrl::parse(url).map(Self::PullRequest).ok_or(url),
            (None, Some(reference)) => Ok(Self::Reference(reference.to_owned())),
            (None, None) => Ok(Self::DefaultBranch),
        }
    }

    /// The branch, tag or commit, where one is named.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::DefaultBranch | Self::PullRequest(_) => None,
        }
    }

    /// The pull request, where it is one.
    pub fn pull_request(&self) -> Option<&PullRequestUrl> {
        match self {
            Self::PullRequest(url) => Some(url),
            Self::DefaultBranch | Self::Reference(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_address_of_a_pull_request_tells_its_repository_and_its_head() {
        let url = PullRequestUrl::parse("https://github.com/Acme/app.js/pull/42").unwrap();
        assert_eq!(url.repository(), "https://github.com/Acme/app.js");
        assert_eq!(url.head_ref(), "refs/pull/42/head");
        assert_eq!(url.as_str(), "https://github.com/Acme/app.js/pull/42");
        let enterprise = PullRequestUrl::parse("https://git.acme.com:8443/team/app/pull/7");
        assert_eq!(
            enterprise.unwrap().repository(),
            "https://git.acme.com:8443/team/app"
        );
    }

    #[test]
    fn what_is_not_the_address_of_a_pull_request_is_none() {
        for text in [
            "",
            "acme/app#42",
            "http://github.com/acme/app/pull/42",
            "https://github.com/acme/app",
            "https://github.com/acme/app/pull/",
            "https://github.com/acme/app/pull/0",
            "https://github.com/acme/app/pull/x",
            "https://github.com/acme/app/pull/+42",
            "https://github.com/acme/app/pull/42/",
            "https://github.com/acme/app/pull/42/files",
            "https://github.com/acme/app/pull/42?w=1",
            "https://github.com/acme/app/pull/42#issuecomment-1",
            "https://github.com/acme/app/pull/99999999999999999999",
            "https://github.com/acme/app/pulls/42",
            "https://github.com/acme/app/issues/42",
            "https://github.com/acme/sub/app/pull/42",
            "https://me@github.com/acme/app/pull/42",
            "https://github.com:/acme/app/pull/42",
            "https://github.com//app/pull/42",
            "https:///acme/app/pull/42",
            "https://github.com/ac me/app/pull/42",
            "https://gitlab.com/acme/app/-/merge_requests/42",
        ] {
            assert_eq!(PullRequestUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_pull_request_has_many_spellings() {
        let ours = PullRequestUrl::parse("https://github.com/acme/app/pull/42").unwrap();
        for other in [
            "https://GitHub.com/Acme/App/pull/42",
            "https://github.com:443/acme/app/pull/042",
        ] {
            assert!(ours.is_same_as(other), "{other}");
        }
        for other in [
            "https://github.com/acme/app/pull/4",
            "https://github.com/acme/web/pull/42",
            "https://git.acme.com/acme/app/pull/42",
            "42",
        ] {
            assert!(!ours.is_same_as(other), "{other}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_never_becomes_another_starting_point() {
        let pull_request = "https://github.com/acme/app/pull/42";
        let start = StartingPoint::new(Some("main"), Some(pull_request)).unwrap();
        assert_eq!(start.pull_request().unwrap().as_str(), pull_request);
        assert_eq!(start.reference(), None);
        assert_eq!(
            StartingPoint::new(Some("main"), Some("acme/app#42")),
            Err("acme/app#42")
        );
        let main = StartingPoint::new(Some("main"), None).unwrap();
        assert_eq!(
            (main.reference(), main.pull_request()),
            (Some("main"), None)
        );
        assert_eq!(
            StartingPoint::new(None, None),
            Ok(StartingPoint::DefaultBranch)
        );
    }
}
