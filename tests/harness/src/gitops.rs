//! What GitOps engines do with objects: the libraries of Flux and Argo CD, each in a small program of ours that reads JSON and writes JSON.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{
    Access,
    binaries::{BinariesError, cache_directory},
    go_build::{Cache, Module, Program},
};

const FLUX: Engine = Engine {
    module: Module {
        programs: "Flux's engine",
        go_mod: include_str!("../flux/go.mod"),
        go_sum: include_str!("../flux/go.sum"),
        main: Some(include_str!("../flux/main.go")),
        tags: "",
        alternative: "do without this check",
        duration: "3 minutes",
    },
    library: "github.com/fluxcd/pkg/ssa",
    program: Program {
        name: "flux",
        package: ".",
        built_name: "flux",
    },
};

const ARGO_CD: Engine = Engine {
    module: Module {
        programs: "Argo CD's engine",
        go_mod: include_str!("../argocd/go.mod"),
        go_sum: include_str!("../argocd/go.sum"),
        main: Some(include_str!("../argocd/main.go")),
        tags: "",
        alternative: "do without this check",
        duration: "2 minutes",
    },
    library: "github.com/argoproj/argo-cd/gitops-engine",
    program: Program {
        name: "argocd",
        package: ".",
        built_name: "argocd",
    },
};

/// A program of ours around an engine's library.
struct Engine {
    module: Module,
    library: &'static str,
    program: Program,
}

impl Engine {
    /// Builds it, unless this version of the library and of our program is there.
    fn provide(&self) -> Result<PathBuf, BinariesError> {
        let root = cache_directory(self.program.name, None, self.module.alternative)?;
        let cache = Cache {
            root: &root,
            go: Path::new("go"),
        };
        let mut ours = DefaultHasher::new();
        (self.module.go_sum, self.module.main).hash(&mut ours);
        let version = self.module.pinned(self.library)?;
        let key = format!("{version}-{:016x}", ours.finish());
        let directory = cache.provide(&self.module, &key, &[self.program], "-s -w")?;
        Ok(directory.join(self.program.name))
    }
}

/// Flux: its server-side apply with the options of its kustomize-controller, and its reading of status (kstatus).
#[derive(Debug)]
pub struct Flux(PathBuf);

/// What Flux did with an object, or what it makes of its status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FluxAnswer {
    /// Kind, namespace and name, with slashes between them.
    pub subject: String,
    /// `created`, `configured`, `unchanged` or `skipped`; of a status `Current`, `InProgress`, `Failed` or `Terminating`.
    pub action: String,
    /// What kstatus says beside the status; empty after an apply.
    #[serde(default)]
    pub message: String,
}

impl Flux {
    /// Builds the program the first time: about three minutes, with its progress on standard error.
    ///
    /// # Errors
    ///
    /// If Go is missing, too old or fails; if there is no place for the cache.
    pub fn build() -> Result<Self, BinariesError> {
        FLUX.provide().map(Self)
    }

    /// Applies these objects as a Kustomization does.
    ///
    /// # Errors
    ///
    /// What the API server or the library refuses.
    pub async fn apply(&self, access: &Access, objects: &[Value]) -> io::Result<Vec<FluxAnswer>> {
        let kubeconfig = access.kubeconfig().display().to_string();
        ask(&self.0, &["apply", &kubeconfig], &json!(objects)).await
    }

    /// How these objects stand, by kstatus.
    ///
    /// # Errors
    ///
    /// What the library refuses.
    pub async fn status(&self, objects: &[Value]) -> io::Result<Vec<FluxAnswer>> {
        ask(&self.0, &["status"], &json!(objects)).await
    }
}

/// Argo CD: its comparison of what stands in Git with what stands in the cluster.
#[derive(Debug)]
pub struct ArgoCd(PathBuf);

/// Whether an object is out of sync, by both comparisons.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ArgoCdAnswer {
    /// The default: three-way with what `kubectl apply` noted, else two-way.
    pub client: Difference,
    /// With `ServerSideDiff=true`.
    pub server: Difference,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Difference {
    /// Out of sync.
    pub modified: bool,
    /// The object in the cluster, as it is compared.
    pub live: Value,
    /// What it would be after a sync.
    pub predicted: Value,
}

impl ArgoCd {
    /// Builds the program the first time: about two minutes, with its progress on standard error.
    ///
    /// # Errors
    ///
    /// If Go is missing, too old or fails; if there is no place for the cache.
    pub fn build() -> Result<Self, BinariesError> {
        ARGO_CD.provide().map(Self)
    }

    /// Compares objects: each with what stands in Git, what stands in the cluster and what a dry run of a server-side apply of the first
    /// answers.
    ///
    /// # Errors
    ///
    /// What the library refuses.
    pub async fn compare(
        &self,
        objects: impl IntoIterator<Item = [Value; 3]>,
    ) -> io::Result<Vec<ArgoCdAnswer>> {
        let objects: Vec<Value> = objects
            .into_iter()
            .map(|[config, live, predicted]| json!({"config": config, "live": live, "predicted": predicted}))
            .collect();
        ask(&self.0, &[], &json!(objects)).await
    }
}

async fn ask<T: DeserializeOwned>(
    program: &Path,
    arguments: &[&str],
    input: &Value,
) -> io::Result<T> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no standard input"))?;
    stdin.write_all(input.to_string().as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.trim().to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
