//! The GitOps engines themselves: the libraries of Flux and Argo CD on every manifest of `examples/`, before, while and after its sessions run.
//! They are built from source, some minutes the first time: `cargo test --test it engines -- --ignored`.

use std::path::Path;

use codeagent_harness::{ArgoCd, Flux, FluxAnswer};
use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{LaunchFilter, Provider, SimulatorOptions};
use serde_json::{Value, json};

use crate::support::world::{World, demo_key, phase_of};

/// Every object of `examples/`, in this namespace, with keys that the simulated providers take; but those that need a node.
fn examples(world: &World) -> Vec<Value> {
    let namespace = world.name();
    let service = world.simulator.url(Provider::Http);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
                && !path.ends_with("job.yaml")
        })
        .collect();
    files.sort();
    // A mapping names its endpoint itself.
    let text = |file| {
        std::fs::read_to_string(file)
            .unwrap()
            .replace("https://api.devin.ai", service)
    };
    let mut objects: Vec<Value> = files
        .iter()
        .flat_map(|file| serde_saphyr::from_multiple::<Value>(&text(file)).unwrap())
        .collect();
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.into();
        if object["kind"] == "Secret" {
            with_demo_keys(object);
        }
    }
    assert!(!objects.is_empty());
    objects
}

fn with_demo_keys(secret: &mut Value) {
    let (username, password) = demo_key(Provider::Firetiger).split_once(':').unwrap();
    for (placeholder, key) in [
        ("replace-with-your-cursor-key", demo_key(Provider::Cursor)),
        (
            "replace-with-your-firebender-key",
            demo_key(Provider::Firebender),
        ),
        (
            "replace-with-your-flapjack-key",
            demo_key(Provider::Flapjack),
        ),
        ("replace-with-your-devin-key", demo_key(Provider::Http)),
        ("replace-with-your-firetiger-user", username),
        ("replace-with-your-firetiger-password", password),
    ] {
        for value in secret["stringData"].as_object_mut().unwrap().values_mut() {
            if value == placeholder {
                *value = key.into();
            }
        }
    }
    // As a tool for secrets in Git renders it: an engine compares what is stored, and `stringData` never is.
    let values = secret["stringData"].take();
    secret.as_object_mut().unwrap().remove("stringData");
    secret["data"] = values
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let value = k8s_openapi::ByteString(value.as_str().unwrap().into());
            (name.clone(), serde_json::to_value(value).unwrap())
        })
        .collect();
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a str> {
    let wanted = objects.iter().filter(move |object| object["kind"] == kind);
    wanted.map(|object| object["metadata"]["name"].as_str().unwrap())
}

/// What kubectl answers for each of these objects, in their order.
async fn kubectl_for_each(world: &World, arguments: &[&str], objects: &[Value]) -> Vec<Value> {
    let arguments = [
        arguments,
        &["-f", "-", "-o", "json", "--show-managed-fields"],
    ]
    .concat();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let output = world.admin.kubectl_with_input(&arguments, &list).await;
    let output = output.unwrap();
    assert!(output.success(), "{}", output.stderr);
    let mut answers: Value = serde_json::from_str(&output.stdout).unwrap();
    let answers: Vec<Value> = serde_json::from_value(answers["items"].take()).unwrap();
    let names = |of: &[Value]| of.iter().map(|it| it["metadata"]["name"].clone()).collect();
    let (asked, answered): (Vec<Value>, Vec<Value>) = (names(objects), names(&answers));
    assert_eq!(asked, answered);
    answers
}

/// What is not as it was applied.
fn other_than<'a>(action: &str, answers: &'a [FluxAnswer]) -> Vec<&'a FluxAnswer> {
    answers.iter().filter(|it| it.action != action).collect()
}

#[tokio::test]
#[ignore = "builds Flux's library: some minutes"]
async fn flux_finds_no_drift_in_any_example_and_reads_every_end() {
    let flux = Flux::build().unwrap();
    let world = World::with(SimulatorOptions::for_tests()).await;
    let objects = examples(&world);
    let applied = flux.apply(&world.admin, &objects).await.unwrap();
    assert_eq!(other_than("created", &applied), Vec::<&FluxAnswer>::new());

    let _operator = world.operator().await;
    let sessions: Vec<&str> = of_kind(&objects, "CodeSession").collect();
    for (round, session) in sessions.iter().enumerate() {
        let again = flux.apply(&world.admin, &objects).await.unwrap();
        let drifted = other_than("unchanged", &again);
        assert!(drifted.is_empty(), "round {round}: {drifted:?}");
        world.until_settled(session).await;
    }
    let again = flux.apply(&world.admin, &objects).await.unwrap();
    assert_eq!(other_than("unchanged", &again), Vec::<&FluxAnswer>::new());

    let live = kubectl_for_each(&world, &["get"], &objects).await;
    for (object, status) in live.iter().zip(flux.status(&live).await.unwrap()) {
        assert_eq!(status.action, "Current", "{status:?} {object:#}");
    }
    for session in sessions {
        let session = world.sessions().get(session).await.unwrap();
        assert_eq!(phase_of(&session), SessionPhase::Finished);
    }
    // Manifests that spell out what the API server fills in.
    let explicit: Vec<Value> = objects
        .iter()
        .zip(&live)
        .map(|(object, live)| {
            let mut explicit = object.clone();
            if !live["spec"].is_null() {
                explicit["spec"] = live["spec"].clone();
            }
            explicit
        })
        .collect();
    let again = flux.apply(&world.admin, &explicit).await.unwrap();
    assert_eq!(other_than("unchanged", &again), Vec::<&FluxAnswer>::new());
    paid_once(&world, &objects);
}

/// Every prompt and every message was paid for once.
fn paid_once(world: &World, objects: &[Value]) {
    let sessions = objects.iter().filter(|it| it["kind"] == "CodeSession");
    let messages = |it: &Value| it["spec"]["messages"].as_array().map_or(0, Vec::len);
    let asked_for: usize = sessions.map(|it| 1 + messages(it)).sum();
    let paid = world.simulator.launches(&LaunchFilter::default());
    assert_eq!(paid.len(), asked_for, "{paid:#?}");
}

#[tokio::test]
#[ignore = "builds Argo CD's library: some minutes"]
async fn argo_cd_finds_every_example_in_sync() {
    let argo_cd = ArgoCd::build().unwrap();
    for how in [
        &["--server-side", "--field-manager=argocd-controller"][..],
        &["--server-side=false"],
    ] {
        let world = World::with(SimulatorOptions::for_tests()).await;
        let objects = examples(&world);
        kubectl_for_each(&world, &[&["apply"], how].concat(), &objects).await;
        let _operator = world.operator().await;
        let mut compared = 0;
        for session in of_kind(&objects, "CodeSession") {
            compared += in_sync(&argo_cd, &world, &objects).await;
            world.until_settled(session).await;
        }
        assert!(compared > 0, "{how:?}");
        // Nothing changes any more, or hardly.
        let mut rounds = 0;
        while in_sync(&argo_cd, &world, &objects).await < objects.len() {
            rounds += 1;
            assert!(rounds < 100, "{how:?}: something changes all the time");
        }
        paid_once(&world, &objects);
    }
}

/// Compares those that nobody changed meanwhile; answers with their number.
async fn in_sync(argo_cd: &ArgoCd, world: &World, objects: &[Value]) -> usize {
    let dry_run = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=argocd-controller",
        "--dry-run=server",
    ];
    let before = kubectl_for_each(world, &["get"], objects).await;
    let predicted = kubectl_for_each(world, &dry_run, objects).await;
    let after = kubectl_for_each(world, &["get"], objects).await;
    let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
    let compared: Vec<[Value; 3]> = objects
        .iter()
        .zip(before.iter().zip(predicted).zip(after))
        .filter(|(_, ((before, _), after))| version(before) == version(after))
        .map(|(object, ((_, predicted), after))| [object.clone(), after, predicted])
        .collect();
    let answers = argo_cd.compare(compared.clone()).await.unwrap();
    for ([object, _, _], answer) in compared.iter().zip(answers) {
        let name = &object["metadata"]["name"];
        let kind = &object["kind"];
        for (how, comparison) in [("default", answer.client), ("server", answer.server)] {
            let live = &comparison.live;
            let predicted = &comparison.predicted;
            assert!(
                !comparison.modified,
                "{kind} {name}, {how} comparison: {live:#} would become {predicted:#}"
            );
        }
    }
    compared.len()
}
