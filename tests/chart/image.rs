//! What the Dockerfile builds from, and what it makes.

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// A manifest that names what is not in the build context would fail only where an image is built.
#[test]
fn the_build_context_holds_everything_that_cargo_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let context = tempfile::tempdir().unwrap();
    let ignored = read(".dockerignore");
    let mut rules = ignored
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"));
    for rule in rules {
        let admitted = rule.strip_prefix('!').unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(root.join(admitted))
            .arg(context.path().join(admitted))
            .status()
            .unwrap();
        assert!(copied.success(), "{admitted}");
    }
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--locked",
            "--no-deps",
            "--format-version=1",
        ])
        .current_dir(context.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn every_image_is_distroless_and_runs_as_a_numbered_user() {
    let dockerfile = read("Dockerfile");
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    let (build, images) = stages.split_first().unwrap();
    assert!(build.starts_with("rust:"), "{build}");
    assert_eq!(images.len(), 3);
    for image in images {
        assert!(image.starts_with("gcr.io/distroless/"), "{image}");
        // Kubernetes cannot tell of a name whether it is root.
        assert!(image.contains("\nUSER 65532:65532\n"), "{image}");
        // Anything that runs in the last stages would bring a shell along.
        assert!(!image.contains("\nRUN "), "{image}");
    }
    let operator = images.last().unwrap();
    assert!(operator.contains("ENTRYPOINT [\"/codeagent-operator\"]"));
}
