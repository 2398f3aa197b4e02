//! Uninstalling while sessions run: what stays, what waits for an operator, and that nothing waits for ever once one is there again.

use std::time::Instant;

use serde_json::{Value, json};

use crate::install::{AGENT, chart, expect_launches, session};
use crate::lives::{launch_slowly, merge};
use crate::pods::SELECTOR;
use crate::world::{Failure, Providers, RELEASE, SYSTEM, World};

const LONG: &str = "Do it\nsim: running=1h";
const DEFINITIONS: [&str; 2] = ["codeagents.codeagents.dev", "codesessions.codeagents.dev"];

async fn uninstall(world: &World) -> Result<f64, Failure> {
    let begun = Instant::now();
    world
        .helm(&["uninstall", RELEASE, "--wait", "--timeout", "3m"], "")
        .await?;
    world
        .until(
            "the operator's Pods are gone",
            || world.get(&["pods", "--namespace", SYSTEM, "--selector", SELECTOR]),
            |pods| pods.get("items")?.as_array()?.is_empty().then_some(()),
        )
        .await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn install(world: &World, values: &Value) -> Result<(), Failure> {
    world
        .helm(
            &["install", RELEASE, &chart(), "--wait", "--timeout", "3m"],
            &values.to_string(),
        )
        .await
        .map(|_| ())
}

/// Whether an object is there.
async fn exists(world: &World, arguments: &[&str]) -> Result<bool, Failure> {
    let mut all = vec!["get", "--ignore-not-found", "-o", "name"];
    all.extend(arguments);
    Ok(!world.kubectl(&all).await?.trim().is_empty())
}

async fn until_gone(world: &World, arguments: &[&str]) -> Result<(), Failure> {
    let what = format!("{} is gone", arguments.join(" "));
    world
        .until(
            &what,
            || exists(world, arguments),
            |&there| (!there).then_some(()),
        )
        .await
}

async fn start(world: &World, name: &str) -> Result<String, Failure> {
    world.apply(&session(name, LONG)).await?;
    world
        .until(
            &format!("{name} runs"),
            || world.session(name),
            |session| {
                let running = session.pointer("/status/phase")?.as_str()? == "Running";
                let id = session.pointer("/status/provider/sessionId")?.as_str()?;
                running.then(|| id.to_owned())
            },
        )
        .await
}

/// With the definitions kept, as by default.
pub async fn keeping_definitions(world: &World, providers: &Providers) -> Result<(), Failure> {
    let [deleted, forgotten, kept] = [
        start(world, "deleted-meanwhile").await?,
        start(world, "forgotten").await?,
        start(world, "kept").await?,
    ];
    let launches = launch_slowly(world, providers, "launching", 20).await?;
    let lease = world
        .get(&["lease", RELEASE, "--namespace", SYSTEM])
        .await?;
    let took = uninstall(world).await?;
    println!(
        "helm uninstall while sessions run and one is being launched: the Pods are gone after {took:.0} s"
    );
    for definition in DEFINITIONS {
        if !exists(world, &["crd", definition]).await? {
            return Err(format!("the definition {definition} is gone").into());
        }
    }
    let left = world
        .get(&["lease", RELEASE, "--namespace", SYSTEM])
        .await?;
    if left.pointer("/metadata/uid") != lease.pointer("/metadata/uid") {
        return Err("the Lease is another one".into());
    }
    // They run on, and cost.
    for id in [&deleted, &forgotten, &kept] {
        expect_active(providers, id, true).await?;
    }

    world
        .kubectl(&[
            "delete",
            "codesession",
            "deleted-meanwhile",
            "forgotten",
            "--namespace",
            "default",
            "--wait=false",
        ])
        .await?;
    for name in ["deleted-meanwhile", "forgotten"] {
        if !exists(world, &["codesession", name, "--namespace", "default"]).await? {
            return Err(format!("{name} is gone although nobody has stopped it").into());
        }
    }
    // By hand: the object goes, and the session runs on unwatched.
    world
        .kubectl(&[
            "patch",
            "codesession",
            "forgotten",
            "--namespace",
            "default",
            "--type=merge",
            "--patch",
            r#"{"metadata":{"finalizers":null}}"#,
        ])
        .await?;
    until_gone(
        world,
        &["codesession", "forgotten", "--namespace", "default"],
    )
    .await?;

    let begun = Instant::now();
    install(world, &providers.values()).await?;
    until_gone(
        world,
        &["codesession", "deleted-meanwhile", "--namespace", "default"],
    )
    .await?;
    expect_active(providers, &deleted, false).await?;
    world.until_finished("launching").await?;
    for id in [&forgotten, &kept] {
        expect_active(providers, id, true).await?;
    }
    expect_launches(providers, launches).await?;
    println!(
        "installed again: the session that was deleted meanwhile is stopped and gone, the launch is found again and not repeated, the others run \
         on: {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// In the order of the chart's README.
pub async fn in_order(world: &World, providers: &Providers) -> Result<(), Failure> {
    let kept = world.session("kept").await?;
    let kept = kept
        .pointer("/status/provider/sessionId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let begun = Instant::now();
    for arguments in [
        &[
            "delete",
            "codesessions",
            "--all",
            "--all-namespaces",
            "--timeout=150s",
        ][..],
        &[
            "delete",
            "codeagents.codeagents.dev",
            "--all",
            "--all-namespaces",
            "--timeout=60s",
        ],
        &[
            "scale",
            "deployment",
            RELEASE,
            "--replicas=0",
            "--namespace",
            SYSTEM,
        ],
        &[
            "wait",
            "--for=delete",
            "pod",
            "--selector",
            SELECTOR,
            "--timeout=150s",
            "--namespace",
            SYSTEM,
        ],
    ] {
        world.kubectl(arguments).await?;
    }
    uninstall(world).await?;
    expect_active(providers, &kept, false).await?;
    let mut delete = vec!["delete", "crd", "--timeout=60s"];
    delete.extend(DEFINITIONS);
    world.kubectl(&delete).await?;
    println!(
        "uninstalled in the order of the chart's README, definitions included: {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// With `crds.keep: false`: the definitions go with the release, but for the one of sessions that nobody has stopped. The next installation
/// stops those, and brings the definitions back.
pub async fn removing_definitions(world: &World, providers: &Providers) -> Result<(), Failure> {
    let mut values = providers.values();
    merge(
        &mut values,
        &json!({"crds": {"install": true, "keep": false}}),
    );
    upgrade(world, &values, &["--install", "--wait"]).await?;
    world.apply(AGENT).await?;
    let running = start(world, "of-removed-definitions").await?;
    let launches = providers.launches().await?;
    let begun = Instant::now();
    let uninstalled = world
        .helm(&["uninstall", RELEASE, "--wait", "--timeout", "30s"], "")
        .await;
    println!(
        "helm uninstall --wait --timeout 30s with crds.keep: false while a session runs: after {:.0} s: {}",
        begun.elapsed().as_secs_f64(),
        match &uninstalled {
            Ok(said) => said.trim().to_owned(),
            Err(error) => error.to_string(),
        }
    );
    let [agents, sessions] = DEFINITIONS;
    let terminating = world.get(&["crd", sessions]).await?;
    if terminating.pointer("/metadata/deletionTimestamp").is_none()
        || exists(world, &["crd", agents]).await?
    {
        return Err(
            "the definition of sessions should wait for one, and the other one be gone".into(),
        );
    }
    expect_active(providers, &running, true).await?;

    let begun = Instant::now();
    // Without --wait: what is being deleted is never ready.
    upgrade(world, &providers.values(), &["--install"]).await?;
    until_gone(world, &["crd", sessions]).await?;
    expect_active(providers, &running, false).await?;
    expect_launches(providers, launches).await?;
    upgrade(world, &providers.values(), &["--wait"]).await?;
    println!(
        "helm install again stopped the session, and its definition went; helm upgrade brought it back: {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    world.apply(AGENT).await?;
    world.apply(&session("after-all", "Do it")).await?;
    world.until_finished("after-all").await?;
    expect_launches(providers, launches + 1).await
}

async fn upgrade(world: &World, values: &Value, more: &[&str]) -> Result<(), Failure> {
    let chart = chart();
    let mut arguments = vec![
        "upgrade",
        RELEASE,
        &chart,
        "--create-namespace",
        "--timeout",
        "3m",
    ];
    arguments.extend(more);
    world
        .helm(&arguments, &values.to_string())
        .await
        .map(|_| ())
}

/// Whether the provider still works on a session, which it is paid for.
async fn expect_active(providers: &Providers, id: &str, expected: bool) -> Result<(), Failure> {
    let sessions = providers.ask("sessions").await?;
    let active = sessions
        .get("sessions")
        .and_then(Value::as_array)
        .and_then(|sessions| {
            sessions
                .iter()
                .find(|session| session.get("id").is_some_and(|found| found == id))
        })
        .and_then(|session| session.get("active")?.as_bool());
    match active {
        Some(active) if active == expected => Ok(()),
        other => Err(format!(
            "the provider's session {id} is active: {other:?} instead of {expected}"
        )
        .into()),
    }
}
