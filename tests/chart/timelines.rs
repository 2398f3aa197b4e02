//! Timelines with exactly the permissions that the chart gives: the port opens, and Kubernetes' own roles decide who is let in.
//!
//! No session is made: another test's operator serves all namespaces, and would run it.

use std::time::Duration;

use codeagent_harness::shared;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::operator::{Arguments, Operator};
use crate::release::Release;

const PATIENCE: Duration = Duration::from_secs(180);

/// Where the operator serves timelines, once it does.
async fn address(operator: &Operator) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = operator.log();
        if let Some((_, rest)) = log.split_once("serves timelines address=127.0.0.1:") {
            let port = rest.split_whitespace().next().unwrap();
            return format!("https://localhost:{port}");
        }
        assert!(Instant::now() < deadline, "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A token of a ServiceAccount, as `kubectl create token` prints it.
async fn token(release: &Release, namespace: &str, name: &str) -> String {
    let create = ["create", "token", name, "-n", namespace];
    let printed = release.kubectl(&create, "").await;
    printed.trim().to_owned()
}

#[tokio::test]
async fn with_the_charts_permissions_a_viewer_is_let_in_and_nobody_else() {
    let control_plane = shared().await;
    let served = control_plane.namespace("team").await.unwrap();
    let values = format!(
        "{{watchNamespaces: [{}], timeline: {{enabled: true, authDelegator: true}}}}",
        served.name()
    );
    let release = Release::apply(&values).await;
    let secret = format!("{}-timeline-tls", release.full_name());
    let arguments = Arguments::calm()
        .with("--namespace", served.name())
        .with("--operator-namespace", release.name())
        .with("--timeline-bind-address", "127.0.0.1:0")
        .with("--timeline-tls-secret", &secret);
    let access = release.operator().await;
    let operator = Operator::start(access.config(), &arguments).await;
    let address = address(&operator).await;

    let accounts: Api<ServiceAccount> = served.api();
    for name in ["viewer", "stranger"] {
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let params = PostParams::default();
        accounts.create(&params, &account).await.unwrap();
    }
    let viewer = format!("--serviceaccount={}:viewer", served.name());
    let bind = [
        "create",
        "rolebinding",
        "viewer",
        "--clusterrole=view",
        &viewer,
        "-n",
        served.name(),
    ];
    release.kubectl(&bind, "").await;

    let secrets: Api<Secret> = release.namespace().api();
    let authority = secrets.get(&secret).await.unwrap().data.unwrap();
    let authority = reqwest::Certificate::from_pem(&authority["ca.crt"].0).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .build()
        .unwrap();
    let url = format!(
        "{address}/v1alpha1/namespaces/{}/codesessions/none/events",
        served.name()
    );
    // 404 comes behind the right to know.
    for (name, expected) in [("viewer", 404), ("stranger", 403)] {
        let token = token(&release, served.name(), name).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
            if answer.status() == expected {
                break;
            }
            // The controller that merges the roles needs a moment.
            let answer = answer.text().await.unwrap();
            assert!(Instant::now() < deadline, "{name}: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    operator.stop().await;
}
