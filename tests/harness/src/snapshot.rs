//! Saving what etcd holds, and going back to it.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use k8s_openapi::ByteString;
use kube::{Client, Config};
use serde::Deserialize;

use crate::{binaries::BinariesError, control_plane::StartError, etcdutl};

/// Revisions that no watcher has seen: a restored store must not hand out a revision a second time.
const BUMP_REVISION: &str = "--bump-revision=1000000000";

/// Why a store was not saved or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// etcd did not hand out its snapshot.
    #[error("etcd handed out no snapshot")]
    Etcd(#[from] Box<kube::Error>),
    /// What etcd handed out is no snapshot.
    #[error("what etcd handed out cannot be read")]
    Malformed(#[from] serde_json::Error),
    /// There is no etcdutl.
    #[error("the tool that restores snapshots is not available")]
    Etcdutl(#[from] BinariesError),
    /// etcdutl failed.
    #[error("`etcdutl snapshot restore` failed:\n{0}")]
    Restore(String),
    /// Files could not be made, or a component could not be stopped.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A component did not start again.
    #[error("a component did not start again")]
    Start(#[from] StartError),
}

impl SnapshotError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
        move |source| SnapshotError::Io { doing, source }
    }
}

/// One message of etcd's `Maintenance.Snapshot`, as its JSON gateway writes it.
#[derive(Deserialize)]
struct Message {
    result: Piece,
}

#[derive(Deserialize)]
struct Piece {
    blob: ByteString,
}

/// Writes a snapshot of the etcd at `endpoint` to `file`.
pub(crate) async fn save(endpoint: &str, file: &Path) -> Result<(), SnapshotError> {
    let failed = |error| SnapshotError::Etcd(Box::new(error));
    let uri = endpoint
        .parse::<http::Uri>()
        .map_err(io::Error::other)
        .map_err(SnapshotError::io("naming etcd"))?;
    let client = Client::try_from(Config::new(uri)).map_err(failed)?;
    let request = http::Request::post("/v3/maintenance/snapshot")
        .body(b"{}".to_vec())
        .map_err(io::Error::other)
        .map_err(SnapshotError::io("asking etcd"))?;
    let text = client.request_text(request).await.map_err(failed)?;
    let mut snapshot = Vec::new();
    for message in serde_json::Deserializer::from_str(&text).into_iter::<Message>() {
        snapshot.extend(message?.result.blob.0);
    }
    fs::write(file, snapshot).map_err(SnapshotError::io("writing the snapshot"))
}

/// Replaces etcd's `data` directory by what `snapshot` holds, for the member whose peers reach it at `peer_url`. Watchers
/// of before are told that they have missed something.
pub(crate) fn restore(snapshot: &Path, data: &Path, peer_url: &str) -> Result<(), SnapshotError> {
    let program = etcdutl::provide()?;
    fs::remove_dir_all(data).map_err(SnapshotError::io("removing etcd's data"))?;
    let output = Command::new(program)
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg("--data-dir")
        .arg(data)
        .arg(format!("--initial-cluster=default={peer_url}"))
        .arg(format!("--initial-advertise-peer-urls={peer_url}"))
        .args([BUMP_REVISION, "--mark-compacted"])
        .stdin(Stdio::null())
        .output()
        .map_err(SnapshotError::io("running etcdutl"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(SnapshotError::Restore(said))
    }
}
