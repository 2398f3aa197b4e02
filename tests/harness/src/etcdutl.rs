//! The tool that restores etcd's snapshots: etcdutl, built once in the version that `etcdutl/go.mod` pins. It has a module
//! of its own, so that nothing else is built anew with it, and only who restores needs it.

use std::path::PathBuf;

use crate::{
    binaries::{BinariesError, cache_directory, path_variable},
    go_build::{Cache, Module, Program},
};

const MODULE: Module = Module {
    programs: "etcdutl",
    go_mod: include_str!("../etcdutl/go.mod"),
    go_sum: include_str!("../etcdutl/go.sum"),
    main: None,
    tags: "",
    alternative: "set ETCDUTL to its path",
    duration: "1 minute",
};

const PROGRAM: Program = Program {
    name: "etcdutl",
    package: "go.etcd.io/etcd/etcdutl/v3",
    built_name: "etcdutl",
};

/// The path of etcdutl: `ETCDUTL`, or one that is built and kept in `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
///
/// If it has to be built and Go is missing, too old or fails.
pub(crate) fn provide() -> Result<PathBuf, BinariesError> {
    if let Some(own) = path_variable("ETCDUTL") {
        return Ok(own);
    }
    let root = cache_directory("etcdutl", None, MODULE.alternative)?;
    let cache = Cache {
        root: &root,
        go: "go".as_ref(),
    };
    let version = MODULE.pinned("go.etcd.io/etcd/etcdutl/v3")?;
    let directory = cache.provide(&MODULE, version, &[PROGRAM], "-s -w")?;
    Ok(directory.join(PROGRAM.name))
}
