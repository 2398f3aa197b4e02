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
use crate::processes::{Processes, Started};
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

/// Compares the conversation that the agent says it is in, once, with the one that it must be in.
struct ConversationCheck<'a> {
    expected: Option<&'a str>,
    said: bool,
    on_said: &'a mut dyn FnMut(&str),
}

impl ConversationCheck<'_> {
    fn is_another(&mut self, reader: &Reader) -> bool {
        let Some(id) = reader.facts().conversation.as_deref() else {
            return false;
        };
        if !self.said {
            self.said = true;
            (self.on_said)(id);
        }
        self.expected.is_some_and(|expected| expected != id)
    }
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
    let mut reader = Reader::new(run.adapter);
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
    let idle = run.limits.idle_seconds.map(Duration::from_secs);
    let grace = Duration::from_secs(run.limits.grace_period_seconds);
    let never = Instant::now() + Duration::from_secs(365 * 86_400);
    let mut idle_at = idle.map_or(never, |idle| Instant::now() + idle);
    let mut kill_at = never;
    let mut ending = None;
    let mut stderr = String::new();
    let mut conversation = ConversationCheck {
        expected: run.conversation,
        said: false,
        on_said: &mut said_conversation,
    };
    let exit = loop {
        tokio::select! {
            biased;
            () = stop.requested(), if ending != Some(Ending::Cancelled) => {
                log.status("Told to stop: the agent is ended.");
                if ending.replace(Ending::Cancelled).is_none() {
                    kill_at = Instant::now() + grace;
                    end(&started, processes, Signal::TERM);
                }
            }
            () = sleep_until(kill_at) => {
                log.status("The agent did not end in time and is killed.");
                kill_at = Instant::now() + Duration::from_secs(1);
                end(&started, processes, Signal::KILL);
            }
            () = sleep_until(idle_at), if ending.is_none() => {
                ending = Some(Ending::Idle);
                kill_at = Instant::now() + grace;
                end(&started, processes, Signal::TERM);
            }
            exit = started.wait() => break exit,
            Some(line) = lines.recv() => {
                idle_at = idle.map_or(never, |idle| Instant::now() + idle);
                take(line, &mut reader, &mut stderr, log);
                if conversation.is_another(&reader) && ending.is_none() {
                    ending = Some(Ending::OtherConversation);
                    kill_at = Instant::now() + grace;
                    end(&started, processes, Signal::TERM);
                }
            }
        }
    };
    // Whoever still holds the output is gone after this; nothing that it left changes the workspace any more.
    let left = processes.end_all(LEFT_BEHIND_GRACE);
    let read = async {
        while let Some(line) = lines.recv().await {
            take(line, &mut reader, &mut stderr, log);
        }
    };
    // At the same time, since an agent that cannot write does not end.
    let (gone, drained) = tokio::join!(left, async {
        // Bounded by what `end_all` takes at most, and then by the time that a full pipe takes.
        timeout(LEFT_BEHIND_GRACE + Duration::from_secs(10) + DRAIN, read).await
    });
    if !gone || drained.is_err() {
        log.status(
            "Not all processes that the agent left could be ended; they end with the container.",
        );
    }
    if conversation.is_another(&reader) && ending.is_none() {
        ending = Some(Ending::OtherConversation);
    }
    let result = conclude(ending, exit, &reader, &stderr, &run);
    Ran {
        facts: reader.facts().clone(),
        result,
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

/// The group, and whoever left it.
fn end(started: &Started, processes: &Processes, signal: Signal) {
    started.signal(signal);
    if signal == Signal::KILL {
        processes.signal_all(signal);
    }
}

async fn forward(source: impl AsyncRead + Unpin, to: mpsc::Sender<Line>, kind: fn(String) -> Line) {
    let mut lines = Lines::new(source);
    while let Ok(Some(line)) = lines.next().await {
        if to.send(kind(line)).await.is_err() {
            return;
        }
    }
}

fn take<W: Write>(line: Line, reader: &mut Reader, stderr: &mut String, log: &mut Log<W>) {
    match line {
        Line::Out(line) => {
            for told in reader.line(&line) {
                log.tell(told);
            }
        }
        Line::Err(line) => {
            stderr.push_str(&clip(&line, STDERR_BYTES));
            stderr.push('\n');
            if let Some(surplus) = stderr.len().checked_sub(STDERR_BYTES) {
                let end = (surplus..stderr.len()).find(|at| stderr.is_char_boundary(*at));
                stderr.drain(..end.unwrap_or(0));
            }
            if !line.trim().is_empty() {
                log.tell(Told::new(EventType::Output, line));
            }
        }
    }
}

fn conclude(
    ending: Option<Ending>,
    exit: io::Result<Exit>,
    reader: &Reader,
    stderr: &str,
    run: &Run<'_>,
) -> Result<(), Failure> {
    let exit = exit.map_err(|error| {
        Failure::new(
            Reason::AgentFailed,
            format!("How the agent ended is not known: {error}."),
        )
    });
    let concluded = exit.and_then(|exit| {
        let said = reader.conclude(exit, stderr);
        said.map_err(|(reason, message)| Failure::new(reason, message))
    });
    match ending {
        None => concluded,
        // What was decided, whatever the agent made of it: some end with exit code 0.
        Some(Ending::Cancelled) => Err(Failure::cancelled()),
        // It had answered and waited for something of its own.
        Some(Ending::Idle) if concluded.is_ok() => concluded,
        Some(Ending::Idle) => Err(Failure::new(
            Reason::IdleTimeout,
            format!(
                "The agent wrote nothing for {} s and was ended. The workspace is kept; if it only needs longer, raise the idle limit.",
                run.limits.idle_seconds.unwrap_or_default()
            ),
        )),
        Some(Ending::OtherConversation) => Err(Failure::new(
            Reason::ConversationLost,
            format!(
                "The agent went on in conversation {}, not in {}, and was ended. Start a new session.",
                reader.facts().conversation.as_deref().unwrap_or_default(),
                run.conversation.unwrap_or_default()
            ),
        )),
    }
}
