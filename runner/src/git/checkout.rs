//! The working copy: made for the first message, kept for those after it.

use std::fs;
use std::io;

use codeagent_runner_protocol::{Reason, Repository};

use super::{Class, Git, GitError, class};
use crate::failure::Failure;

/// The commit that the working copy of the session began at. It keeps a branch that holds nothing new from being pushed.
pub(super) const START: &str = "refs/codeagent/start";

/// What the working copy was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The branch that the pull request goes into; `None` in a repository without commits.
    pub base: Option<String>,
    /// There was a working copy already, with whatever the message before left in it.
    pub kept: bool,
}

impl Git {
    /// Makes the working copy, or brings an existing one up to date with its branch where nothing of it is lost.
    ///
    /// # Errors
    /// The repository cannot be read, or the branch is not one to work on.
    pub async fn check_out(
        &self,
        repository: &Repository,
        base: Option<&str>,
    ) -> Result<Checkout, Failure> {
        if let Err(error) = self.output(&["--version"]).await {
            return Err(if error.kind() == io::ErrorKind::NotFound {
                Failure::command_not_found("git")
            } else {
                Failure::new(
                    Reason::CommandNotFound,
                    format!("git cannot be run: {error}."),
                )
            });
        }
        let url = self.address.as_str();
        self.local(&["init", "--quiet"]).await?;
        // Nobody else works here; a command that was killed left it.
        let _ = fs::remove_file(self.dir.join(".git/index.lock"));
        match self
            .run(&["config", "--local", "--get", "remote.origin.url"])
            .await
        {
            Ok(present) if self.address.is_same(&present) => {
                self.local(&["remote", "set-url", "origin", url]).await?;
            }
            // Without a commit it is what a failed first try left.
            Ok(_) if !self.has_commit().await => {
                self.local(&["remote", "set-url", "origin", url]).await?;
            }
            Ok(_) => {
                let said = format!(
                    "The workspace holds a working copy of another repository than {url}. Start a new session for it."
                );
                return Err(Failure::new(Reason::InvalidTask, said));
            }
            Err(_) => {
                self.local(&["remote", "add", "origin", url]).await?;
            }
        }
        let listed = self.run(&["ls-remote", "--symref", url, "HEAD"]).await;
        let listed = listed.map_err(|error| self.refused("Reading", &error))?;
        let default = default_branch(&listed);
        let all = "+refs/heads/*:refs/remotes/origin/*";
        let fetched = self
            .run(&["fetch", "--quiet", "--prune", "--tags", "--force", url, all])
            .await;
        fetched.map_err(|error| self.refused("Fetching", &error))?;
        let base = self.base(repository, base, default).await?;
        let kept = self.has_commit().await;
        if kept {
            self.catch_up(&repository.branch).await?;
        } else {
            self.begin(repository, base.as_deref()).await?;
        }
        self.name_author().await?;
        Ok(Checkout { base, kept })
    }

    /// The branch that the pull request goes into, which is never the one that is worked on.
    async fn base(
        &self,
        repository: &Repository,
        wished: Option<&str>,
        default: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let branch = &repository.branch;
        let from = repository.reference.as_ref().filter(|name| *name != branch);
        let base = match (wished, from) {
            (Some(wished), _) => Some(wished.to_owned()),
            (None, Some(from)) if self.is_remote_branch(from).await => Some(from.clone()),
            (None, _) => default.clone(),
        };
        if base.as_ref() == Some(branch) || default.as_ref() == Some(branch) {
            let said = format!(
                "The session's branch {branch} is the one that its pull request would go into, or the repository's default branch, and is not pushed to. Name another branch."
            );
            return Err(Failure::new(Reason::InvalidTask, said));
        }
        Ok(base)
    }

    async fn has_commit(&self) -> bool {
        self.holds(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .await
    }

    async fn is_remote_branch(&self, name: &str) -> bool {
        let reference = format!("refs/remotes/origin/{name}");
        self.holds(&["rev-parse", "--verify", "--quiet", &reference])
            .await
    }

    /// The first checkout.
    async fn begin(&self, repository: &Repository, base: Option<&str>) -> Result<(), Failure> {
        let branch = &repository.branch;
        let start = if self.is_remote_branch(branch).await {
            Some(format!("refs/remotes/origin/{branch}"))
        } else if let Some(address) = &repository.from_pull_request {
            Some(self.pull_request_head(address).await?)
        } else if let Some(name) = &repository.reference {
            Some(self.commit_of(name).await?)
        } else {
            base.map(|base| format!("refs/remotes/origin/{base}"))
        };
        let Some(start) = start else {
            // A repository without a commit.
            let head = format!("refs/heads/{branch}");
            return self.local(&["symbolic-ref", "HEAD", &head]).await.map(drop);
        };
        let missing = |_| {
            let said =
                format!("The repository has no {start} to begin at. Correct the session's source.");
            Failure::new(Reason::CloneFailed, said)
        };
        let commit = format!("{start}^{{commit}}");
        let commit = self
            .run(&["rev-parse", "--verify", "--quiet", &commit])
            .await
            .map_err(missing)?;
        self.local(&["update-ref", START, &commit]).await?;
        // What a checkout that was cut off left is overwritten.
        self.local(&[
            "checkout",
            "--quiet",
            "--force",
            "--no-track",
            "-B",
            branch,
            &commit,
        ])
        .await
        .map(drop)
    }

    /// A branch, a tag or a commit.
    async fn commit_of(&self, name: &str) -> Result<String, Failure> {
        for candidate in [
            format!("refs/remotes/origin/{name}"),
            format!("refs/tags/{name}"),
            name.to_owned(),
        ] {
            let commit = format!("{candidate}^{{commit}}");
            if self
                .holds(&["rev-parse", "--verify", "--quiet", &commit])
                .await
            {
                return Ok(candidate);
            }
        }
        // A commit that no branch holds can be asked for at most hosts.
        let fetched = self
            .run(&["fetch", "--quiet", self.address.as_str(), name])
            .await;
        match fetched {
            Ok(_) => Ok("FETCH_HEAD".to_owned()),
            Err(_) => Err(Failure::new(
                Reason::CloneFailed,
                format!(
                    "The repository has no branch, tag or commit {name}. Correct the session's ref."
                ),
            )),
        }
    }

    /// The newest commit of a pull request: GitHub, Gitea and Forgejo have `pull`, GitLab `merge-requests`.
    async fn pull_request_head(&self, address: &str) -> Result<String, Failure> {
        let refuse = |why: String| Failure::new(Reason::CloneFailed, why);
        let Some((kind, number)) = pull_request(address) else {
            return Err(refuse(format!(
                "{address} is not the address of a pull request."
            )));
        };
        let reference = format!("refs/{kind}/{number}/head");
        let fetched = self
            .run(&["fetch", "--quiet", self.address.as_str(), &reference])
            .await;
        fetched.map_err(|error| {
            refuse(format!(
                "The pull request {address} cannot be fetched: {}.",
                error.said
            ))
        })?;
        Ok("FETCH_HEAD".to_owned())
    }

    /// What is there stays; commits of others on the branch are taken in if that loses nothing.
    async fn catch_up(&self, branch: &str) -> Result<(), Failure> {
        if !self.is_remote_branch(branch).await {
            return Ok(());
        }
        let remote = format!("refs/remotes/origin/{branch}");
        if self
            .holds(&["merge-base", "--is-ancestor", &remote, "HEAD"])
            .await
        {
            return Ok(());
        }
        let merged = self.run(&["merge", "--quiet", "--ff-only", &remote]).await;
        merged.map(drop).map_err(|error| {
            let said = format!(
                "The branch {branch} went on at the repository, and the workspace holds other work: {}. Bring them together by hand, or start a new session.",
                error.said
            );
            Failure::new(Reason::BranchConflict, said)
        })
    }

    /// For the agent's own commits, where nothing else is set.
    async fn name_author(&self) -> Result<(), Failure> {
        let values = [
            ("user.name", &self.author.name),
            ("user.email", &self.author.email),
        ];
        for (name, value) in values {
            if !self.holds(&["config", "--get", name]).await {
                self.local(&["config", "--local", name, value]).await?;
            }
        }
        Ok(())
    }

    /// A command that changes nothing but the workspace.
    pub(super) async fn local(&self, args: &[&str]) -> Result<String, Failure> {
        self.run(args).await.map_err(|error| workspace(&error))
    }
}

/// What is to be said of a command that failed in the workspace.
pub fn workspace(error: &GitError) -> Failure {
    match class(&error.said) {
        Class::Full => Failure::new(
            Reason::WorkspaceFull,
            format!(
                "The workspace's volume is full: {}. Give the agent a larger one.",
                error.said
            ),
        ),
        Class::Refused | Class::Other => Failure::new(
            Reason::CloneFailed,
            format!("The working copy cannot be made: {}.", error.said),
        ),
    }
}

/// `ref: refs/heads/main\tHEAD`.
fn default_branch(listed: &str) -> Option<String> {
    let mut lines = listed.lines();
    let name = lines.find_map(|line| {
        line.strip_prefix("ref: refs/heads/")?
            .strip_suffix("\tHEAD")
    });
    name.map(str::to_owned)
}

/// The name of the references of pull requests at this host, and the number.
fn pull_request(address: &str) -> Option<(&'static str, u64)> {
    let path = address.split(['?', '#']).next()?.trim_end_matches('/');
    let words: Vec<_> = path.split('/').collect();
    words.windows(2).rev().find_map(|pair| {
        let [kind, number] = pair else { return None };
        let number = number.parse().ok()?;
        match *kind {
            "pull" | "pulls" => Some(("pull", number)),
            "merge_requests" => Some(("merge-requests", number)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_listings_are_read() {
        let listed = "ref: refs/heads/trunk/x\tHEAD\n0123\tHEAD";
        assert_eq!(default_branch(listed).as_deref(), Some("trunk/x"));
        assert_eq!(default_branch(""), None);
        let github = "https://github.com/acme/app/pull/7/files";
        assert_eq!(pull_request(github), Some(("pull", 7)));
        assert_eq!(
            pull_request("https://codeberg.org/acme/app/pulls/8"),
            Some(("pull", 8))
        );
        let gitlab = "https://gitlab.com/g/app/-/merge_requests/9#note_1";
        assert_eq!(pull_request(gitlab), Some(("merge-requests", 9)));
        assert_eq!(pull_request("https://github.com/acme/app"), None);
    }
}
