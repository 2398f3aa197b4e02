//! Our signatures beside the libraries that receivers use: PyPI's and npm's `standardwebhooks`, and the receiver of docs/webhooks.md exactly as it
//! stands there. A program of its own, so that it can say what it could not check: where Python, Node or their registries cannot be had it
//! prints that and checks the rest. With `INTEROP=required` that is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use codeagent_operator::domain::webhook::SigningKeys;
use codeagent_operator::network::public_post::PublicPost;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
const BODIES: [&str; 3] = ["{\"a\": 1}", "{\"text\": \"Grüße ✓\"}", " {\"a\": 1} \n"];
/// When something that is waited for counts as never happening.
const PATIENCE: Duration = Duration::from_secs(60);

/// Verifies what stands on its standard input: a list of `{secret, headers, body}`.
const PYTHON: &str = r"
import json, sys
from standardwebhooks import Webhook
for case in json.load(sys.stdin):
    Webhook(case['secret']).verify(case['body'], case['headers'])
    try:
        Webhook(case['secret']).verify(case['body'] + ' ', case['headers'])
    except Exception:
        continue
    sys.exit('another body was accepted')
";
const NODE: &str = r"
const { Webhook } = require('standardwebhooks');
for (const { secret, body, headers } of JSON.parse(require('fs').readFileSync(0, 'utf8'))) {
  new Webhook(secret).verify(body, headers);
  let accepted = true;
  try { new Webhook(secret).verify(body + ' ', headers); } catch { accepted = false; }
  if (accepted) { throw new Error('another body was accepted'); }
}
";

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let checks = [
        ("PyPI's library", with_python(at)),
        ("npm's library", with_node(at)),
        ("the receiver of docs/webhooks.md", documented_receiver(at)),
    ];
    let required = std::env::var("INTEROP").is_ok_and(|value| value == "required");
    for (what, result) in checks {
        match result {
            Ok(()) => println!("interop: {what} takes our signatures"),
            Err(missing) => {
                println!("interop: NOT CHECKED: {what}: {missing}");
                assert!(!required, "{what}: {missing}");
            }
        }
    }
}

/// What is verified: each body with both secrets of a rotation.
fn cases() -> Value {
    let now = jiff::Timestamp::now().as_second();
    let keys = SigningKeys::parse(&format!("{NEW}\n{OLD}")).unwrap();
    let cases = BODIES.iter().enumerate().flat_map(|(at, body)| {
        let id = format!("msg_{at}");
        let headers = json!({
            "webhook-id": id,
            "webhook-timestamp": now.to_string(),
            "webhook-signature": keys.sign(&id, now, body),
        });
        [OLD, NEW].map(|secret| json!({"secret": secret, "headers": headers, "body": body}))
    });
    Value::Array(cases.collect())
}

/// Runs a program; why it could not be run, or what it said where it failed.
fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{name}: {}",
        said.lines().last().unwrap_or_default()
    ))
}

/// Installs the library of Python into `at`.
fn install_python(at: &Path) -> Result<(), String> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(at.join("python"))
        .arg("standardwebhooks==1.1.0");
    run(&mut pip).map(drop)
}

fn with_python(at: &Path) -> Result<(), String> {
    install_python(at)?;
    let mut python = Command::new("python3");
    python
        .args(["-c", PYTHON])
        .env("PYTHONPATH", at.join("python"));
    verify(&mut python);
    Ok(())
}

fn with_node(at: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(at)
        .arg("standardwebhooks@1.1.1");
    run(&mut npm)?;
    let mut node = Command::new("node");
    node.args(["-e", NODE])
        .env("NODE_PATH", at.join("node_modules"));
    verify(&mut node);
    Ok(())
}

/// What was installed must take every case.
fn verify(command: &mut Command) {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &cases()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The first Python text of the page.
fn receiver_text() -> String {
    let page = include_str!("../../docs/webhooks.md");
    let (_, rest) = page.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn documented_receiver(at: &Path) -> Result<(), String> {
    if !at.join("python/standardwebhooks").is_dir() {
        install_python(at)?;
    }
    // Free now; nobody else is told of it.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut receiver = Running(
        Command::new("python3")
            .args(["-c", &receiver_text()])
            .env("PYTHONPATH", at.join("python"))
            .env("WEBHOOK_SECRET", OLD)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let report = json!({
        "type": "codesession.changed",
        "data": {"name": "fix-login", "phase": "Finished", "changed": ["phase"]},
    })
    .to_string();
    assert_eq!(delivered(port, &report, OLD), 204);
    assert_eq!(delivered(port, &report, NEW), 401, "another secret");
    let both = format!("{NEW}\n{OLD}");
    assert_eq!(delivered(port, &report, &both), 204);
    let mut told = String::new();
    let output = receiver.0.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut told).unwrap();
    assert_eq!(told, "fix-login Finished ['phase']\n");
    Ok(())
}

/// What the receiver answers to a report that is sent as the operator sends it.
fn delivered(port: u16, report: &str, secrets: &str) -> u16 {
    let now = jiff::Timestamp::now().as_second();
    let signature = SigningKeys::parse(secrets)
        .unwrap()
        .sign("msg_1", now, report);
    let headers: HeaderMap = [
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", signature),
    ]
    .into_iter()
    .map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(&value).unwrap(),
        )
    })
    .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let post = PublicPost::new(true, None);
    let url = format!("http://127.0.0.1:{port}/");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = Bytes::from(report.to_owned());
        match runtime.block_on(post.send(&url, headers.clone(), body, PATIENCE)) {
            Ok(answer) => return answer.code,
            // It has just been started.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
