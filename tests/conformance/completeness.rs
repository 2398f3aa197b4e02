//! That every adapter there is has a subject.

use codeagent_operator::api::{ProviderKind, ProviderSpec, crds};
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

use crate::subject::{NOT_COVERED, Subject};

/// The words that the CodeAgent's definition allows as `provider.KIND.apiVersion`; none where it has no such field.
fn versions(kind: ProviderKind) -> Vec<Value> {
    let agent = crds::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "CodeAgent")
        .unwrap();
    let agent = serde_json::to_value(agent).unwrap();
    let provider = &agent["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        ["properties"]["provider"]["properties"][kind.as_str()];
    assert!(provider.is_object(), "{kind} is no provider of a CodeAgent");
    let words = &provider["properties"]["apiVersion"]["enum"];
    words.as_array().cloned().unwrap_or_default()
}

#[test]
fn every_registered_provider_in_every_version_that_a_manifest_can_name_has_a_subject() {
    assert_eq!(Registry::all().len(), ProviderKind::ALL.len());
    for registered in Registry::all() {
        let kind = registered.kind();
        let subjects = Subject::of(kind);
        if let Some((_, why)) = NOT_COVERED.iter().find(|(it, _)| *it == kind) {
            assert!(subjects.is_empty(), "{kind} is covered, and not: {why}");
            continue;
        }
        assert_eq!(subjects.len(), registered.variants().len(), "{kind}");
        let specs: Vec<ProviderSpec> = match versions(kind).as_slice() {
            [] => vec![subjects[0].spec()],
            versions => versions
                .iter()
                .map(|version| {
                    let mut spec = serde_json::to_value(subjects[0].spec()).unwrap();
                    spec[kind.as_str()]["apiVersion"] = json!(version);
                    serde_json::from_value(spec).unwrap()
                })
                .collect(),
        };
        let selected = |spec: &ProviderSpec| registered.api_version(spec);
        let mut have: Vec<_> = subjects.iter().map(|one| selected(&one.spec())).collect();
        let mut need: Vec<_> = specs.iter().map(selected).collect();
        have.sort_unstable();
        need.sort_unstable();
        assert_eq!(have, need, "{kind}: one subject for each version");
    }
}

#[test]
fn a_subject_is_of_the_kind_it_says() {
    for kind in ProviderKind::ALL {
        for subject in Subject::of(kind) {
            assert_eq!(subject.kind(), kind);
            assert_eq!(subject.spec().kind(), Some(kind));
        }
    }
}
