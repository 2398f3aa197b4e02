//! What the operator and `codeagent-runner` tell each other. The operator gives a Pod a [`Task`] in a Secret; the program in the Pod
//! prints [`Event`]s, one JSON line each, and leaves a [`Report`] in the container's termination message and an exit code of
//! [`Reason`]. Types and text only, nothing here reads or writes anything.
//!
//! Both sides are of one release, since the operator chooses the runner's image. A [`Task`] is refused all the same if it has a
//! member or a version that this side does not know: an instruction that is silently left out may spend money or push to the wrong
//! place. Events and reports are read leniently: what is not known in them does no harm.

mod event;
mod reason;
mod report;
mod task;
mod text;

pub use event::{Event, EventType, MAX_EVENT_BYTES};
pub use reason::{Outcome, Reason};
pub use report::{MAX_REPORT_BYTES, PullRequest, Report, Usage};
pub use task::{
    Adapter, Author, Conversation, Git, GitHost, Limits, MAX_PROMPT_BYTES, PullRequestTask,
    Repository, Session, Task, TaskError,
};
pub use text::clip;

/// The version of the whole protocol: of [`Task`], [`Event`] and [`Report`].
pub const VERSION: u32 = 1;

/// Where things lie in the Pod. The same in each Pod of a session: the state folders of the command-line agents hold absolute paths.
pub mod paths {
    /// The folder that the init container installs the program into, an `emptyDir`.
    pub const BIN_DIR: &str = "/codeagent/bin";
    /// The program, and the first word of the main container's command; the second is `run`.
    pub const RUNNER: &str = "/codeagent/bin/codeagent-runner";
    /// The folder that the Secret of the task is mounted at, read-only.
    pub const TASK_DIR: &str = "/codeagent/task";
    /// The key of the Secret, and so the file in [`TASK_DIR`], that holds the [`Task`](crate::Task) as JSON.
    pub const TASK_KEY: &str = "task.json";
    /// The key of the Secret, and so the file in [`TASK_DIR`], that holds the prompt, UTF-8 text.
    pub const PROMPT_KEY: &str = "prompt";
    /// The token for the repository's host, read-only. Absent: the repository is cloned without one, and nothing can be pushed.
    pub const GIT_TOKEN: &str = "/codeagent/git/token";
    /// `HOME` of the agent; from the workspace volume, so that it is there for the next message.
    pub const HOME: &str = "/home/agent";
    /// The working copy; from the workspace volume.
    pub const WORKSPACE: &str = "/workspace";
    /// Kubernetes' default `terminationMessagePath`.
    pub const TERMINATION_LOG: &str = "/dev/termination-log";
}
