//! Where the control plane's programs come from.
//!
//! They are upstream's, unpatched, in the versions that `controlplane/go.mod` pins. Nobody publishes them as a
//! package of any registry, so unless they are found they are built from source, once per machine and version.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::{
    component::Component,
    go_build::{Cache, Module, Program},
};

const CONTROL_PLANE: Module = Module {
    programs: "the control plane's programs",
    go_mod: include_str!("../controlplane/go.mod"),
    go_sum: include_str!("../controlplane/go.sum"),
    main: None,
    tags: "",
    alternative: "set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kube-controller-manager (for a node also kube-scheduler and kubelet)",
    duration: "7 minutes",
};

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// The user's directory of programs lacks one.
    #[error("KUBEBUILDER_ASSETS is {}, which holds no {program}", directory.display())]
    MissingAsset {
        /// What is missing.
        program: &'static str,
        /// Where.
        directory: PathBuf,
    },
    /// The user's helm is no helm, or too old.
    #[error("HELM is {}, which {problem}", program.display())]
    UnusableHelm {
        /// The variable's value.
        program: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is neither a cache directory nor a home.
    #[error("there is no cache directory: set XDG_CACHE_HOME or HOME, or {alternative}")]
    NoCacheDirectory {
        /// What else will do.
        alternative: &'static str,
    },
    /// There is no Go toolchain.
    #[error(
        "{programs} must be built, and Go is not installed: install Go {required} or newer (https://go.dev/dl), or \
         {alternative}"
    )]
    GoMissing {
        /// What is to be built.
        programs: &'static str,
        /// The oldest version that will do.
        required: String,
        /// What else will do.
        alternative: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The Go toolchain is too old, and could not fetch a newer one by itself.
    #[error(
        "{programs} must be built with Go {required} or newer, and this is {found}: update Go (https://go.dev/dl), or \
         {alternative}"
    )]
    GoTooOld {
        /// What is to be built.
        programs: &'static str,
        /// The oldest version that will do.
        required: String,
        /// What Go says of itself.
        found: String,
        /// What else will do.
        alternative: &'static str,
    },
    /// Go failed.
    #[error("`go {command}` failed:\n{output}")]
    Go {
        /// The first words of the command.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// Go built something else.
    #[error("the build left no {program}")]
    NotBuilt {
        /// What is missing.
        program: &'static str,
    },
    /// The embedded go.mod pins no version of a module.
    #[error("the go.mod of {programs} has no `{directive}`")]
    NotPinned {
        /// What the module builds.
        programs: &'static str,
        /// What is missing.
        directive: &'static str,
    },
    /// Files could not be made.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl BinariesError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BinariesError {
        let doing = doing.into();
        move |source| BinariesError::Io { doing, source }
    }
}

/// The programs of one control plane, all of them present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The path of one of the programs that were asked for.
    pub fn path(&self, component: Component) -> PathBuf {
        self.directory.join(component.binary())
    }
}

/// Where to look for the programs, and what to build them with.
#[derive(Debug, Clone)]
pub struct Sources {
    /// A directory that holds the programs. If it is set, nothing else is tried.
    pub assets: Option<PathBuf>,
    /// Where built programs are kept, per version.
    pub cache: PathBuf,
    /// The Go command.
    pub go: PathBuf,
}

impl Sources {
    /// `KUBEBUILDER_ASSETS`; `$XDG_CACHE_HOME` or `~/.cache`, and in it `codeagent-operator/controlplane`; `go`.
    ///
    /// # Errors
    ///
    /// If none of these variables nor `HOME` is set.
    pub fn from_environment() -> Result<Sources, BinariesError> {
        let assets = path_variable("KUBEBUILDER_ASSETS");
        Ok(Sources {
            cache: cache_directory("controlplane", assets.as_deref(), CONTROL_PLANE.alternative)?,
            assets,
            go: PathBuf::from("go"),
        })
    }

    /// Finds the `needed` programs, or builds those that the cache lacks. This takes minutes the first time (about
    /// seven on two cores for all three) and tells its progress on standard error.
    ///
    /// Callers in several threads or processes build once: the others wait. An interrupted build leaves nothing
    /// half-done, and the next one goes on where it ended, by way of Go's own cache.
    ///
    /// # Errors
    ///
    /// If the given directory lacks a program; if Go is missing, too old or fails.
    pub fn provide(&self, needed: &[Component]) -> Result<Binaries, BinariesError> {
        let programs: Vec<_> = needed.iter().map(|component| component.program()).collect();
        let directory = self.provide_programs(&programs)?;
        Ok(Binaries { directory })
    }

    /// The directory that holds the `needed` programs of the module.
    pub(crate) fn provide_programs(&self, needed: &[Program]) -> Result<PathBuf, BinariesError> {
        if let Some(directory) = &self.assets {
            return match needed
                .iter()
                .find(|program| !directory.join(program.name).is_file())
            {
                None => Ok(directory.clone()),
                Some(program) => Err(BinariesError::MissingAsset {
                    program: program.name,
                    directory: directory.clone(),
                }),
            };
        }
        let pinned = Pinned::read()?;
        let cache = Cache {
            root: &self.cache,
            go: &self.go,
        };
        cache.provide(
            &CONTROL_PLANE,
            &pinned.key(),
            needed,
            &pinned.linker_flags(),
        )
    }
}

/// An environment variable that is set and not empty.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The first program of this name in the directories of a `PATH` that is `usable`.
pub(crate) fn found_in(
    search_path: Option<&OsStr>,
    name: &str,
    usable: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    search_path
        .into_iter()
        .flat_map(env::split_paths)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file() && usable(program))
}

/// `$XDG_CACHE_HOME` or `~/.cache`, and in it the directory `name` of this project. Where there is neither, `unused`
/// stands in for it: the caller has programs of the user's own and caches none.
pub(crate) fn cache_directory(
    name: &str,
    unused: Option<&Path>,
    alternative: &'static str,
) -> Result<PathBuf, BinariesError> {
    path_variable("XDG_CACHE_HOME")
        .or_else(|| path_variable("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("codeagent-operator").join(name))
        .or_else(|| unused.map(Path::to_owned))
        .ok_or(BinariesError::NoCacheDirectory { alternative })
}

/// The versions in the control plane's go.mod.
#[derive(Debug, PartialEq, Eq)]
struct Pinned {
    kubernetes: &'static str,
    etcd: &'static str,
}

impl Pinned {
    fn read() -> Result<Pinned, BinariesError> {
        Ok(Pinned {
            kubernetes: CONTROL_PLANE.pinned("k8s.io/kubernetes")?,
            etcd: CONTROL_PLANE.pinned("go.etcd.io/etcd/server/v3")?,
        })
    }

    /// The name of the directory of these versions.
    fn key(&self) -> String {
        format!("k8s-{}-etcd-{}", self.kubernetes, self.etcd)
    }

    /// Upstream stamps its version at link time, and what an unstamped server does depends on a version v0.0.0.
    fn linker_flags(&self) -> String {
        let mut numbers = self.kubernetes.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let stamps = [
            "k8s.io/component-base/version",
            "k8s.io/client-go/pkg/version",
        ]
        .map(|package| {
            format!(
                "-X {package}.gitVersion={} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}",
                self.kubernetes
            )
        });
        format!("-s -w {}", stamps.join(" "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::go_build::release;

    #[test]
    fn the_embedded_module_pins_what_is_built() {
        let pinned = Pinned::read().unwrap();
        assert!(pinned.kubernetes.starts_with("v1."), "{pinned:?}");
        assert!(pinned.etcd.starts_with("v3."), "{pinned:?}");
        let go = CONTROL_PLANE.pinned("go").unwrap();
        assert!(release(go) >= Some((1, 26)), "{go}");
    }

    #[test]
    fn the_version_is_stamped_where_server_and_client_look_for_it() {
        let pinned = Pinned {
            kubernetes: "v1.37.2",
            etcd: "v3.7.3",
        };
        assert_eq!(pinned.key(), "k8s-v1.37.2-etcd-v3.7.3");
        assert_eq!(
            pinned.linker_flags(),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
             -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2 \
             -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=37"
        );
    }
}
