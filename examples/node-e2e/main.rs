//! The chart on a real node: helm installs the operator's image, the kubelet runs it, and sessions reach their pull requests at
//! simulated providers, which run as a Pod as well.
//!
//! ```text
//! sudo apt-get install containerd runc containernetworking-plugins
//! cargo run --example node-e2e               needs root; says why where it cannot run, and ends with 0
//! cargo run --example node-e2e -- --required fails there
//! ```
//!
//! Everything runs in namespaces of its own and ends with this process. Logs are in `target/node-e2e`.

mod images;
mod install;
mod lives;
mod pods;
mod uninstall;
mod world;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use codeagent_harness::HelmSources;
use codeagent_harness::node::{self, Cluster, Ended};
use world::World;

/// Where logs are kept.
const DIRECTORY: &str = "target/node-e2e";
/// How long all of it may take once everything is built: several times what it takes on two cores.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How the isolated process says that there was no cluster to try anything on.
const NO_CLUSTER: u8 = 3;

/// The chart on a real node.
#[derive(Debug, Parser)]
#[command(name = "node-e2e", max_term_width = 100)]
struct Arguments {
    /// Try the release build, which takes minutes to build.
    #[arg(long)]
    release: bool,
    /// Fail where this machine cannot run a node.
    #[arg(long)]
    required: bool,
    /// Only these steps after the installation, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// Internal: within the namespaces, with the programs of this directory and this helm.
    #[arg(long, num_args = 2, value_names = ["DIRECTORY", "HELM"], hide = true)]
    isolated: Option<Vec<PathBuf>>,
}

/// What is tried after the installation, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Many sessions at once.
    Crowd,
    /// The leader is killed.
    Kill,
    /// Upgrades, at last with two replicas.
    Upgrade,
    /// The node is drained; with the two replicas of the upgrade.
    Drain,
    /// Uninstalling while sessions run.
    Uninstall,
    /// The same with the definitions.
    Definitions,
}

fn main() -> ExitCode {
    // An error says that another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("node-e2e: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match arguments.isolated.as_deref() {
            Some([programs, helm]) => isolated(programs, helm, &arguments.only).await,
            Some(_) | None => outside(&arguments).await,
        }
    })
}

/// Builds what is needed and runs the rest in namespaces.
async fn outside(arguments: &Arguments) -> ExitCode {
    if let Err(reason) = node::supported() {
        return skipped(arguments, &reason);
    }
    let ended = async {
        // Asked for before the build, which may replace this program: the path of a file that is gone leads nowhere.
        let own = std::env::current_exe()?;
        let programs = build(&own, arguments.release)?;
        node::prepare().await?;
        let helm =
            tokio::task::spawn_blocking(|| HelmSources::from_environment()?.provide()).await??;
        // Logs of an earlier run would only confuse.
        remove(Path::new(DIRECTORY))?;
        std::fs::create_dir_all(DIRECTORY)?;
        let mut inside: Vec<OsString> = vec!["--isolated".into(), programs.into(), helm.into()];
        for step in arguments.only.iter().filter_map(Step::to_possible_value) {
            inside.push(format!("--only={}", step.get_name()).into());
        }
        let ended = node::run_isolated(&own, &inside, &files(), LIMIT).await?;
        Ok::<Ended, Box<dyn Error>>(ended)
    };
    match ended.await {
        Ok(Ended::Exited(status)) if status.success() => ExitCode::SUCCESS,
        Ok(Ended::Exited(status)) if status.code() == Some(i32::from(NO_CLUSTER)) => {
            skipped(arguments, "the cluster did not start (above)")
        }
        Ok(Ended::Exited(status)) => {
            eprintln!("node-e2e: failed ({status}); logs are in {DIRECTORY}");
            ExitCode::FAILURE
        }
        Ok(Ended::TimedOut) => {
            let reason = format!("it was not done after {} minutes", LIMIT.as_secs() / 60);
            skipped(arguments, &reason)
        }
        Ok(Ended::Interrupted) => ExitCode::FAILURE,
        Err(error) => skipped(arguments, &chain(error.as_ref())),
    }
}

fn skipped(arguments: &Arguments, reason: &str) -> ExitCode {
    eprintln!("node-e2e: SKIPPED, the chart was not tried on a node: {reason}");
    match arguments.required {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Builds the operator and the simulated providers; returns the directory of the programs. `own` is the path of this one.
fn build(own: &Path, release: bool) -> Result<PathBuf, Box<dyn Error>> {
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // With this program among them, the dependencies are those that it was built with; else they would be built once more.
        .args(["build", "--locked", "--package", "codeagent-operator"])
        .args(["--package", "codeagent-simulator", "--bins"])
        .args(["--example", "node-e2e"])
        .args(profile)
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("the programs could not be built".into());
    }
    // This program is target/PROFILE/examples/node-e2e.
    let target = own
        .ancestors()
        .nth(3)
        .ok_or("this program is in no target directory")?;
    Ok(target.join(if release { "release" } else { "debug" }))
}

/// What takes space: images and the files of containers.
fn files() -> PathBuf {
    Path::new(DIRECTORY).join("files")
}

fn remove(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The cluster and what is tried on it.
async fn isolated(programs: &Path, helm: &Path, only: &[Step]) -> ExitCode {
    let begun = std::time::Instant::now();
    let cluster = match Cluster::start(&files()).await {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("node-e2e: {}", chain(&error));
            return ExitCode::from(NO_CLUSTER);
        }
    };
    println!(
        "The node is ready after {:.1} s.",
        begun.elapsed().as_secs_f64()
    );
    let world = World::new(cluster, helm);
    let outcome = match scenario(&world, programs, only).await {
        Ok(()) => {
            println!(
                "Everything went as it should, in {:.0} s.",
                begun.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("node-e2e: {}", chain(error.as_ref()));
            world.describe(Path::new(DIRECTORY)).await;
            ExitCode::FAILURE
        }
    };
    if let Err(error) = world.stop(Path::new(DIRECTORY)).await {
        eprintln!("node-e2e: stopping the node: {error}");
    }
    outcome
}

async fn scenario(world: &World, programs: &Path, only: &[Step]) -> Result<(), Box<dyn Error>> {
    images::import(world, programs).await?;
    let providers = install::install(world).await?;
    for step in Step::value_variants() {
        if !only.is_empty() && !only.contains(step) {
            continue;
        }
        match step {
            Step::Crowd => lives::crowd(world, &providers).await?,
            Step::Kill => lives::kill_leader(world, &providers).await?,
            Step::Upgrade => lives::upgrade(world, &providers).await?,
            Step::Drain => lives::drain(world, &providers).await?,
            Step::Uninstall => {
                uninstall::keeping_definitions(world, &providers).await?;
                uninstall::in_order(world, &providers).await?;
            }
            Step::Definitions => uninstall::removing_definitions(world, &providers).await?,
        }
    }
    Ok(())
}

/// An error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}
