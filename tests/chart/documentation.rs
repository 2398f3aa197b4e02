//! The page of values, which is generated from the comments of `values.yaml`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::helm;

/// Set, the page is written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

/// What Helm passes to a chart that another one depends on.
const NOT_OURS: [&str; 2] = ["global", "enabled"];

fn read(file: &str) -> String {
    fs::read_to_string(helm::chart().join(file)).unwrap()
}

/// The comment above each key of `values.yaml`, by its path. An empty line ends a comment that belongs to no key.
fn comments(yaml: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment = Vec::new();
    for line in yaml.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() {
            comment.clear();
        } else if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim().to_owned());
        } else if let Some((key, _)) = text.split_once(':') {
            parents.retain(|(parent, _)| *parent < indent);
            parents.push((indent, key.to_owned()));
            let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
            found.insert(path.join("."), comment.join(" "));
            comment.clear();
        }
    }
    found
}

/// Every value that the schema knows, by name; of a group also the group.
fn known(schema: &Value, path: &str, found: &mut Vec<(String, bool)>) {
    for (name, property) in schema["properties"].as_object().unwrap() {
        if path.is_empty() && NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        let group = property.get("properties").is_some();
        found.push((path.clone(), group));
        if group {
            known(property, &path, found);
        }
    }
}

fn page() -> String {
    let yaml = read("values.yaml");
    let comments = comments(&yaml);
    let defaults: Value = serde_saphyr::from_str(&yaml).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut values = Vec::new();
    known(&schema, "", &mut values);
    let mut page = "# Values of the chart\n\n\
        Generated from [`values.yaml`](values.yaml): `UPDATE_DOCS=1 cargo test --test chart documentation`.\n\n\
        | value | default | meaning |\n|---|---|---|\n"
        .to_owned();
    for (path, group) in values {
        let meaning = comments.get(&path).cloned().unwrap_or_default();
        let default = defaults.pointer(&format!("/{}", path.replace('.', "/")));
        let default = match default {
            _ if group => String::new(),
            None => String::new(),
            Some(default) => format!("`{default}`"),
        };
        if group && meaning.is_empty() {
            continue;
        }
        let meaning = meaning.replace('|', "\\|").replace("<", "&lt;");
        writeln!(page, "| `{path}` | {default} | {meaning} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_values_is_what_the_values_say() {
    let path = helm::chart().join("VALUES.md");
    let expected = page();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        held == expected,
        "{} is not what values.yaml says: run `{UPDATE}=1 cargo test --test chart documentation`",
        path.display()
    );
}

#[test]
fn every_value_has_a_default_a_schema_and_an_explanation() {
    let yaml = read("values.yaml");
    let comments = comments(&yaml);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut values = Vec::new();
    known(&schema, "", &mut values);
    for (path, group) in &values {
        // A key that only the container's runtime knows, and that Kubernetes documents.
        if path.starts_with("resources.") {
            continue;
        }
        let own = comments.get(path);
        let own = own.unwrap_or_else(|| panic!("{path} is not in values.yaml"));
        // A group explains what is in it.
        let mut explained = !own.is_empty();
        let mut inner = path.as_str();
        while let Some((outer, _)) = inner.rsplit_once('.') {
            explained |= comments.get(outer).is_some_and(|it| !it.is_empty());
            inner = outer;
        }
        assert!(*group || explained, "{path} is not explained");
    }
    // Whatever stands in values.yaml is known to the schema, or lies below something free.
    for path in comments.keys() {
        let mut ancestors = values.iter().filter(|(known, group)| {
            path == known || (!group && path.starts_with(&format!("{known}.")))
        });
        let in_resources = path.starts_with("resources.");
        assert!(
            in_resources || ancestors.next().is_some(),
            "{path} is not in the schema"
        );
    }
}
