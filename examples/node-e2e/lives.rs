//! What happens to the operator's Pods while sessions run: a crowd of sessions, a leader that is killed, an upgrade, a drained node.
//! After each, every session was paid for exactly once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::install::{chart, expect_launches, session};
use crate::pods::SELECTOR;
use crate::world::{Failure, Providers, RELEASE, SYSTEM, World};

const CROWD: u64 = 200;

/// Many sessions at once: what the Pod uses, beside what the chart asks for.
pub async fn crowd(world: &World, providers: &Providers) -> Result<(), Failure> {
    let before = providers.launches().await?;
    let pod = world.leader().await?;
    let idle = pod.usage()?;
    let manifests: Vec<String> = (0..CROWD)
        .map(|number| session(&format!("crowd-{number}"), "Do it\nsim: running=30s"))
        .collect();
    let begun = Instant::now();
    world.apply(&manifests.join("\n")).await?;
    world
        .until(
            "the crowd has ended",
            || world.get(&["codesessions", "--namespace", "default"]),
            |sessions| {
                let items = sessions.get("items")?.as_array()?;
                let ended = items.iter().filter(|item| {
                    item.pointer("/status/phase")
                        .is_some_and(|phase| phase == "Finished")
                });
                (ended.count() == items.len()).then_some(())
            },
        )
        .await?;
    let most = pod.usage()?;
    let took = begun.elapsed();
    expect_launches(providers, before + CROWD).await?;
    let resources = world
        .get(&["pod", &pod.name, "--namespace", SYSTEM])
        .await?
        .pointer("/spec/containers/0/resources")
        .cloned()
        .unwrap_or_default();
    let processor = most.processor.saturating_sub(idle.processor);
    let share = processor.as_secs_f64() / took.as_secs_f64() * 1000.0;
    println!(
        "{CROWD} sessions, from apply to the last end: {:.0} s; the Pod used {:.1} s of a processor ({share:.0}m on average), \
         {} MiB resident at most ({} before, {} of them its own data at the end); the chart: {resources}",
        took.as_secs_f64(),
        processor.as_secs_f64(),
        most.peak,
        idle.resident,
        most.anonymous,
    );
    match world
        .operator_pods()
        .await?
        .iter()
        .map(|pod| pod.restarts)
        .sum()
    {
        0 => Ok(()),
        restarts => {
            Err(format!("the operator was restarted {restarts} times under the crowd").into())
        }
    }
}

/// The next launch takes effect at once, and its answer comes late: time to do something to whoever waits for it.
async fn delay_answers(providers: &Providers, seconds: u64, times: u64) -> Result<(), Failure> {
    let fault = json!({
        "when": {"class": "launch"},
        "times": times,
        "fault": {"kind": "delay", "by": format!("{seconds}s")},
    });
    providers.tell("faults", &fault).await
}

/// Applies a session and waits until it was paid for; its answer is on its way for a while.
pub async fn launch_slowly(
    world: &World,
    providers: &Providers,
    name: &str,
    seconds: u64,
) -> Result<u64, Failure> {
    let before = providers.launches().await?;
    delay_answers(providers, seconds, 1).await?;
    world
        .apply(&session(name, "Do it\nsim: running=3s"))
        .await?;
    world
        .until(
            &format!("{name} is launched"),
            || providers.launches(),
            |&count| (count > before).then_some(count),
        )
        .await
}

/// The leader is killed between a launch and its answer: first its process, then its Pod.
pub async fn kill_leader(world: &World, providers: &Providers) -> Result<(), Failure> {
    let expected = launch_slowly(world, providers, "process-killed", 60).await?;
    let leader = world.leader().await?;
    leader.kill()?;
    let begun = Instant::now();
    world.until_restarted(&leader).await?;
    let ready = begun.elapsed();
    world.until_finished("process-killed").await?;
    expect_launches(providers, expected).await?;
    println!(
        "the leader's process was killed in the middle of a launch: it was ready again after {:.1} s, and the session ended after {:.0} s, with \
         one launch",
        ready.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
    );

    let expected = launch_slowly(world, providers, "pod-killed", 60).await?;
    let leader = world.leader().await?;
    let begun = Instant::now();
    world
        .kubectl(&[
            "delete",
            "pod",
            &leader.name,
            "--namespace",
            SYSTEM,
            "--grace-period=0",
            "--force",
        ])
        .await?;
    world.until_finished("pod-killed").await?;
    expect_launches(providers, expected).await?;
    println!(
        "the leader's Pod was deleted by force in the middle of a launch: the session ended {:.0} s later, with one launch",
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// An upgrade to two replicas, and one that replaces both, each in the middle of launches.
pub async fn upgrade(world: &World, providers: &Providers) -> Result<(), Failure> {
    for (round, replicas) in [(0_u8, 1_usize), (1, 2), (2, 2)] {
        let mut values = providers.values();
        let more = json!({"replicas": replicas, "podAnnotations": {"round": round.to_string()}});
        merge(&mut values, &more);
        let names: Vec<String> = (0..5)
            .map(|number| format!("upgrade-{round}-{number}"))
            .collect();
        let before = providers.launches().await?;
        delay_answers(providers, 15, 5).await?;
        let manifests: Vec<String> = names
            .iter()
            .map(|name| session(name, "Do it\nsim: running=3s"))
            .collect();
        world.apply(&manifests.join("\n")).await?;
        let begun = Instant::now();
        world
            .helm(
                &["upgrade", RELEASE, &chart(), "--wait", "--timeout", "3m"],
                &values.to_string(),
            )
            .await?;
        let upgraded = begun.elapsed();
        for name in &names {
            world.until_finished(name).await?;
        }
        expect_launches(providers, before + 5).await?;
        world.until_ready(replicas).await?;
        println!(
            "helm upgrade --wait to {replicas} replica(s) in the middle of 5 launches: {:.1} s, and no launch twice",
            upgraded.as_secs_f64()
        );
    }
    Ok(())
}

/// Replaces values at the top.
pub fn merge(values: &mut Value, more: &Value) {
    if let (Some(values), Some(more)) = (values.as_object_mut(), more.as_object()) {
        values.extend(more.clone());
    }
}

/// The only node is drained. With two replicas the budget keeps one, which works on, until the other one has a place again.
pub async fn drain(world: &World, providers: &Providers) -> Result<(), Failure> {
    let expected = launch_slowly(world, providers, "drained", 5).await?;
    let before = world.until_ready(2).await?;
    let begun = Instant::now();
    let drain = [
        "drain",
        "node",
        "--pod-selector",
        SELECTOR,
        "--timeout=150s",
    ];
    let draining = async { world.kubectl(&drain).await.map(|_| begun.elapsed()) };
    let meanwhile = async {
        world
            .until(
                "one Pod is evicted, and the other one is kept",
                || world.operator_pods(),
                |pods| {
                    let pending = pods.iter().filter(|pod| pod.pending).count();
                    let kept = pods
                        .iter()
                        .filter(|pod| pod.ready && before.iter().any(|old| old.name == pod.name))
                        .count();
                    (pending == 1 && kept == 1).then_some(())
                },
            )
            .await?;
        world.until_finished("drained").await?;
        world
            .apply(&session("while-drained", "Do it\nsim: running=3s"))
            .await?;
        world.until_finished("while-drained").await?;
        world.kubectl(&["uncordon", "node"]).await
    };
    let (drained, kept): (Result<Duration, Failure>, Result<String, Failure>) =
        tokio::join!(draining, meanwhile);
    kept?;
    let drained = drained?;
    expect_launches(providers, expected + 1).await?;
    world.kubectl(&["uncordon", "node"]).await?;
    world.until_ready(2).await?;
    println!(
        "kubectl drain of the only node with 2 replicas: one Pod was evicted, the other one worked on until there was a place again; the drain \
         ended after {:.0} s",
        drained.as_secs_f64()
    );
    Ok(())
}
