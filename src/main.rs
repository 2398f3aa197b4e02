//! The operator.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use codeagent_operator::check;
use codeagent_operator::cli::{self, CheckOptions, Cli, Command, LogFormat, RunOptions};
use codeagent_operator::controllers::error::Chain;
use codeagent_operator::operator::{self, RunError};
use codeagent_operator::runtime::panics;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result: Result<(), Box<dyn std::error::Error>> = match cli.command {
        Command::Crds => cli::print_crds(&mut std::io::stdout()).map_err(Into::into),
        Command::Run(options) => run(*options).map_err(Into::into),
        Command::Check(options) => check(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codeagent-operator: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn check(options: &CheckOptions) -> Result<(), Box<dyn std::error::Error>> {
    install_cryptography();
    runtime().block_on(check::run(options))
}

/// First of all: without it the HTTP client panics.
fn install_cryptography() {
    // An error says that another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[expect(
    clippy::expect_used,
    reason = "without threads and timers there is no process to speak of"
)]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("the runtime starts")
}

fn run(options: RunOptions) -> Result<(), RunError> {
    install_cryptography();
    // The libraries' own spans and notes only when asked for by name.
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "kube_runtime=warn,kube_client=warn,{}",
        options.log_level
    ));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    panics::log_places_only();
    runtime().block_on(async {
        let stop = CancellationToken::new();
        let on_signal = stop.clone();
        tokio::spawn(async move {
            let (Ok(mut terminate), Ok(mut interrupt)) = (
                signal(SignalKind::terminate()),
                signal(SignalKind::interrupt()),
            ) else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stops: no new launch; what is under way is finished");
            on_signal.cancel();
        });
        operator::run(options, stop).await
    })
}
