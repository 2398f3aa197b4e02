//! One run of the agent: started, fed, read, bounded, ended together with everything that it left.

use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use codeagent_runner_protocol::{Adapter, EventType, Limits, Reason, clip};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::adapters::{Exit, Facts, Invocation, Reader, Told};
use crate::failure::Failure;
use crate::lines::Lines;
use crate::log::Log;
use crate::processes::{GONE_WITHIN, Processes, Started};
use crate::stop::Stop;

/// What of the standard error is kept for a message.
const STDERR_BYTES: usize = 1500;

/// How long the rest of the output may take after every process that could write it is gone.
const DRAIN: Duration = Duration::from_secs(5);

/// What processes that the agent left have to end themselves.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(2);

/// A run to be made.
pub struct Run<'a> {
    pub adapter: Adapter,
    pub invocation: &'a Invocation,
    pub env: Vec<(String, String)>,
    pub dir: &'a Path,
    /// As the agent gets it.
    pub prompt: String,
    pub limits: Limits,
    /// The conversation that it must say it is in; `None`: any.
    pub conversation: Option<&'a str>,
}

/// How a run ended.
pub struct Ran {
    pub facts: Facts,
    pub result: Result<(), Failure>,
}

/// Why we ended the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Cancelled,
    Idle,
    OtherConversation,
}

enum Line {
    Out(String),
    Err(String),
}

/// Runs the agent to its end. `said_conversation` is called once it has told the conversation that it is in.
pub async fn run<W: Write>(
    run: Run<'_>,
    processes: &Processes,
    stop: &Stop,
    log: &mut Log<W>,
    mut said_conversation: impl FnMut(&str),
) -> Ran {
    let mut started = match start(&run, processes) {
        Ok(started) => started,
        Err(failure) => {
            return Ran {
                facts: Facts::default(),
                result: Err(failure),
            };
        }
    };
    let (sender, mut lines) = mpsc::channel(4);
    if let Some(out) = started.child.stdout.take() {
        tokio::spawn(forward(out, sender.clone(), Line::Out));
    }
    if let Some(err) = started.child.stderr.take() {
        tokio::spawn(forward(err, sender, Line::Err));
    }
    let mut watch = Watch {
        reader: Reader::new(run.adapter),
        run,
        processes,
        log,
        said_conversation: &mut said_conversation,
        conversation_said: false,
        stderr: String::new(),
        ending: None,
        kill_at: None,
    };
    let exit = watch.follow(&mut started, stop, &mut lines).await;
    Ran {
        facts: watch.reader.facts().clone(),
        result: watch.conclude(exit),
    }
}

/// The agent while it runs.
struct Watch<'a, W> {
    run: Run<'a>,
    processes: &'a Processes,
    log: &'a mut Log<W>,
    reader: Reader,
    said_conversation: &'a mut dyn FnMut(&str),
    conversation_said: bool,
    /// The end of the standard error.
    stderr: String,
    ending: Option<Ending>,
    /// When its time to end is over.
    kill_at: Option<Instant>,
}

impl<W: Write> Watch<'_, W> {
    /// Follows the agent to its end and takes the rest of its output.
    async fn follow(
        &mut self,
        started: &mut Started,
        stop: &Stop,
        lines: &mut mpsc::Receiver<Line>,
    ) -> io::Result<Exit> {
        let idle = self.run.limits.idle_seconds.map(Duration::from_secs);
        let mut idle_at = idle.map(|idle| Instant::now() + idle);
        let exit = loop {
            tokio::select! {
                biased;
                () = stop.requested(), if self.ending != Some(Ending::Cancelled) => {
                    self.log.status("Told to stop: the agent is ended.");
                    self.end(Ending::Cancelled, started);
                }
                () = at(self.kill_at) => {
                    self.log.status("The agent did not end in time and is killed.");
                    self.kill_at = Some(Instant::now() + Duration::from_secs(1));
                    started.signal(Signal::KILL);
                    // Who left the group may hold up who is in it.
                    self.processes.signal_all(Signal::KILL);
                }
                () = at(idle_at), if self.ending.is_none() => self.end(Ending::Idle, started),
                exit = started.wait() => break exit,
                Some(line) = lines.recv() => {
                    idle_at = idle.map(|idle| Instant::now() + idle);
                    if self.take(line) {
                        self.end(Ending::OtherConversation, started);
                    }
                }
            }
        };
        let processes = self.processes;
        let rest = async {
            while let Some(line) = lines.recv().await {
                if self.take(line) && self.ending.is_none() {
                    self.ending = Some(Ending::OtherConversation);
                }
            }
        };
        // Whoever still holds the output is gone after this, and nothing that the agent left changes the workspace any more. At the same
        // time, since who cannot write does not end.
        let (gone, drained) = tokio::join!(
            processes.end_all(LEFT_BEHIND_GRACE),
            timeout(LEFT_BEHIND_GRACE + GONE_WITHIN + DRAIN, rest)
        );
        if !gone || drained.is_err() {
            let said = "Not all processes that the agent left could be ended; they end with the container.";
            self.log.status(said);
        }
        exit
    }

    /// Tells the agent to end, once; a stop that comes later is the reason all the same.
    fn end(&mut self, ending: Ending, started: &Started) {
        let before = self.ending;
        if before.is_none() || ending == Ending::Cancelled {
            self.ending = Some(ending);
        }
        if before.is_none() {
            let grace = Duration::from_secs(self.run.limits.grace_period_seconds);
            self.kill_at = Some(Instant::now() + grace);
            started.signal(Signal::TERM);
        }
    }

    /// Takes a line into account. True if the agent is in another conversation than the one it must be in.
    fn take(&mut self, line: Line) -> bool {
        match line {
            Line::Out(line) => {
                for told in self.reader.line(&line) {
                    self.log.tell(told);
                }
            }
            Line::Err(line) => {
                keep_end(&mut self.stderr, &line);
                if !line.trim().is_empty() {
                    self.log.tell(Told::new(EventType::Output, line));
                }
            }
        }
        let Some(id) = self.reader.facts().conversation.as_deref() else {
            return false;
        };
        if !self.conversation_said {
            self.conversation_said = true;
            (self.said_conversation)(id);
        }
        self.run.conversation.is_some_and(|expected| expected != id)
    }

    fn conclude(&self, exit: io::Result<Exit>) -> Result<(), Failure> {
        let exit = exit.map_err(|error| {
            let said = format!("How the agent ended is not known: {error}.");
            Failure::new(Reason::AgentFailed, said)
        });
        let concluded = exit.and_then(|exit| {
            let said = self.reader.conclude(exit, &self.stderr);
            said.map_err(|(reason, message)| Failure::new(reason, message))
        });
        match self.ending {
            None => concluded,
            // What was decided, whatever the agent made of it: some end with exit code 0.
            Some(Ending::Cancelled) => Err(Failure::cancelled()),
            // It had answered and waited for something of its own.
            Some(Ending::Idle) if concluded.is_ok() => concluded,
            Some(Ending::Idle) => Err(Failure::new(
                Reason::IdleTimeout,
                format!(
                    "The agent wrote nothing for {} s and was ended. The workspace is kept; if it only needs longer, raise the idle limit.",
                    self.run.limits.idle_seconds.unwrap_or_default()
                ),
            )),
            Some(Ending::OtherConversation) => Err(Failure::new(
                Reason::ConversationLost,
                format!(
                    "The agent went on in conversation {}, not in {}, and was ended. Start a new session.",
                    self.reader
                        .facts()
                        .conversation
                        .as_deref()
                        .unwrap_or_default(),
                    self.run.conversation.unwrap_or_default()
                ),
            )),
        }
    }
}

/// At this time; without one, never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn start(run: &Run<'_>, processes: &Processes) -> Result<Started, Failure> {
    let program = &run.invocation.program;
    let mut command = Command::new(program);
    command
        .args(&run.invocation.args)
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        .current_dir(run.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut started = processes.start(&mut command).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Failure::command_not_found(program)
        } else {
            let said =
                format!("{program} cannot be started: {error}. Check the image of the agent.");
            Failure::new(Reason::AgentStartFailed, said)
        }
    })?;
    if let Some(mut input) = started.child.stdin.take() {
        let prompt = run.prompt.clone();
        // An agent that does not read it to the end says why itself.
        tokio::spawn(async move { input.write_all(prompt.as_bytes()).await });
    }
    Ok(started)
}

async fn forward(source: impl AsyncRead + Unpin, to: mpsc::Sender<Line>, kind: fn(String) -> Line) {
    let mut lines = Lines::new(source);
    while let Ok(Some(line)) = lines.next().await {
        if to.send(kind(line)).await.is_err() {
            return;
        }
    }
}

/// Adds a line and forgets the beginning of what is too long.
fn keep_end(kept: &mut String, line: &str) {
    kept.push_str(&clip(line, STDERR_BYTES));
    kept.push('\n');
    if let Some(surplus) = kept.len().checked_sub(STDERR_BYTES) {
        let end = (surplus..kept.len()).find(|at| kept.is_char_boundary(*at));
        kept.drain(..end.unwrap_or(0));
    }
}
