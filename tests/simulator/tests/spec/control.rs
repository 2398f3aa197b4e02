//! The control API does over HTTP what a test in the same process does by method.

use codeagent_simulator::Simulator;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::{Answer, CURSOR_KEY, client, cursor_launch, manual, send};

struct Control {
    simulator: Simulator,
    client: Client,
}

impl Control {
    async fn start() -> Self {
        Self {
            simulator: Simulator::start(manual()).await.unwrap(),
            client: client(),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let url = format!("{}/control/{path}", self.simulator.control_url());
        let request = self.client.request(method, url);
        send(if body.is_null() {
            request
        } else {
            request.json(&body)
        })
        .await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = self.call(Method::POST, path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn launch(&self, body: &Value) -> Answer {
        let url = format!("{}/v1/agents", self.simulator.cursor_url());
        send(self.client.post(url).bearer_auth(CURSOR_KEY).json(body)).await
    }
}

#[tokio::test]
async fn sessions_launches_and_requests_can_be_read_and_filtered() {
    let control = Control::start().await;
    let created = control
        .launch(&cursor_launch("Fix\n<!-- codeagents.dev/i/u/1 -->"))
        .await;
    let id = created.text("/agent/id");
    let sessions = control.get("sessions").await;
    assert_eq!(
        (
            &sessions["sessions"][0]["id"],
            &sessions["sessions"][0]["active"]
        ),
        (&json!(id), &json!(true))
    );
    let launches = control.get("launches?marker=i%2Fu&provider=cursor").await;
    assert_eq!(
        (&launches["count"], &launches["perMarker"]),
        (&json!(1), &json!({"i/u/1": 1}))
    );
    assert_eq!(control.get("launches?marker=other").await["count"], 0);
    let seen = control
        .get("requests?operation=cursor_v1.create_agent")
        .await;
    assert_eq!(seen["requests"][0]["status"], 201);
    assert_eq!(
        control.get("requests?provider=firebender").await["requests"],
        json!([])
    );
    let info = control.get("info").await;
    assert_eq!(
        info["connections"],
        json!({"cursor": 1, "firebender": 0, "flapjack": 0, "firetiger": 0, "http": 0})
    );
    assert!(!info.to_string().contains(CURSOR_KEY));
}

#[tokio::test]
async fn rules_change_future_sessions_and_a_session_can_be_changed_while_it_runs() {
    let control = Control::start().await;
    control
        .post(
            "script",
            json!({"prompt_contains": "slow", "script": {"running": "1h", "outcome": "error"}}),
        )
        .await;
    assert_eq!(
        control.get("script").await["rules"][0]["script"]["running"],
        "1h"
    );
    let slow = control
        .launch(&json!({"prompt": {"text": "slow work"}}))
        .await
        .text("/agent/id");
    let status = || async { control.get("sessions").await["sessions"][0]["status"].clone() };
    control.post("clock", json!({"advance": "1m"})).await;
    assert_eq!(status().await, "RUNNING");
    control
        .post(
            &format!("sessions/cursor/{slow}"),
            json!({"running": "0s", "outcome": "finished"}),
        )
        .await;
    assert_eq!(status().await, "FINISHED");
    let unknown = control
        .call(Method::POST, "sessions/cursor/bc-x", json!({}))
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        control
            .call(Method::DELETE, "script", Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(control.get("script").await["rules"], json!([]));
}

#[tokio::test]
async fn faults_are_armed_listed_and_disarmed() {
    let control = Control::start().await;
    let fault = json!({"when": {"class": "launch"}, "times": null, "fault": {"kind": "error_before", "status": 503, "code": "upstream_error"}});
    control.post("faults", fault).await;
    assert_eq!(
        control.get("faults").await["faults"][0]["fault"]["kind"],
        "error_before"
    );
    assert_eq!(
        control.launch(&cursor_launch("Fix")).await.error(),
        (503, "upstream_error")
    );
    assert_eq!(
        control
            .call(Method::DELETE, "faults", Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(control.launch(&cursor_launch("Fix")).await.status, 201);
}

#[tokio::test]
async fn keys_are_added_and_revoked() {
    let control = Control::start().await;
    control
        .post("keys", json!({"provider": "cursor", "name": "second", "secret": "s-2", "account": "demo@example.com"}))
        .await;
    let me = || async {
        let url = format!("{}/v1/me", control.simulator.cursor_url());
        send(control.client.get(url).bearer_auth("s-2"))
            .await
            .status
            .as_u16()
    };
    assert_eq!(me().await, 200);
    assert_eq!(
        control
            .call(Method::DELETE, "keys/cursor/second", Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(me().await, 401);
    assert_eq!(
        control
            .call(Method::DELETE, "keys/cursor/second", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_reason() {
    let control = Control::start().await;
    for (path, body) in [
        ("faults", json!({"fault": {"kind": "explode"}})),
        ("script", json!({"script": {"runing": "1s"}})),
        ("clock", json!({"advance": "soon"})),
        ("keys", json!({"provider": "nobody"})),
    ] {
        let answer = control.call(Method::POST, path, body).await;
        assert!(
            answer.status.is_client_error() && answer.body["error"].is_string(),
            "{path}: {}",
            answer.body
        );
    }
    assert!(
        control
            .call(Method::GET, "launches?marker_=x", Value::Null)
            .await
            .status
            .is_client_error()
    );
    assert_eq!(
        control
            .call(Method::GET, "nothing", Value::Null)
            .await
            .status,
        404
    );
}
