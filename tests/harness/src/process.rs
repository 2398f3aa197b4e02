//! One program as a supervised process: it never outlives its owner.
//!
//! A destructor cannot promise that (SIGKILL, Ctrl-C, `process::exit`, statics), and the parent-death
//! signal needs `unsafe` code. So each component is the child of a small shell script that holds the
//! reading end of a pipe. The kernel closes the writing end when the owner ends, whatever ended it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::Instant;

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// The subdirectory in which each supervisor keeps a marker while its component runs.
const MARKERS: &str = "running";

/// How much of a log is read for an error message.
const TAIL_BYTES: u64 = 4096;

/// A running component. Dropping it kills the component and waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    supervisor: Child,
    /// The pipe that tells the supervisor that we are alive.
    signals: ChildStdin,
    id: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output appended to `DIRECTORY/NAME.log`. `directory` is removed if the calling process
    /// dies.
    pub(crate) fn spawn<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        directory: &Path,
    ) -> io::Result<Process> {
        fs::create_dir_all(directory.join(MARKERS))?;
        let log = directory.join(format!("{name}.log"));
        let log_file = File::options().create(true).append(true).open(&log)?;

        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "sh"])
            .arg(directory)
            .arg(program)
            .args(arguments)
            // ETCD_… variables of the caller would configure our etcd.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C on a terminal is for the owner alone: the supervisor must live to clean up after it.
            .process_group(0);
        let mut supervisor = command.spawn()?;

        let missing_pipe = || io::Error::other("the supervisor has no pipe");
        let signals = supervisor.stdin.take().ok_or_else(missing_pipe)?;
        let output = supervisor.stdout.take().ok_or_else(missing_pipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let id = line.trim().parse().map_err(|_| {
            io::Error::other(format!(
                "the supervisor of {name} did not start it: {}",
                tail(&log)
            ))
        })?;
        Ok(Process {
            supervisor,
            signals,
            id,
            log,
        })
    }

    /// The component's own process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// How the component ended, if it did.
    pub(crate) fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.supervisor.try_wait()
    }

    /// The last lines that the component logged.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Asks the component to end, and kills it after `grace`. Returns when it is gone.
    pub(crate) async fn stop(mut self, grace: Duration) -> io::Result<()> {
        self.signal("TERM");
        let deadline = Instant::now() + grace;
        while self.exit_status()?.is_none() {
            if Instant::now() >= deadline {
                self.signal("KILL");
                self.supervisor.wait()?;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn signal(&mut self, name: &str) {
        // Fails only if the supervisor is gone, and the component with it.
        let _ = writeln!(self.signals, "{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.supervisor.wait();
    }
}

fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(nothing logged)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("({} is not readable: {error})", log.display()),
    }
}
