//! `codeagent-runner install DIR`: the init container's only step.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Copies this program to `dir/codeagent-runner`, executable for everybody; whole or not at all.
///
/// # Errors
/// The folder cannot be written, or this program not be read.
pub fn install(dir: &Path) -> io::Result<PathBuf> {
    let to = dir.join("codeagent-runner");
    let new = dir.join(format!(".codeagent-runner.{}", std::process::id()));
    fs::create_dir_all(dir)?;
    // Not only the path: what runs may have been replaced by another version.
    let copied = fs::copy("/proc/self/exe", &new).and_then(|_| {
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &to)
    });
    if copied.is_err() {
        let _ = fs::remove_file(&new);
    }
    copied.map(|()| to)
}
