//! The folders that the agent writes to.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use codeagent_runner_protocol::Reason;

use crate::failure::Failure;

/// A volume that cannot take this much is full for every purpose.
const PROBE_BYTES: usize = 64 * 1024;

/// Makes the folder if it is not there, and writes to it.
///
/// # Errors
/// `WorkspaceFull`, or `AgentStartFailed`: agents fail late and strangely in a home that they cannot write.
pub fn check_writable(name: &str, dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).and_then(|()| probe(dir)).map_err(|error| {
        let dir = dir.display();
        if is_full_error(&error) {
            full()
        } else {
            let said = format!(
                "{name} {dir} cannot be written: {error}. The agent's user needs to own it, as by the Pod's fsGroup."
            );
            Failure::new(Reason::AgentStartFailed, said)
        }
    })
}

/// True if nothing more can be written there, so that whatever failed failed for that.
pub fn is_full(dir: &Path) -> bool {
    probe(dir).is_err_and(|error| is_full_error(&error))
}

/// The failure of a full volume.
pub fn full() -> Failure {
    Failure::new(
        Reason::WorkspaceFull,
        "The workspace's volume is full. Give the agent a larger one, or start a new session.",
    )
}

fn probe(dir: &Path) -> io::Result<()> {
    let file = dir.join(format!(".codeagent-runner-probe-{}", std::process::id()));
    let written = fs::write(&file, vec![b'x'; PROBE_BYTES]);
    let removed = fs::remove_file(&file);
    written.and(removed)
}

fn is_full_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Looks for a program as the start of a process does, before anything is done for it.
///
/// # Errors
/// `CommandNotFound`.
pub fn check_program(program: &str) -> Result<(), Failure> {
    let executable = |file: &Path| {
        file.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let found = if program.contains('/') {
        executable(Path::new(program))
    } else {
        env::split_paths(&path).any(|dir| executable(&dir.join(program)))
    };
    if found {
        Ok(())
    } else {
        Err(Failure::command_not_found(program))
    }
}
