//! What one write of a status costs the API server, by how it is made: what bounds every program here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codeagent_operator::api::CodeSession;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::number;
use crate::Trouble;
use crate::report::Row;
use crate::world::{Agents, PARALLEL, World, finished_status, session};

/// How a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A merge patch without a guard.
    MergePatch,
    /// A JSON patch that tests uid and version.
    JsonPatch,
    /// A replacement of the status that names uid and version, without the spec, which it cannot change.
    Replacement,
    /// The same, of which only the metadata is answered.
    ReplacementAnsweredShort,
    /// An Event, for comparison.
    Event,
}

/// What a write costs.
pub struct Cost {
    /// In all, several at a time.
    pub per_second: f64,
    /// CPU time of the API server each, in milliseconds.
    pub api_server_ms: f64,
    /// CPU time of etcd each, in milliseconds.
    pub store_ms: f64,
}

impl How {
    /// Every way.
    pub const ALL: [Self; 5] = [
        Self::MergePatch,
        Self::JsonPatch,
        Self::Replacement,
        Self::ReplacementAnsweredShort,
        Self::Event,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::MergePatch => "merge patch",
            Self::JsonPatch => "JSON patch with tests",
            Self::Replacement => "replacement",
            Self::ReplacementAnsweredShort => "replacement, answered with metadata",
            Self::Event => "Event",
        }
    }
}

/// Writes of a session's status in one way.
///
/// # Errors
/// If something does not work.
pub async fn run(world: &mut World, how: How, writes: usize) -> Result<Row, Trouble> {
    let cost = rate(world, how, writes).await?;
    Ok(Row {
        scenario: "writes",
        program: how.name().to_owned(),
        store: world.finished(),
        sessions: writes,
        figures: BTreeMap::from([
            ("writes_per_second", cost.per_second),
            ("api_server_cpu_ms_per_write", cost.api_server_ms),
            ("etcd_cpu_ms_per_write", cost.store_ms),
        ]),
    })
}

/// `writes` in this way, several at a time, each of another object than the ones beside it.
///
/// # Errors
/// If the API server refuses one.
pub async fn rate(world: &mut World, how: How, writes: usize) -> Result<Cost, Trouble> {
    let round = world.round(Agents::unlimited(0)).await?;
    let sessions = round.api().clone();
    for n in 0..PARALLEL {
        let object = session(&format!("w-{n}"), "nobody", crate::world::PROMPT);
        let object: CodeSession = serde_json::from_value(object)?;
        sessions.create(&PostParams::default(), &object).await?;
    }
    let next = AtomicUsize::new(0);
    let before = world.control_plane_usage()?;
    let begun = Instant::now();
    stream::iter(0..PARALLEL)
        .map(|worker| write_many(&sessions, how, worker, &next, writes))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
    let elapsed = begun.elapsed();
    let after = world.control_plane_usage()?;
    world.discard(round).await?;
    let each = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1000.0 / number(writes)
    };
    Ok(Cost {
        per_second: number(writes) / elapsed.as_secs_f64(),
        api_server_ms: each(after.api_server, before.api_server),
        store_ms: each(after.store, before.store),
    })
}

async fn write_many(
    sessions: &Api<CodeSession>,
    how: How,
    worker: usize,
    next: &AtomicUsize,
    writes: usize,
) -> Result<(), Trouble> {
    let name = format!("w-{worker}");
    let first = sessions.get(&name).await?;
    let uid = first.uid().unwrap_or_default();
    let mut version = first.resource_version().unwrap_or_default();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= writes {
            return Ok(());
        }
        let mut status = finished_status();
        if let Some(fields) = status.as_object_mut() {
            let phase = if n.is_multiple_of(2) {
                "Running"
            } else {
                "Creating"
            };
            fields.insert("phase".to_owned(), json!(phase));
            fields.insert("startedAt".to_owned(), json!(jiff::Timestamp::now()));
        }
        version = write(sessions, how, &name, &uid, &version, status).await?;
    }
}

/// Writes once; answers with the new version.
async fn write(
    sessions: &Api<CodeSession>,
    how: How,
    name: &str,
    uid: &str,
    version: &str,
    status: Value,
) -> Result<String, Trouble> {
    let parameters = PatchParams::default();
    let stored = match how {
        How::MergePatch => {
            let patch = Patch::Merge(json!({"status": status}));
            sessions.patch_status(name, &parameters, &patch).await?
        }
        How::JsonPatch => {
            let operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "add", "path": "/status", "value": status},
            ]);
            let patch = Patch::Json::<()>(serde_json::from_value(operations)?);
            sessions.patch_status(name, &parameters, &patch).await?
        }
        How::Replacement | How::ReplacementAnsweredShort => {
            return replace(sessions, how, name, uid, version, status).await;
        }
        How::Event => {
            tell(sessions, name).await?;
            return Ok(version.to_owned());
        }
    };
    Ok(stored.resource_version().unwrap_or_default())
}

async fn replace(
    sessions: &Api<CodeSession>,
    how: How,
    name: &str,
    uid: &str,
    version: &str,
    status: Value,
) -> Result<String, Trouble> {
    let object = json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
        "metadata": {"name": name, "uid": uid, "resourceVersion": version}, "status": status,
    });
    let mut request = http::Request::put(format!("{}/{name}/status", sessions.resource_url()))
        .header("content-type", "application/json");
    if how == How::ReplacementAnsweredShort {
        let short = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        request = request.header("accept", short);
    }
    let request = request.body(serde_json::to_vec(&object)?)?;
    let client = sessions.clone().into_client();
    let stored: Value = client.request(request).await?;
    let version = stored
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .ok_or("an answer without a version")?;
    Ok(version.to_owned())
}

async fn tell(sessions: &Api<CodeSession>, name: &str) -> Result<(), Trouble> {
    let namespace = sessions.namespace().unwrap_or_default();
    let regarding = json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession", "namespace": namespace, "name": name,
    });
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"generateName": name, "namespace": namespace},
        "action": "Reconcile", "eventTime": format!("{:.6}", jiff::Timestamp::now()), "note": "launched as bc-1",
        "reason": "Launched", "regarding": regarding, "reportingController": "bench", "reportingInstance": "bench",
        "type": "Normal",
    });
    let url = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let request = http::Request::post(url)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&event)?)?;
    let client = sessions.clone().into_client();
    let _: Value = client.request(request).await?;
    Ok(())
}
