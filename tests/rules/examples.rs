//! Every manifest of examples/ as a user applies it: client-side and server-side, and once more.

use std::path::{Path, PathBuf};

use codeagent_harness::Namespace;
use serde_json::Value;

use crate::cluster::{cluster, namespace};

fn manifests() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The objects of a file as they are stored. Their versions are left out: the API server stores the default status only with the second
/// write, so that one has a new version without a change.
async fn stored(namespace: &Namespace, file: &Path) -> Value {
    let get = [
        "-n",
        namespace.name(),
        "get",
        "-o",
        "json",
        "-f",
        file.to_str().unwrap(),
    ];
    let output = cluster().await.admin().kubectl(&get).await.unwrap();
    assert!(output.success(), "{}", output.stderr);
    let mut objects: Value = serde_json::from_str(&output.stdout).unwrap();
    let items = objects["items"].as_array_mut().unwrap();
    assert!(!items.is_empty());
    for item in items {
        item["metadata"]["resourceVersion"].take();
    }
    objects
}

#[tokio::test]
async fn every_example_is_accepted_and_applying_it_again_changes_nothing() {
    for how in ["client", "server"] {
        let namespace = namespace(&format!("examples-{how}")).await;
        for file in manifests() {
            let mut versions = Vec::new();
            for round in ["first", "second"] {
                let mut apply = vec![
                    "-n",
                    namespace.name(),
                    "apply",
                    "--validate=strict",
                    "--warnings-as-errors",
                ];
                if how == "server" {
                    apply.push("--server-side");
                }
                apply.extend(["-f", file.to_str().unwrap()]);
                let output = cluster().await.admin().kubectl(&apply).await.unwrap();
                println!("{how}, {round}: {}{}", output.stdout, output.stderr);
                assert!(output.success(), "{}: {}", file.display(), output.stderr);
                if round == "second" && how == "client" {
                    // kubectl compares stringData, which is never stored, so it calls a Secret configured each time.
                    let unchanged = output
                        .stdout
                        .lines()
                        .all(|line| line.ends_with("unchanged") || line.starts_with("secret/"));
                    assert!(unchanged, "{}: {}", file.display(), output.stdout);
                }
                versions.push(stored(&namespace, &file).await);
            }
            assert_eq!(
                versions[0],
                versions[1],
                "{how}: {} was changed",
                file.display()
            );
        }
    }
}
