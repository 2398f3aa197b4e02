//! The proxies that the environment names, on the way to the API server.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

/// More than a start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the program with this environment against an API server that only a proxy could reach, until it ends; answers with
/// the first line that the proxy was sent, if it was asked.
async fn asked_of_the_proxy(no_proxy: &str) -> (Option<String>, String) {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], users: [{name: u, user: {token: t}}], \
         clusters: [{name: k, cluster: {server: \"https://api.cluster.invalid:6443\"}}]}",
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_codeagent-operator"))
        .args(["run", "--bind-address=127.0.0.1:0"])
        .env("KUBECONFIG", &kubeconfig)
        .env(
            "HTTPS_PROXY",
            format!("http://{}", proxy.local_addr().unwrap()),
        )
        .env("NO_PROXY", no_proxy)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let first = async {
        let (stream, _) = proxy.accept().await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        line
    };
    let mut words = String::new();
    let mut errors = child.stderr.take().unwrap();
    let asked = tokio::select! {
        line = first => Some(line.trim_end().to_owned()),
        _ = errors.read_to_string(&mut words) => None,
        () = tokio::time::sleep(PATIENCE) => panic!("it neither asks the proxy nor ends"),
    };
    (asked, words)
}

#[tokio::test]
async fn the_api_server_is_reached_through_the_proxy_of_the_environment() {
    let (asked, words) = asked_of_the_proxy("127.0.0.1,localhost").await;
    assert_eq!(
        asked.as_deref(),
        Some("CONNECT api.cluster.invalid:6443 HTTP/1.1"),
        "{words}"
    );
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let (asked, words) = asked_of_the_proxy("cluster.invalid").await;
    assert_eq!(asked, None, "{words}");
    assert!(!words.contains("proxy"), "{words}");
}
