//! The repository, by the git that the image holds.

mod checkout;
mod publish;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use codeagent_runner_protocol::{Author, GitHost, Reason, clip, paths};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::adapters::Exit;
use crate::address::Address;
use crate::failure::Failure;
use crate::processes::Processes;

pub use checkout::Checkout;
pub use publish::Published;

/// How much of git's output is kept.
const OUTPUT_BYTES: u64 = 4 * 1024 * 1024;

/// git in one working copy, for one repository.
pub struct Git {
    dir: PathBuf,
    address: Address,
    /// The file of the token, if there is one.
    token: Option<PathBuf>,
    user: &'static str,
    author: Author,
    processes: Processes,
    /// This program, which is git's credential helper as well.
    runner: PathBuf,
}

/// git said no.
#[derive(Debug)]
pub struct GitError {
    /// What it wrote, clipped.
    said: String,
}

impl Git {
    pub fn new(
        dir: &Path,
        address: Address,
        host: GitHost,
        token: Option<PathBuf>,
        author: Author,
        processes: Processes,
    ) -> Self {
        // Any name will do beside a token, but for GitLab's tokens of OAuth.
        let user = match host {
            GitHost::GitLab => "oauth2",
            GitHost::GitHub | GitHost::Gitea | GitHost::Other => "x-access-token",
        };
        Self {
            dir: dir.to_owned(),
            address,
            token,
            user,
            author,
            processes,
            runner: std::env::current_exe().unwrap_or_else(|_| paths::RUNNER.into()),
        }
    }

    /// Runs git and returns its standard output without the last newline.
    ///
    /// # Errors
    /// It ended with another exit code than 0.
    async fn run(&self, args: &[&str]) -> Result<String, GitError> {
        let (exit, out, err) = self.output(args).await.map_err(|error| GitError {
            said: error.to_string(),
        })?;
        if exit == Exit::Code(0) {
            return Ok(out.trim_end_matches('\n').to_owned());
        }
        let said = if err.trim().is_empty() { out } else { err };
        let said: Vec<_> = said.split_whitespace().collect();
        Err(GitError {
            said: clip(&said.join(" "), 800),
        })
    }

    /// True if git ended with exit code 0.
    async fn holds(&self, args: &[&str]) -> bool {
        self.run(args).await.is_ok()
    }

    async fn output(&self, args: &[&str]) -> io::Result<(Exit, String, String)> {
        let mut command = Command::new("git");
        command
            .args(self.settings())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            // What the agent has put there must not lead our commands elsewhere.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", &self.author.name)
            .env("GIT_AUTHOR_EMAIL", &self.author.email)
            .env("GIT_COMMITTER_NAME", &self.author.name)
            .env("GIT_COMMITTER_EMAIL", &self.author.email);
        for variable in [
            "GIT_ASKPASS",
            "SSH_ASKPASS",
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_CONFIG_COUNT",
            "GIT_TRACE",
            "GIT_TRACE_CURL",
            "GIT_CURL_VERBOSE",
        ] {
            command.env_remove(variable);
        }
        let mut started = self.processes.start(&mut command)?;
        let out = started.child.stdout.take();
        let err = started.child.stderr.take();
        let (exit, out, err) = tokio::join!(started.wait(), read(out), read(err));
        Ok((exit?, out, err))
    }

    fn settings(&self) -> Vec<String> {
        let dir = self.dir.display();
        let mut settings = vec!["-C".to_owned(), dir.to_string()];
        let mut set = |setting: String| settings.extend(["-c".to_owned(), setting]);
        // A volume's root belongs to root.
        set(format!("safe.directory={dir}"));
        // Nothing that lies in the working copy is run with the token at hand.
        set("core.hooksPath=/dev/null".to_owned());
        set("core.fsmonitor=false".to_owned());
        set("commit.gpgSign=false".to_owned());
        // Only the two that are meant, no matter what an address is rewritten to.
        set("protocol.allow=never".to_owned());
        set("protocol.https.allow=always".to_owned());
        set("protocol.http.allow=always".to_owned());
        // No work in the background that would outlive the command.
        set("gc.auto=0".to_owned());
        set("maintenance.auto=false".to_owned());
        // A server that goes silent is given up after two minutes.
        set("http.lowSpeedLimit=1".to_owned());
        set("http.lowSpeedTime=120".to_owned());
        // No helper of somebody else: it would be told the token, to store it.
        set("credential.helper=".to_owned());
        if let Some(token) = self.token.as_ref().filter(|_| self.address.is_https()) {
            let host = self.address.host();
            let helper = format!(
                "!{} credential --host {} --user {} --token {}",
                quoted(&self.runner.display().to_string()),
                quoted(&host),
                self.user,
                quoted(&token.display().to_string())
            );
            set(format!("credential.https://{host}.helper={helper}"));
        }
        settings
    }

    /// What is to be said of a command that talked to the repository's host.
    fn refused(&self, doing: &str, error: &GitError) -> Failure {
        let said = &error.said;
        let url = self.address.as_str();
        let (reason, advice) = match class(said) {
            Class::Refused if self.token.is_some() && !self.address.is_https() => (
                Reason::RepositoryRefused,
                "The token is not sent to an address without https; use the https:// address.",
            ),
            Class::Refused if self.token.is_some() => (
                Reason::RepositoryRefused,
                "The host refuses the token, or the token may not see the repository: check the token in the agent's Secret for git and its rights.",
            ),
            Class::Refused => (
                Reason::RepositoryRefused,
                "The host wants a token, or there is no such repository: give the agent a Secret with a token for git, or correct the address.",
            ),
            Class::Full => (
                Reason::WorkspaceFull,
                "The workspace's volume is full: give the agent a larger one.",
            ),
            Class::Other => (
                Reason::CloneFailed,
                "Check the address and that the Pod reaches the host, then send the message again.",
            ),
        };
        Failure::new(reason, format!("{doing} {url} failed: {said}. {advice}"))
    }
}

/// What kind of failure git tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The host refuses the token or wants one. Hosts answer "not found" for a repository that one may not see.
    Refused,
    /// No space left.
    Full,
    Other,
}

fn class(said: &str) -> Class {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["No space left on device", "Disk quota exceeded"]) {
        Class::Full
    } else if says(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "returned error: 401",
        "returned error: 403",
        "returned error: 404",
        "not found",
        "Permission to",
        "Access denied",
        "access denied",
    ]) && !says(&["Could not resolve host", "couldn't find remote ref"])
    {
        Class::Refused
    } else {
        Class::Other
    }
}

async fn read(source: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        let _ = (&mut source)
            .take(OUTPUT_BYTES)
            .read_to_end(&mut bytes)
            .await;
        // What is not kept is read all the same: git would wait for a reader.
        let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_says_what_kind_of_failure_it_was() {
        for said in [
            "fatal: Authentication failed for 'https://github.com/acme/app/'",
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "remote: Repository not found.\nfatal: repository 'https://github.com/acme/app/' not found",
            "fatal: unable to access 'https://x/': The requested URL returned error: 403",
            "remote: Permission to acme/app.git denied to bot.",
        ] {
            assert_eq!(class(said), Class::Refused, "{said}");
        }
        for said in [
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            "fatal: unable to access 'https://x/': Failed to connect to x port 443",
            "fatal: unable to access 'https://x/': The requested URL returned error: 503",
            "fatal: couldn't find remote ref refs/pull/7/head",
        ] {
            assert_eq!(class(said), Class::Other, "{said}");
        }
        assert_eq!(
            class("error: unable to write file a: No space left on device"),
            Class::Full
        );
    }

    #[test]
    fn a_word_of_a_shell_stays_one() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
