use std::time::Duration;

use codeagent_simulator::{Provider, Simulator, SimulatorOptions, TimeFlow};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

pub const CURSOR_KEY: &str = "cursor-demo-key";
pub const CURSOR_SERVICE_KEY: &str = "cursor-demo-service-key";
pub const FIREBENDER_KEY: &str = "firebender-demo-key";
pub const FLAPJACK_KEY: &str = "fj_live_demo_key";

/// A provider of a running simulator, and a client for it.
pub struct Api {
    pub simulator: Simulator,
    provider: Provider,
    client: Client,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The code of an error body.
    #[track_caller]
    pub fn error(&self) -> (u16, &str) {
        let code = self.body["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("not an error: {} {}", self.status, self.body));
        assert!(self.body["error"]["message"].is_string());
        (self.status.as_u16(), code)
    }

    /// The code of Flapjack's error body.
    #[track_caller]
    pub fn flat_error(&self) -> (u16, &str) {
        let code = self.body["error"]
            .as_str()
            .unwrap_or_else(|| panic!("not an error: {} {}", self.status, self.body));
        assert!(self.body["detail"].is_string());
        (self.status.as_u16(), code)
    }

    /// The code of an error body as Connect writes it.
    #[track_caller]
    pub fn connect_error(&self) -> (u16, &str) {
        let code = self.body["code"]
            .as_str()
            .unwrap_or_else(|| panic!("not an error: {} {}", self.status, self.body));
        assert!(self.body["message"].is_string());
        (self.status.as_u16(), code)
    }

    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        match self.body.pointer(pointer).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => panic!("no {pointer} in {} {}", self.status, self.body),
        }
    }
}

pub fn client() -> Client {
    // Only the first call installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        // What hangs by mistake fails, with room for a slow machine.
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

/// Sessions proceed only by [`Api::pass`], so that a slow machine changes nothing.
pub fn manual() -> SimulatorOptions {
    SimulatorOptions {
        time: TimeFlow::Manual,
        ..SimulatorOptions::default()
    }
}

impl Api {
    pub async fn start(provider: Provider, options: SimulatorOptions) -> Self {
        Self {
            simulator: Simulator::start(options).await.unwrap(),
            provider,
            client: client(),
        }
    }

    pub async fn cursor() -> Self {
        Self::start(Provider::Cursor, manual()).await
    }

    pub async fn firebender() -> Self {
        Self::start(Provider::Firebender, manual()).await
    }

    pub async fn flapjack() -> Self {
        Self::start(Provider::Flapjack, manual()).await
    }

    pub async fn http() -> Self {
        Self::start(Provider::Http, manual()).await
    }

    pub async fn firetiger() -> Self {
        Self::start(Provider::Firetiger, manual()).await
    }

    /// A request without a key.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.simulator.url(self.provider));
        self.client.request(method, url)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.anonymous(method, path);
        match self.provider {
            Provider::Cursor => request.bearer_auth(CURSOR_KEY),
            Provider::Firebender => request.header("X-API-Key", FIREBENDER_KEY),
            Provider::Flapjack => request.bearer_auth(FLAPJACK_KEY),
            Provider::Http => request.bearer_auth("http-demo-key"),
            Provider::Firetiger => request.basic_auth("demo", Some("firetiger-demo-password")),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Without a body.
    pub async fn post(&self, path: &str) -> Answer {
        send(self.request(Method::POST, path)).await
    }

    pub async fn post_json(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Lets every session proceed by this long.
    pub fn pass(&self, milliseconds: u64) {
        self.simulator.advance(Duration::from_millis(milliseconds));
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// A launch at Cursor that works for a second of simulated time in each phase.
pub fn cursor_launch(prompt: &str) -> Value {
    json!({
        "prompt": {"text": format!("{prompt}\nsim: creating=1s running=1s")},
        "repos": [{"url": "https://github.com/acme/app", "startingRef": "main"}],
        "autoCreatePR": true,
    })
}

/// The same at Cursor v0.
pub fn cursor_v0_launch(prompt: &str) -> Value {
    json!({
        "prompt": {"text": format!("{prompt}\nsim: creating=1s running=1s")},
        "source": {"repository": "https://github.com/acme/app", "ref": "main"},
        "target": {"autoCreatePr": true},
    })
}

/// The same at Firebender.
pub fn firebender_launch(prompt: &str) -> Value {
    json!({
        "prompt": {"text": format!("{prompt}\nsim: creating=1s setup=1s running=1s")},
        "source": {"repository": "https://github.com/acme/app", "ref": "main"},
        "target": {"autoCreatePr": true},
    })
}

/// A start at Flapjack, of a session that takes a second of simulated time in each phase.
pub fn flapjack_start(template: &str, prompt: &str) -> Value {
    json!({
        "codeAgentId": template,
        "prompt": format!("{prompt}\nsim: pending=1s creating=1s running=1s"),
        "cursorApiKey": "cursor-key-of-the-user",
    })
}
