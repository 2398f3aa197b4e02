//! The values for networks that are not open: certificate authorities and proxies.

use clap::Parser;
use codeagent_operator::cli::{Cli, Command};
use serde_json::{Value, json};

use crate::helm::{self, render, the};
use crate::release::Release;

fn pod(objects: &[Value]) -> Value {
    the(objects, "Deployment")["spec"]["template"]["spec"].clone()
}

/// The value of a variable of the container, or where it comes from.
fn variable(pod: &Value, name: &str) -> Option<Value> {
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    let mut named = variables.iter().filter(|it| it["name"] == name);
    let found = named.next()?;
    assert_eq!(named.next(), None, "{name} twice");
    found.get("value").or(found.get("valueFrom")).cloned()
}

#[test]
fn a_ca_bundle_is_mounted_where_the_operator_is_told_to_read_it() {
    for (values, kind, name_field) in [
        (
            "configMap: {name: roots, key: bundle.pem}",
            "configMap",
            "name",
        ),
        (
            "secret: {name: roots, key: bundle.pem}",
            "secret",
            "secretName",
        ),
    ] {
        let pod = pod(&render(&format!("caBundle: {{{values}}}")));
        let file = variable(&pod, "CODEAGENT_CA_BUNDLE").unwrap();
        let mount = &pod["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["readOnly"], true);
        let volume = &pod["volumes"][0];
        assert_eq!(volume["name"], mount["name"]);
        assert_eq!(volume[kind][name_field], "roots");
        assert_eq!(volume[kind]["items"][0]["key"], "bundle.pem");
        let item = volume[kind]["items"][0]["path"].as_str().unwrap();
        let mounted = format!("{}/{item}", mount["mountPath"].as_str().unwrap());
        assert_eq!(file, mounted.as_str());
        // The operator knows the flag behind that variable.
        let run = ["codeagent-operator", "run", "--ca-bundle", &mounted];
        let Command::Run(options) = Cli::try_parse_from(run).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(options.ca_bundle.unwrap().to_str(), Some(mounted.as_str()));
    }
    let pod = pod(&render("{}"));
    assert_eq!(variable(&pod, "CODEAGENT_CA_BUNDLE"), None);
    assert_eq!(pod.get("volumes"), None);
}

#[test]
fn a_proxy_is_named_with_what_is_reached_without_it() {
    let pod_of = |values: &str| pod(&render(values));
    let plain = pod_of(
        "proxy: {http: http://proxy:3128, https: http://proxy:3129, noProxy: [.acme.internal, 10.0.0.0/8]}",
    );
    assert_eq!(
        variable(&plain, "HTTP_PROXY"),
        Some(json!("http://proxy:3128"))
    );
    assert_eq!(
        variable(&plain, "HTTPS_PROXY"),
        Some(json!("http://proxy:3129"))
    );
    assert_eq!(
        variable(&plain, "NO_PROXY"),
        Some(json!(
            ".acme.internal,10.0.0.0/8,$(KUBERNETES_SERVICE_HOST)"
        ))
    );

    let secret = pod_of("proxy: {httpsSecret: {name: proxy}}");
    assert_eq!(
        variable(&secret, "HTTPS_PROXY"),
        Some(json!({"secretKeyRef": {"name": "proxy", "key": "https-proxy"}}))
    );
    let direct = variable(&secret, "NO_PROXY").unwrap();
    assert!(direct.as_str().unwrap().contains(".svc,"), "{direct}");

    let none = pod_of("{}");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        assert_eq!(variable(&none, name), None);
    }
}

#[test]
fn contradictions_and_passwords_in_plain_sight_are_refused() {
    for (values, complaint) in [
        (
            "caBundle: {configMap: {name: a}, secret: {name: b}}",
            "caBundle: set configMap.name or secret.name, not both",
        ),
        (
            "proxy: {https: http://proxy:1, httpsSecret: {name: proxy}}",
            "proxy: set https or httpsSecret.name, not both",
        ),
        ("proxy: {https: 'http://user:password@proxy:1'}", "pattern"),
        ("proxy: {http: 'http://user:password@proxy:1'}", "pattern"),
        ("proxy: {https: 'proxy:3128'}", "pattern"),
        ("proxy: {noProxy: ['a,b']}", "pattern"),
        ("caBundle: {configMap: {nam: a}}", "nam"),
    ] {
        let refused = helm::template("ops", "ops-system", values).unwrap_err();
        assert!(refused.contains(complaint), "{values}: {refused}");
    }
}

#[tokio::test]
async fn an_api_server_accepts_both_beside_variables_and_volumes_of_ones_own() {
    let values = "{caBundle: {configMap: {name: roots}}, proxy: {httpsSecret: {name: proxy}}, \
        extraEnv: [{name: ALL_PROXY, value: 'http://proxy:1'}], \
        extraVolumes: [{name: own, emptyDir: {}}], extraVolumeMounts: [{name: own, mountPath: /own}]}";
    let release = Release::apply(values).await;
    let name = release.full_name();
    let arguments = [
        "get",
        "deployment",
        "-n",
        release.name(),
        &name,
        "-o",
        "json",
    ];
    let deployment = release.kubectl(&arguments, "").await;
    let deployment: Value = serde_json::from_str(&deployment).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"].as_array().unwrap().len(), 2);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 2);
}
