//! The operator as a process of its own, so that it can be stopped and killed like any other; it is started again, as a
//! Deployment would.

use std::error::Error;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use codeagent_operator::cli::{Cli, Command};
use codeagent_operator::controllers::error::Chain;
use codeagent_operator::operator;
use codeagent_operator::runtime::proxy;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command as Process};
use tokio_util::sync::CancellationToken;

/// How the quick start runs the operator.
#[derive(Clone, Debug, Args)]
pub struct OperatorOptions {
    /// Kubeconfig of the control plane.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Port on this machine for timelines.
    #[arg(long)]
    timeline_port: u16,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Base URLs of the simulated providers.
#[derive(Clone, Debug, Args)]
pub struct Endpoints {
    #[arg(long)]
    pub cursor: String,
    #[arg(long)]
    pub firebender: String,
    #[arg(long)]
    pub flapjack: String,
    #[arg(long)]
    pub firetiger: String,
    #[arg(long)]
    pub http: String,
}

impl Endpoints {
    /// The flags of the operator that lead it there.
    fn flags(&self) -> impl Iterator<Item = String> {
        [
            ("cursor", &self.cursor),
            ("firebender", &self.firebender),
            ("flapjack", &self.flapjack),
            ("firetiger", &self.firetiger),
            ("http", &self.http),
        ]
        .map(|(provider, url)| format!("--provider-endpoint={provider}={url}"))
        .into_iter()
    }
}

/// Runs the operator in this process until it is told to stop or its parent is gone.
pub async fn run(options: OperatorOptions) -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::new("info,kube_runtime=warn,kube_client=warn");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stop = CancellationToken::new();
    let on_end = stop.clone();
    tokio::spawn(async move {
        let mut terminate =
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(terminate) => terminate,
                Err(_) => return,
            };
        // The parent holds the other end of standard input for as long as it lives.
        let mut input = tokio::io::stdin();
        let mut byte = [0_u8; 1];
        tokio::select! {
            _ = input.read(&mut byte) => {}
            _ = terminate.recv() => {}
        }
        on_end.cancel();
    });
    let kubeconfig = kube::config::Kubeconfig::read_from(&options.kubeconfig)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &Default::default()).await?;
    proxy::apply(&mut config, &kubeconfig, &proxy::Environment::read());
    let arguments = [
        "codeagent-operator",
        "run",
        "--operator-namespace=default",
        "--bind-address=127.0.0.1:0",
        "--allow-http-endpoints",
        // Simulated sessions take seconds, so they are looked at more often than real ones.
        "--poll-min=500ms",
        "--recheck=2s",
        "--counts-interval=1s",
        // … and a lost launch is found again within seconds instead of minutes.
        "--send-window=2s",
        "--post-timeout=5s",
        "--settle-time=3s",
        "--consistency-window=1s",
        "--clock-margin=1s",
        "--deletion-bound=60s",
        "--deletion-slack=10s",
        "--stop-silence=5s",
        "--stalled-after=10s",
        "--lost-after=30s",
        "--after-end=5s",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!(
        "--timeline-bind-address=127.0.0.1:{}",
        options.timeline_port
    )])
    .chain(options.endpoints.flags());
    let cli = <Cli as clap::Parser>::try_parse_from(arguments)?;
    match cli.command {
        Command::Run(run) => operator::run_with(config, *run, stop)
            .await
            .map_err(|error| Chain(&error).to_string().into()),
        Command::Check(_) | Command::Crds => Ok(()),
    }
}

/// The operator as a child of the quick start.
pub struct OperatorProcess {
    command: Box<dyn Fn() -> std::io::Result<Child> + Send + Sync>,
    child: tokio::sync::Mutex<Child>,
    // Held apart: waiting for a child closes the input that is still in its hands.
    input: Mutex<Option<ChildStdin>>,
    stopping: Mutex<bool>,
}

impl OperatorProcess {
    /// Starts it, with its log in `log`.
    pub async fn start(
        kubeconfig: &Path,
        endpoints: &Endpoints,
        timeline_port: u16,
        log: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        // A log of an earlier start would only confuse.
        std::fs::write(log, "")?;
        let program = std::env::current_exe()?;
        let kubeconfig = kubeconfig.to_owned();
        let endpoints = endpoints.clone();
        let log = log.to_owned();
        let command = move || {
            let log = OpenOptions::new().append(true).create(true).open(&log)?;
            Process::new(&program)
                .arg("operator")
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .arg(format!("--timeline-port={timeline_port}"))
                .args([
                    "--cursor",
                    &endpoints.cursor,
                    "--firebender",
                    &endpoints.firebender,
                    "--flapjack",
                    &endpoints.flapjack,
                    "--firetiger",
                    &endpoints.firetiger,
                    "--http",
                    &endpoints.http,
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
        };
        let mut child = command()?;
        println!("operator: process {}", child.id().unwrap_or_default());
        let input = Mutex::new(child.stdin.take());
        Ok(Self {
            command: Box::new(command),
            child: tokio::sync::Mutex::new(child),
            input,
            stopping: Mutex::new(false),
        })
    }

    /// Starts it again whenever it ends; returns once it was told to stop.
    pub async fn keep_running(&self) {
        loop {
            let ended = self.child.lock().await.wait().await;
            if self.is_stopping() {
                return;
            }
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            println!("operator: ended ({how}), starts again in 2 s");
            tokio::time::sleep(Duration::from_secs(2)).await;
            match (self.command)() {
                Ok(mut child) => {
                    *self.input.lock().unwrap_or_else(PoisonError::into_inner) = child.stdin.take();
                    println!("operator: process {}", child.id().unwrap_or_default());
                    *self.child.lock().await = child;
                }
                Err(error) => println!("operator: cannot be started again: {error}"),
            }
        }
    }

    /// Stops it and waits for its end.
    pub async fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let mut child = self.child.lock().await;
        // Closing its standard input tells it to stop.
        drop(
            self.input
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if tokio::time::timeout(Duration::from_secs(15), child.wait())
            .await
            .is_err()
        {
            // It had its time; a failure means that it has just ended.
            let _ = child.kill().await;
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
