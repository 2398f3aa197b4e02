//! The real operator in this process, on a thread and a runtime of its own: so it can be stopped like a Pod, and end without
//! any grace like a Pod whose node is gone.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Parser;
use codeagent_operator::cli::{Cli, Command, RunOptions};
use codeagent_operator::controllers::error::Chain;
use codeagent_operator::operator;
use kube::Config;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The options of `codeagent-operator run`, by name.
#[derive(Clone, Debug, Default)]
pub struct Arguments(BTreeMap<String, Vec<String>>);

impl Arguments {
    /// For tests in which nothing is lost: looks are frequent, and no limit is so short that a slow machine meets it.
    pub fn calm() -> Self {
        let arguments = [
            ("--bind-address", "127.0.0.1:0"),
            // One that crashed would hold the Lease until its end.
            ("--leader-election", "false"),
            ("--send-window", "60s"),
            ("--post-timeout", "60s"),
            ("--settle-time", "2s"),
            ("--consistency-window", "200ms"),
            ("--clock-margin", "200ms"),
            ("--deletion-bound", "10m"),
            ("--deletion-slack", "1s"),
            ("--fault-wait", "100ms"),
            ("--recheck", "200ms"),
            ("--poll-min", "50ms"),
            ("--poll-max", "300ms"),
            ("--refusal-wait", "2s"),
            ("--stop-silence", "1s"),
            ("--stalled-after", "0s"),
            ("--lost-after", "2s"),
            ("--counts-interval", "200ms"),
            ("--agent-recheck", "5s"),
        ];
        arguments
            .into_iter()
            .fold(Self::default(), |all, (name, value)| all.with(name, value))
            .flag("--allow-http-endpoints")
    }

    /// For tests in which launches get lost: an absence is proven after eight seconds. Shorter, and a busy machine would lose launches by itself.
    pub fn impatient() -> Self {
        Self::calm()
            .with("--send-window", "3s")
            .with("--post-timeout", "4s")
            .with("--settle-time", "1s")
    }

    /// For tests of deletions that nothing confirms: given up after ten seconds.
    pub fn resigned() -> Self {
        Self::impatient().with("--deletion-bound", "10s")
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), vec![value.to_owned()]);
        self
    }

    /// Sets an option once more.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        let values = self.0.entry(name.to_owned()).or_default();
        values.push(value.to_owned());
        self
    }

    /// Sets an option that takes no value.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.0.insert(name.to_owned(), Vec::new());
        self
    }

    /// Takes an option away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// The words of the command line, after the program's name.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["run".to_owned()];
        for (name, values) in &self.0 {
            if values.is_empty() {
                words.push(name.clone());
            }
            for value in values {
                words.push(format!("{name}={value}"));
            }
        }
        words
    }

    /// The options, as the operator reads them.
    ///
    /// # Errors
    /// If there is no such option or value.
    pub fn parse(&self) -> Result<RunOptions, clap::Error> {
        let words = [vec!["codeagent-operator".to_owned()], self.words()].concat();
        match Cli::try_parse_from(words)?.command {
            Command::Run(options) => Ok(*options),
            Command::Check(_) | Command::Crds => {
                Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand))
            }
        }
    }
}

/// Everything that one operator has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How an operator ended that nobody crashed: by itself, or because it was asked to.
pub type End = Result<(), String>;

/// A running operator. Dropping it is a crash.
pub struct Operator {
    log: Log,
    stop: CancellationToken,
    crash: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<End>,
}

impl Operator {
    /// Starts it as whoever `config` says; does not wait.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(config: Config, options: RunOptions) -> std::io::Result<Self> {
        // An error says that another one was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = Log::default();
        let stop = CancellationToken::new();
        let (crash, crashed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (thread_log, thread_stop) = (log.clone(), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            // Of this thread only: every operator has a log of its own. All its tasks run here.
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(&options.log_level)
                .with_ansi(false)
                .with_writer(move || thread_log.clone())
                .finish();
            let _default = tracing::subscriber::set_default(subscriber);
            let result = runtime.block_on(async {
                tokio::select! {
                    result = operator::run_with(config, options, thread_stop) => {
                        result.map_err(|error| Chain(&error).to_string())
                    }
                    _ = crashed => Ok(()),
                }
            });
            // With the runtime everything that was under way is gone.
            drop(runtime);
            // Whoever dropped the operator does not ask.
            let _ = end.send(result);
        };
        std::thread::Builder::new()
            .name("operator".to_owned())
            .spawn(work)?;
        Ok(Self {
            log,
            stop,
            crash: Some(crash),
            ended,
        })
    }

    /// Waits until it has ended by itself or because it was asked to. To be called until it answers, and not again.
    pub async fn ended(&mut self) -> End {
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err("the operator panicked".to_owned()),
        }
    }

    /// How it ended, if it has. To be asked until it answers, and not again.
    pub fn has_ended(&mut self) -> Option<End> {
        match self.ended.try_recv() {
            Ok(end) => Some(end),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => {
                Some(Err("the operator panicked".to_owned()))
            }
        }
    }

    /// Where it serves, as it says itself; `None` until it does.
    pub fn address(&self) -> Option<String> {
        let log = self.log.text();
        let (_, rest) = log.split_once("the operator starts address=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    /// Everything it has logged until now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Asks it to stop as a Pod is asked, and does not wait.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Ends it without any grace: no request is finished, no record written. Returns once nothing of it is left.
    pub async fn crash(&mut self) {
        self.end_at_once();
        // It may have ended in another way a moment before.
        let _ = (&mut self.ended).await;
    }

    fn end_at_once(&mut self) {
        if let Some(crash) = self.crash.take() {
            // The thread may have ended already.
            let _ = crash.send(());
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the operator's log ----\n{}----", self.log());
        }
        self.end_at_once();
    }
}
