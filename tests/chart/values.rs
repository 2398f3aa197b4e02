//! What values the chart accepts, and what they do.

use codeagent_operator::api::ProviderKind;
use serde_json::{Value, json};

use crate::{
    helm::{self, lint, render, the},
    release::Release,
};

/// Every optional part of the chart.
const EVERYTHING: &str = r#"
image: {repository: registry.acme.com/codeagent-operator, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
commonLabels: {team: platform, app.kubernetes.io/instance: somebody-elses}
providers: [cursor, firebender, flapjack, firetiger]
allowEndpointHosts: [gateway.acme.internal, "10.1.2.3:8443"]
maxConcurrentPerCredential: 25
stalledAfter: 90s
log: {format: text, level: "info,codeagent_operator::controllers=debug"}
leaseName: agents
development: {allowHttpEndpoints: true}
serviceAccount: {annotations: {acme.com/owner: platform}}
http: {host: "[::]", port: 9090}
metrics: {service: {labels: {scrape: "yes"}, annotations: {prometheus.io/scrape: "true"}}}
terminationGracePeriodSeconds: 200
resources: {requests: {cpu: 100m}, limits: {cpu: "1", memory: 1Gi}}
podSecurityContext: {runAsUser: null}
podLabels: {zone: a, app.kubernetes.io/name: somebody-elses}
podAnnotations: {acme.com/note: hello}
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: Exists}]}]}}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {zone: a}}}]
extraArgs: [--provider-settle=60s]
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
extraVolumes: [{name: authority, configMap: {name: authority}}]
extraVolumeMounts: [{name: authority, mountPath: /etc/ssl/certs, readOnly: true}]
"#;

fn container(objects: &[Value]) -> Value {
    the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0].clone()
}

fn environment(objects: &[Value]) -> Vec<(String, Value)> {
    let container = container(objects);
    let variables = container["env"].as_array().unwrap().iter();
    variables
        .map(|variable| {
            let value = variable.get("value").or(variable.get("valueFrom")).unwrap();
            (variable["name"].as_str().unwrap().to_owned(), value.clone())
        })
        .collect()
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
    kinds.sort();
    kinds
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for values in [
        "{}",
        EVERYTHING,
        "watchNamespaces: [team-a, team-b]",
        "{rbac: {create: false, extendUserRoles: false}, serviceAccount: {create: false, name: own}}",
        "{metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}}",
        "networkPolicy: {enabled: true}",
        "{timeline: {enabled: true}, networkPolicy: {enabled: true, timelineFrom: [{podSelector: {}}]}}",
        "{replicas: 2, networkPolicy: {enabled: true, webhooksFrom: [{podSelector: {}}]}, providerWebhooks: {enabled: true, baseURL: https://hooks.acme.com/agents, ingress: {enabled: true, className: nginx, tlsSecretName: hooks-tls}}}",
        // What a chart adds to the values of another that it depends on.
        "{global: {imageRegistry: registry.acme.com}, enabled: true}",
    ] {
        let report = lint(values).unwrap();
        assert!(
            report.contains("1 chart(s) linted, 0 chart(s) failed"),
            "{values}: {report}"
        );
    }
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let text = std::fs::read_to_string(helm::chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    // What Artifact Hub shows is what there is.
    let shown = chart["annotations"]["artifacthub.io/crds"]
        .as_str()
        .unwrap();
    let shown: Value = serde_saphyr::from_str(shown).unwrap();
    let names = |it: &Value| it["name"].as_str().map(str::to_owned);
    let shown: Vec<_> = shown.as_array().unwrap().iter().filter_map(names).collect();
    let defined = codeagent_operator::api::crds::all();
    let defined = defined.iter().filter_map(|it| it.metadata.name.clone());
    assert_eq!(shown, defined.collect::<Vec<_>>());
    assert_eq!(
        container(&render("{}"))["image"],
        format!(
            "ghcr.io/codeagents-dev/codeagent-operator:{}",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn an_image_is_chosen_by_tag_or_digest_whatever_yaml_takes_the_tag_for() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (values, expected) in [
        ("{image: {tag: v1.2}}".to_owned(), ":v1.2".to_owned()),
        // A values file makes a float of it, `--set` an integer.
        ("{image: {tag: 20261130}}".into(), ":20261130".into()),
        (r#"{image: {tag: "20261130"}}"#.into(), ":20261130".into()),
        (r#"{image: {tag: "1.10"}}"#.into(), ":1.10".into()),
        (
            format!(r#"{{image: {{tag: v1, digest: "{digest}"}}}}"#),
            format!("@{digest}"),
        ),
    ] {
        let image = container(&render(&values))["image"].clone();
        let repository = "ghcr.io/codeagents-dev/codeagent-operator";
        assert_eq!(image, format!("{repository}{expected}"), "{values}");
    }
    // Which of 1.1 and 1.10 was meant cannot be told.
    let refused = helm::template("ops", "ops-system", "{image: {tag: 1.10}}").unwrap_err();
    assert!(refused.contains("image"), "{refused}");
}

#[test]
fn older_kubernetes_is_refused() {
    let render = |version: &str| {
        helm::run(
            helm::command()
                .args(["template", "ops"])
                .arg(helm::chart())
                .args(["--kube-version", version]),
            "",
        )
    };
    let error = render("1.32.9").unwrap_err();
    assert!(
        error.contains("chart requires kubeVersion: >=1.33.0-0"),
        "{error}"
    );
    render("1.33.1-gke.100").unwrap();
}

#[test]
fn what_is_misspelt_or_makes_no_sense_is_refused_by_name() {
    // Helm 3 and 4 name the place in different words, but both say these.
    for (values, complaint) in [
        (
            "watchNamespace: [team-a]",
            ["watchNamespace", "not allowed"],
        ),
        ("crds: {Install: false}", ["Install", "not allowed"]),
        ("replica: 2", ["replica", "not allowed"]),
        ("watchNamespaces: team-a", ["watchNamespaces", "array"]),
        ("watchNamespaces: [Team_A]", ["watchNamespaces", "pattern"]),
        ("watchNamespaces: [a, a]", ["watchNamespaces", "items"]),
        ("providers: [cursr]", ["providers", "firebender"]),
        ("log: {format: xml}", ["format", "text"]),
        ("image: {tag: \"a b\"}", ["tag", "pattern"]),
        ("image: {digest: abc}", ["digest", "pattern"]),
        (
            "allowEndpointHosts: [\"https://gateway.acme.internal\"]",
            ["allowEndpointHosts", "pattern"],
        ),
        (
            "maxConcurrentPerCredential: 0",
            ["maxConcurrentPerCredential", "1"],
        ),
        (
            "maxConcurrentPerCredential: many",
            ["maxConcurrentPerCredential", "integer"],
        ),
        ("stalledAfter: soon", ["stalledAfter", "pattern"]),
        (
            "terminationGracePeriodSeconds: 30",
            ["terminationGracePeriodSeconds", "130"],
        ),
        ("http: {port: 80}", ["http", "port"]),
        ("networkPolicy: {egressPorts: []}", ["egressPorts", "1"]),
        ("networkPolicy: {metricsFrom: [{}]}", ["metricsFrom", "1"]),
        ("extraArgs: --verbose", ["extraArgs", "array"]),
        (
            "serviceAccount: {create: false}",
            ["serviceAccount.name is needed", "create is false"],
        ),
        (
            "metrics: {service: {enabled: false}, serviceMonitor: {enabled: true}}",
            ["metrics.serviceMonitor needs", "metrics.service.enabled"],
        ),
    ] {
        let error = helm::template("ops", "ops-system", values).unwrap_err();
        for words in complaint {
            assert!(error.contains(words), "{values}: {error}");
        }
    }
}

#[test]
fn every_provider_there_is_can_be_chosen() {
    let text = std::fs::read_to_string(helm::chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    // jobs.enabled switches jobs on, together with the rights that they need.
    let known = ProviderKind::ALL.into_iter();
    let known = known.filter(|kind| *kind != ProviderKind::Job);
    let known: Vec<&str> = known.map(ProviderKind::as_str).collect();
    assert_eq!(
        schema["properties"]["providers"]["items"]["enum"],
        json!(known)
    );
}

#[test]
fn the_operator_is_told_what_the_values_say() {
    let objects = render("{}");
    assert_eq!(
        container(&objects)["args"],
        json!(["run", "--lease-name=codeagent-operator"])
    );
    let own_namespace = json!({"fieldRef": {"fieldPath": "metadata.namespace"}});
    let expected = [
        ("POD_NAMESPACE", own_namespace.clone()),
        ("CODEAGENT_STALLED_AFTER", json!("5m")),
        ("CODEAGENT_BIND_ADDRESS", json!("0.0.0.0:8080")),
        ("CODEAGENT_LOG_FORMAT", json!("json")),
        ("CODEAGENT_LOG", json!("info")),
    ];
    assert_eq!(
        environment(&objects),
        expected.map(|(name, value)| (name.to_owned(), value))
    );

    let objects = render(&format!(
        "{EVERYTHING}\nwatchNamespaces: [team-a, team-b]\n"
    ));
    assert_eq!(
        container(&objects)["args"],
        json!([
            "run",
            "--lease-name=agents",
            "--allow-http-endpoints",
            "--provider-settle=60s"
        ])
    );
    let expected = [
        ("POD_NAMESPACE", own_namespace),
        ("CODEAGENT_NAMESPACES", json!("team-a,team-b")),
        (
            "CODEAGENT_PROVIDERS",
            json!("cursor,firebender,flapjack,firetiger"),
        ),
        (
            "CODEAGENT_ALLOW_ENDPOINT_HOSTS",
            json!("gateway.acme.internal,10.1.2.3:8443"),
        ),
        ("CODEAGENT_MAX_CONCURRENT_PER_CREDENTIAL", json!("25")),
        ("CODEAGENT_STALLED_AFTER", json!("90s")),
        ("CODEAGENT_BIND_ADDRESS", json!("[::]:9090")),
        ("CODEAGENT_LOG_FORMAT", json!("text")),
        (
            "CODEAGENT_LOG",
            json!("info,codeagent_operator::controllers=debug"),
        ),
        ("HTTPS_PROXY", json!("http://proxy:3128")),
    ];
    assert_eq!(
        environment(&objects),
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}

#[test]
fn the_lease_that_is_used_is_the_one_that_is_granted() {
    let objects = render("{leaseName: agents, watchNamespaces: []}");
    let named: Vec<&Value> = the(&objects, "Role")["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|rule| rule.get("resourceNames"))
        .collect();
    assert_eq!(named, [&json!(["agents"])]);
}

#[test]
fn labels_of_the_users_own_never_replace_what_selectors_look_for() {
    let objects = render(EVERYTHING);
    let deployment = the(&objects, "Deployment");
    let pod = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod["team"], "platform");
    assert_eq!(pod["zone"], "a");
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &the(&objects, "Service")["spec"]["selector"],
    ] {
        for (label, value) in selector.as_object().unwrap() {
            assert_eq!(&pod[label], value, "{label}");
        }
    }
}

#[test]
fn timelines_have_a_port_a_service_and_a_certificate() {
    let off = render("{}");
    let with_timelines = |objects: &[Value]| {
        let variables = environment(objects).into_iter();
        let names = variables.map(|(name, _)| name);
        names.filter(|name| name.contains("TIMELINE")).count()
    };
    assert_eq!(with_timelines(&off), 0);

    let objects = render("timeline: {enabled: true, port: 9443}");
    let service = objects.iter().find(|object| {
        object["kind"] == "Service" && object["spec"]["ports"][0]["name"] == "timeline"
    });
    let service = service.unwrap();
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    let name = service["metadata"]["name"].as_str().unwrap();
    let variables = environment(&objects);
    for (variable, expected) in [
        ("CODEAGENT_TIMELINE_BIND_ADDRESS", "0.0.0.0:9443".to_owned()),
        ("CODEAGENT_TIMELINE_SERVICE", name.to_owned()),
        ("CODEAGENT_TIMELINE_TLS_SECRET", format!("{name}-tls")),
    ] {
        assert!(
            variables.contains(&(variable.to_owned(), json!(expected))),
            "{variable}: {variables:?}"
        );
    }
    let ports = container(&objects)["ports"].clone();
    assert_eq!(ports[1], json!({"name": "timeline", "containerPort": 9443}));

    let own = render("timeline: {enabled: true, tls: {secretName: own}}");
    let pod = the(&own, "Deployment")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "own");
    let mounted = &container(&own)["volumeMounts"][0]["mountPath"];
    assert_eq!(mounted, "/etc/codeagent-operator/timeline-tls");
}

#[test]
fn providers_webhooks_have_a_port_a_key_a_way_in_and_a_way_to_the_other_replicas() {
    let of_webhooks = |objects: &[Value]| -> Vec<String> {
        let named = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
        let names = objects.iter().filter_map(named);
        names.filter(|name| name.contains("webhooks")).collect()
    };
    assert!(of_webhooks(&render("{}")).is_empty());
    let one = render("providerWebhooks: {enabled: true, baseURL: 'https://hooks.acme.com'}");
    let name = of_webhooks(&one);
    assert_eq!(name.len(), 1, "{name:?}");
    let variables: Vec<String> = environment(&one)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let peers = "CODEAGENT_WEBHOOK_PEERS".to_owned();
    assert!(!variables.contains(&peers));

    let objects = render(
        "{replicas: 2, providerWebhooks: {enabled: true, port: 9081, baseURL: 'https://hooks.acme.com/agents/', keySecret: {name: own, key: k}, ingress: {enabled: true}}}",
    );
    let variables = environment(&objects);
    let namespace = the(&objects, "Deployment")["metadata"]["namespace"].clone();
    let namespace = namespace.as_str().unwrap();
    let all_peers = format!("{}-peers.{namespace}.svc:9081", name[0]);
    for (variable, expected) in [
        ("CODEAGENT_WEBHOOK_LISTEN", "0.0.0.0:9081"),
        (
            "CODEAGENT_WEBHOOK_BASE_URL",
            "https://hooks.acme.com/agents/",
        ),
        (
            "CODEAGENT_WEBHOOK_KEY_FILE",
            "/etc/codeagent-operator/webhook-key/key",
        ),
        ("CODEAGENT_WEBHOOK_PEERS", &all_peers),
    ] {
        assert!(
            variables.contains(&(variable.to_owned(), json!(expected))),
            "{variable}: {variables:?}"
        );
    }
    let rule = &the(&objects, "Ingress")["spec"]["rules"][0];
    assert_eq!(rule["host"], "hooks.acme.com");
    let path = &rule["http"]["paths"][0];
    assert_eq!(path["path"], "/agents/provider-webhooks");
    let pod = the(&objects, "Deployment")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "own");
    let refuse = |values| helm::template("ops", "ops-system", values).unwrap_err();
    let refused = refuse("providerWebhooks: {enabled: true}");
    assert!(refused.contains("providerWebhooks.baseURL"), "{refused}");
    let plain = refuse("providerWebhooks: {enabled: true, baseURL: 'http://hooks.acme.com'}");
    assert!(plain.contains("baseURL"), "{plain}");
}

#[test]
fn an_administrator_of_namespaces_can_install_it_without_cluster_wide_objects() {
    let objects = render(
        "{watchNamespaces: [team-a, team-b], crds: {install: false}, rbac: {extendUserRoles: false, userRoles: false}}",
    );
    let expected = [
        "Deployment",
        "Role",
        "Role",
        "Role",
        "RoleBinding",
        "RoleBinding",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds(&objects), expected);
    let namespaces: Vec<&Value> = objects
        .iter()
        .map(|o| &o["metadata"]["namespace"])
        .collect();
    assert!(!namespaces.contains(&&Value::Null), "{namespaces:?}");
}

#[test]
fn what_the_cluster_provides_itself_is_left_out() {
    let objects = render(
        "{crds: {install: false}, rbac: {create: false, extendUserRoles: false, userRoles: false}, \
         serviceAccount: {create: false, name: own}, metrics: {service: {enabled: false}}}",
    );
    assert_eq!(kinds(&objects), ["Deployment"]);
    let pod = &objects[0]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "own");
}

#[test]
fn names_and_namespaces_of_digits_stay_text() {
    let yaml = helm::template("7", "8", "{watchNamespaces: [\"9\"], nameOverride: \"1\"}").unwrap();
    for object in helm::objects(&yaml) {
        for text in ["name", "namespace"] {
            let value = &object["metadata"][text];
            assert!(value.is_string() || value.is_null(), "{object}");
        }
        let labels = object["metadata"]["labels"].as_object().unwrap();
        assert!(labels.values().all(Value::is_string), "{labels:?}");
    }
}

#[tokio::test]
async fn an_api_server_accepts_every_field_of_every_option() {
    let release = Release::apply(EVERYTHING).await;
    let deployment = release
        .kubectl(
            &[
                "get",
                "deployment",
                "-n",
                release.name(),
                &release.full_name(),
                "-o",
                "json",
            ],
            "",
        )
        .await;
    let deployment: Value = serde_json::from_str(&deployment).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 200);
    // A field that the user dropped is gone; its neighbours are not.
    assert_eq!(pod["securityContext"].get("runAsUser"), None);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
}
