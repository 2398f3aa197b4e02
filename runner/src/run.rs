//! `codeagent-runner run`: the whole task, in order.

use std::env;
use std::fs;
use std::io::{self, Stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use codeagent_runner_protocol::{
    Adapter, EventType, GitHost, MAX_PROMPT_BYTES, PullRequest, Reason, Report, Repository, Task,
    clip, paths,
};
use serde_json::json;

use crate::adapters::{self, Facts, Start, Told, Wish};
use crate::address::Address;
use crate::agent::{self, Run};
use crate::failure::Failure;
use crate::git::{Checkout, Git, Published};
use crate::home::Home;
use crate::hosts::{Api, Wanted};
use crate::log::Log;
use crate::processes::Processes;
use crate::redact::Secrets;
use crate::stop::Stop;
use crate::workspace;

/// The longest text of a pull request; GitHub takes 65536 characters.
const BODY_BYTES: usize = 60_000;

/// What processes that are still there at the end have to end themselves.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Where things are; in a Pod, the defaults.
#[derive(Args)]
pub struct Options {
    /// The folder of the task's Secret.
    #[arg(long, default_value = paths::TASK_DIR)]
    task: PathBuf,
    /// The working copy.
    #[arg(long, default_value = paths::WORKSPACE)]
    workspace: PathBuf,
    /// The file of the token for the repository's host.
    #[arg(long, default_value = paths::GIT_TOKEN)]
    git_token: PathBuf,
    /// The file of the report.
    #[arg(long, default_value = paths::TERMINATION_LOG)]
    report: PathBuf,
}

/// Runs the task; the exit code is the reason's.
pub fn main(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let report = match runtime {
        Ok(runtime) => {
            let report = runtime.block_on(run(options));
            runtime.shutdown_background();
            report
        }
        Err(error) => {
            let said = format!("The runner cannot start: {error}.");
            Report::new(Reason::AgentStartFailed, said)
        }
    };
    if let Err(error) = fs::write(&options.report, report.to_termination_message()) {
        eprintln!("codeagent-runner: the report cannot be written: {error}");
    }
    ExitCode::from(report.reason.exit_code())
}

/// What a run has come to so far.
#[derive(Default)]
struct Progress {
    facts: Facts,
    branch: Option<String>,
    published: Published,
    pull_request: Option<PullRequest>,
}

async fn run(options: &Options) -> Report {
    let token = fs::read_to_string(&options.git_token).ok();
    let token = token
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty());
    let secrets = Secrets::new(
        env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
        token.clone(),
    );
    let mut log = Log::new(io::stdout(), secrets);
    let started = Stop::listen().and_then(|stop| Ok((stop, Processes::adopt_orphans()?)));
    let (stop, processes) = match started {
        Ok(started) => started,
        Err(error) => {
            let said = format!("The runner cannot receive signals: {error}.");
            return Report::new(Reason::AgentStartFailed, said);
        }
    };
    let mut progress = Progress::default();
    let mut work = Work {
        options,
        token,
        stop: &stop,
        processes: &processes,
        log: &mut log,
        progress: &mut progress,
    };
    let done = work.all().await;
    // The report is the last: nothing that the agent left changes anything after it.
    if !processes.end_all(LAST_GRACE).await {
        log.status("Not all processes could be ended; they end with the container.");
    }
    let report = report(done, progress, log.secrets());
    let about = json!({"outcome": report.outcome, "reason": report.reason});
    log.tell(Told::new(EventType::Status, report.message.clone()).with(about));
    report
}

fn report(done: Result<String, Failure>, progress: Progress, secrets: &Secrets) -> Report {
    let (reason, message) = match done {
        Ok(message) => (Reason::Completed, message),
        Err(failure) => (failure.reason, failure.message),
    };
    let Progress {
        facts,
        branch,
        published,
        pull_request,
    } = progress;
    let result = facts.result.map(|result| secrets.redact(&result));
    Report {
        result: result.filter(|result| !result.is_empty()),
        branch,
        commit: published.commit,
        pushed: published.at_host,
        pull_request,
        usage: facts.usage,
        cost_usd: facts.cost_usd,
        conversation_id: facts.conversation,
        ..Report::new(reason, secrets.redact(&message))
    }
}

/// One run, and what it works with.
struct Work<'a> {
    options: &'a Options,
    token: Option<String>,
    stop: &'a Stop,
    processes: &'a Processes,
    log: &'a mut Log<Stdout>,
    progress: &'a mut Progress,
}

impl Work<'_> {
    /// Everything in order; a sentence of what was done.
    async fn all(&mut self) -> Result<String, Failure> {
        let (task, prompt) = self.read_task()?;
        let home = Home::new(env::var_os("HOME").map_or_else(|| paths::HOME.into(), PathBuf::from));
        workspace::check_writable("HOME", home.dir())?;
        workspace::check_writable("The workspace", &self.options.workspace)?;
        home.prepare(task.adapter)?;
        let start = home.start(task.adapter, &task.conversation)?;
        let wish = Wish {
            command: &task.command,
            args: &task.args,
            model: task.model.as_deref(),
        };
        let invocation = adapters::invocation(task.adapter, wish, &start);
        workspace::check_program(&invocation.program)?;
        let repository = match &task.repository {
            Some(repository) => Some((repository, self.git(&task, repository)?)),
            None => None,
        };
        let checkout = match &repository {
            Some((repository, git)) => Some(self.check_out(&task, repository, git).await?),
            None => None,
        };
        let env = environment(invocation.env, home.dir(), &self.options.workspace);
        let run = Run {
            adapter: task.adapter,
            invocation: &invocation,
            env,
            dir: &self.options.workspace,
            prompt: adapters::prompt(task.adapter, &prompt),
            limits: task.limits,
            conversation: expected(task.adapter, &start),
        };
        self.run_agent(run, &task, &home).await?;
        match (repository, checkout) {
            (Some((repository, git)), Some(checkout)) => {
                let stop = self.stop;
                let branch = &repository.branch;
                let publish = self.publish(&task, repository, &git, &checkout);
                let published = tokio::select! {
                    biased;
                    () = stop.requested() => Err(Failure::new(
                        Reason::Cancelled,
                        format!("The agent had finished and was stopped while its work was being pushed: look whether the repository has it on the branch {branch}."),
                    )),
                    published = publish => published,
                };
                published.map_err(|failure| self.or_full(failure))
            }
            _ => {
                Ok("The agent finished. There is no repository, so nothing was pushed.".to_owned())
            }
        }
    }

    fn read_task(&mut self) -> Result<(Task, String), Failure> {
        let invalid = |why: String| Failure::new(Reason::InvalidTask, why);
        let read = |key: &str| {
            fs::read_to_string(self.options.task.join(key))
                .map_err(|error| invalid(format!("The task's {key} cannot be read: {error}.")))
        };
        let task = read(paths::TASK_KEY)?;
        let task = Task::parse(&task).map_err(|error| invalid(error.to_string()))?;
        let prompt = read(paths::PROMPT_KEY)?;
        if prompt.trim().is_empty() {
            return Err(invalid("The prompt is empty.".into()));
        }
        if prompt.len() > MAX_PROMPT_BYTES {
            return Err(invalid(format!(
                "The prompt has {} bytes, at most {MAX_PROMPT_BYTES} are taken.",
                prompt.len()
            )));
        }
        let session = &task.session;
        self.log.status(format!(
            "codeagent-runner {} does the message {} of the session {}/{}.",
            env!("CARGO_PKG_VERSION"),
            session.message,
            session.namespace,
            session.name
        ));
        Ok((task, prompt))
    }

    fn git(&self, task: &Task, repository: &Repository) -> Result<Git, Failure> {
        let address = Address::parse(&repository.url)?;
        let host = task.git.host.unwrap_or_else(|| address.guessed_host());
        let token = self.token.as_ref().map(|_| self.options.git_token.clone());
        let author = task.git.author.clone();
        let processes = self.processes.clone();
        Ok(Git::new(
            &self.options.workspace,
            address,
            host,
            token,
            author,
            processes,
        ))
    }

    async fn check_out(
        &mut self,
        task: &Task,
        repository: &Repository,
        git: &Git,
    ) -> Result<Checkout, Failure> {
        self.log.status(format!("Fetching {}.", repository.url));
        let base = task.pull_request.base.as_deref();
        let checkout = tokio::select! {
            biased;
            () = self.stop.requested() => Err(Failure::new(
                Reason::Cancelled,
                "Stopped before the agent was started, as it was asked to be.",
            )),
            checkout = git.check_out(repository, base) => checkout,
        };
        let checkout = checkout.map_err(|failure| self.or_full(failure))?;
        let branch = &repository.branch;
        self.log.status(if checkout.kept {
            format!("The working copy of the message before is kept, for the branch {branch}.")
        } else {
            format!("The working copy is ready, on the branch {branch}.")
        });
        self.progress.branch = Some(branch.clone());
        Ok(checkout)
    }

    async fn run_agent(&mut self, run: Run<'_>, task: &Task, home: &Home) -> Result<(), Failure> {
        if self.stop.was_requested() {
            return Err(Failure::cancelled());
        }
        let expected = run.conversation.map(str::to_owned);
        let mut forgotten = None;
        let keep = |own: &str| {
            let is_chosen_by_agent = matches!(task.adapter, Adapter::Codex | Adapter::CursorCLI);
            if is_chosen_by_agent && expected.as_deref().is_none_or(|expected| expected == own) {
                forgotten = home.remember(&task.conversation.id, own).err();
            }
        };
        let ran = agent::run(run, self.processes, self.stop, self.log, keep).await;
        if let Some(error) = forgotten {
            let said =
                format!("The conversation's id cannot be kept, so no message can follow: {error}.");
            self.log.tell(Told::new(EventType::Error, said));
        }
        self.progress.facts = ran.facts;
        ran.result.map_err(|failure| self.or_full(failure))
    }

    /// A full volume is the cause of whatever failed on it.
    fn or_full(&self, failure: Failure) -> Failure {
        match failure.reason {
            Reason::Cancelled
            | Reason::WorkspaceFull
            | Reason::RepositoryRefused
            | Reason::PullRequestFailed => failure,
            _ if workspace::is_full(&self.options.workspace) => Failure {
                message: format!("{} {}", workspace::full().message, failure.message),
                reason: Reason::WorkspaceFull,
            },
            _ => failure,
        }
    }

    async fn publish(
        &mut self,
        task: &Task,
        repository: &Repository,
        git: &Git,
        checkout: &Checkout,
    ) -> Result<String, Failure> {
        let title = task.pull_request.title.clone();
        let title =
            title.unwrap_or_else(|| format!("Changes of the session {}", task.session.name));
        git.commit_rest(&title, &task.session).await?;
        let branch = &repository.branch;
        let published = git.push(branch, checkout.base.as_deref()).await?;
        self.progress.published = published.clone();
        if !published.at_host {
            return Ok(
                "The agent finished and changed nothing in the repository, so nothing was pushed."
                    .to_owned(),
            );
        }
        let is = if published.pushed {
            "is pushed"
        } else {
            "was at the repository's host already"
        };
        let done = format!("The agent finished; the branch {branch} {is}.");
        if !task.pull_request.create {
            return Ok(done);
        }
        let Some(base) = checkout.base.as_ref().filter(|_| published.ahead) else {
            return Ok(format!(
                "{done} It holds nothing that could go into a pull request."
            ));
        };
        let Some(api) = self.api(task, repository, &done)? else {
            return Ok(format!(
                "{done} No pull request was opened: what kind of host this is is not known, so name it in the agent's git settings."
            ));
        };
        let result = self
            .log
            .secrets()
            .redact(self.progress.facts.result.as_deref().unwrap_or_default());
        let wanted = Wanted {
            repository: Address::parse(&repository.url)?.path().to_owned(),
            branch: branch.clone(),
            base: base.clone(),
            title: task.pull_request.title.clone().unwrap_or(published.subject),
            body: clip(
                task.pull_request.body.as_deref().unwrap_or(&result),
                BODY_BYTES,
            ),
            draft: task.pull_request.draft,
        };
        let opened = api.open(&wanted).await.map_err(|error| {
            Failure::new(
                Reason::PullRequestFailed,
                format!(
                    "{done} The pull request could not be opened: {}. Open it by hand.",
                    error.0
                ),
            )
        })?;
        let done = format!("{done} Its pull request is {}.", opened.url);
        self.progress.pull_request = Some(opened);
        Ok(done)
    }

    /// The API that opens the pull request; `None` for a host of no kind that is known.
    fn api(
        &self,
        task: &Task,
        repository: &Repository,
        done: &str,
    ) -> Result<Option<Api>, Failure> {
        let address = Address::parse(&repository.url)?;
        let host = task.git.host.unwrap_or_else(|| address.guessed_host());
        if host == GitHost::Other {
            return Ok(None);
        }
        let failed = |why: &str| {
            Failure::new(
                Reason::PullRequestFailed,
                format!("{done} The pull request could not be opened: {why}."),
            )
        };
        let Some(token) = self.token.clone() else {
            return Err(failed(
                "there is no token for the host; give the agent a Secret with one for git",
            ));
        };
        let base = task
            .git
            .api_url
            .clone()
            .unwrap_or_else(|| address.api(host));
        let api = Api::new(host, &base, token).map_err(|error| failed(&error.0))?;
        Ok(Some(api))
    }
}

/// The conversation that the agent has to say it is in.
fn expected(adapter: Adapter, start: &Start) -> Option<&str> {
    match (adapter, start) {
        (Adapter::Process, _) => None,
        (_, Start::Resume(id)) | (Adapter::Claude | Adapter::Gemini, Start::New(id)) => Some(id),
        (Adapter::Codex | Adapter::CursorCLI, Start::New(_)) => None,
    }
}

/// What the agent's environment holds beside the Pod's own.
fn environment(wished: &[(&str, &str)], home: &Path, workspace: &Path) -> Vec<(String, String)> {
    let unset = wished
        .iter()
        .filter(|(name, _)| env::var_os(name).is_none());
    let mut all: Vec<_> = unset
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut set = |name: String, value: String| all.push((name, value));
    set("HOME".to_owned(), home.display().to_string());
    // The agent's own git: it asks nobody, and a volume's root that belongs to root is no reason to refuse.
    set("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
    let count = env::var("GIT_CONFIG_COUNT").ok();
    let count: u32 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    set("GIT_CONFIG_COUNT".to_owned(), (count + 1).to_string());
    set(
        format!("GIT_CONFIG_KEY_{count}"),
        "safe.directory".to_owned(),
    );
    set(
        format!("GIT_CONFIG_VALUE_{count}"),
        workspace.display().to_string(),
    );
    all
}
