//! Where the control plane's programs come from.
//!
//! They are upstream's, unpatched, in the versions that `controlplane/go.mod` pins. Nobody publishes them as a
//! package of any registry, so unless they are found they are built from source, once per machine and version.

use std::{
    cell::Cell,
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    component::Component,
    progress::{self, Progress},
};

const GO_MOD: &str = include_str!("../controlplane/go.mod");
const GO_SUM: &str = include_str!("../controlplane/go.sum");

/// How many lines of Go's output an error holds.
const ERROR_LINES: usize = 40;

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// The user's directory of programs lacks one.
    #[error("KUBEBUILDER_ASSETS is {}, which holds no {component}", directory.display())]
    MissingAsset {
        /// What is missing.
        component: Component,
        /// Where.
        directory: PathBuf,
    },
    /// There is neither a cache directory nor a home.
    #[error("there is no cache directory: set XDG_CACHE_HOME or HOME, or KUBEBUILDER_ASSETS")]
    NoCacheDirectory,
    /// There is no Go toolchain.
    #[error(
        "the control plane's programs have to be built, and Go is not installed: install Go {required} or newer \
         (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and \
         kube-controller-manager"
    )]
    GoMissing {
        /// The oldest version that will do.
        required: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The Go toolchain is too old, and could not fetch a newer one by itself.
    #[error(
        "the control plane's programs have to be built with Go {required} or newer, and this is {found}: update Go \
         (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and \
         kube-controller-manager"
    )]
    GoTooOld {
        /// The oldest version that will do.
        required: String,
        /// What Go says of itself.
        found: String,
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
    #[error("the build left no {component}")]
    NotBuilt {
        /// What is missing.
        component: Component,
    },
    /// The embedded go.mod pins no version of a module.
    #[error("the control plane's go.mod has no `{directive}`")]
    NotPinned {
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
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BinariesError {
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

    fn has(&self, component: Component) -> bool {
        self.path(component).is_file()
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
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let assets = variable("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Ok(Sources {
            cache: match (&assets, cache) {
                (_, Some(cache)) => cache.join("codeagent-operator/controlplane"),
                // Never used.
                (Some(assets), None) => assets.clone(),
                (None, None) => return Err(BinariesError::NoCacheDirectory),
            },
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
        if let Some(directory) = &self.assets {
            let binaries = Binaries {
                directory: directory.clone(),
            };
            return match needed.iter().find(|component| !binaries.has(**component)) {
                None => Ok(binaries),
                Some(&component) => Err(BinariesError::MissingAsset {
                    component,
                    directory: directory.clone(),
                }),
            };
        }

        let pinned = Pinned::parse(GO_MOD)?;
        let binaries = Binaries {
            directory: self.cache.join(pinned.key()),
        };
        if missing(&binaries, needed).is_empty() {
            return Ok(binaries);
        }
        fs::create_dir_all(&binaries.directory).map_err(BinariesError::io(format!(
            "creating {}",
            binaries.directory.display()
        )))?;
        let _lock = self.lock()?;
        // Another caller may have built them while this one waited.
        let missing = missing(&binaries, needed);
        if !missing.is_empty() {
            self.build(&pinned, &missing, &binaries)?;
        }
        Ok(binaries)
    }

    /// One build at a time. The operating system releases the lock when its holder ends, however it ends.
    fn lock(&self) -> Result<File, BinariesError> {
        let path = self.cache.join("lock");
        let failed = || BinariesError::io(format!("locking {}", path.display()));
        let file = File::create(&path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress::tell("waiting for another process that builds the control plane");
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        file.lock().map_err(failed())?;
        Ok(file)
    }

    fn build(
        &self,
        pinned: &Pinned,
        components: &[Component],
        binaries: &Binaries,
    ) -> Result<(), BinariesError> {
        const PREFIX: &str = "building-";
        self.remove_leftovers(PREFIX);
        // Beside its destination, for the renames at the end.
        let workspace = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&self.cache)
            .map_err(BinariesError::io("creating a directory for the build"))?;
        let go = Go {
            program: &self.go,
            module: &workspace,
        };
        for (name, content) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
            fs::write(workspace.path().join(name), content)
                .map_err(BinariesError::io(format!("writing {name}")))?;
        }
        go.check_version(&pinned.go)?;

        let names: Vec<&str> = components.iter().map(|c| c.binary()).collect();
        let names = names.join(", ");
        progress::tell(&format!(
            "building {names} of Kubernetes {} once, into {} (about 7 minutes on two cores)",
            pinned.kubernetes,
            binaries.directory.display()
        ));
        let mut progress = Progress::start();
        let packages: Vec<&str> = components.iter().map(|c| c.package()).collect();

        let mut downloads = 0;
        let total = go
            .run(
                "list",
                &["-deps"],
                &packages,
                |line| downloads += usize::from(line.starts_with("go: downloading ")),
                || progress.show("fetching and listing Go packages"),
            )?
            .lines()
            .count();

        let output = workspace.path().join("bin");
        let flags = [
            "-trimpath",
            "-v",
            "-o",
            &format!("{}/", output.display()),
            "-ldflags",
            &pinned.linker_flags(),
        ];
        let compiled = Cell::new(0);
        go.run(
            "build",
            &flags,
            &packages,
            |line| compiled.set(compiled.get() + usize::from(is_package(line))),
            || {
                let state = estimate(compiled.get(), total, progress.elapsed());
                progress.show(&state);
            },
        )?;

        for &component in components {
            let built = output.join(component.built_name());
            if !built.is_file() {
                return Err(BinariesError::NotBuilt { component });
            }
            // Atomic: a program that is there is complete.
            fs::rename(&built, binaries.path(component)).map_err(BinariesError::io(format!(
                "moving {component} to its place"
            )))?;
        }
        progress.finish(&format!("built {names}"));
        Ok(())
    }

    /// Removes what builds that were killed have left. The caller holds the lock, so none of it is in use.
    fn remove_leftovers(&self, prefix: &str) {
        let Ok(entries) = fs::read_dir(&self.cache) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                // It only costs space.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn missing(binaries: &Binaries, needed: &[Component]) -> Vec<Component> {
    let lacks = |component: &Component| !binaries.has(*component);
    needed.iter().copied().filter(lacks).collect()
}

/// Go reports each package that it compiles by its import path, alone on a line.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', '#', ':'])
}

/// What Go does not compile because its cache has it makes `total` an upper bound.
fn estimate(compiled: usize, total: usize, elapsed: Duration) -> String {
    let state = format!("compiled {compiled} of at most {total} Go packages");
    // The first packages are not typical.
    if compiled < 100 || compiled >= total {
        return state;
    }
    let factor = f64::from(u32::try_from(total - compiled).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(compiled).unwrap_or(u32::MAX));
    let left = progress::minutes(elapsed.mul_f64(factor));
    format!("{state}, at most about {left} left")
}

/// The Go command in the module of the control plane.
struct Go<'a> {
    program: &'a Path,
    module: &'a TempDir,
}

impl Go<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .current_dir(self.module.path())
            .env("CGO_ENABLED", "0")
            // The user's own settings are for the user's own modules. (An empty GOFLAGS would not override the ones that
            // `go env -w` has stored.)
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .stdin(Stdio::null());
        command
    }

    /// Asks within the module, where a Go of 1.21 or newer replaces itself by the version that go.mod demands (unless
    /// the user forbids it).
    fn check_version(&self, required: &str) -> Result<(), BinariesError> {
        let output = self
            .command()
            .args(["env", "GOVERSION"])
            .output()
            .map_err(|source| BinariesError::GoMissing {
                required: required.to_owned(),
                source,
            })?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let version = stdout.trim();
        if output.status.success() && release(version) >= release(required) {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(BinariesError::GoTooOld {
            required: required.to_owned(),
            found: format!("{version} {}", stderr.trim()).trim().to_owned(),
        })
    }

    /// Runs one command to its end and returns its standard output. `line` sees each line of its standard error,
    /// `tick` is called several times a second.
    fn run(
        &self,
        verb: &str,
        flags: &[&str],
        packages: &[&str],
        mut line: impl FnMut(&str),
        mut tick: impl FnMut(),
    ) -> Result<String, BinariesError> {
        let failed = |doing: &str| BinariesError::io(format!("{doing} `go {verb}`"));
        let mut child = self
            .command()
            .arg(verb)
            .args(flags)
            .args(packages)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed("starting"))?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            match stdout {
                Some(mut stdout) => stdout.read_to_string(&mut text).map(|_| text),
                None => Ok(text),
            }
        });
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stderr
                .map(BufReader::new)
                .into_iter()
                .flat_map(BufRead::lines);
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });

        let mut remembered = VecDeque::new();
        loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(text) => {
                    line(&text);
                    if !is_package(&text) && !text.starts_with("go: downloading ") {
                        remembered.push_back(text);
                    }
                    if remembered.len() > ERROR_LINES {
                        remembered.pop_front();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            tick();
        }
        let status = child.wait().map_err(failed("waiting for"))?;
        if !status.success() {
            return Err(BinariesError::Go {
                command: verb.to_owned(),
                output: Vec::from(remembered).join("\n"),
            });
        }
        match reader.join() {
            Ok(text) => text.map_err(failed("reading the output of")),
            Err(_) => Err(failed("reading the output of")(io::Error::other(
                "the reading thread panicked",
            ))),
        }
    }
}

/// Major and minor version of `go1.26.8` or `1.26.0`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches("go").split('.');
    let major = numbers.next()?.parse().ok()?;
    // `1.27rc1` counts as 1.27.
    let minor: String = numbers
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, minor.parse().ok()?))
}

/// The versions in the control plane's go.mod.
#[derive(Debug, PartialEq, Eq)]
struct Pinned {
    go: String,
    kubernetes: String,
    etcd: String,
}

impl Pinned {
    fn parse(go_mod: &str) -> Result<Pinned, BinariesError> {
        let value = |directive: &'static str| {
            go_mod
                .lines()
                .filter_map(|line| line.trim().strip_prefix(directive)?.strip_prefix(' '))
                .find_map(|rest| rest.split_whitespace().next())
                .map(str::to_owned)
                .ok_or(BinariesError::NotPinned { directive })
        };
        Ok(Pinned {
            go: value("go")?,
            kubernetes: value("k8s.io/kubernetes")?,
            etcd: value("go.etcd.io/etcd/server/v3")?,
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

    #[test]
    fn the_embedded_module_pins_what_is_built() {
        let pinned = Pinned::parse(GO_MOD).unwrap();
        assert!(pinned.kubernetes.starts_with("v1."), "{pinned:?}");
        assert!(pinned.etcd.starts_with("v3."), "{pinned:?}");
        assert!(release(&pinned.go) >= Some((1, 26)), "{pinned:?}");
    }

    #[test]
    fn the_version_is_stamped_where_server_and_client_look_for_it() {
        let pinned = Pinned {
            go: "1.26.0".to_owned(),
            kubernetes: "v1.37.2".to_owned(),
            etcd: "v3.7.3".to_owned(),
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

    #[test]
    fn versions_of_go_are_compared_by_number() {
        assert!(release("go1.26.8") >= release("1.26.0"));
        assert!(release("go1.27rc1") >= release("1.26.0"));
        assert!(release("go1.9") < release("1.26.0"));
        assert!(release("devel") < release("1.26.0"));
    }

    #[test]
    fn compiled_packages_are_told_from_messages() {
        assert!(is_package("k8s.io/kubernetes/pkg/apis/core"));
        assert!(is_package("net/http"));
        assert!(!is_package("# k8s.io/kubernetes/pkg/apis/core"));
        assert!(!is_package("pkg/x.go:12:3: undefined: y"));
        assert!(!is_package("go: downloading k8s.io/api v0.37.2"));
    }

    #[test]
    fn the_time_left_is_in_proportion_to_what_is_left() {
        assert_eq!(
            estimate(500, 1500, Duration::from_secs(90)),
            "compiled 500 of at most 1500 Go packages, at most about 3:00 left"
        );
        assert_eq!(
            estimate(3, 1500, Duration::from_secs(1)),
            "compiled 3 of at most 1500 Go packages"
        );
    }
}
