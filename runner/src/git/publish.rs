//! What the agent left: committed, and pushed to the session's branch.

use std::fs;

use codeagent_runner_protocol::{Reason, Session};

use super::checkout::START;
use super::{Class, Git, GitError, class};
use crate::failure::Failure;

/// What became of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The newest commit of the working copy.
    pub commit: Option<String>,
    /// The repository's host has that commit on the branch.
    pub at_host: bool,
    /// It was pushed by this run.
    pub pushed: bool,
    /// It holds something that the base of the pull request does not.
    pub ahead: bool,
    /// The first line of that commit's message.
    pub subject: String,
}

impl Git {
    /// Commits what is not committed yet, as the task's author.
    ///
    /// # Errors
    /// git refuses, as with a merge that is not resolved.
    pub async fn commit_rest(&self, title: &str, session: &Session) -> Result<(), Failure> {
        // Whoever held it was ended.
        let _ = fs::remove_file(self.dir.join(".git/index.lock"));
        let refuse = |error: GitError| match class(&error.said) {
            Class::Full => super::checkout::workspace(&error),
            Class::Refused | Class::Other => Failure::new(
                Reason::PushFailed,
                format!(
                    "What the agent left cannot be committed: {}. It is in the workspace.",
                    error.said
                ),
            ),
        };
        self.run(&["add", "--all"]).await.map_err(refuse)?;
        if self.holds(&["diff", "--cached", "--quiet"]).await {
            return Ok(());
        }
        let about = format!(
            "Session: {}/{}\nMessage: {}",
            session.namespace, session.name, session.message
        );
        let commit = [
            "commit",
            "--quiet",
            "--no-verify",
            "-m",
            title,
            "-m",
            &about,
        ];
        self.run(&commit).await.map_err(refuse).map(drop)
    }

    /// Pushes the working copy's newest commit to `branch`, never by force, if the host does not have it anyway.
    ///
    /// # Errors
    /// `PushFailed`.
    pub async fn push(&self, branch: &str, base: Option<&str>) -> Result<Published, Failure> {
        let url = self.address.as_str();
        let Ok(commit) = self
            .run(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .await
        else {
            return Ok(Published::default());
        };
        let subject = self
            .run(&["log", "-1", "--format=%s"])
            .await
            .unwrap_or_default();
        let reference = format!("refs/heads/{branch}");
        let listed = self.run(&["ls-remote", url, &reference]).await;
        let listed = listed.map_err(|error| self.push_failed(branch, &error))?;
        let at_host = listed.split_ascii_whitespace().next().map(str::to_owned);
        let mut published = Published {
            at_host: at_host.as_ref() == Some(&commit),
            pushed: false,
            ahead: self.is_ahead(base).await,
            subject,
            commit: Some(commit),
        };
        if published.at_host {
            return Ok(published);
        }
        // Nothing that the host did not have before: on the branch, which others may have taken further meanwhile, or anywhere.
        let own = format!("refs/remotes/origin/{branch}");
        if at_host.is_some() && self.contains_head(&[&own]).await {
            published.at_host = true;
            return Ok(published);
        }
        if at_host.is_none() && self.contains_head(&["refs/remotes/origin", START]).await {
            return Ok(published);
        }
        let to = format!("HEAD:{reference}");
        let pushed = self.run(&["push", "--quiet", url, &to]).await;
        pushed.map_err(|error| self.push_failed(branch, &error))?;
        published.at_host = true;
        published.pushed = true;
        Ok(published)
    }

    async fn contains_head(&self, references: &[&str]) -> bool {
        let find = [
            &["for-each-ref", "--count=1", "--contains=HEAD"],
            references,
        ]
        .concat();
        self.run(&find).await.is_ok_and(|found| !found.is_empty())
    }

    /// True as well where it cannot be told: the host knows.
    async fn is_ahead(&self, base: Option<&str>) -> bool {
        let Some(base) = base else { return false };
        let range = format!("refs/remotes/origin/{base}..HEAD");
        let count = self
            .run(&["rev-list", "--count", "--max-count=1", &range])
            .await;
        count.map_or(true, |count| count != "0")
    }

    fn push_failed(&self, branch: &str, error: &GitError) -> Failure {
        let said = &error.said;
        let behind = ["fetch first", "non-fast-forward", "stale info"];
        let advice = if behind.iter().any(|word| said.contains(word)) {
            "Somebody else pushed to the branch meanwhile; nothing was overwritten."
        } else if class(said) == Class::Refused {
            if self.token.is_some() {
                "The token may not push there: check its rights and the branch's protection."
            } else {
                "There is no token to push with: give the agent a Secret with a token for git."
            }
        } else {
            "Send the message again when the host can be reached."
        };
        Failure::new(
            Reason::PushFailed,
            format!(
                "The branch {branch} could not be pushed: {said}. {advice} The work is committed in the workspace."
            ),
        )
    }
}
