//! Where promtool comes from: the user's own, or built once in the version that `promtool/go.mod` pins.

use std::path::{Path, PathBuf};

use crate::{
    binaries::{BinariesError, cache_directory, found_in, path_variable},
    go_build::{Cache, Module, Program},
};

const MODULE: Module = Module {
    programs: "promtool",
    go_mod: include_str!("../promtool/go.mod"),
    go_sum: include_str!("../promtool/go.sum"),
    main: None,
    // It tests rules and discovers nothing: half of the code.
    tags: "remove_all_sd",
    alternative: "install Prometheus' promtool, or set PROMTOOL to its path",
    duration: "2 minutes",
};

const PROGRAM: Program = Program {
    name: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    built_name: "promtool",
};

/// The path of promtool: `PROMTOOL`; in `PATH`; or built, about two minutes the first time, with its progress on standard error, and kept
/// in `$XDG_CACHE_HOME` or `~/.cache`, in `codeagent-operator/promtool`.
///
/// # Errors
///
/// If neither `PROMTOOL` nor `XDG_CACHE_HOME` nor `HOME` is set; if Go is missing, too old or fails.
pub fn promtool() -> Result<PathBuf, BinariesError> {
    let named = path_variable("PROMTOOL");
    let root = cache_directory("promtool", named.as_deref(), MODULE.alternative)?;
    if let Some(promtool) = named {
        return Ok(promtool);
    }
    let search_path = std::env::var_os("PATH");
    if let Some(promtool) = found_in(search_path.as_deref(), PROGRAM.name, |_| true) {
        return Ok(promtool);
    }
    let version = MODULE.pinned("github.com/prometheus/prometheus")?;
    let cache = Cache {
        root: &root,
        go: Path::new("go"),
    };
    let directory = cache.provide(&MODULE, version, &[PROGRAM], "-s -w")?;
    Ok(directory.join(PROGRAM.name))
}
