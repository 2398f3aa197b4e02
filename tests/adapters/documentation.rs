//! What can be done through which provider with this version, and `docs/providers.md`, which tells it: its table of capabilities comes from the
//! code, its manifests are the files of `examples/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use codeagent_operator::api::ProviderSpec;
use codeagent_operator::providers::contract::{
    API_KEY, Capability, MessageRecovery, ProviderType, Recovery,
};
use codeagent_operator::providers::registry::Registry;

const UPDATE: &str = "UPDATE_DOCS=1 cargo test --test adapters documentation";

/// The columns of the table: every provider under every setting that makes a difference.
fn columns() -> Vec<(&'static dyn ProviderType, ProviderSpec)> {
    Registry::all()
        .iter()
        .flat_map(|provider| {
            provider
                .variants()
                .into_iter()
                .map(|spec| (*provider, spec))
        })
        .collect()
}

fn cell(provider: &dyn ProviderType, spec: &ProviderSpec, capability: Capability) -> &'static str {
    if provider.capabilities(spec).contains(&capability) {
        "yes"
    } else if provider.not_yet_used(spec).contains(&capability) {
        "later"
    } else {
        "–"
    }
}

fn launch_guarantee(provider: &dyn ProviderType, spec: &ProviderSpec) -> &'static str {
    match provider.recovery(spec) {
        Recovery::ClientId => "exactly once (`ClientId`)",
        Recovery::Marker => "exactly once (`Marker`)",
        Recovery::None => "at most once",
    }
}

/// Of a further message: nothing can be promised before one can be sent.
fn message_guarantee(provider: &dyn ProviderType, spec: &ProviderSpec) -> &'static str {
    match provider.message_recovery(spec) {
        Some(MessageRecovery::Marker) => "exactly once (`Marker`)",
        Some(MessageRecovery::Baseline) => "at most once (`Baseline`)",
        None => cell(provider, spec, Capability::FollowUp),
    }
}

fn table() -> String {
    let columns = columns();
    let mut lines = vec![
        row("capability", "can", |provider, spec| {
            let name = provider.kind().display_name();
            match provider.variant(spec) {
                Some(_) => format!("{name} {}", provider.api_version(spec)),
                None => name.to_owned(),
            }
        }),
        format!("|---|---|{}", "---|".repeat(columns.len())),
    ];
    lines.extend(Capability::ALL.map(|capability| {
        let name = format!("`{}`", capability.as_str());
        row(&name, capability.ability(), |provider, spec| {
            cell(provider, spec, capability).to_owned()
        })
    }));
    lines.push(row(
        "launch guarantee",
        "start a session",
        |provider, spec| launch_guarantee(provider, spec).to_owned(),
    ));
    lines.push(row(
        "message guarantee",
        "send a further message",
        |provider, spec| message_guarantee(provider, spec).to_owned(),
    ));
    lines.join("\n")
}

fn row(name: &str, can: &str, cell: impl Fn(&dyn ProviderType, &ProviderSpec) -> String) -> String {
    let cells: Vec<String> = columns()
        .iter()
        .map(|(provider, spec)| cell(*provider, spec))
        .collect();
    format!("| {name} | {can} | {} |", cells.join(" | "))
}

fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    std::fs::read_to_string(repository_file("docs/providers.md")).unwrap()
}

/// `page` with `content` between the marks `<!-- NAME -->` and `<!-- /NAME -->`.
fn with_part(page: &str, name: &str, content: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let end = format!("<!-- /{name} -->");
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}{content}\n{end}{after}")
}

/// The examples whose text stands in the page.
fn shown_examples() -> Vec<String> {
    let shown: Vec<String> = page()
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- examples/")?.strip_suffix(" -->"))
        .map(str::to_owned)
        .collect();
    assert_eq!(shown.len(), columns().len(), "an example for each column");
    shown
}

#[test]
fn the_page_says_what_the_code_and_the_examples_say() {
    let mut wanted = with_part(&page(), "capabilities", &table());
    for name in shown_examples() {
        let path = format!("examples/{name}");
        let manifest = std::fs::read_to_string(repository_file(&path)).unwrap();
        let block = format!("\n```yaml\n{}\n```\n", manifest.trim_end());
        wanted = with_part(&wanted, &path, &block);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(repository_file("docs/providers.md"), &wanted).unwrap();
    }
    let page = page();
    let differs = page
        .lines()
        .zip(wanted.lines())
        .find(|(is, ought)| is != ought);
    assert!(
        page == wanted,
        "docs/providers.md is not what the code or an example says; run {UPDATE}: {differs:?}"
    );
}

/// The part of the page under the heading of a provider.
fn section<'a>(page: &'a str, provider: &dyn ProviderType, spec: &ProviderSpec) -> &'a str {
    let name = provider.kind().display_name();
    let heading = match provider.variant(spec) {
        Some(_) => format!("\n## {name} (API {})\n", provider.api_version(spec)),
        None => format!("\n## {name}\n"),
    };
    let (_, rest) = page.split_once(&heading).unwrap();
    rest.split("\n## ").next().unwrap()
}

#[test]
fn the_secret_of_each_section_has_every_key_that_the_provider_needs() {
    let page = page();
    for (provider, spec) in columns() {
        let section = section(&page, provider, &spec);
        let further = provider.further_secret_keys();
        let needed = if provider.runs_in_cluster() {
            &[]
        } else if further.is_empty() {
            &[API_KEY]
        } else {
            further
        };
        for key in needed {
            let literal = format!("--from-literal={key}=");
            assert!(section.contains(&literal), "{}: {key}", provider.kind());
        }
        assert!(section.contains("codeagents.dev/credential=true"));
    }
}

#[test]
fn every_capability_is_listed_once_in_order_under_a_name_of_its_own() {
    assert!(Capability::ALL.is_sorted());
    let names: BTreeSet<_> = Capability::ALL.iter().map(|one| one.as_str()).collect();
    assert_eq!(names.len(), Capability::ALL.len());
    assert!(names.len() >= 20);
}
