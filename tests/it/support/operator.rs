//! The real operator in the test's process, on a thread and a runtime of its own: so it can be stopped like a Pod, and
//! end without any grace like a Pod whose node is gone.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use codeagent_operator::cli::{self, Cli, Command, RunOptions};
use codeagent_operator::controllers::error::Chain;
use kube::Config;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long a start or an orderly stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The options of `codeagent-operator run`, by name.
#[derive(Clone, Debug)]
pub struct Arguments(BTreeMap<String, Vec<String>>);

impl Arguments {
    /// For tests in which nothing is lost: looks are frequent, and no limit is so short that a slow machine meets it.
    pub fn calm() -> Self {
        let arguments = [
            ("--bind-address", "127.0.0.1:0"),
            // One that crashed would hold the Lease until its end.
            ("--leader-election", "false"),
            ("--send-window", "20s"),
            ("--post-timeout", "20s"),
            ("--settle-time", "2s"),
            ("--consistency-window", "200ms"),
            ("--clock-margin", "200ms"),
            ("--deletion-bound", "60s"),
            ("--deletion-slack", "1s"),
            ("--fault-wait", "100ms"),
            ("--recheck", "200ms"),
            ("--poll-min", "50ms"),
            ("--poll-max", "300ms"),
            ("--refusal-wait", "2s"),
            ("--stop-silence", "1s"),
            ("--counts-interval", "200ms"),
            ("--agent-recheck", "5s"),
        ];
        let all = arguments.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        Self(all.into_iter().collect()).flag("--allow-http-endpoints")
    }

    /// For tests in which launches get lost: an absence is proven after four seconds.
    pub fn impatient() -> Self {
        Self::calm()
            .with("--send-window", "1s")
            .with("--post-timeout", "2s")
            .with("--settle-time", "1s")
            .with("--deletion-bound", "12s")
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

    fn flag(mut self, name: &str) -> Self {
        self.0.insert(name.to_owned(), Vec::new());
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

    fn parse(&self) -> RunOptions {
        let words = [vec!["codeagent-operator".to_owned()], self.words()].concat();
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(options) => *options,
            Command::Crds => unreachable!("the first word is run"),
        }
    }
}

/// Everything that one operator has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A running operator. Dropping it is a crash.
pub struct Operator {
    log: Log,
    stop: CancellationToken,
    crash: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Operator {
    /// Starts it as whoever `config` says, and waits until it is ready.
    pub async fn start(config: Config, arguments: &Arguments) -> Self {
        // An error says that another test was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = arguments.parse();
        let log = Log::default();
        let stop = CancellationToken::new();
        let (crash, crashed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (thread_log, thread_stop) = (log.clone(), stop.clone());
        std::thread::spawn(move || {
            // Of this thread only: every operator has a log of its own. All its tasks run here.
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(&options.log_level)
                .with_ansi(false)
                .with_writer(move || thread_log.clone())
                .finish();
            let _default = tracing::subscriber::set_default(subscriber);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let result = runtime.block_on(async {
                tokio::select! {
                    result = cli::run_with(config, options, thread_stop) => {
                        result.map_err(|error| Chain(&error).to_string())
                    }
                    _ = crashed => Ok(()),
                }
            });
            // With the runtime everything that was under way is gone.
            drop(runtime);
            let _ = end.send(result);
        });
        let mut operator = Self {
            log,
            stop,
            crash: Some(crash),
            ended,
        };
        operator.until_ready().await;
        operator
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(result) = self.ended.try_recv() {
                panic!("the operator ended: {result:?}");
            }
            if let Some(address) = self.address()
                && let Ok(answer) = reqwest::get(format!("http://{address}/readyz")).await
                && answer.status().is_success()
            {
                return;
            }
            assert!(Instant::now() < deadline, "the operator is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where it serves, as it says itself.
    fn address(&self) -> Option<String> {
        let log = self.log.text();
        let (_, rest) = log.split_once("the operator starts address=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    /// Everything it has logged until now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Its metrics as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address().unwrap());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Stops it as a Pod is stopped, and waits until it has ended by itself.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, &mut self.ended).await;
        ended
            .expect("the operator stops in time")
            .expect("the operator does not panic")
            .expect("the operator ends without an error");
    }

    /// Ends it without any grace: no request is finished, no record written.
    pub async fn crash(mut self) {
        self.end_at_once();
        let _ = tokio::time::timeout(PATIENCE, &mut self.ended)
            .await
            .expect("the runtime ends");
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
            eprintln!("---- the operator's log ----\n{}----", self.log.text());
        }
        self.end_at_once();
    }
}
