//! Programs that are built from source once per machine and version: by the Go toolchain, in a small module of ours that pins the versions.
//! Upstream's own programs are its tools; where upstream has only a library, it holds a program of ours around that.

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

use crate::{
    binaries::BinariesError,
    progress::{self, Progress},
};

/// How many lines of Go's output an error holds.
const ERROR_LINES: usize = 40;

/// What the directories of running builds are called.
const BUILDING: &str = "building-";

/// A module of ours, and what to say about it.
#[derive(Debug)]
pub(crate) struct Module {
    /// What it builds, in the plural or as a name: "… must be built".
    pub(crate) programs: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// The program of ours that the module holds: its main.go.
    pub(crate) main: Option<&'static str>,
    /// Build tags, separated by commas; may be empty.
    pub(crate) tags: &'static str,
    /// What a person can do who does not want to install Go: "…, or …".
    pub(crate) alternative: &'static str,
    /// How long a build takes on two cores with empty caches.
    pub(crate) duration: &'static str,
}

impl Module {
    /// The first value of a directive in go.mod: the version of Go, or of a required module.
    pub(crate) fn pinned(&self, directive: &'static str) -> Result<&'static str, BinariesError> {
        self.go_mod
            .lines()
            .filter_map(|line| line.trim().strip_prefix(directive)?.strip_prefix(' '))
            .find_map(|rest| rest.split_whitespace().next())
            .ok_or(BinariesError::NotPinned {
                programs: self.programs,
                directive,
            })
    }
}

/// One program that a module builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// Its file name in the cache.
    pub(crate) name: &'static str,
    /// The Go package it is built from.
    pub(crate) package: &'static str,
    /// The file name that `go build -o DIRECTORY/` gives it: the package's last path element that is not a major
    /// version.
    pub(crate) built_name: &'static str,
}

/// Where built programs are kept.
#[derive(Debug)]
pub(crate) struct Cache<'a> {
    /// One directory per version in it, a lock, and the directories of running builds.
    pub(crate) root: &'a Path,
    /// The Go command.
    pub(crate) go: &'a Path,
}

impl Cache<'_> {
    /// Makes sure that the directory `key` holds the `needed` programs, and returns it. What is missing is built, with
    /// `linker_flags`.
    ///
    /// Callers in several threads or processes build once: the others wait. An interrupted build leaves nothing
    /// half-done, and the next one goes on where it ended, by way of Go's own cache.
    pub(crate) fn provide(
        &self,
        module: &Module,
        key: &str,
        needed: &[Program],
        linker_flags: &str,
    ) -> Result<PathBuf, BinariesError> {
        let directory = self.root.join(key);
        if missing(&directory, needed).is_empty() {
            return Ok(directory);
        }
        fs::create_dir_all(&directory).map_err(BinariesError::io(format!(
            "creating {}",
            directory.display()
        )))?;
        let _lock = self.lock(module)?;
        // Another caller may have built them while this one waited.
        let missing = missing(&directory, needed);
        if !missing.is_empty() {
            self.build(module, &missing, linker_flags, &directory)?;
        }
        Ok(directory)
    }

    /// One build at a time. The operating system releases the lock when its holder ends, however it ends.
    fn lock(&self, module: &Module) -> Result<File, BinariesError> {
        let path = self.root.join("lock");
        let failed = || BinariesError::io(format!("locking {}", path.display()));
        let file = File::create(&path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress::tell(&format!(
                    "waiting for another process that builds {}",
                    module.programs
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        file.lock().map_err(failed())?;
        Ok(file)
    }

    fn build(
        &self,
        module: &Module,
        programs: &[Program],
        linker_flags: &str,
        destination: &Path,
    ) -> Result<(), BinariesError> {
        self.remove_leftovers();
        // Beside its destination, for the renames at the end.
        let workspace = tempfile::Builder::new()
            .prefix(BUILDING)
            .tempdir_in(self.root)
            .map_err(BinariesError::io("creating a directory for the build"))?;
        let go = Go {
            program: self.go,
            definition: module,
            directory: workspace.path(),
        };
        let files = [("go.mod", module.go_mod), ("go.sum", module.go_sum)];
        let main = module.main.map(|content| ("main.go", content));
        for (name, content) in files.into_iter().chain(main) {
            fs::write(workspace.path().join(name), content)
                .map_err(BinariesError::io(format!("writing {name}")))?;
        }
        go.check_version(module.pinned("go")?)?;

        let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
        let names = names.join(", ");
        progress::tell(&format!(
            "building {names} once, into {} (about {} on two cores)",
            destination.display(),
            module.duration
        ));
        let mut progress = Progress::start();
        let packages: Vec<&str> = programs.iter().map(|program| program.package).collect();

        let total = go
            .run(
                "list",
                &["-deps", "-tags", module.tags],
                &packages,
                |_| {},
                || progress.show("fetching and listing Go packages"),
            )?
            .lines()
            .count();

        let output = workspace.path().join("bin");
        let flags = [
            "-trimpath",
            "-tags",
            module.tags,
            "-v",
            "-o",
            &format!("{}/", output.display()),
            "-ldflags",
            linker_flags,
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

        move_to(destination, programs, &output)?;
        progress.finish(&format!("built {names}"));
        Ok(())
    }

    /// Removes what builds that were killed have left. The caller holds the lock, so none of it is in use.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(self.root) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(BUILDING) {
                // It only costs space.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn missing(directory: &Path, needed: &[Program]) -> Vec<Program> {
    let lacks = |program: &Program| !directory.join(program.name).is_file();
    needed.iter().copied().filter(lacks).collect()
}

/// Moves what was built in `output` to its place. Atomic for each program: one that is there is complete.
fn move_to(destination: &Path, programs: &[Program], output: &Path) -> Result<(), BinariesError> {
    for program in programs {
        let built = output.join(program.built_name);
        if !built.is_file() {
            return Err(BinariesError::NotBuilt {
                program: program.name,
            });
        }
        fs::rename(&built, destination.join(program.name)).map_err(BinariesError::io(format!(
            "moving {} to its place",
            program.name
        )))?;
    }
    Ok(())
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

/// The Go command within one module.
struct Go<'a> {
    program: &'a Path,
    definition: &'a Module,
    directory: &'a Path,
}

impl Go<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .current_dir(self.directory)
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
        let Module {
            programs,
            alternative,
            ..
        } = *self.definition;
        let output = self
            .command()
            .args(["env", "GOVERSION"])
            .output()
            .map_err(|source| BinariesError::GoMissing {
                programs,
                required: required.to_owned(),
                alternative,
                source,
            })?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let version = stdout.trim();
        if output.status.success() && release(version) >= release(required) {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(BinariesError::GoTooOld {
            programs,
            required: required.to_owned(),
            found: format!("{version} {}", stderr.trim()).trim().to_owned(),
            alternative,
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
pub(crate) fn release(version: &str) -> Option<(u32, u32)> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
