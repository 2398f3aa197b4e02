//! What the API server accepts and refuses of a CodeAgent.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Expected::{Accepted, Refused};
use crate::cluster::{Expected, Kind, Verdicts, create, namespace, replace, yaml};

/// A CodeAgent's spec with `fields` in addition.
fn spec(fields: &str) -> Value {
    let mut spec = yaml("{provider: {cursor: {}}, credentials: {secretRef: {name: key}}}");
    for (name, value) in yaml(fields).as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

#[tokio::test]
async fn each_field_has_its_limits() {
    let namespace = namespace("agent-rules").await;
    let cases: Vec<(&str, Expected)> = vec![
        ("{}", Accepted),
        // Exactly one provider.
        ("{provider: {firebender: {}}}", Accepted),
        ("{provider: {flapjack: {}}}", Accepted),
        (
            "{provider: {firetiger: {codingAgentId: cursor-prod}}}",
            Accepted,
        ),
        ("{provider: {cursor: {}, firebender: null}}", Accepted),
        ("{provider: {}}", Refused("set exactly one provider")),
        (
            "{provider: {cursor: {}, firebender: {}}}",
            Refused("set exactly one provider"),
        ),
        (
            "{provider: {cursor: {}, firetiger: {codingAgentId: a}}}",
            Refused("set exactly one provider"),
        ),
        ("{provider: null}", Refused("spec.provider")),
        (
            "{provider: {cursor: null}}",
            Refused("set exactly one provider"),
        ),
        (
            "{provider: {firetiger: {}}}",
            Refused("codingAgentId: Required value"),
        ),
        // A job agent has no provider's key, every other has one.
        (
            "{credentials: null, provider: {job: {adapter: Claude, image: a}}}",
            Accepted,
        ),
        (
            "{provider: {job: {adapter: Claude, image: a}}}",
            Refused("a job agent has no provider's key"),
        ),
        (
            "{credentials: null, provider: {job: {adapter: Process, image: a}}}",
            Refused("command is missing"),
        ),
        (
            "{credentials: null, provider: {job: {adapter: Process, image: a, command: [run], affinity: {nodeAffinity: {}}, resources: {limits: {cpu: 2}}}}}",
            Accepted,
        ),
        (
            "{credentials: null, provider: {job: {adapter: Claude, image: a, env: [{name: A}]}}}",
            Refused("set exactly one of value and secretKeyRef"),
        ),
        (
            "{credentials: null, provider: {job: {adapter: Claude, image: a, workspace: {size: much}}}}",
            Refused("workspace.size"),
        ),
        // Words of closed lists.
        ("{provider: {cursor: {apiVersion: v0}}}", Accepted),
        (
            "{provider: {cursor: {apiVersion: v2}}}",
            Refused(r#"supported values: "v1", "v0""#),
        ),
        ("{provider: {firebender: {mode: mobile_use}}}", Accepted),
        (
            "{provider: {firebender: {mode: fast}}}",
            Refused("Unsupported value"),
        ),
        (
            "{sessionDefaults: {deletionPolicy: Keep}}",
            Refused(r#"supported values: "Cancel", "Orphan""#),
        ),
        ("{sessionDefaults: {onUnknownLaunch: Retry}}", Accepted),
        (
            "{sessionDefaults: {onUnknownLaunch: Guess}}",
            Refused("Unsupported value"),
        ),
        // Endpoints: a URL without user, query and fragment.
        (
            "{provider: {cursor: {endpoint: 'https://proxy.acme.com:8443/cursor'}}}",
            Accepted,
        ),
        (
            "{provider: {cursor: {endpoint: 'https://me:secret@proxy.acme.com'}}}",
            Refused("endpoint"),
        ),
        (
            "{provider: {cursor: {endpoint: 'https://proxy.acme.com/?key=1'}}}",
            Refused("endpoint"),
        ),
        (
            "{provider: {cursor: {endpoint: 'file:///etc/passwd'}}}",
            Refused("endpoint"),
        ),
        // Credentials.
        (
            "{credentials: {secretRef: {name: key, key: other.key}}}",
            Accepted,
        ),
        ("{credentials: null}", Refused("spec.credentials")),
        (
            "{credentials: {secretRef: {}}}",
            Refused("name: Required value"),
        ),
        (
            "{credentials: {secretRef: {name: Not_A_Name}}}",
            Refused("secretRef.name"),
        ),
        (
            "{credentials: {secretRef: {name: ../other}}}",
            Refused("secretRef.name"),
        ),
        (
            "{credentials: {secretRef: {name: key, key: a/b}}}",
            Refused("secretRef.key"),
        ),
        // Repository, model, branch.
        (
            "{repository: {url: 'https://github.com/acme/app', ref: main}}",
            Accepted,
        ),
        ("{repository: {ref: main}}", Accepted),
        (
            "{repository: {url: 'git@github.com:acme/app.git'}}",
            Refused("repository.url"),
        ),
        (
            "{repository: {url: 'https://token@github.com/acme/app'}}",
            Refused("repository.url"),
        ),
        ("{repository: {ref: 'a b'}}", Refused("repository.ref")),
        (
            "{model: {id: composer-2, params: {fast: 'true'}}}",
            Accepted,
        ),
        (
            "{model: {params: {fast: 1}}}",
            Refused("must be of type string"),
        ),
        ("{pullRequest: {branchName: fix/login}}", Accepted),
        (
            "{pullRequest: {branchName: fix/login, workOnCurrentBranch: true}}",
            Refused("exclude each other: remove one"),
        ),
        (
            "{pullRequest: {branchName: fix/login, workOnCurrentBranch: false}}",
            Accepted,
        ),
        // Numbers.
        ("{maxConcurrentSessions: 1}", Accepted),
        (
            "{maxConcurrentSessions: 0}",
            Refused("greater than or equal to 1"),
        ),
        (
            "{maxConcurrentSessions: 1001}",
            Refused("less than or equal to 1000"),
        ),
        ("{sessionDefaults: {activeDeadlineSeconds: 60}}", Accepted),
        (
            "{sessionDefaults: {activeDeadlineSeconds: 59}}",
            Refused("greater than or equal to 60"),
        ),
        (
            "{sessionDefaults: {activeDeadlineSeconds: 604801}}",
            Refused("less than or equal to 604800"),
        ),
        ("{sessionDefaults: {launchDeadlineSeconds: 1}}", Accepted),
        (
            "{sessionDefaults: {launchDeadlineSeconds: 0}}",
            Refused("greater than or equal to 1"),
        ),
        ("{sessionDefaults: {ttlSecondsAfterFinished: 0}}", Accepted),
        (
            "{sessionDefaults: {ttlSecondsAfterFinished: -1}}",
            Refused("greater than or equal to 0"),
        ),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (fields, expected)) in cases.into_iter().enumerate() {
        let result = create(
            &namespace,
            Kind::Agent,
            &format!("case-{index}"),
            &spec(fields),
        )
        .await;
        verdicts.check(fields, expected, &result);
    }
    for (case, preamble, expected) in [
        ("32 KiB of letters", "a".repeat(32 * 1024), Accepted),
        (
            "a letter more",
            "a".repeat(32 * 1024 + 1),
            Refused("may not be more than 32768"),
        ),
        // Fewer characters than the limit, more bytes.
        (
            "11 Ki of CJK characters",
            "字".repeat(11 * 1024),
            Refused("larger than 32 KiB of UTF-8"),
        ),
        ("10 Ki of CJK characters", "字".repeat(10 * 1024), Accepted),
    ] {
        let mut agent = spec("{}");
        agent["preamble"] = json!(preamble);
        let name = case.to_lowercase().replace(' ', "-");
        let result = create(&namespace, Kind::Agent, &name, &agent).await;
        verdicts.check(case, expected, &result);
    }
    let many = |count: usize| -> Value {
        let params: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("p{n}"), json!("v"))).collect();
        let mut agent = spec("{}");
        agent["model"] = json!({"params": params});
        agent
    };
    let result = create(&namespace, Kind::Agent, "params-20", &many(20)).await;
    verdicts.check("20 parameters", Accepted, &result);
    let result = create(&namespace, Kind::Agent, "params-21", &many(21)).await;
    verdicts.check(
        "21 parameters",
        Refused("must have at most 20 items"),
        &result,
    );
}

#[tokio::test]
async fn what_is_left_out_gets_its_documented_default() {
    let namespace = namespace("agent-defaults").await;
    let created = create(&namespace, Kind::Agent, "plain", &spec("{}"))
        .await
        .unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "provider": {"cursor": {}},
            "credentials": {"secretRef": {"name": "key", "key": "api-key"}},
            "model": {"id": "auto"},
            "orphanPolicy": "Report",
            "pullRequest": {"autoCreate": true, "workOnCurrentBranch": false, "skipReviewerRequest": false},
            "suspend": false,
            "sessionDefaults": {
                "activeDeadlineSeconds": 7200,
                "deletionPolicy": "Cancel",
                "onUnknownLaunch": "Recover",
            },
        })
    );
    // A part that is given keeps what is in it and gets the rest.
    let partial = "{model: {params: {fast: 'true'}}, pullRequest: {autoCreate: false}, sessionDefaults: {deletionPolicy: Orphan}}";
    let created = create(&namespace, Kind::Agent, "partial", &spec(partial))
        .await
        .unwrap();
    let spec_of = &created["spec"];
    assert_eq!(
        spec_of["model"],
        json!({"id": "auto", "params": {"fast": "true"}})
    );
    assert_eq!(
        spec_of["pullRequest"],
        json!({"autoCreate": false, "workOnCurrentBranch": false, "skipReviewerRequest": false})
    );
    assert_eq!(
        spec_of["sessionDefaults"],
        json!({"activeDeadlineSeconds": 7200, "deletionPolicy": "Orphan", "onUnknownLaunch": "Recover"})
    );
}

/// A template may change in every field: sessions that are launched have their own copy.
#[tokio::test]
async fn everything_in_an_agent_may_change() {
    let namespace = namespace("agent-change").await;
    let mut verdicts = Verdicts::default();
    create(&namespace, Kind::Agent, "agent", &spec("{}"))
        .await
        .unwrap();
    for fields in [
        "{provider: {firebender: {mode: read}}}",
        "{provider: {cursor: {apiVersion: v1}}, credentials: {secretRef: {name: other}}}",
        "{repository: {url: 'https://github.com/acme/web'}, preamble: Be brief, suspend: true}",
        "{}",
    ] {
        let result = replace(&namespace, Kind::Agent, "agent", &spec(fields)).await;
        verdicts.check(fields, Accepted, &result);
    }
    let result = replace(&namespace, Kind::Agent, "agent", &spec("{provider: {}}")).await;
    verdicts.check("no provider", Refused("set exactly one provider"), &result);
}

/// The provider is one value: settings can be taken away again, and another manager's provider replaces the former one.
#[tokio::test]
async fn the_provider_is_applied_as_one_value() {
    let namespace = namespace("agent-apply").await;
    let api = Kind::Agent.api(&namespace);
    let apply = async |manager: &str, provider: &str| -> Result<Value, String> {
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeAgent", "metadata": {"name": "agent"},
            "spec": spec(&format!("{{provider: {provider}}}")),
        });
        let parameters = PatchParams::apply(manager).force();
        let applied = api.patch("agent", &parameters, &Patch::Apply(object)).await;
        applied
            .map(|applied| applied.data["spec"]["provider"].clone())
            .map_err(|error| error.to_string())
    };
    for (manager, provider) in [
        ("gitops", "{cursor: {endpoint: 'https://proxy.acme.com'}}"),
        ("gitops", "{cursor: {}}"),
        ("gitops", "{flapjack: {orgId: a}}"),
        ("gitops", "{flapjack: {}}"),
        ("person", "{firebender: {mode: read}}"),
        ("gitops", "{cursor: {apiVersion: v1}}"),
        ("gitops", "{cursor: {}}"),
    ] {
        assert_eq!(
            apply(manager, provider).await,
            Ok(yaml(provider)),
            "{manager}: {provider}"
        );
    }
}
