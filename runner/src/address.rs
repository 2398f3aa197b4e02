//! The address of a repository.

use codeagent_runner_protocol::{GitHost, Reason};
use url::Url;

use crate::failure::Failure;

/// A repository at a host, as the task names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: Url,
}

impl Address {
    /// # Errors
    /// It is not an address that can be cloned from, or it holds a password.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| Failure::new(Reason::InvalidTask, why);
        if text.starts_with("ssh://") || text.starts_with("git@") {
            return Err(refuse(
                "The repository's address is one of SSH, which is not supported: use its https:// address.",
            ));
        }
        let url = Url::parse(text).map_err(|error| {
            // Not with its text: it may hold a password.
            refuse(&format!(
                "The repository's address cannot be read: {error}."
            ))
        })?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(refuse(
                "The repository's address has to begin with https://.",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(
                "The repository's address holds a user or a password: give the token in the agent's Secret for git instead.",
            ));
        }
        Ok(Self { url })
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// `host`, or `host:port` if the port is not the usual one: as git names it to its credential helpers.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The path without `/` at its ends and without `.git`: `owner/name`, at GitLab with groups before.
    pub fn path(&self) -> &str {
        let path = self.url.path().trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }

    /// True if both name the same repository.
    pub fn is_same(&self, other: &str) -> bool {
        Self::parse(other).is_ok_and(|other| {
            self.host().eq_ignore_ascii_case(&other.host())
                && self.path().eq_ignore_ascii_case(other.path())
        })
    }

    /// What kind of host it is, by its name; `Other` if that does not tell.
    pub fn guessed_host(&self) -> GitHost {
        let host = self.url.host_str().unwrap_or_default();
        let says = |word: &str| host.split(['.', '-']).any(|label| label == word);
        if host == "github.com" || says("github") {
            GitHost::GitHub
        } else if says("gitlab") {
            GitHost::GitLab
        } else if host == "codeberg.org" || says("gitea") || says("forgejo") {
            GitHost::Gitea
        } else {
            GitHost::Other
        }
    }

    /// The base of the host's REST API.
    pub fn api(&self, host: GitHost) -> String {
        match host {
            GitHost::GitHub if self.host() == "github.com" => "https://api.github.com".to_owned(),
            GitHost::GitHub => format!("{}/api/v3", self.origin()),
            GitHost::GitLab => format!("{}/api/v4", self.origin()),
            GitHost::Gitea | GitHost::Other => format!("{}/api/v1", self.origin()),
        }
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.host())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("https://git.example.com:8443/group/sub/app.git").unwrap();
        assert_eq!(address.host(), "git.example.com:8443");
        assert_eq!(address.path(), "group/sub/app");
        assert!(address.is_same("https://GIT.example.com:8443/Group/sub/app/"));
        assert!(!address.is_same("https://git.example.com/group/sub/app"));
        assert_eq!(
            address.api(GitHost::GitLab),
            "https://git.example.com:8443/api/v4"
        );
        let github = Address::parse("https://github.com/acme/app").unwrap();
        assert_eq!(github.api(GitHost::GitHub), "https://api.github.com");
    }

    #[test]
    fn hosts_are_told_by_whole_words() {
        let host = |name: &str| {
            Address::parse(&format!("https://{name}/a/b"))
                .unwrap()
                .guessed_host()
        };
        assert_eq!(host("github.com"), GitHost::GitHub);
        assert_eq!(host("github.example.com"), GitHost::GitHub);
        assert_eq!(host("gitlab.com"), GitHost::GitLab);
        assert_eq!(host("gitlab-eu.example.com"), GitHost::GitLab);
        assert_eq!(host("codeberg.org"), GitHost::Gitea);
        assert_eq!(host("notgithub.example.com"), GitHost::Other);
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_password() {
        let said = |text: &str| Address::parse(text).unwrap_err().message;
        assert!(said("git@github.com:acme/app.git").contains("SSH"));
        assert!(said("ssh://git@github.com/acme/app.git").contains("SSH"));
        assert!(said("file:///etc").contains("https://"));
        let password = said("https://user:hunter22@github.com/acme/app");
        assert!(
            password.contains("password") && !password.contains("hunter22"),
            "{password}"
        );
        assert!(!said("https://user:hunter22@:x/").contains("hunter22"));
    }
}
