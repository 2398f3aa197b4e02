//! Where helm comes from: the user's own, or built once in the version that `helm/go.mod` pins.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    binaries::{BinariesError, cache_directory, found_in, path_variable},
    go_build::{Cache, Module, Program, release},
};

const MODULE: Module = Module {
    programs: "helm",
    go_mod: include_str!("../helm/go.mod"),
    go_sum: include_str!("../helm/go.sum"),
    main: None,
    tags: "",
    alternative: "install helm 3.16 or newer, or set HELM to its path",
    duration: "3 minutes",
};

const PROGRAM: Program = Program {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    built_name: "helm",
};

/// The oldest helm that the chart is made for.
const OLDEST: (u32, u32) = (3, 16);

/// Where to look for helm, and what to build it with.
#[derive(Debug, Clone)]
pub struct HelmSources {
    /// The user's choice. If it is set, nothing else is tried.
    pub helm: Option<PathBuf>,
    /// The directories that commands are looked for in, as in `PATH`. A helm in them is taken if it is recent enough.
    pub search_path: Option<OsString>,
    /// Where a built helm is kept, per version.
    pub cache: PathBuf,
    /// The Go command.
    pub go: PathBuf,
}

impl HelmSources {
    /// `HELM`; `PATH`; `$XDG_CACHE_HOME` or `~/.cache`, and in it `codeagent-operator/helm`; `go`.
    ///
    /// # Errors
    ///
    /// If neither `HELM` nor `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn from_environment() -> Result<HelmSources, BinariesError> {
        let helm = path_variable("HELM");
        Ok(HelmSources {
            cache: cache_directory("helm", helm.as_deref(), MODULE.alternative)?,
            helm,
            search_path: std::env::var_os("PATH"),
            go: PathBuf::from("go"),
        })
    }

    /// Finds helm 3.16 or newer, or builds it: about three minutes the first time, with its progress on standard error.
    /// Returns its path.
    ///
    /// # Errors
    ///
    /// If the user's choice is no such helm; if Go is missing, too old or fails.
    pub fn provide(&self) -> Result<PathBuf, BinariesError> {
        if let Some(helm) = &self.helm {
            return match usable(helm) {
                Ok(()) => Ok(helm.clone()),
                Err(problem) => Err(BinariesError::UnusableHelm {
                    program: helm.clone(),
                    problem,
                }),
            };
        }
        let found = found_in(self.search_path.as_deref(), PROGRAM.name, |helm| {
            usable(helm).is_ok()
        });
        if let Some(helm) = found {
            return Ok(helm);
        }
        let version = MODULE.pinned("helm.sh/helm/v4")?;
        let cache = Cache {
            root: &self.cache,
            go: &self.go,
        };
        let directory = cache.provide(
            &MODULE,
            version,
            &[PROGRAM],
            &format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}"),
        )?;
        Ok(directory.join(PROGRAM.name))
    }
}

/// Whether this is a helm that is recent enough; else what is wrong.
fn usable(helm: &Path) -> Result<(), String> {
    let cannot_run = |error: io::Error| format!("cannot be run: {error}");
    let output = Command::new(helm)
        .args(["version", "--template", "{{.Version}}"])
        .stdin(Stdio::null())
        .output()
        .map_err(cannot_run)?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let version = stdout.trim();
    match release(version.trim_start_matches('v')) {
        Some(found) if output.status.success() && found >= OLDEST => Ok(()),
        Some(_) if output.status.success() => Err(format!("is {version}: 3.16 or newer is needed")),
        Some(_) | None => Err("does not tell its version".to_owned()),
    }
}
