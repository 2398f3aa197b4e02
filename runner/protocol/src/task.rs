use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::VERSION;

/// The longest prompt: a Secret holds one MiB together with the rest of the task.
pub const MAX_PROMPT_BYTES: usize = 1_000_000;

/// What one Pod is to do: one message of one session. The prompt lies beside it, since it may be large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// [`VERSION`].
    pub version: u32,
    pub adapter: Adapter,
    /// The program and its first arguments, in place of the adapter's own (`claude`, `codex`, `gemini`, `agent`). Required, and the
    /// whole command together with `args`, for [`Adapter::Process`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Further arguments: after the adapter's own options, before what follows them (such as Codex's `resume`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// In the agent's own words; absent: the agent's default. Not for [`Adapter::Process`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub conversation: Conversation,
    /// Absent: the agent works in an empty folder, and nothing is pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    pub git: Git,
    pub pull_request: PullRequestTask,
    pub session: Session,
    pub limits: Limits,
}

/// Which program is run and whose output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adapter {
    /// Claude Code, `claude`.
    Claude,
    /// Codex, `codex exec`.
    Codex,
    /// Gemini CLI, `gemini`.
    Gemini,
    /// Cursor's command-line agent, `agent`.
    CursorCLI,
    /// Any program: the prompt on its standard input, each line that it prints is output, exit code 0 is success.
    Process,
}

/// Which conversation the message belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conversation {
    /// A lower-case UUID, the same for all messages of a session. An agent that lets its caller choose (Claude, Gemini) names the
    /// conversation so. For the others the runner remembers, in `HOME`, which name of theirs belongs to it.
    pub id: String,
    /// A message after the first: the conversation has to go on, not to begin anew.
    #[serde(default)]
    pub resume: bool,
}

/// The repository, and where in it the agent works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repository {
    /// `https://host/path`, without user and password.
    pub url: String,
    /// Where a new branch begins: a branch, a tag or a commit. Absent: the repository's default branch.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The branch to work on, without `refs/heads/`: taken as it is if the repository has it, else created. Never the one that the
    /// pull request goes into.
    pub branch: String,
    /// The address of a pull request: a new branch begins at its newest commit, in place of `ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pull_request: Option<String>,
}

/// How to talk to the repository's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Git {
    /// Whose API opens the pull request. Absent: told from the repository's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<GitHost>,
    /// The base of that API, `https://…`. Absent: the host's usual one. The token is sent there too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// Of the commit that the runner makes of what the agent left uncommitted, and of the agent's own where it says nothing else.
    pub author: Author,
}

/// The kind of a repository's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GitHost {
    GitHub,
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Branches only: no pull request can be opened.
    Other,
}

/// An author of commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Author {
    pub name: String,
    pub email: String,
}

/// The pull request. The branch is pushed whether or not there is to be one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullRequestTask {
    /// Open one, or take the open one of the branch.
    #[serde(default)]
    pub create: bool,
    /// Open it as a draft.
    #[serde(default)]
    pub draft: bool,
    /// Absent: the first line of the newest commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Absent: the last that the agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The branch that it goes into. Absent: `repository.ref` if that is another branch of the repository, else the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// Whose task this is; for commits and messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The name of the message, unique within the session.
    pub message: String,
    /// The key of the launch: the name of the Job.
    pub key: String,
}

/// What the runner bounds by itself; the time of the whole run is the Job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// How long the agent may take to end after it was told to, before it is killed. Below the Pod's
    /// `terminationGracePeriodSeconds`: what is left of that is for the report.
    pub grace_period_seconds: u64,
    /// The longest time without a line from the agent. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
}

/// Why a task was refused: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError(String);

impl fmt::Display for TaskError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for TaskError {}

impl Task {
    /// Reads a task and checks what its types cannot say.
    ///
    /// # Errors
    /// A version or a member that is not known, or values that contradict each other.
    pub fn parse(json: &str) -> Result<Self, TaskError> {
        let refuse =
            |error: serde_json::Error| TaskError(format!("The task cannot be read: {error}."));
        let value: Value = serde_json::from_str(json).map_err(refuse)?;
        // Before the members: another version may have others.
        let version = value.get("version");
        if version.and_then(Value::as_u64) != Some(VERSION.into()) {
            let told = version.map_or_else(|| "none".to_owned(), Value::to_string);
            return Err(TaskError(format!(
                "The task has version {told}, this runner reads version {VERSION}: use the runner's image of the operator's release."
            )));
        }
        let task: Self = serde_json::from_value(value).map_err(refuse)?;
        task.check()?;
        Ok(task)
    }

    /// The task as JSON, for the Secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists alone, so that there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), TaskError> {
        let refuse = |why: String| Err(TaskError(format!("The task is refused: {why}.")));
        if self.adapter == Adapter::Process && self.command.first().is_none_or(String::is_empty) {
            return refuse("adapter Process needs a command".into());
        }
        if !is_conversation_id(&self.conversation.id) {
            return refuse(format!(
                "conversation.id {:?} is not a lower-case UUID",
                self.conversation.id
            ));
        }
        if let Some(repository) = &self.repository {
            if !is_branch(&repository.branch) {
                return refuse(format!(
                    "repository.branch {:?} is not a name that git allows",
                    repository.branch
                ));
            }
            if repository
                .reference
                .as_deref()
                .is_some_and(|name| !is_branch(name))
            {
                return refuse("repository.ref is not a name that git allows".into());
            }
        } else if self.pull_request.create {
            return refuse("a pull request needs a repository".into());
        }
        if self
            .pull_request
            .base
            .as_deref()
            .is_some_and(|name| !is_branch(name))
        {
            return refuse("pullRequest.base is not a name that git allows".into());
        }
        Ok(())
    }
}

/// `8-4-4-4-12` lower-case hexadecimal digits. Lower case, since Claude takes the same id in upper case for another conversation.
fn is_conversation_id(id: &str) -> bool {
    let lengths = id.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

/// A name that can stand in git's arguments and references: the rules of `git check-ref-format --branch`.
fn is_branch(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    !name.starts_with('-')
        && name != "@"
        && name != "HEAD"
        && name.len() <= 244
        && name.split('/').all(part)
        && !name.contains("..")
        && !name.contains("@{")
        && !name
            .chars()
            .any(|sign| sign.is_control() || " ~^:?*[\\\u{7f}".contains(sign))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    fn task() -> Value {
        json!({
            "version": 1,
            "adapter": "Claude",
            "conversation": {"id": "4f08f8c4-0f4e-43b5-93c2-160cbf4b4e24"},
            "repository": {"url": "https://github.com/acme/app", "branch": "codeagent/fix"},
            "git": {"author": {"name": "agent", "email": "agent@example.com"}},
            "pullRequest": {"create": true},
            "session": {"namespace": "team", "name": "fix", "uid": "u", "message": "first", "key": "job-1"},
            "limits": {"gracePeriodSeconds": 20},
        })
    }

    fn refused(change: impl Fn(&mut Value)) -> String {
        let mut value = task();
        change(&mut value);
        Task::parse(&value.to_string())
            .map(|task| format!("{task:?}"))
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn a_task_is_read_as_it_was_written() {
        let read = Task::parse(&task().to_string()).expect("a task");
        assert_eq!(Task::parse(&read.to_json()), Ok(read));
    }

    #[test]
    fn what_is_not_known_is_refused_and_named() {
        assert!(refused(|task| task["version"] = json!(2)).contains("version 2"));
        assert!(
            refused(|task| drop(task.as_object_mut().unwrap().remove("version"))).contains("none")
        );
        assert!(refused(|task| task["sandbox"] = json!(true)).contains("`sandbox`"));
        assert!(refused(|task| task["limits"]["turns"] = json!(1)).contains("`turns`"));
        assert!(refused(|task| task["adapter"] = json!("Amp")).contains("`Amp`"));
        assert!(Task::parse("{").is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let upper = "4F08F8C4-0F4E-43B5-93C2-160CBF4B4E24";
        assert!(refused(|task| task["conversation"]["id"] = json!(upper)).contains("lower-case"));
        assert!(refused(|task| task["adapter"] = json!("Process")).contains("command"));
        assert!(
            refused(|task| drop(task.as_object_mut().unwrap().remove("repository")))
                .contains("repository")
        );
        for name in [
            "", "-f", "a..b", "a b", "/a", "a/", "a.lock", "@", "a:b", "HEAD", "+x\n", "a/.b",
        ] {
            let said = refused(|task| task["repository"]["branch"] = json!(name));
            assert!(said.contains("repository.branch"), "{name:?}: {said}");
            assert!(refused(|task| task["pullRequest"]["base"] = json!(name)).contains("base"));
        }
    }
}
