//! Parameters of prompts: what the provider gets, and what is refused before anything is sent.

use codeagent_operator::api::{CodeAgent, ConditionStatus, SessionPhase};
use codeagent_simulator::Provider;
use serde_json::{Value, json};

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, agent_is, condition_of, phase_of, pretty, session_id};

const TASK: &str = "sim: creating=100ms setup=100ms running=200ms";

fn agent(parameters: &Value) -> Value {
    json!({"preamble": "Service: {{ .params.service }}.", "parameters": parameters})
}

fn declared() -> Value {
    json!([
        {"name": "service", "default": "web"},
        {"name": "ticket", "required": true, "pattern": "FT-[0-9]+"},
    ])
}

async fn world(parameters: &Value) -> (World, Operator) {
    let world = World::new().await;
    world.agent_with(Provider::Cursor, agent(parameters)).await;
    let operator = world.operator_with(Arguments::impatient()).await;
    (world, operator)
}

fn session(prompt: &str, values: &[(&str, &str)]) -> Value {
    let values: Vec<Value> = values
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({"prompt": format!("{TASK}\n{prompt}"), "parameters": values})
}

#[tokio::test]
async fn preamble_prompt_and_messages_are_filled_with_the_values_of_the_launch() {
    let (world, _operator) = world(&declared()).await;
    let mut settings = session(
        "Fix {{ .params.ticket }}, not {{ .Values.image }}",
        &[("ticket", "FT-42")],
    );
    settings["messages"] = json!([]);
    world.session_with(Provider::Cursor, "one", settings).await;
    let done = world.until_phase("one", SessionPhase::Finished).await;
    let prompts = world.at_provider(&done).prompts;
    let sent = &prompts[0].text;
    assert!(
        sent.starts_with(&format!(
            "Service: web.\n\n{TASK}\nFix FT-42, not {{{{ .Values.image }}}}\n"
        )),
        "{sent}"
    );
    // Another default is one for later sessions.
    let other = json!([{"name": "service", "default": "api"}, {"name": "ticket"}]);
    world.agent_alone(Provider::Cursor, agent(&other)).await;
    let text = format!("{TASK}\nNow {{{{ .params.ticket }}}} of {{{{ .params.service }}}}");
    let messages = json!({"messages": [{"name": "again", "prompt": text}]});
    world.change_session("one", messages).await;
    let done = world
        .until("one", "the message has ended", |session| {
            let status = session.status.as_ref();
            let entry = status.and_then(|status| status.messages.get(1));
            entry.is_some_and(|entry| entry.phase.is_terminal())
        })
        .await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let mut sessions = world.simulator.sessions().into_iter();
    let view = sessions.find(|view| view.id == session_id(&done)).unwrap();
    let sent = &view.prompts[1].text;
    assert!(
        sent.starts_with(&format!("{TASK}\nNow FT-42 of web\n")),
        "{sent}"
    );
}

#[tokio::test]
async fn a_session_that_does_not_fit_is_refused_before_anything_is_sent() {
    let (world, _operator) = world(&declared()).await;
    for (name, prompt, values, words) in [
        (
            "missing",
            "Fix it",
            vec![],
            "requires a value for the parameter ticket, and declares service, ticket",
        ),
        (
            "unknown",
            "Fix it",
            vec![("ticket", "FT-1"), ("branch", "main")],
            "names branch, and the CodeAgent declares service, ticket",
        ),
        (
            "not-allowed",
            "Fix it",
            vec![("ticket", "42")],
            "does not match the pattern FT-[0-9]+",
        ),
        (
            "misspelt",
            "Fix {{ .params.tikcet }}",
            vec![("ticket", "FT-1")],
            "the prompt names the parameter tikcet, and the CodeAgent declares service, ticket",
        ),
    ] {
        let settings = session(prompt, &values);
        world.session_with(Provider::Cursor, name, settings).await;
        let refused = world.until_phase(name, SessionPhase::Error).await;
        let stalled = condition_of(&refused, "Stalled").unwrap();
        assert_eq!(stalled.reason, "InvalidParameters", "{name}");
        assert!(stalled.message.contains(words), "{}", stalled.message);
        assert!(world.launches(&refused).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_pattern_that_cannot_be_used_is_told_at_the_agent_and_holds_its_sessions() {
    let (world, _operator) = world(&json!([{"name": "service", "pattern": "("}])).await;
    let provider = Provider::Cursor;
    world
        .until_agent(provider, "not ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::False, "InvalidParameters")
        })
        .await;
    let settings = session("Fix it", &[("service", "web")]);
    world.session_with(provider, "waits", settings).await;
    let waits = world
        .until_reason("waits", "Reconciling", "InvalidParameters")
        .await;
    assert!(world.launches(&waits).is_empty());
    let corrected = agent(&json!([{"name": "service", "pattern": "[a-z]+"}]));
    world.agent_alone(provider, corrected).await;
    world.until_phase("waits", SessionPhase::Finished).await;
    world
        .until_agent(provider, "ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::True, "Ready")
        })
        .await;
}

/// Who declares a parameter and gives it in one apply changes two objects, and one of two watches may be behind the other.
#[tokio::test]
async fn a_session_is_not_ended_by_what_its_agent_declared_before() {
    let world = World::new().await;
    world.watches::<CodeAgent>(false).await;
    world.agent_with(Provider::Cursor, json!({})).await;
    let log = world.audit_log().await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world
        .agent_alone(Provider::Cursor, agent(&declared()))
        .await;
    let settings = session("Fix {{ .params.ticket }}", &[("ticket", "FT-42")]);
    world.session_with(Provider::Cursor, "one", settings).await;
    // The operator knows a CodeAgent without parameters, and asks before it ends the session for that.
    world.until_read(&log, "codeagents").await;
    let waiting = world.sessions().get("one").await.unwrap();
    assert_eq!(
        phase_of(&waiting),
        SessionPhase::Pending,
        "{}",
        pretty(&waiting)
    );
    world.watches::<CodeAgent>(true).await;
    let done = world.until_phase("one", SessionPhase::Finished).await;
    assert!(
        world.at_provider(&done).prompts[0]
            .text
            .contains("Fix FT-42")
    );
}
