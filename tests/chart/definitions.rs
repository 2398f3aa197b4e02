//! The CustomResourceDefinitions as files: in `crds/` for people and GitOps, and in the chart.

use std::{fs, path::Path};

use codeagent_operator::api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::{helm, release::Release};

/// Set, the files are written instead of compared.
const UPDATE: &str = "UPDATE_CRDS";

fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

#[test]
fn the_files_hold_what_the_code_defines_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["crds", "charts/codeagent-operator/files/crds"] {
        let directory = root.join(directory);
        let mut expected = Vec::new();
        for crd in crds::all() {
            let name = file_name(&crd);
            let defined = crds::to_yaml(&crd).unwrap();
            let path = directory.join(&name);
            if std::env::var_os(UPDATE).is_some() {
                fs::write(&path, &defined).unwrap();
            }
            let held = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                held == defined,
                "{} is not what the code defines: run `{UPDATE}=1 cargo test --test chart definitions`",
                path.display()
            );
            expected.push(name);
        }
        let mut files: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        expected.sort();
        files.sort();
        assert_eq!(files, expected, "{}", directory.display());
    }
}

/// Helm reads and writes the definitions on the way, so they are compared by meaning.
#[test]
fn the_chart_renders_them_as_defined_and_keeps_them_on_uninstall() {
    let rendered = definitions("{}");
    assert_eq!(rendered.len(), crds::all().len());
    for (definition, defined) in rendered.into_iter().zip(crds::all()) {
        let mut definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
        let annotations = definition.metadata.annotations.take().unwrap();
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        assert!(definition.metadata.labels.take().is_some());
        assert!(definition == defined, "{} differs", defined.name_any());
    }
}

#[test]
fn they_are_left_out_or_given_up_where_the_values_say_so() {
    assert_eq!(definitions("crds: {install: false}"), [Value::Null; 0]);
    let given_up = definitions("crds: {keep: false}");
    assert_eq!(given_up.len(), crds::all().len());
    for definition in given_up {
        assert_eq!(definition["metadata"].get("annotations"), None);
    }
}

fn definitions(values: &str) -> Vec<Value> {
    let mut objects = helm::render(values);
    objects.retain(|object| object["kind"] == "CustomResourceDefinition");
    objects
}

#[tokio::test]
async fn they_are_established_by_the_api_server() {
    let release = Release::apply("{}").await;
    let api: Api<CustomResourceDefinition> = Api::all(release.namespace().client());
    for crd in crds::all() {
        let served = api.get(&crd.name_any()).await.unwrap();
        let conditions = served.status.unwrap().conditions.unwrap();
        for wanted in ["Established", "NamesAccepted"] {
            let condition = conditions.iter().find(|c| c.type_ == wanted).unwrap();
            assert_eq!(condition.status, "True", "{condition:?}");
        }
    }
}
