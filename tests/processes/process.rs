//! One process of the operator.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codeagent_simulator::Provider;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::crossing::Crossing;
use crate::support::operator::Arguments;
use crate::support::world::{PATIENCE, World};

/// What a process can be told.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// End at once.
    Kill,
    /// Stop in order.
    Terminate,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Signal {
    fn flag(self) -> &'static str {
        match self {
            Self::Kill => "-KILL",
            Self::Terminate => "-TERM",
            Self::Stop => "-STOP",
            Self::Continue => "-CONT",
        }
    }
}

/// One process of the operator. Dropping it kills it.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<(Instant, String)>>>,
    reading: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the program as a Pod called `name`, whose every request goes through `crossing`. Does not wait.
    pub fn start(world: &World, crossing: &Crossing, name: &str, arguments: &Arguments) -> Self {
        let urls = world.simulator.urls();
        let mut arguments = arguments
            .clone()
            .with("--namespace", world.name())
            .with("--operator-namespace", world.name());
        for provider in Provider::ALL {
            let endpoint = format!("{provider}={}", urls.of(provider));
            arguments = arguments.and("--provider-endpoint", &endpoint);
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_codeagent-operator"))
            .args(arguments.words())
            .env("KUBECONFIG", crossing.kubeconfig())
            .env("HOSTNAME", name)
            .env("NO_COLOR", "1")
            .env("ALL_PROXY", crossing.proxy_url())
            .env_remove("HTTP_PROXY")
            .env_remove("http_proxy")
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut lines) = (
            Arc::clone(&log),
            BufReader::new(child.stderr.take().unwrap()).lines(),
        );
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap().push((Instant::now(), line));
            }
        });
        Self {
            child,
            log,
            reading: Some(reading),
        }
    }

    /// Waits until it has logged `text`; when that was.
    pub async fn until_logged(&mut self, text: &str) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = {
                let log = self.log.lock().unwrap();
                log.iter()
                    .find(|(_, line)| line.contains(text))
                    .map(|(at, _)| *at)
            };
            if let Some(at) = found {
                return at;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} is not logged:\n{}",
                self.log()
            );
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {text:?}:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it is ready: it acts, or stands by.
    pub async fn until_ready(&mut self) {
        self.until_logged("caches are filled").await;
        let deadline = Instant::now() + PATIENCE;
        while !self.ask("readyz").await.status().is_success() {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether its metrics say that it leads.
    pub async fn says_that_it_leads(&self) -> bool {
        let metrics = self.ask("metrics").await.text().await.unwrap();
        let gauge = metrics
            .lines()
            .find_map(|line| line.strip_prefix("codeagent_leader "));
        gauge.expect("there is a gauge") == "1"
    }

    async fn ask(&self, path: &str) -> reqwest::Response {
        let log = self.log();
        let (_, rest) = log.split_once("starts address=").expect("it serves");
        let address = rest.split_whitespace().next().unwrap();
        let url = format!("http://{address}/{path}");
        reqwest::get(url).await.unwrap()
    }

    /// Waits until it leads.
    pub async fn until_leading(&mut self) -> Instant {
        self.until_logged("acquired leadership").await
    }

    /// Everything it has logged until now.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap();
        log.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Sends it a signal; when that was. Returns from [`Signal::Stop`] once all of the process stands still.
    pub async fn signal(&self, signal: Signal) -> Instant {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Instant::now();
        let status = Command::new("kill").args([signal.flag(), &id]).status();
        assert!(status.await.unwrap().success());
        if matches!(signal, Signal::Stop) {
            self.until_stopped(&id).await;
        }
        sent
    }

    /// `kill` returns when the signal is pending. One thread has to run to see it and stop the others, and until then, which can be
    /// long on a busy machine, the others go on: they could still read an answer and store it.
    async fn until_stopped(&self, id: &str) {
        let deadline = Instant::now() + PATIENCE;
        while threads(id).iter().any(|state| *state != 'T') {
            assert!(Instant::now() < deadline, "it does not stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it and waits for its end.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended
            .unwrap_or_else(|_| panic!("it does not end:\n{}", self.log()))
            .unwrap();
        // What it said last may not have been read yet.
        if let Some(reading) = self.reading.take() {
            tokio::time::timeout(PATIENCE, reading)
                .await
                .expect("its log ends with it")
                .unwrap();
        }
        status
    }
}

/// The states of a process's threads, as the kernel tells them: `T` is stopped.
fn threads(process: &str) -> Vec<char> {
    // Elsewhere than on Linux nobody tells, and nothing is waited for.
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let state = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        // The name, in parentheses, may contain anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.chars().next()
    };
    // A thread that ended meanwhile has no state.
    tasks.filter_map(|task| state(task.ok()?)).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- a process's log ----\n{}----", self.log());
        }
    }
}
