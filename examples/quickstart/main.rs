//! The quick start: a real Kubernetes control plane and simulated providers on this machine, the operator, and the
//! manifests of `examples/`.
//!
//! ```text
//! cargo run --example quickstart            stays until Ctrl-C; use kubectl beside it
//! cargo run --example quickstart -- --exit  ends by itself: 0 if every session reached its expected phase
//! ```

mod operator;
mod screen;
mod timeline;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use codeagent_harness::{ControlPlane, Options};
use codeagent_operator::api::{CodeSession, SessionPhase, crds};
use codeagent_simulator::{
    Key, LaunchFilter, LaunchKind, Provider, Script, Simulator, SimulatorOptions,
};
use futures::StreamExt;
use kube::api::Api;
use kube::{Client, ResourceExt};
use kube_runtime::watcher::{self, Event, watcher};

use operator::{Endpoints, OperatorOptions, OperatorProcess};
use screen::Screen;

/// How long the example sessions may take altogether with --exit.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where the kubeconfig and the operator's log are kept.
const DIRECTORY: &str = "target/quickstart";

/// A real control plane and simulated providers on this machine, the operator, and the manifests of examples/.
#[derive(Debug, Parser)]
#[command(name = "quickstart", max_term_width = 100)]
struct Arguments {
    /// End when every example session has reached its expected phase; fail if one does not.
    #[arg(long)]
    exit: bool,
    /// What to run; nothing for the quick start itself.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The operator as the quick start runs it, as a process of its own.
    Operator(OperatorOptions),
}

fn main() -> ExitCode {
    // An error says that another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quickstart: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Some(Command::Operator(options)) => operator::run(options).await,
            None => quick_start(arguments.exit).await,
        }
    });
    // A thread may still wait for standard input.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn quick_start(exit: bool) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let directory = PathBuf::from(DIRECTORY);
    std::fs::create_dir_all(&directory)?;
    println!(
        "Starting a Kubernetes control plane (the very first start builds it, about seven minutes on two cores) …"
    );
    let control_plane = ControlPlane::start(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await?;
    let kubeconfig = std::path::absolute(directory.join("kubeconfig"))?;
    control_plane.admin().write_kubeconfig(&kubeconfig)?;
    let simulator = Simulator::start(simulated_providers()).await?;
    println!(
        "Control plane and simulated providers are up after {:.1} s.",
        begun.elapsed().as_secs_f64()
    );

    for crd in crds::all() {
        control_plane
            .admin()
            .apply_manifests(&crds::to_yaml(&crd)?)
            .await?;
    }
    let log = std::path::absolute(directory.join("operator.log"))?;
    let endpoints = Endpoints {
        cursor: simulator.cursor_url().to_owned(),
        firebender: simulator.firebender_url().to_owned(),
        flapjack: simulator.flapjack_url().to_owned(),
        firetiger: simulator.firetiger_url().to_owned(),
        http: simulator.url(Provider::Http).to_owned(),
    };
    let timeline_port = timeline::free_port()?;
    let operator = OperatorProcess::start(&kubeconfig, &endpoints, timeline_port, &log).await?;
    println!(
        "The operator runs; its log is in {}.\n",
        relative(&log).display()
    );
    println!("    export KUBECONFIG={}", kubeconfig.display());
    println!("    kubectl get csess -w");
    println!(
        "    curl -s {}/control/sessions   # the providers' side",
        simulator.control_url()
    );
    let client = control_plane.admin().client()?;
    control_plane
        .admin()
        .apply_manifests(timeline::READER)
        .await?;
    let authority = directory.join("timeline-ca.crt");
    timeline::write_authority(&client, &authority).await?;
    println!(
        "{}\n",
        timeline::command(&std::path::absolute(&authority)?, timeline_port)
    );

    let names = apply_examples(&control_plane, simulator.url(Provider::Http)).await?;
    let sessions: Api<CodeSession> = Api::default_namespaced(client.clone());
    let stop = async {
        // Without a handler for Ctrl-C the process ends at once, which is what the user wants.
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        outcome = follow(&sessions, &names, exit) => {
            let unexpected = outcome?;
            operator.stop().await;
            report(&client, &simulator, &unexpected).await
        }
        () = stop => {
            println!("\nStopping everything that was started …");
            operator.stop().await;
            Ok(())
        }
        () = operator.keep_running() => Ok(()),
    }
}

/// The providers as the quick start simulates them: fast enough to watch, slow enough to see.
fn simulated_providers() -> SimulatorOptions {
    // What the manifests of examples/ hold in place of a key.
    let mut keys = Key::demo();
    for (provider, secret) in [
        (Provider::Cursor, "replace-with-your-cursor-key"),
        (Provider::Firebender, "replace-with-your-firebender-key"),
        (Provider::Flapjack, "replace-with-your-flapjack-key"),
        (
            Provider::Firetiger,
            "replace-with-your-firetiger-user:replace-with-your-firetiger-password",
        ),
        (Provider::Http, "replace-with-your-devin-key"),
    ] {
        if let Some(demo) = keys.iter().find(|key| key.provider == provider).cloned() {
            keys.push(Key {
                secret: secret.to_owned(),
                name: "Example key".to_owned(),
                ..demo
            });
        }
    }
    SimulatorOptions {
        keys,
        script: Script {
            creating: Some(Duration::from_millis(1500)),
            setup: Some(Duration::from_millis(700)),
            running: Some(Duration::from_secs(4)),
            ..Script::default()
        },
        ..SimulatorOptions::default()
    }
}

/// Its agent is a Pod, and the control plane of the quick start has no node.
const NEEDS_A_NODE: &str = "job.yaml";

/// Applies every manifest of examples/, with the service of mappings at `http`, but not the one that needs a node; answers with the names of
/// its sessions.
async fn apply_examples(
    control_plane: &ControlPlane,
    http: &str,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(examples())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
                && !path.ends_with(NEEDS_A_NODE)
        })
        .collect();
    files.sort();
    for file in files {
        // A mapping names its endpoint itself.
        let text = std::fs::read_to_string(&file)?.replace("https://api.devin.ai", http);
        println!(
            "apply {}",
            Path::new("examples")
                .join(file.file_name().unwrap_or_default())
                .display()
        );
        for object in control_plane.admin().apply_manifests(&text).await? {
            if object
                .types
                .as_ref()
                .is_some_and(|types| types.kind == "CodeSession")
            {
                names.push(object.name_any());
            }
        }
    }
    println!();
    Ok(names)
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A session that did not become what was expected.
struct Unexpected {
    name: String,
    phase: SessionPhase,
    message: String,
}

/// Shows the sessions as they proceed. With `exit` it ends when all of `names` have ended.
async fn follow(
    sessions: &Api<CodeSession>,
    names: &[String],
    exit: bool,
) -> Result<Vec<Unexpected>, Box<dyn Error>> {
    let mut screen = Screen::new();
    let deadline = tokio::time::sleep(if exit { PATIENCE } else { Duration::MAX });
    let mut deadline = std::pin::pin!(deadline);
    let mut events = std::pin::pin!(watcher(sessions.clone(), watcher::Config::default()));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut deadline => return Ok(unfinished(&screen, names)),
        };
        match event {
            Some(Ok(Event::Apply(session) | Event::InitApply(session))) => screen.show(&session),
            Some(Ok(Event::Delete(session))) => screen.remove(&session),
            Some(Ok(Event::Init | Event::InitDone)) => {}
            // The watch goes on by itself; a control plane that is gone is noticed elsewhere.
            Some(Err(_)) => tokio::time::sleep(Duration::from_millis(300)).await,
            None => return Err("the watch of the sessions ended".into()),
        }
        if exit && names.iter().all(|name| screen.is_completed(name)) {
            return Ok(unfinished(&screen, names));
        }
    }
}

/// Every example is expected to finish.
fn unfinished(screen: &Screen, names: &[String]) -> Vec<Unexpected> {
    let unexpected = names
        .iter()
        .filter(|name| screen.phase(name) != Some(SessionPhase::Finished));
    unexpected
        .map(|name| Unexpected {
            name: name.clone(),
            phase: screen.phase(name).unwrap_or_default(),
            message: screen.message(name),
        })
        .collect()
}

/// What came of it, with the providers' side of the story.
async fn report(
    client: &Client,
    simulator: &Simulator,
    unexpected: &[Unexpected],
) -> Result<(), Box<dyn Error>> {
    let sessions: Api<CodeSession> = Api::default_namespaced(client.clone());
    let stored = sessions.list(&Default::default()).await?.items.len();
    let paid = |kind| {
        let filter = LaunchFilter {
            kind: Some(kind),
            ..LaunchFilter::default()
        };
        simulator.launches(&filter).len()
    };
    println!(
        "\n{stored} sessions; the simulated providers have seen {} launches and {} messages.",
        paid(LaunchKind::Session),
        paid(LaunchKind::Message)
    );
    if unexpected.is_empty() {
        println!("Every example session has finished.");
        return Ok(());
    }
    for session in unexpected {
        println!(
            "{} is {}, not Finished: {}",
            session.name,
            session.phase.as_str(),
            session.message
        );
    }
    Err(format!("{} example session(s) did not finish", unexpected.len()).into())
}

fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .map_or_else(|_| path.to_owned(), Path::to_owned)
}
