//! Where the programs come from. A script plays the Go command, so that nothing is compiled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use codeagent_harness::{BinariesError, Component, HelmSources, Sources};
use tempfile::TempDir;

/// A machine with an empty cache and a Go command that does what the test says.
struct Machine {
    directory: TempDir,
}

impl Machine {
    /// `build` is a shell script with the directory for the programs as `$output`.
    fn with_go(version: &str, build: &str) -> Machine {
        let machine = Machine::without_go();
        let script = format!(
            r#"#!/bin/sh
case $1 in
  env) echo {version} ;;
  list)
    echo net/http
    ;;
  build)
    echo built >>{calls}
    while [ "$1" != -o ]; do shift; done
    output=$2
    {build}
    ;;
esac
"#,
            calls = machine.path("calls").display()
        );
        machine.install("go", &script);
        machine
    }

    fn without_go() -> Machine {
        Machine {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Makes a script executable under a name.
    ///
    /// Another process writes it: while this one had it open for writing, a child forked by another test's thread would
    /// have it open, too, and it could not be executed.
    fn install(&self, name: &str, script: &str) {
        fs::write(self.path("script"), script).unwrap();
        let installed = Command::new("install")
            .args(["-D", "-m", "755"])
            .args([self.path("script"), self.path(name)])
            .status()
            .unwrap();
        assert!(installed.success());
    }

    /// A helm that says it has this version.
    fn install_helm(&self, name: &str, version: &str) -> PathBuf {
        self.install(name, &format!("#!/bin/sh\necho {version}\n"));
        self.path(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources {
            assets: None,
            cache: self.path("cache"),
            go: self.path("go"),
        }
    }

    /// With a search path that holds the directory `bin` only.
    fn helm_sources(&self) -> HelmSources {
        HelmSources {
            helm: None,
            search_path: Some(self.path("bin").into()),
            cache: self.path("cache"),
            go: self.path("go"),
        }
    }

    /// How often something was built.
    fn builds(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |calls| calls.lines().count())
    }

    /// What is in the cache, except the directories of versions.
    fn leftovers(&self) -> Vec<String> {
        fs::read_dir(self.path("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                !name.starts_with("k8s-v1.") && !name.starts_with("v4.") && name != "lock"
            })
            .collect()
    }
}

/// What `go build` makes of the three packages.
const ALL: &str =
    "mkdir $output; touch $output/server $output/kube-apiserver $output/kube-controller-manager";

fn touch(directory: &Path, components: &[Component]) {
    fs::create_dir_all(directory).unwrap();
    for component in components {
        File::create(directory.join(component.binary())).unwrap();
    }
}

#[test]
fn what_is_missing_is_built_once_and_found_afterwards() {
    let machine = Machine::with_go("go1.26.8", ALL);
    let first = machine.sources().provide(&Component::ALL).unwrap();
    for component in Component::ALL {
        let path = first.path(component);
        assert!(path.is_file(), "{}", path.display());
        assert!(path.starts_with(machine.path("cache")));
    }
    assert_eq!(machine.sources().provide(&Component::ALL).unwrap(), first);
    assert_eq!(machine.builds(), 1);
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[test]
fn only_what_is_needed_is_built() {
    let machine = Machine::with_go(
        "go1.26.8",
        "mkdir $output; case \"$*\" in *controller*) exit 1 ;; esac
         touch $output/server $output/kube-apiserver",
    );
    let needed = [Component::Etcd, Component::ApiServer];
    machine.sources().provide(&needed).unwrap();
    assert_eq!(machine.builds(), 1);
}

#[test]
fn of_two_callers_at_once_one_builds_and_the_other_waits() {
    let machine = Machine::with_go("go1.26.8", &format!("sleep 0.3; {ALL}"));
    let provide = || machine.sources().provide(&Component::ALL).unwrap();
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(provide);
        let other = scope.spawn(provide);
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one, other);
    assert_eq!(machine.builds(), 1);
}

#[test]
fn a_build_that_was_interrupted_leaves_nothing_behind_the_next_one() {
    let machine = Machine::with_go("go1.26.8", ALL);
    // What a killed build leaves: its directory, with a program that is not complete.
    let killed = machine.path("cache/building-x1y2z3");
    touch(&killed.join("bin"), &[Component::ApiServer]);
    machine.sources().provide(&Component::ALL).unwrap();
    assert_eq!(machine.builds(), 1, "the incomplete program is not used");
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[test]
fn a_failed_build_tells_what_go_said_and_can_be_repeated() {
    let machine = Machine::with_go(
        "go1.26.8",
        "echo k8s.io/api/core/v1 >&2; echo 'x.go:1:2: no space left on device' >&2; exit 1",
    );
    for attempt in 1..=2 {
        let error = machine.sources().provide(&Component::ALL).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`go build` failed:\nx.go:1:2: no space left on device"
        );
        assert_eq!(machine.builds(), attempt);
        assert_eq!(machine.leftovers(), [""; 0]);
    }
}

#[test]
fn a_build_without_result_is_an_error() {
    let machine = Machine::with_go("go1.26.8", "mkdir $output; touch $output/kube-apiserver");
    let error = machine.sources().provide(&Component::ALL).unwrap_err();
    assert_eq!(error.to_string(), "the build left no etcd");
}

#[test]
fn without_go_the_error_says_what_to_do() {
    let machine = Machine::without_go();
    let error = machine.sources().provide(&Component::ALL).unwrap_err();
    assert!(
        matches!(error, BinariesError::GoMissing { .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("install Go 1.26.0 or newer"), "{text}");
    assert!(text.contains("set KUBEBUILDER_ASSETS"), "{text}");
}

#[test]
fn with_an_old_go_the_error_says_what_to_do() {
    let machine = Machine::with_go("go1.21.3", ALL);
    let error = machine.sources().provide(&Component::ALL).unwrap_err();
    assert!(matches!(error, BinariesError::GoTooOld { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("Go 1.26.0 or newer, and this is go1.21.3"),
        "{text}"
    );
    assert_eq!(machine.builds(), 0);
}

#[test]
fn programs_of_the_users_own_are_used_and_never_built() {
    let machine = Machine::with_go("go1.26.8", ALL);
    let assets = machine.path("assets");
    touch(&assets, &[Component::Etcd, Component::ApiServer]);
    let sources = Sources {
        assets: Some(assets.clone()),
        ..machine.sources()
    };

    let found = sources
        .provide(&[Component::Etcd, Component::ApiServer])
        .unwrap();
    assert_eq!(found.path(Component::Etcd), assets.join("etcd"));

    let error = sources.provide(&Component::ALL).unwrap_err().to_string();
    assert!(error.starts_with("KUBEBUILDER_ASSETS is "), "{error}");
    assert!(
        error.ends_with("holds no kube-controller-manager"),
        "{error}"
    );
    assert_eq!(machine.builds(), 0);
}

/// What `go build` makes of helm's package.
const HELM: &str = "mkdir $output; touch $output/helm";

#[test]
fn a_recent_helm_on_the_search_path_is_used() {
    for version in ["v3.16.0", "v3.19.2+g8766e71", "v4.3", "v4.3.1"] {
        let machine = Machine::with_go("go1.26.8", HELM);
        let helm = machine.install_helm("bin/helm", version);
        assert_eq!(machine.helm_sources().provide().unwrap(), helm, "{version}");
        assert_eq!(machine.builds(), 0);
    }
}

#[test]
fn where_there_is_no_recent_helm_it_is_built_once() {
    let machine = Machine::with_go("go1.26.8", HELM);
    machine.install_helm("bin/helm", "v3.15.4");
    let built = machine.helm_sources().provide().unwrap();
    assert!(built.is_file());
    assert!(
        built.starts_with(machine.path("cache")),
        "{}",
        built.display()
    );
    assert_eq!(machine.helm_sources().provide().unwrap(), built);
    assert_eq!(machine.builds(), 1);
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[test]
fn a_helm_of_the_users_choice_is_used_or_refused_but_never_replaced() {
    let machine = Machine::with_go("go1.26.8", HELM);
    machine.install_helm("bin/helm", "v4.3.1");
    let choose = |helm: PathBuf| HelmSources {
        helm: Some(helm),
        ..machine.helm_sources()
    };

    let own = machine.install_helm("own", "v3.20.0");
    assert_eq!(choose(own.clone()).provide().unwrap(), own);

    let old = machine.install_helm("old", "v3.9.4");
    let error = choose(old).provide().unwrap_err().to_string();
    assert!(error.starts_with("HELM is "), "{error}");
    assert!(
        error.ends_with("which is v3.9.4: 3.16 or newer is needed"),
        "{error}"
    );

    let other = machine.install_helm("other", "usage: other [options]");
    let error = choose(other).provide().unwrap_err().to_string();
    assert!(
        error.ends_with("which does not tell its version"),
        "{error}"
    );

    let absent = choose(machine.path("absent")).provide().unwrap_err();
    assert!(
        absent.to_string().contains("which cannot be run: "),
        "{absent}"
    );
    assert_eq!(machine.builds(), 0);
}

#[test]
fn without_helm_and_go_the_error_says_what_to_do() {
    let machine = Machine::without_go();
    let error = machine.helm_sources().provide().unwrap_err().to_string();
    assert!(
        error
            .starts_with("helm must be built, and Go is not installed: install Go 1.26.0 or newer"),
        "{error}"
    );
    assert!(error.ends_with("or set HELM to its path"), "{error}");
}
