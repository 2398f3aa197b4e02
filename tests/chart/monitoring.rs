//! Alerts, dashboard and network policy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use crate::helm::{self, render, the};
use crate::release::Release;

const WITH_ALERTS: &str = "metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true, labels: {release: prometheus}}, dashboard: {enabled: true}}";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

fn alerts() -> Vec<Value> {
    let text = read("charts/codeagent-operator/files/alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

/// Every query of the alerts and of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&read("charts/codeagent-operator/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let queries = targets.chain(alerts());
    queries
        .map(|query| query["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// The metrics that a query names.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("codeagent_"))
}

/// Every metric that an alert or the dashboard names.
pub fn metrics() -> BTreeSet<String> {
    let queries = queries();
    let named = queries.iter().flat_map(|query| metrics_of(query));
    named.map(str::to_owned).collect()
}

#[test]
fn the_alerts_say_what_they_should_of_recorded_series() {
    let promtool = codeagent_harness::promtool().unwrap_or_else(|error| panic!("{error}"));
    for arguments in [
        [
            "check",
            "rules",
            "charts/codeagent-operator/files/alerts.yaml",
        ],
        ["test", "rules", "tests/chart/alerts_test.yaml"],
    ] {
        let output = Command::new(&promtool)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{complained}");
    }
}

#[test]
fn every_alert_has_its_test_and_its_runbook() {
    let runbooks = read("docs/alerts.md");
    let tests = read("tests/chart/alerts_test.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(runbooks.contains(&format!("\n## {name}\n")), "{name}");
        let raised = tests.contains(&format!("alertname: {name}\n"));
        assert!(raised, "no test raises {name}");
    }
}

#[test]
fn the_rule_of_a_release_looks_at_the_job_of_its_own_monitor() {
    let objects = render(WITH_ALERTS);
    let rule = the(&objects, "PrometheusRule");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let job = &the(&objects, "Service")["metadata"]["name"];
    let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap();
    let alerts = alerts();
    assert_eq!(rules.len(), alerts.len());
    for (rule, alert) in rules.iter().zip(&alerts) {
        let expected = alert["expr"]
            .as_str()
            .unwrap()
            .replace("codeagent-operator-metrics", job.as_str().unwrap());
        assert_eq!(rule["expr"], expected);
        for field in ["alert", "for", "labels"] {
            assert_eq!(rule[field], alert[field]);
        }
        let name = alert["alert"].as_str().unwrap().to_lowercase();
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.ends_with(&format!("/docs/alerts.md#{name}")));
    }
}

#[test]
fn the_dashboard_comes_as_grafanas_sidecar_wants_it() {
    let objects = render(WITH_ALERTS);
    let map = the(&objects, "ConfigMap");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let stored = map["data"]["codeagent-operator.json"].as_str().unwrap();
    let stored: Value = serde_json::from_str(stored).unwrap();
    let file: Value =
        serde_json::from_str(&read("charts/codeagent-operator/files/dashboard.json")).unwrap();
    assert_eq!(stored, file);
}

#[test]
fn what_the_alerts_need_is_said_where_it_is_missing() {
    let refused =
        helm::template("ops", "ops", "metrics: {prometheusRule: {enabled: true}}").unwrap_err();
    assert!(
        refused.contains("metrics.prometheusRule needs metrics.serviceMonitor.enabled"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_network_policy_lets_in_scrapes_and_out_what_is_needed() {
    let values = "networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], egressPorts: [443, 6443, 8443], extraEgress: [{ports: [{port: 3128}], to: [{ipBlock: {cidr: 10.1.2.3/32}}]}]}";
    let release = Release::apply(values).await;
    let policies = release.namespace().api::<NetworkPolicy>();
    let policy = policies.get(&release.full_name()).await.unwrap();
    let policy = json!(policy.spec.unwrap());
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let ingress = policy["ingress"].as_array().unwrap();
    assert_eq!(ingress.len(), 1);
    assert_eq!(
        ingress[0]["ports"],
        json!([{"port": "http", "protocol": "TCP"}])
    );
    let from = &ingress[0]["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(from["kubernetes.io/metadata.name"], "monitoring");
    let egress = policy["egress"].as_array().unwrap();
    let ports = |rule: &Value| -> Vec<Value> {
        let ports = rule["ports"].as_array().unwrap().iter();
        ports.map(|port| port["port"].clone()).collect()
    };
    let allowed: Vec<Vec<Value>> = egress.iter().map(ports).collect();
    assert_eq!(json!(allowed), json!([[53, 53], [443, 6443, 8443], [3128]]));
    let anywhere = &egress[1]["to"];
    assert_eq!(anywhere[0]["ipBlock"]["cidr"], "0.0.0.0/0");
    let except = anywhere[0]["ipBlock"]["except"].as_array().unwrap();
    assert!(except.contains(&json!("169.254.0.0/16")), "{except:?}");
    assert_eq!(anywhere[1]["ipBlock"]["cidr"], "::/0");
}
