//! What is compared: programs that turn CodeSessions into sessions of a provider.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::Trouble;
use crate::measure::{self, ProcessUsage};

/// How long a program may take to get ready, or to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(180);

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The operator of this checkout.
    Current,
    /// The operator of an earlier commit.
    Earlier,
    /// The plain controller in `bench/baseline.rs`.
    Baseline,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Earlier => "earlier",
            Self::Baseline => "baseline",
        })
    }
}

/// A program that is ready to be started.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Which one.
    pub kind: Kind,
    /// The executable.
    pub program: PathBuf,
}

/// The operator of this checkout, which Cargo has built beside the bench.
pub fn current() -> Contestant {
    Contestant {
        kind: Kind::Current,
        program: PathBuf::from(env!("CARGO_BIN_EXE_codeagent-operator")),
    }
}

/// The plain controller, which is this very program.
///
/// # Errors
/// If the system does not tell where it is.
pub fn baseline() -> Result<Contestant, Trouble> {
    Ok(Contestant {
        kind: Kind::Baseline,
        program: std::env::current_exe()?,
    })
}

/// Builds the operator of `commit`, from a copy of that commit under `target/bench`; an earlier build of it is used again.
///
/// # Errors
/// If git or Cargo fail.
pub async fn build_commit(commit: &str) -> Result<Contestant, Trouble> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join("target").join("bench").join(commit);
    let source = directory.join("source");
    let target = directory.join("target");
    if !source.join("Cargo.toml").exists() {
        std::fs::create_dir_all(&source)?;
        let archive = directory.join("source.tar");
        run(Command::new("git")
            .current_dir(root)
            .args(["archive", "--format=tar", "--output"])
            .arg(&archive)
            .arg(commit))
        .await?;
        run(Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&source))
        .await?;
    }
    run(Command::new("cargo")
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--locked", "--quiet", "--release"])
        .args([
            "--package",
            "codeagent-operator",
            "--bin",
            "codeagent-operator",
        ]))
    .await?;
    let program = target.join("release").join("codeagent-operator");
    Ok(Contestant {
        kind: Kind::Earlier,
        program,
    })
}

async fn run(command: &mut Command) -> Result<(), Trouble> {
    let status = command.stdin(Stdio::null()).status().await?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// Where a program works.
#[derive(Clone, Debug)]
pub struct Site {
    /// Kubeconfig of the control plane.
    pub kubeconfig: PathBuf,
    /// Base URL of the simulated Cursor.
    pub cursor: String,
    /// Base URL of the simulated Firebender.
    pub firebender: String,
}

/// A running program. Dropping it kills it.
pub struct Running {
    child: Child,
    pid: u32,
    /// Where it serves `/readyz` and `/metrics`; the baseline serves nothing.
    address: Option<String>,
    /// How long it took to get ready.
    pub ready_after: Duration,
}

impl Contestant {
    /// Starts it and waits until it is ready: its caches are filled and it leads.
    ///
    /// # Errors
    /// If it ends, or is not ready in time.
    pub async fn start(&self, site: &Site) -> Result<Running, Trouble> {
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        let address = match self.kind {
            Kind::Baseline => {
                command.args(["baseline", "--endpoint", &site.cursor]);
                None
            }
            Kind::Current | Kind::Earlier => {
                let address = format!("127.0.0.1:{}", free_port()?);
                command
                    .args([
                        "run",
                        "--operator-namespace=default",
                        "--allow-http-endpoints",
                        "--log-level=error",
                    ])
                    .args(["--poll-min=500ms", "--poll-max=2s", "--sweep-interval=0s"])
                    .arg(format!("--lease-name=bench-{}", self.kind))
                    .arg(format!("--bind-address={address}"))
                    .arg(format!("--provider-endpoint=cursor={}", site.cursor))
                    .arg(format!(
                        "--provider-endpoint=firebender={}",
                        site.firebender
                    ));
                Some(address)
            }
        };
        let child = command
            .env("KUBECONFIG", &site.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the program has ended at once")?;
        let mut running = Running {
            child,
            pid,
            address,
            ready_after: Duration::ZERO,
        };
        running.until_ready().await?;
        running.ready_after = begun.elapsed();
        Ok(running)
    }
}

impl Running {
    async fn until_ready(&mut self) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the program ended with {status}").into());
            }
            let Some(address) = &self.address else {
                return Ok(());
            };
            let leads = match reqwest::get(format!("http://{address}/metrics")).await {
                Ok(answer) => answer
                    .text()
                    .await?
                    .lines()
                    .any(|line| line == "codeagent_leader 1"),
                Err(_) => false,
            };
            let ready = match reqwest::get(format!("http://{address}/readyz")).await {
                Ok(answer) => answer.status().is_success(),
                Err(_) => false,
            };
            if leads && ready {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err("the program does not get ready".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// CPU time and memory until now.
    ///
    /// # Errors
    /// If it has ended.
    pub fn usage(&self) -> Result<ProcessUsage, Trouble> {
        ProcessUsage::of(self.pid)
    }

    /// The most memory that it takes is counted anew from what it takes now.
    ///
    /// # Errors
    /// If it has ended.
    pub fn forget_peak(&self) -> Result<(), Trouble> {
        measure::forget_peak(self.pid)
    }

    /// Sum of a counter's series whose labels contain `labels`; 0 for a program without metrics.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn counter(&self, name: &str, labels: &str) -> Result<f64, Trouble> {
        let Some(address) = &self.address else {
            return Ok(0.0);
        };
        let text = reqwest::get(format!("http://{address}/metrics"))
            .await?
            .text()
            .await?;
        Ok(measure::sum_of(&text, name, &[labels]))
    }

    /// Stops it as a Pod is stopped.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn stop(mut self) -> Result<(), Trouble> {
        run(Command::new("kill").arg(self.pid.to_string())).await?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        Ok(())
    }
}

fn free_port() -> Result<u16, Trouble> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
