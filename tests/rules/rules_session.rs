//! What the API server accepts and refuses of a CodeSession: at its creation, and of every change after that.

use codeagent_harness::Namespace;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Expected::{Accepted, Refused};
use crate::cluster::{Expected, Kind, Verdicts, create, namespace, replace, set_status, yaml};

const SESSION: Kind = Kind::Session;

/// A CodeSession's spec with `fields` in addition.
fn spec(fields: &str) -> Value {
    let mut spec = yaml("{agentRef: {name: agent}, prompt: Fix the bug}");
    for (name, value) in yaml(fields).as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

#[tokio::test]
async fn each_field_has_its_limits() {
    let namespace = namespace("session-rules").await;
    const ONE_OF: Expected = Refused("set exactly one of prompt, promptFrom and issue");
    let cases: Vec<(&str, Expected)> = vec![
        ("{}", Accepted),
        // Exactly one task.
        ("{prompt: null}", ONE_OF),
        (
            "{prompt: null, promptFrom: {configMapKeyRef: {name: a, key: b}}}",
            Accepted,
        ),
        (
            "{prompt: null, promptFrom: {secretKeyRef: {name: a, key: b}}}",
            Accepted,
        ),
        ("{prompt: null, issue: issues/FT-42}", Accepted),
        ("{issue: issues/FT-42}", ONE_OF),
        ("{promptFrom: {configMapKeyRef: {name: a, key: b}}}", ONE_OF),
        (
            "{prompt: null, issue: a, promptFrom: {configMapKeyRef: {name: a, key: b}}}",
            ONE_OF,
        ),
        (
            "{issue: a, promptFrom: {configMapKeyRef: {name: a, key: b}}}",
            ONE_OF,
        ),
        ("{prompt: ''}", Refused("spec.prompt")),
        (
            "{prompt: null, promptFrom: {}}",
            Refused("set exactly one of configMapKeyRef and secretKeyRef"),
        ),
        (
            "{prompt: null, promptFrom: {configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}}",
            Refused("set exactly one of configMapKeyRef and secretKeyRef"),
        ),
        (
            "{prompt: null, promptFrom: {configMapKeyRef: {name: a}}}",
            Refused("key: Required value"),
        ),
        ("{issue: null, promptFrom: null}", Accepted),
        // The agent.
        ("{agentRef: null}", Refused("spec.agentRef")),
        ("{agentRef: {}}", Refused("agentRef.name: Required value")),
        ("{agentRef: {name: agent, kind: CodeAgent}}", Accepted),
        (
            "{agentRef: {name: agent, kind: ClusterCodeAgent}}",
            Refused("Unsupported value"),
        ),
        ("{agentRef: {name: other/agent}}", Refused("agentRef.name")),
        // Words of closed lists.
        ("{desiredState: Suspended}", Accepted),
        ("{desiredState: Cancelled}", Accepted),
        ("{desiredState: Archived}", Accepted),
        (
            "{desiredState: Stopped}",
            Refused(r#"supported values: "Running", "Suspended", "Cancelled", "Archived""#),
        ),
        ("{desiredState: null}", Accepted),
        ("{deletionPolicy: Orphan, onUnknownLaunch: Fail}", Accepted),
        ("{deletionPolicy: Delete}", Refused("Unsupported value")),
        ("{onUnknownLaunch: Guess}", Refused("Unsupported value")),
        // Numbers.
        (
            "{activeDeadlineSeconds: 60, launchDeadlineSeconds: 1, ttlSecondsAfterFinished: 0, priority: -1000}",
            Accepted,
        ),
        (
            "{activeDeadlineSeconds: 59}",
            Refused("greater than or equal to 60"),
        ),
        (
            "{activeDeadlineSeconds: 604801}",
            Refused("less than or equal to 604800"),
        ),
        (
            "{launchDeadlineSeconds: 0}",
            Refused("greater than or equal to 1"),
        ),
        (
            "{launchDeadlineSeconds: 31536001}",
            Refused("less than or equal to 31536000"),
        ),
        (
            "{ttlSecondsAfterFinished: -1}",
            Refused("greater than or equal to 0"),
        ),
        (
            "{ttlSecondsAfterFinished: 31536001}",
            Refused("less than or equal to 31536000"),
        ),
        ("{priority: 1000}", Accepted),
        ("{priority: 1001}", Refused("less than or equal to 1000")),
        (
            "{priority: -1001}",
            Refused("greater than or equal to -1000"),
        ),
        // Environment.
        ("{envFrom: []}", Accepted),
        ("{envFrom: [{secretRef: {name: a}}]}", Accepted),
        ("{envFrom: [{}]}", Refused("envFrom[0].secretRef")),
        (
            "{envFrom: [{secretRef: {name: A_B}}]}",
            Refused("envFrom[0].secretRef.name"),
        ),
        (
            "{envFrom: [{secretRef: {name: a}}, {secretRef: {name: b}}, {secretRef: {name: c}}, {secretRef: {name: d}}, {secretRef: {name: e}}, {secretRef: {name: f}}, {secretRef: {name: g}}, {secretRef: {name: h}}, {secretRef: {name: i}}, {secretRef: {name: j}}, {secretRef: {name: k}}]}",
            Refused("must have at most 10 items"),
        ),
        // Images, webhook, person.
        ("{images: []}", Accepted),
        (
            "{images: [{url: 'https://acme.com/a.png'}, {secretKeyRef: {name: a, key: b}}]}",
            Accepted,
        ),
        (
            "{images: [{}]}",
            Refused("set exactly one of url, configMapKeyRef and secretKeyRef"),
        ),
        (
            "{images: [{url: 'https://acme.com/a.png', secretKeyRef: {name: a, key: b}}]}",
            Refused("set exactly one of url, configMapKeyRef and secretKeyRef"),
        ),
        (
            "{images: [{url: 'http://acme.com/a.png'}]}",
            Refused("images[0].url"),
        ),
        (
            "{images: [{url: 'https://a/1'}, {url: 'https://a/2'}, {url: 'https://a/3'}, {url: 'https://a/4'}, {url: 'https://a/5'}, {url: 'https://a/6'}]}",
            Refused("must have at most 5 items"),
        ),
        (
            "{webhook: {url: 'https://hooks.acme.com/agents'}}",
            Accepted,
        ),
        (
            "{webhook: {url: 'http://hooks.acme.com/agents'}}",
            Refused("webhook.url"),
        ),
        ("{onBehalfOf: jane@acme.com}", Accepted),
        ("{onBehalfOf: jane}", Refused("onBehalfOf")),
        // Overrides.
        (
            "{repository: {url: 'https://github.com/acme/web'}, model: {id: a}, pullRequest: {autoCreate: false}}",
            Accepted,
        ),
        (
            "{repository: {url: 'ssh://github.com/acme/web'}}",
            Refused("git over ssh: write the https address instead"),
        ),
        ("{pullRequest: {branchName: 'fix/{session}'}}", Accepted),
        (
            "{pullRequest: {branchName: 'fix/{name}'}}",
            Refused("the only placeholder is {session}"),
        ),
        (
            "{pullRequest: {branchName: 'fix it'}}",
            Refused("without spaces"),
        ),
        (
            "{pullRequest: {branchName: fix, workOnCurrentBranch: true}}",
            Refused("exclude each other: remove one"),
        ),
        (
            "{pullRequest: {branchName: fix, workOnCurrentBranch: false}}",
            Accepted,
        ),
        ("{credentials: {secretRef: {name: mine}}}", Accepted),
        // Messages.
        ("{messages: []}", Accepted),
        (
            "{messages: [{name: a, prompt: b}, {name: c, promptFrom: {configMapKeyRef: {name: a, key: b}}}]}",
            Accepted,
        ),
        (
            "{messages: [{name: a, prompt: b}, {name: a, prompt: c}]}",
            Refused("Duplicate value"),
        ),
        (
            "{messages: [{name: prompt, prompt: b}]}",
            Refused("the name prompt is taken"),
        ),
        (
            "{messages: [{name: a}]}",
            Refused("set exactly one of prompt and promptFrom"),
        ),
        (
            "{messages: [{name: a, prompt: b, promptFrom: {configMapKeyRef: {name: a, key: b}}}]}",
            Refused("set exactly one of prompt and promptFrom"),
        ),
        ("{messages: [{prompt: b}]}", Refused("name: Required value")),
        (
            "{messages: [{name: Not_A_Name, prompt: b}]}",
            Refused("messages[0].name"),
        ),
        (
            "{messages: [{name: a, prompt: ''}]}",
            Refused("messages[0].prompt"),
        ),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (fields, expected)) in cases.into_iter().enumerate() {
        let result = create(&namespace, SESSION, &format!("case-{index}"), &spec(fields)).await;
        verdicts.check(fields, expected, &result);
    }
}

#[tokio::test]
async fn sizes_are_counted_in_bytes() {
    let namespace = namespace("session-sizes").await;
    let prompt = |text: String| {
        let mut session = spec("{}");
        session["prompt"] = json!(text);
        session
    };
    let messages = |texts: Vec<String>| {
        let mut session = spec("{}");
        let messages = texts.into_iter().enumerate();
        session["messages"] = messages
            .map(|(n, text)| json!({"name": format!("m{n}"), "prompt": text}))
            .collect();
        session
    };
    const KIB: usize = 1024;
    let cases = [
        ("64 KiB of letters", prompt("a".repeat(64 * KIB)), Accepted),
        (
            "one letter more",
            prompt("a".repeat(64 * KIB + 1)),
            Refused("may not be more than 65536"),
        ),
        (
            "21 Ki CJK characters, 63 KiB",
            prompt("字".repeat(21 * KIB)),
            Accepted,
        ),
        (
            "22 Ki CJK characters, 66 KiB",
            prompt("字".repeat(22 * KIB)),
            Refused("larger than 64 KiB of UTF-8"),
        ),
        (
            "64 Ki CJK characters, 192 KiB",
            prompt("字".repeat(64 * KIB)),
            Refused("larger than 64 KiB of UTF-8"),
        ),
        (
            "emoji",
            prompt("🦀".repeat(16 * KIB + 1)),
            Refused("larger than 64 KiB of UTF-8"),
        ),
        (
            "a message of 16 KiB",
            messages(vec!["a".repeat(16 * KIB)]),
            Accepted,
        ),
        (
            "a longer message",
            messages(vec!["a".repeat(16 * KIB + 1)]),
            Refused("may not be more than 16384"),
        ),
        (
            "6 Ki CJK characters in a message",
            messages(vec!["字".repeat(6 * KIB)]),
            Refused("larger than 16 KiB of UTF-8"),
        ),
        (
            "four messages of 16 KiB",
            messages(vec!["a".repeat(16 * KIB); 4]),
            Accepted,
        ),
        (
            "four messages of 16 KiB and one letter",
            messages([vec!["a".repeat(16 * KIB); 4], vec!["a".to_owned()]].concat()),
            Refused("together larger than 64 KiB"),
        ),
        ("50 messages", messages(vec!["a".to_owned(); 50]), Accepted),
        (
            "51 messages",
            messages(vec!["a".to_owned(); 51]),
            Refused("must have at most 50 items"),
        ),
        (
            "the largest there can be",
            {
                let mut session = messages(vec!["a".repeat(16 * KIB); 4]);
                session["prompt"] = json!("a".repeat(64 * KIB));
                session
            },
            Accepted,
        ),
    ];
    let mut verdicts = Verdicts::default();
    for (index, (case, session, expected)) in cases.iter().enumerate() {
        let result = create(&namespace, SESSION, &format!("case-{index}"), session).await;
        verdicts.check(case, *expected, &result);
    }
}

/// Creates a session, changes it, and answers with what the API server thinks of the change.
async fn change(
    namespace: &Namespace,
    name: &str,
    before: &str,
    after: &str,
) -> Result<Value, String> {
    create(namespace, SESSION, name, &spec(before))
        .await
        .unwrap_or_else(|message| panic!("{before}: {message}"));
    replace(namespace, SESSION, name, &spec(after)).await
}

#[tokio::test]
async fn what_was_launched_never_changes() {
    let namespace = namespace("session-fixed").await;
    // Each field: nothing, one value, another one.
    let fields = [
        (
            "images",
            "[{url: 'https://a/1.png'}]",
            "[{url: 'https://a/2.png'}]",
        ),
        (
            "envFrom",
            "[{secretRef: {name: a}}]",
            "[{secretRef: {name: a}}, {secretRef: {name: b}}]",
        ),
        (
            "repository",
            "{url: 'https://github.com/acme/app'}",
            "{url: 'https://github.com/acme/app', ref: main}",
        ),
        ("model", "{id: a}", "{id: a, params: {fast: 'true'}}"),
        ("pullRequest", "{autoCreate: true}", "{autoCreate: false}"),
        ("onBehalfOf", "jane@acme.com", "joe@acme.com"),
    ];
    let mut verdicts = Verdicts::default();
    for (field, one, other) in fields {
        let words: &'static str = Box::leak(
            format!(
                "{field} never changes: create a CodeSession with a new name; do not use --force"
            )
            .into_boxed_str(),
        );
        let path: &'static str = Box::leak(format!("spec.{field}").into_boxed_str());
        let with = |value: &str| format!("{{{field}: {value}}}");
        let name = field.to_lowercase();
        for (index, (case, before, after)) in [
            ("added", "{}".to_owned(), with(one)),
            ("changed", with(one), with(other)),
            ("removed", with(one), "{}".to_owned()),
        ]
        .into_iter()
        .enumerate()
        {
            let result = change(&namespace, &format!("{name}-{index}"), &before, &after).await;
            verdicts.check(&format!("{field} {case}"), Refused(words), &result);
            verdicts.check(&format!("{field} {case}"), Refused(path), &result);
        }
        let same = change(&namespace, &format!("{name}-same"), &with(one), &with(one)).await;
        verdicts.check(&format!("{field} left"), Accepted, &same);
        let null = change(&namespace, &format!("{name}-null"), "{}", &with("null")).await;
        verdicts.check(&format!("{field} null"), Accepted, &null);
    }
    let from_map = "{prompt: null, promptFrom: {configMapKeyRef: {name: a, key: b}}}";
    for (index, (case, before, after, words)) in [
        (
            "another agent",
            "{}",
            "{agentRef: {name: other}}",
            "agentRef never changes",
        ),
        (
            "another prompt",
            "{}",
            "{prompt: Something else}",
            "prompt never changes",
        ),
        (
            "a space more",
            "{}",
            "{prompt: 'Fix the bug '}",
            "prompt never changes",
        ),
        (
            "a source instead",
            "{}",
            from_map,
            "promptFrom never changes",
        ),
        ("a prompt instead", from_map, "{}", "prompt never changes"),
        (
            "another source",
            from_map,
            "{prompt: null, promptFrom: {configMapKeyRef: {name: a, key: c}}}",
            "promptFrom never changes",
        ),
        (
            "an issue instead",
            "{}",
            "{prompt: null, issue: a}",
            "issue never changes",
        ),
        (
            "another issue",
            "{prompt: null, issue: a}",
            "{prompt: null, issue: b}",
            "issue never changes",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let result = change(&namespace, &format!("task-{index}"), before, after).await;
        verdicts.check(case, Refused(words), &result);
    }
    // The rest may change at any time.
    for (index, after) in [
        "{activeDeadlineSeconds: 100, launchDeadlineSeconds: 9, ttlSecondsAfterFinished: 5, deletionPolicy: Orphan, onUnknownLaunch: Fail, priority: 3}",
        "{webhook: {url: 'https://hooks.acme.com'}}",
        "{agentRef: {name: agent, kind: CodeAgent}}",
    ]
    .into_iter()
    .enumerate()
    {
        let result = change(&namespace, &format!("free-{index}"), "{}", after).await;
        verdicts.check(after, Accepted, &result);
    }
}

/// A status as the operator would store it: `launch` in this state.
fn launch(state: &str) -> Value {
    let mut status = json!({
        "phase": "Pending",
        "observedGeneration": 1,
        "launch": {
            "key": "k", "attempt": 1, "claimId": "c", "posts": 1, "state": state,
            "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z", "requestDigest": "d",
            "target": {"kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com", "account": "a", "secretRef": "s/k"},
        },
    });
    if state == "Rejected" {
        status["launch"]["refusal"] = json!({
            "class": "Unauthorized", "reason": "CredentialsInvalid", "message": "no", "count": 1,
            "retryAt": "2026-01-01T00:05:00Z", "agentGeneration": 1, "credential": "x",
        });
    }
    status
}

#[tokio::test]
async fn credentials_change_until_the_launch_is_claimed() {
    let namespace = namespace("session-credentials").await;
    let mut verdicts = Verdicts::default();
    let launched = "the session has been launched with its credentials";
    let cases = [
        (None, Accepted),
        (Some("Rejected"), Accepted),
        (Some("Claimed"), Refused(launched)),
        (Some("Unknown"), Refused(launched)),
        (Some("Confirmed"), Refused(launched)),
    ];
    for (state, expected) in cases {
        let word = state.unwrap_or("none").to_lowercase();
        for (index, (case, before, after)) in [
            ("added", "{}", "{credentials: {secretRef: {name: a}}}"),
            (
                "changed",
                "{credentials: {secretRef: {name: a}}}",
                "{credentials: {secretRef: {name: b}}}",
            ),
            ("removed", "{credentials: {secretRef: {name: a}}}", "{}"),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("{word}-{index}");
            create(&namespace, SESSION, &name, &spec(before))
                .await
                .unwrap();
            if let Some(state) = state {
                set_status(&namespace, SESSION, &name, &launch(state)).await;
            }
            let result = replace(&namespace, SESSION, &name, &spec(after)).await;
            verdicts.check(&format!("{case}, launch {word}"), expected, &result);
        }
        // Something else may still change.
        let result = replace(&namespace, SESSION, &format!("{word}-0"), &{
            let stored = SESSION
                .api(&namespace)
                .get(&format!("{word}-0"))
                .await
                .unwrap();
            let mut kept = stored.data["spec"].clone();
            kept["priority"] = json!(7);
            kept
        })
        .await;
        verdicts.check(&format!("priority, launch {word}"), Accepted, &result);
    }
}

#[tokio::test]
async fn messages_are_only_ever_added_at_the_end() {
    let namespace = namespace("session-messages").await;
    let of = |names: &str| -> String {
        let items: Vec<String> = names
            .chars()
            .map(|name| format!("{{name: {name}, prompt: text of {name}}}"))
            .collect();
        format!("{{messages: [{}]}}", items.join(", "))
    };
    const APPEND: Expected = Refused("append-only");
    let mut verdicts = Verdicts::default();
    for (index, (case, before, after, expected)) in [
        ("first ones", "{}".to_owned(), of("ab"), Accepted),
        ("one more", of("ab"), of("abc"), Accepted),
        ("the same", of("ab"), of("ab"), Accepted),
        (
            "into an empty list",
            "{messages: []}".to_owned(),
            of("a"),
            Accepted,
        ),
        ("in front", of("ab"), of("cab"), APPEND),
        ("between", of("ab"), of("acb"), APPEND),
        ("other order", of("ab"), of("ba"), APPEND),
        ("last removed", of("ab"), of("a"), APPEND),
        ("first removed", of("ab"), of("b"), APPEND),
        ("one replaced", of("ab"), of("ac"), APPEND),
        ("all removed", of("ab"), "{messages: []}".to_owned(), APPEND),
        ("the list removed", of("ab"), "{}".to_owned(), APPEND),
        (
            "the list null",
            of("ab"),
            "{messages: null}".to_owned(),
            APPEND,
        ),
        (
            "another text",
            of("a"),
            "{messages: [{name: a, prompt: other}]}".to_owned(),
            Refused("a message never changes"),
        ),
        (
            "an image added",
            of("a"),
            "{messages: [{name: a, prompt: text of a, images: [{url: 'https://a/b'}]}]}".to_owned(),
            Refused("a message never changes"),
        ),
        (
            "a model added",
            of("a"),
            "{messages: [{name: a, prompt: text of a, model: {id: m}}]}".to_owned(),
            Refused("a message never changes"),
        ),
        (
            "stopped",
            of("ab"),
            "{messages: [{name: a, prompt: text of a, cancel: true}, {name: b, prompt: text of b}]}"
                .to_owned(),
            Accepted,
        ),
        (
            "not stopped any more",
            "{messages: [{name: a, prompt: text of a, cancel: true}]}".to_owned(),
            "{messages: [{name: a, prompt: text of a, cancel: false}]}".to_owned(),
            Refused("cancel is only ever set"),
        ),
        (
            "the stop left out",
            "{messages: [{name: a, prompt: text of a, cancel: true}]}".to_owned(),
            of("a"),
            Refused("cancel is only ever set"),
        ),
        (
            "prompt as a name",
            of("a"),
            "{messages: [{name: a, prompt: text of a}, {name: prompt, prompt: x}]}".to_owned(),
            Refused("the name prompt is taken"),
        ),
        (
            "a name twice",
            of("a"),
            of("aa"),
            Refused("Duplicate value"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let result = change(&namespace, &format!("case-{index}"), &before, &after).await;
        verdicts.check(case, expected, &result);
    }
    for state in ["Cancelled", "Archived"] {
        let closed = Refused("no message can be added to a cancelled or archived session");
        let with = |names: &str| of(names).replacen('{', &format!("{{desiredState: {state}, "), 1);
        let name = state.to_lowercase();
        let result = change(
            &namespace,
            &format!("{name}-added"),
            &with("a"),
            &with("ab"),
        )
        .await;
        verdicts.check(&format!("added while {state}"), closed, &result);
        let nothing = format!("{{desiredState: {state}}}");
        let result = change(&namespace, &format!("{name}-first"), &nothing, &with("a")).await;
        verdicts.check(&format!("first one while {state}"), closed, &result);
        let result = change(&namespace, &format!("{name}-kept"), &with("a"), &with("a")).await;
        verdicts.check(&format!("kept while {state}"), Accepted, &result);
    }
    let both = "{desiredState: Cancelled, messages: [{name: a, prompt: b}]}";
    let result = change(&namespace, "at-once", "{}", both).await;
    verdicts.check(
        "added together with the cancel",
        Refused("no message can be added"),
        &result,
    );
}

#[tokio::test]
async fn the_desired_state_goes_its_ways() {
    let namespace = namespace("session-desired").await;
    const BACK: Expected =
        Refused("a cancelled session can only be archived and an archived one stays so");
    const FIRST: Expected =
        Refused("only an ended session can be archived: cancel the session first");
    const ABSENT: &str = "absent";
    let ended = ["Finished", "Error", "Cancelled", "Expired"];
    let active = ["Pending", "Creating", "Running"];
    let mut cases: Vec<(&str, &str, &str, Expected)> = vec![];
    for phase in active.iter().chain(&ended) {
        for (from, to, expected) in [
            ("Running", "Suspended", Accepted),
            ("Suspended", "Running", Accepted),
            ("Running", "Cancelled", Accepted),
            ("Suspended", "Cancelled", Accepted),
            ("Cancelled", "Running", BACK),
            ("Cancelled", "Suspended", BACK),
            ("Archived", "Running", BACK),
            ("Archived", "Suspended", BACK),
            ("Archived", "Cancelled", BACK),
            // Absent is Running for a session that runs, and says nothing of one that was stopped.
            (ABSENT, "Suspended", Accepted),
            (ABSENT, "Cancelled", Accepted),
            ("Suspended", ABSENT, Accepted),
            ("Cancelled", ABSENT, Accepted),
            ("Archived", ABSENT, Accepted),
        ] {
            cases.push((phase, from, to, expected));
        }
        let archived = if ended.contains(phase) {
            Accepted
        } else {
            FIRST
        };
        for from in ["Running", "Suspended", "Cancelled", ABSENT] {
            cases.push((phase, from, "Archived", archived));
        }
    }
    let mut verdicts = Verdicts::default();
    for (phase, from, to, expected) in cases {
        let name = format!("{phase}-{from}-{to}").to_lowercase();
        let state = |word: &str| match word {
            ABSENT => spec("{}"),
            word => spec(&format!("{{desiredState: {word}}}")),
        };
        create(&namespace, SESSION, &name, &state(from))
            .await
            .unwrap();
        set_status(&namespace, SESSION, &name, &json!({"phase": phase})).await;
        let result = replace(&namespace, SESSION, &name, &state(to)).await;
        verdicts.check(&format!("{phase}: {from} → {to}"), expected, &result);
    }
    // No status at all: a PUT on the main resource cannot forge one.
    let created = create(&namespace, SESSION, "forged", &spec("{}"))
        .await
        .unwrap();
    let mut forged = created.clone();
    forged["status"] = json!({"phase": "Finished"});
    forged["spec"]["desiredState"] = json!("Archived");
    let forged = serde_json::from_value(forged).unwrap();
    let refused = SESSION
        .api(&namespace)
        .replace("forged", &Default::default(), &forged)
        .await;
    let result = refused
        .map(|_| Value::Null)
        .map_err(|error| error.to_string());
    verdicts.check("archived with a forged status", FIRST, &result);
}

/// What a session says of its own shadows the agent's value; what it does not say must not.
#[tokio::test]
async fn a_session_stores_what_its_author_wrote_and_nothing_else() {
    let namespace = namespace("session-plain").await;
    let created = create(&namespace, SESSION, "plain", &spec("{}"))
        .await
        .unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "agentRef": {"name": "agent", "kind": "CodeAgent"},
            "prompt": "Fix the bug",
            "priority": 0,
        })
    );
    let fields = "{pullRequest: {branchName: x}, repository: {ref: main}, model: {params: {fast: 'true'}}, images: [], messages: [{name: a, prompt: b}], webhook: {url: 'https://a.b'}}";
    let created = create(&namespace, SESSION, "overrides", &spec(fields))
        .await
        .unwrap();
    for (name, value) in yaml(fields).as_object().unwrap() {
        assert_eq!(&created["spec"][name], value, "{name}");
    }
    let nulls = "{pullRequest: null, repository: {url: null, ref: main}, model: null, images: null, messages: null, webhook: null, credentials: null, onBehalfOf: null, activeDeadlineSeconds: null, deletionPolicy: null, priority: null, desiredState: null}";
    let created = create(&namespace, SESSION, "nulls", &spec(nulls))
        .await
        .unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "agentRef": {"name": "agent", "kind": "CodeAgent"},
            "prompt": "Fix the bug",
            "priority": 0,
            "repository": {"ref": "main"},
        })
    );
}

/// Two managers, each with a message of its own: neither removes the other's.
#[tokio::test]
async fn two_managers_apply_messages_side_by_side() {
    let namespace = namespace("session-apply").await;
    let api = SESSION.api(&namespace);
    let apply = async |manager: &str, names: &[&str]| -> Result<Vec<String>, String> {
        let messages: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "prompt": name}))
            .collect();
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession", "metadata": {"name": "shared"},
            "spec": {"agentRef": {"name": "agent"}, "prompt": "Fix the bug", "messages": messages},
        });
        let applied = api
            .patch(
                "shared",
                &PatchParams::apply(manager),
                &Patch::Apply(object),
            )
            .await
            .map_err(|error| error.to_string())?;
        let stored = applied.data["spec"]["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(stored
            .iter()
            .map(|message| message["name"].as_str().unwrap().to_owned())
            .collect())
    };
    assert_eq!(apply("gitops", &["a"]).await.unwrap(), ["a"]);
    assert_eq!(apply("person", &["b"]).await.unwrap(), ["a", "b"]);
    assert_eq!(apply("gitops", &["a"]).await.unwrap(), ["a", "b"]);
    let grown = apply("gitops", &["a", "c"]).await;
    println!("a manager that adds after another one's message: {grown:?}");
    assert_eq!(grown.unwrap(), ["a", "b", "c"]);
    // What a manager no longer names would be removed.
    let shrunk = apply("gitops", &["a"]).await.unwrap_err();
    assert!(shrunk.contains("append-only"), "{shrunk}");
}
