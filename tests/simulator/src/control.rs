//! The control API: JSON over HTTP, for tests and demonstrations in other processes.
//!
//! | request | meaning |
//! |---|---|
//! | `GET /control/info` | URLs, keys' names, connections, requests that the log forgot |
//! | `GET /control/requests?provider=&operation=&session=` | requests seen, oldest first |
//! | `GET /control/launches?provider=&kind=&marker=&agent_id=&session=` | what was paid for, and how often per marker |
//! | `GET /control/sessions` | every session with its true state |
//! | `POST /control/sessions/{provider}/{id}` | a [`Script`] for the rest of its newest run |
//! | `GET`, `POST`, `DELETE /control/script` | rules for future sessions ([`ScriptRule`]) |
//! | `GET`, `POST`, `DELETE /control/faults` | faults that wait for their requests ([`Fault`]) |
//! | `POST /control/keys` | adds a [`Key`], or replaces the one of the same provider and name |
//! | `DELETE /control/keys/{provider}/{name}` | revokes a key |
//! | `POST /control/clock` | `{"advance": "1m"}`: moves time forwards for all sessions |

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::keys::Key;
use super::operation::{Operation, Provider};
use super::record::{LaunchFilter, RequestRecord};
use super::script::{Script, ScriptRule};
use super::{Handle, Urls};

#[derive(Clone)]
struct Control {
    handle: Handle,
    urls: Urls,
}

/// JSON in and out, with errors as JSON too.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ControlError))]
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

struct ControlError {
    status: StatusCode,
    message: String,
}

impl From<JsonRejection> for ControlError {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            message: rejection.body_text(),
        }
    }
}

impl From<QueryRejection> for ControlError {
    fn from(rejection: QueryRejection) -> Self {
        Self {
            status: rejection.status(),
            message: rejection.body_text(),
        }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.message}))).into_response()
    }
}

fn not_found(what: &str) -> ControlError {
    ControlError {
        status: StatusCode::NOT_FOUND,
        message: format!("no such {what}"),
    }
}

/// Serves the control API until `stop`.
pub(crate) async fn serve_control(
    listener: TcpListener,
    handle: Handle,
    urls: Urls,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/control/info", get(info))
        .route("/control/requests", get(requests))
        .route("/control/launches", get(launches))
        .route("/control/sessions", get(sessions))
        .route("/control/sessions/{provider}/{id}", post(rescript))
        .route(
            "/control/script",
            get(script_rules)
                .post(add_script_rule)
                .delete(clear_script_rules),
        )
        .route(
            "/control/faults",
            get(faults).post(inject_fault).delete(clear_faults),
        )
        .route("/control/keys", post(add_key))
        .route("/control/keys/{provider}/{name}", delete(revoke_key))
        .route("/control/clock", post(advance_clock))
        .fallback(|| async { not_found("path") })
        .with_state(Arc::new(Control { handle, urls }));
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

type Shared = State<Arc<Control>>;

async fn info(State(control): Shared) -> Json<Value> {
    let connections: BTreeMap<&str, u64> = Provider::ALL
        .into_iter()
        .map(|provider| (provider.name(), control.handle.connections(provider)))
        .collect();
    let keys: Vec<Value> = control
        .handle
        .keys()
        .into_iter()
        .map(|key| json!({"provider": key.provider, "name": key.name, "account": key.account, "kind": key.kind}))
        .collect();
    Json(json!({
        "urls": control.urls,
        "keys": keys,
        "connections": connections,
        "forgottenRequests": control.handle.forgotten_requests(),
    }))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequestFilter {
    provider: Option<Provider>,
    operation: Option<Operation>,
    session: Option<String>,
}

impl RequestFilter {
    fn matches(&self, record: &RequestRecord) -> bool {
        self.provider.is_none_or(|only| only == record.provider)
            && (self.operation.is_none() || self.operation == record.operation)
            && (self.session.is_none() || self.session == record.session)
    }
}

async fn requests(
    State(control): Shared,
    filter: Result<Query<RequestFilter>, QueryRejection>,
) -> Result<Json<Value>, ControlError> {
    let Query(filter) = filter?;
    let mut requests = control.handle.requests();
    requests.retain(|record| filter.matches(record));
    Ok(Json(
        json!({"requests": requests, "forgotten": control.handle.forgotten_requests()}),
    ))
}

async fn launches(
    State(control): Shared,
    filter: Result<Query<LaunchFilter>, QueryRejection>,
) -> Result<Json<Value>, ControlError> {
    let Query(filter) = filter?;
    let launches = control.handle.launches(&filter);
    let mut per_marker: BTreeMap<&str, usize> = BTreeMap::new();
    for launch in &launches {
        if let Some(marker) = &launch.marker {
            *per_marker.entry(marker).or_insert(0) += 1;
        }
    }
    Ok(Json(
        json!({"count": launches.len(), "perMarker": per_marker, "launches": launches}),
    ))
}

async fn sessions(State(control): Shared) -> Json<Value> {
    Json(json!({"sessions": control.handle.sessions()}))
}

async fn rescript(
    State(control): Shared,
    Path((provider, id)): Path<(Provider, String)>,
    Json(script): Json<Script>,
) -> Result<Json<Value>, ControlError> {
    if !control.handle.rescript(provider, &id, script) {
        return Err(not_found("session"));
    }
    Ok(Json(json!({"ok": true})))
}

async fn script_rules(State(control): Shared) -> Json<Value> {
    Json(json!({"rules": control.handle.script_rules()}))
}

async fn add_script_rule(State(control): Shared, Json(rule): Json<ScriptRule>) -> Json<Value> {
    control.handle.script(rule);
    Json(json!({"ok": true}))
}

async fn clear_script_rules(State(control): Shared) -> Json<Value> {
    control.handle.clear_script();
    Json(json!({"ok": true}))
}

async fn faults(State(control): Shared) -> Json<Value> {
    Json(json!({"faults": control.handle.faults()}))
}

async fn inject_fault(State(control): Shared, Json(fault): Json<Fault>) -> Json<Value> {
    control.handle.inject(fault);
    Json(json!({"ok": true}))
}

async fn clear_faults(State(control): Shared) -> Json<Value> {
    control.handle.clear_faults();
    Json(json!({"ok": true}))
}

async fn add_key(State(control): Shared, Json(key): Json<Key>) -> Json<Value> {
    control.handle.add_key(key);
    Json(json!({"ok": true}))
}

async fn revoke_key(
    State(control): Shared,
    Path((provider, name)): Path<(Provider, String)>,
) -> Result<Json<Value>, ControlError> {
    if !control.handle.revoke(provider, &name) {
        return Err(not_found("key"));
    }
    Ok(Json(json!({"ok": true})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    advance: Duration,
}

async fn advance_clock(State(control): Shared, Json(change): Json<ClockChange>) -> Json<Value> {
    control.handle.advance(change.advance);
    Json(json!({"ok": true}))
}
