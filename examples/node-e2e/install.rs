//! The installation, the first session, and the chart's own test.

use std::path::Path;
use std::time::Instant;

use crate::world::{Failure, Providers, RELEASE, SYSTEM, World};

/// A key that the simulated Cursor takes, and an agent that uses it.
pub const AGENT: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: cursor-api-key, namespace: default, labels: {codeagents.dev/credential: "true"}}
stringData: {api-key: cursor-demo-key}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeAgent
metadata: {name: bug-fixer, namespace: default}
spec:
  provider: {cursor: {}}
  credentials: {secretRef: {name: cursor-api-key}}
  repository: {url: https://github.com/acme/app, ref: main}
"#;

/// Where the chart is.
pub fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/codeagent-operator")
        .display()
        .to_string()
}

/// The manifest of a session. Lines that begin with `sim:` tell the simulated provider what it does.
pub fn session(name: &str, prompt: &str) -> String {
    serde_json::json!({
        "apiVersion": "codeagents.dev/v1alpha1",
        "kind": "CodeSession",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"agentRef": {"name": "bug-fixer"}, "prompt": prompt},
    })
    .to_string()
}

/// From nothing to a pull request.
pub async fn install(world: &World) -> Result<Providers, Failure> {
    let providers = world.start_simulator().await?;
    let begun = Instant::now();
    world
        .helm(
            &[
                "install",
                RELEASE,
                &chart(),
                "--create-namespace",
                "--wait",
                "--timeout",
                "3m",
            ],
            &providers.values().to_string(),
        )
        .await?;
    println!(
        "helm install --wait: {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    world.apply(AGENT).await?;
    world
        .apply(&session("fix-login", "Fix the login bug"))
        .await?;
    let begun = Instant::now();
    let url = world.until_finished("fix-login").await?;
    println!(
        "the first session, to its pull request {url}: {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    expect_launches(&providers, 1).await?;

    let begun = Instant::now();
    world
        .helm(&["test", RELEASE, "--timeout", "3m"], "")
        .await?;
    let said = world
        .kubectl(&["logs", "--namespace", SYSTEM, &format!("{RELEASE}-check")])
        .await?;
    println!(
        "helm test: {:.1} s; it says:",
        begun.elapsed().as_secs_f64()
    );
    for line in said.lines() {
        println!("    {line}");
    }
    Ok(providers)
}

/// Whether so many sessions, no more and no fewer, were paid for.
pub async fn expect_launches(providers: &Providers, expected: u64) -> Result<(), Failure> {
    match providers.launches().await? {
        found if found == expected => Ok(()),
        found => Err(format!("{found} launches at the providers instead of {expected}").into()),
    }
}
