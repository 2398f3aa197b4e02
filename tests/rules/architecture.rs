//! Dependencies run one way: `api ← domain ← providers ← controllers ← operator ← main`, beside `runtime`, which knows none of them; and no
//! modules import each other in a circle. The simulators are a crate of their own that does not know this one, so that they and the
//! adapters can disagree. Decisions are pure: no cluster, no network, no clock, no chance in `domain`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{paths, without_tests};

/// What each part of the crate may use of the others. What is not listed here does not exist.
const LAYERS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("domain", &["api"]),
    ("network", &[]),
    ("providers", &["api", "domain", "network"]),
    ("runtime", &[]),
    (
        "controllers",
        &["api", "domain", "network", "providers", "runtime"],
    ),
    (
        "timeline",
        &["api", "domain", "providers", "runtime", "controllers"],
    ),
    (
        "inbound",
        &["api", "domain", "providers", "runtime", "controllers"],
    ),
    ("cli", &["api", "domain", "runtime"]),
    (
        "operator",
        &[
            "api",
            "domain",
            "providers",
            "runtime",
            "controllers",
            "timeline",
            "inbound",
            "cli",
        ],
    ),
    (
        "check",
        &["api", "runtime", "controllers", "cli", "operator"],
    ),
    (
        "main",
        &["cli", "operator", "check", "controllers", "runtime"],
    ),
    ("lib", &[]),
];

/// What a pure decision cannot know. A path is forbidden if it begins with one of these or holds one of them.
const IMPURE: &[&str] = &[
    "kube",
    "kube_runtime",
    "k8s_openapi",
    "tokio",
    "tokio_util",
    "futures",
    "rand",
    "reqwest",
    "hyper",
    "axum",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "Uuid::new_v4",
];

/// Libraries that have one place.
const PLACES: &[(&str, &[&str])] = &[
    ("reqwest", &["providers/"]),
    (
        "kube",
        &[
            "api/",
            "runtime/",
            "controllers/",
            "timeline/",
            "operator.rs",
            "check.rs",
        ],
    ),
    ("kube_runtime", &["runtime/", "controllers/"]),
    (
        "k8s_openapi",
        &[
            "api/",
            // Types alone: what a Job and its Pod look like.
            "providers/contract/cluster.rs",
            "providers/job/",
            "runtime/",
            "controllers/",
            "timeline/",
            "check.rs",
        ],
    ),
    (
        "hyper",
        &["network/", "providers/", "inbound/", "runtime/listener.rs"],
    ),
    (
        "axum",
        &[
            "timeline/",
            "inbound/",
            "runtime/server.rs",
            "runtime/listener.rs",
            // Their tests serve an API server of their own.
            "runtime/identity.rs",
            "runtime/lease/election.rs",
        ],
    ),
    // For tests and examples; the shipped code meets a provider only over the network.
    ("codeagent_simulator", &[]),
];

/// Everything that is wrong with the file `file` (relative to `src`) that contains `text`.
fn violations(file: &str, text: &str) -> Vec<String> {
    let own = layer(file);
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else {
        return vec![format!("{file}: {own} has no place among the layers")];
    };
    let mut wrong = Vec::new();
    for path in paths(text) {
        if let Some(used) = layer_of_path(file, &path.segments)
            && used != own
            && !allowed.contains(&used)
        {
            wrong.push(format!("{file}:{}: {own} may not use {used}", path.line));
        }
        for (library, places) in PLACES {
            let here = places.iter().any(|place| file.starts_with(place));
            if path.segments.len() > 1 && path.segments[0] == *library && !here {
                wrong.push(format!(
                    "{file}:{}: {library} is used in {places:?} only",
                    path.line
                ));
            }
        }
    }
    if own == "domain" {
        for path in paths(&without_tests(text)) {
            if path.segments.len() > 1
                && let Some(impure) = IMPURE
                    .iter()
                    .find(|impure| contains(&path.segments, impure))
            {
                // Lines are not told: what was cut out before would shift them.
                wrong.push(format!(
                    "{file}: {} is not pure ({impure})",
                    path.segments.join("::")
                ));
            }
        }
    }
    wrong
}

/// The part of the crate that a file belongs to.
fn layer(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The part of the crate that a path leads to.
fn layer_of_path(file: &str, segments: &[String]) -> Option<&'static str> {
    let first = segments.first()?.as_str();
    let name = match first {
        "crate" | "codeagent_operator" => segments.get(1)?,
        "super" => {
            let supers = segments
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            (supers == depth(file)).then(|| segments.get(supers))??
        }
        _ => return None,
    };
    LAYERS
        .iter()
        .map(|(layer, _)| *layer)
        .find(|layer| *layer == name.as_str())
}

/// How many modules deep a file is: so many `super` lead to the crate.
fn depth(file: &str) -> usize {
    let parts = file.split('/').count();
    if file.ends_with("/mod.rs") {
        parts - 1
    } else {
        parts
    }
}

fn contains(segments: &[String], wanted: &str) -> bool {
    let wanted: Vec<&str> = wanted.split("::").collect();
    match wanted.as_slice() {
        // The name of a library counts where a path begins with it.
        [library] if library.chars().all(|c| !c.is_uppercase()) => segments[0] == *library,
        _ => segments
            .windows(wanted.len())
            .any(|window| window == wanted.as_slice()),
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file under `src`, by its path from there.
fn sources() -> Vec<(String, String)> {
    let root = source();
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn the_source_keeps_its_layers() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} files were read", sources.len());
    for (layer_name, _) in LAYERS {
        assert!(
            sources.iter().any(|(file, _)| layer(file) == *layer_name),
            "there is no {layer_name}"
        );
    }
    let wrong: Vec<String> = sources
        .iter()
        .flat_map(|(file, text)| violations(file, text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module of the library, as its path from the root.
type Module = Vec<String>;

/// The module that a file (relative to `src`) is; `None` for the binary, and for what exists for tests only.
fn module(file: &str) -> Option<Module> {
    let for_tests = file.split('/').any(|part| part.starts_with("test"));
    let path = file.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "main" => None,
        "lib" => Some(Module::new()),
        _ => (!for_tests).then(|| path.split('/').map(str::to_owned).collect()),
    }
}

/// The modules that `module` uses by its text: of each path the longest beginning that is a module. Declaring a module is no use of it,
/// handing out what it holds is one.
fn uses(module: &Module, text: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut used = BTreeSet::new();
    for path in paths(&without_scopes(&without_tests(text))) {
        let segments = path.segments.as_slice();
        let (base, rest) = match segments.first().map(String::as_str) {
            Some("crate") => (Module::new(), &segments[1..]),
            Some("self") => (module.clone(), &segments[1..]),
            Some("super") => {
                let supers = segments.iter().take_while(|it| *it == "super").count();
                let up = module.len().saturating_sub(supers);
                (module[..up].to_vec(), &segments[supers..])
            }
            // By its name alone a module is known only where it is declared.
            Some(_) if segments.len() > 1 => (module.clone(), segments),
            _ => continue,
        };
        let plain = segments[0] != "crate" && segments[0] != "self" && segments[0] != "super";
        let found = (usize::from(plain)..=rest.len())
            .rev()
            .map(|length| [base.as_slice(), &rest[..length]].concat())
            .find(|candidate| modules.contains(candidate));
        if let Some(found) = found.filter(|found| found != module && !found.is_empty()) {
            used.insert(found);
        }
    }
    used
}

/// `text` without the scopes of its visibilities (`pub(in crate::api)`): they use nothing.
fn without_scopes(text: &str) -> String {
    let text = text.replace("pub(super)", "pub");
    let mut parts = text.split("pub(in ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| {
        let rest = part.split_once(')').map_or("", |(_, rest)| rest);
        kept + "pub " + rest
    })
}

/// What is left of `graph` when everything is taken away that lies on no circle.
fn circles(mut graph: BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    loop {
        let before = graph.len();
        let used: BTreeSet<Module> = graph.values().flatten().cloned().collect();
        graph.retain(|module, uses| !uses.is_empty() && used.contains(module));
        let left: BTreeSet<Module> = graph.keys().cloned().collect();
        for uses in graph.values_mut() {
            uses.retain(|used| left.contains(used));
        }
        graph.retain(|_, uses| !uses.is_empty());
        if graph.len() == before {
            return graph;
        }
    }
}

fn graph(sources: &[(String, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = sources
        .iter()
        .filter_map(|(file, text)| Some((module(file)?, text)));
    let files: BTreeMap<Module, &String> = files.collect();
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    files
        .iter()
        .map(|(module, text)| (module.clone(), uses(module, text, &modules)))
        .collect()
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let graph = graph(&sources());
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 300, "only {edges} imports were found");
    let circles = circles(graph);
    let shown = circles.iter().map(|(module, uses)| {
        let uses: Vec<String> = uses.iter().map(|used| used.join("::")).collect();
        format!("{} uses {}", module.join("::"), uses.join(", "))
    });
    let shown: Vec<String> = shown.collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

/// Every way in which modules can lie on a circle is seen, and what looks like one is not.
#[test]
fn circles_are_found() {
    let circle = |files: &[(&str, &str)]| {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
            .collect();
        !circles(graph(&files)).is_empty()
    };
    let found: [&[(&str, &str)]; 5] = [
        &[("a.rs", "use crate::b::X;"), ("b.rs", "use super::a::Y;")],
        &[
            ("a/mod.rs", "mod b; fn f() { b::g() }"),
            ("a/b.rs", "use super::Facts;"),
        ],
        &[
            ("a/mod.rs", "mod b; pub use self::b::X;"),
            ("a/b.rs", "fn f() -> crate::a::Y {}"),
        ],
        &[
            ("a.rs", "use crate::{b::X};"),
            ("b.rs", "use crate::c::X;"),
            ("c.rs", "fn f() { super::a::g() }"),
        ],
        &[
            ("domain/a/mod.rs", "use super::b::X;"),
            ("domain/b.rs", "use super::a::Y;"),
        ],
    ];
    for files in found {
        assert!(circle(files), "{files:?}");
    }
    let fine: [&[(&str, &str)]; 4] = [
        &[
            ("a/mod.rs", "mod b; mod c; pub use self::b::X;"),
            ("a/b.rs", "use super::c::Y;"),
            ("a/c.rs", "use crate::d::Z;"),
            ("d.rs", ""),
        ],
        &[
            ("a.rs", "use crate::b::X;"),
            (
                "b.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::a::Y;\n}\n",
            ),
        ],
        &[
            ("a/mod.rs", "pub use self::b::X;"),
            ("a/b.rs", "pub(in crate::a) struct X;"),
        ],
        &[("a.rs", "fn f() { b::g() }"), ("b.rs", "use crate::a::X;")],
    ];
    for files in fine {
        assert!(!circle(files), "{files:?}");
    }
}

/// What Cargo holds the crates to: the simulators know nothing of the operator, and the operator is built without them.
#[test]
fn the_simulators_and_the_operator_do_not_depend_on_each_other() {
    let manifest = fs::read_to_string(source().join("../Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (shipped, tests) = after.split_once("\n[dev-dependencies]\n").unwrap();
    // What the operator and the program in a Pod tell each other, types and text alone.
    let shipped = shipped.replace(
        "codeagent-runner-protocol = { path = \"runner/protocol\" }",
        "",
    );
    assert!(!shipped.contains("codeagent-"), "{shipped}");
    assert!(tests.contains("codeagent-simulator"), "{tests}");
    let simulator = fs::read_to_string(source().join("../tests/simulator/Cargo.toml")).unwrap();
    assert!(!simulator.contains("codeagent-operator"), "{simulator}");
}

/// Clippy refuses unwrap, panic and indexing; nobody may switch that off outside of tests.
#[test]
fn the_lints_against_panics_hold_outside_of_tests() {
    let manifest = fs::read_to_string(source().join("../Cargo.toml")).unwrap();
    for lint in ["unwrap_used", "panic", "indexing_slicing"] {
        assert!(
            manifest.contains(&format!("{lint} = \"deny\"")),
            "{lint} is not denied"
        );
    }
    let shipped = sources()
        .into_iter()
        .filter(|(file, _)| !file.contains("/tests/") && !file.ends_with("/tests.rs"));
    for (file, text) in shipped {
        let text = without_tests(&text);
        for lint in ["unwrap_used", "clippy::panic", "indexing_slicing"] {
            assert!(!text.contains(lint), "{file} switches {lint} off");
        }
    }
}

/// The checker sees what it is there for.
#[test]
fn each_kind_of_violation_is_found() {
    let cases = [
        (
            "api/shared.rs",
            "use crate::domain::ids::Uid;",
            "api may not use domain",
        ),
        ("api/mod.rs", "use super::domain;", "api may not use domain"),
        (
            "domain/ids.rs",
            "use crate::providers::error::X;",
            "domain may not use providers",
        ),
        (
            "domain/session/record.rs",
            "use super::super::super::controllers::X;",
            "domain may not use controllers",
        ),
        (
            "domain/a.rs",
            "use crate::{api, runtime::write};",
            "domain may not use runtime",
        ),
        (
            "providers/http/api.rs",
            "fn f() { crate::controllers::go() }",
            "providers may not use controllers",
        ),
        (
            "providers/scan.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::controllers::X;\n}",
            "providers may not use controllers",
        ),
        (
            "runtime/write.rs",
            "use crate::api::CodeSession;",
            "runtime may not use api",
        ),
        (
            "providers/http/api.rs",
            "use kube::Client;",
            "kube is used in",
        ),
        (
            "controllers/agent.rs",
            "use codeagent_simulator::Script;",
            "codeagent_simulator is used in []",
        ),
        (
            "controllers/agent.rs",
            "use crate::cli::Cli;",
            "controllers may not use cli",
        ),
        (
            "domain/a.rs",
            "fn f() { let _ = jiff::Timestamp::now(); }",
            "Timestamp::now",
        ),
        (
            "domain/a.rs",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "Instant::now",
        ),
        ("domain/a.rs", "use kube::Client;", "kube"),
        (
            "domain/a.rs",
            "async fn f() { tokio::time::sleep(d).await }",
            "tokio",
        ),
        ("domain/a.rs", "fn f() -> f64 { rand::random() }", "rand"),
        (
            "controllers/agent.rs",
            "use reqwest::Client;",
            "reqwest is used in",
        ),
        (
            "controllers/agent.rs",
            "use axum::Router;",
            "axum is used in",
        ),
        ("runtime/watch.rs", "use axum::Router;", "axum is used in"),
        ("elsewhere/new.rs", "", "no place among the layers"),
    ];
    for (file, text, expected) in cases {
        let found = violations(file, text);
        assert!(
            found.iter().any(|violation| violation.contains(expected)),
            "{file}: {text}: {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let cases = [
        (
            "domain/session/record.rs",
            "use crate::api::Reason; use super::super::remote::X; use super::plan::Y;",
        ),
        (
            "domain/a.rs",
            "use jiff::Timestamp; fn f(now: Timestamp) {}\n#[cfg(test)]\nmod tests {\n    fn g() { Timestamp::now(); }\n}",
        ),
        (
            "domain/a.rs",
            "//! crate::controllers is described here\nconst A: &str = \"tokio::spawn\";",
        ),
        (
            "providers/http/mod.rs",
            "use reqwest::Client; use crate::domain::remote::X;",
        ),
        (
            "controllers/session/mod.rs",
            "use crate::providers::contract::X; use super::super::scope::Y;",
        ),
        ("runtime/server.rs", "use axum::Router;"),
    ];
    for (file, text) in cases {
        assert_eq!(violations(file, text), [""; 0], "{file}: {text}");
    }
}
