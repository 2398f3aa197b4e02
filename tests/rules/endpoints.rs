//! Where keys are sent: only to the provider, or to where the Secret's owner allows it, and never in the clear.

use codeagent_operator::api::{ALLOWED_HOSTS_ANNOTATION, Reason};
use codeagent_simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};

use crate::world::{CURSOR_KEY, Setup, World, agent, agent_is, secret, session};

fn at(name: &str, endpoint: &str, secret: &str) -> Value {
    agent(
        name,
        &format!(
            "{{provider: {{cursor: {{endpoint: '{endpoint}'}}}}, credentials: {{secretRef: {{name: {secret}}}}}}}"
        ),
    )
}

fn allowing(name: &str, hosts: &str) -> Value {
    let mut allowing = secret(name, CURSOR_KEY);
    allowing["metadata"]["annotations"] = json!({ALLOWED_HOSTS_ANNOTATION: hosts});
    allowing
}

#[tokio::test]
async fn a_key_goes_elsewhere_only_with_its_owners_consent() {
    let world = World::start("endpoints").await;
    // Another server than the installation's, with the same keys.
    let elsewhere = Simulator::start(SimulatorOptions {
        keys: world.simulator.keys(),
        ..SimulatorOptions::for_tests()
    })
    .await
    .unwrap();
    let url = elsewhere.cursor_url();
    let host = url.strip_prefix("http://").unwrap();
    world.apply(&secret("key", CURSOR_KEY)).await;
    for (name, hosts) in [
        ("nothing", None),
        ("another-host", Some("example.com, proxy.acme.com")),
        ("another-port", Some("127.0.0.1:1")),
        // A host without a port is port 443.
        ("no-port", Some("127.0.0.1")),
        ("longer-name", Some("127.0.0.10,x127.0.0.1")),
    ] {
        let key = hosts.map_or_else(|| secret(name, CURSOR_KEY), |hosts| allowing(name, hosts));
        world.apply(&key).await;
        world.apply(&at(name, url, name)).await;
        world.apply(&session(name, "{}")).await;
        let advice = format!("annotate secret {name} {ALLOWED_HOSTS_ANNOTATION}={host}");
        world
            .stalled(name, Reason::EndpointNotAllowed, &advice)
            .await;
        let stalled = |agent: &_| agent_is(agent, "Stalled", "True", Reason::EndpointNotAllowed);
        world.until_agent(name, "stalled", stalled).await;
    }
    assert!(
        elsewhere.requests().is_empty(),
        "a key left without consent"
    );
    let two = format!("proxy.acme.com , {host}");
    for (name, hosts) in [
        ("nothing", host),
        ("another-host", two.as_str()),
        ("another-port", host),
    ] {
        world.apply(&allowing(name, hosts)).await;
    }
    // The installation's own endpoint needs no consent.
    world
        .apply(&agent(
            "longer-name",
            "{credentials: {secretRef: {name: longer-name}}}",
        ))
        .await;
    for name in ["nothing", "another-host", "another-port"] {
        let finished = world
            .ended(name, codeagent_operator::api::SessionPhase::Finished)
            .await;
        assert_eq!(
            finished
                .status
                .unwrap()
                .effective
                .unwrap()
                .provider
                .endpoint,
            url
        );
    }
    assert_eq!(elsewhere.launches(&Default::default()).len(), 3);
    world.finished("longer-name").await;
    world.end().await;
}

/// The owner of a Secret, who may be anybody in the cluster, cannot point the operator at the cluster's own network.
#[tokio::test]
async fn an_endpoint_is_public_unless_the_administrator_names_its_host() {
    const INSIDE: &str = "10.255.255.1:8443";
    let mut world = World::start("inside").await;
    world.apply(&allowing("inside", INSIDE)).await;
    world
        .apply(&at("inside", &format!("https://{INSIDE}"), "inside"))
        .await;
    world.apply(&session("inside", "{}")).await;
    let advice = format!(
        "not public; the administrator of this installation allows such a host with --allow-endpoint-hosts={INSIDE}"
    );
    world
        .stalled("inside", Reason::EndpointNotAllowed, &advice)
        .await;
    // From then on it is tried, and nothing is there.
    world
        .start_operator(true, &[format!("--allow-endpoint-hosts={INSIDE}")])
        .await;
    let allowed = |agent: &_| !agent_is(agent, "Stalled", "True", Reason::EndpointNotAllowed);
    world.until_agent("inside", "allowed", allowed).await;
    world.end().await;
}

#[tokio::test]
async fn plain_http_needs_the_development_flag() {
    let setup = Setup {
        allow_http: false,
        ..Setup::default()
    };
    let mut world = World::start_with("http", setup).await;
    world.apply(&agent("a", "{}")).await;
    world.apply(&session("a", "{}")).await;
    world
        .stalled("a", Reason::InsecureEndpoint, "is not https: use https")
        .await;
    let stalled = |agent: &_| agent_is(agent, "Stalled", "True", Reason::InsecureEndpoint);
    world.until_agent("a", "stalled", stalled).await;
    let cursor = codeagent_simulator::Provider::Cursor;
    assert_eq!(
        world.simulator.connections(cursor),
        0,
        "a key crossed the network in the clear"
    );
    // The administrator starts it anew with the flag.
    world.start_operator(true, &[]).await;
    world.finished("a").await;
    world.end().await;
}
