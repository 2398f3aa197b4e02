//! The template at Flapjack that the sessions of a CodeAgent are launched from: kept by the CodeAgent's controller, by nobody
//! else.

use std::time::Duration;

use codeagent_operator::api::{
    CodeAgent, CodeSession, ConditionStatus, SessionPhase, TemplateState, TemplateStatus,
};
use codeagent_simulator::{
    Fault, FaultKind, Matcher, Operation, OperationClass, Provider, Script, SimulatorOptions,
};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::operator::Arguments;
use crate::support::world::{
    PATIENCE, World, agent_is, agent_name, condition_of, demo_key, phase_of, pretty, session_id,
};

const FLAPJACK: Provider = Provider::Flapjack;
/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// Somebody who works with Flapjack's API by hand.
struct Person {
    url: String,
    client: reqwest::Client,
}

impl Person {
    fn at(world: &World) -> Self {
        Self {
            url: format!("{}/api/code-agents", world.simulator.flapjack_url()),
            client: reqwest::Client::new(),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request
            .bearer_auth(demo_key(FLAPJACK))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Every template of the account, newest first.
    async fn list(&self) -> Vec<Value> {
        let all = self.send(self.client.get(&self.url)).await;
        all.as_array().unwrap().clone()
    }

    /// The only template of the account.
    async fn only(&self) -> Value {
        let all = self.list().await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }

    async fn make(&self, body: Value) -> String {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.to_string());
        self.send(request).await["id"].as_str().unwrap().to_owned()
    }

    async fn change(&self, id: &str, body: Value) {
        let request = self
            .client
            .patch(format!("{}/{id}", self.url))
            .header("content-type", "application/json")
            .body(body.to_string());
        self.send(request).await;
    }

    async fn delete(&self, id: &str) {
        self.send(self.client.delete(format!("{}/{id}", self.url)))
            .await;
    }

    /// Waits until the template is as `holds` says.
    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let all = self.list().await;
            if holds(&all) {
                return all;
            }
            assert!(std::time::Instant::now() < deadline, "not {what}: {all:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn template_of(agent: &CodeAgent) -> Option<&TemplateStatus> {
    agent.status.as_ref()?.template.as_ref()
}

fn is_ready(agent: &CodeAgent) -> bool {
    template_of(agent).is_some_and(|template| template.state == TemplateState::Ready)
        && agent_is(agent, "Ready", ConditionStatus::True, "Ready")
}

fn id_of(agent: &CodeAgent) -> String {
    template_of(agent).unwrap().id.clone().unwrap()
}

async fn until_ready(world: &World) -> CodeAgent {
    world.until_agent(FLAPJACK, "ready", is_ready).await
}

async fn delete_agent(world: &World) {
    let deleted = world
        .agents()
        .delete(agent_name(FLAPJACK), &DeleteParams::default())
        .await;
    deleted.unwrap();
}

async fn until_agent_gone(world: &World) {
    let agents = world.agents();
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Some(agent) = agents.get_opt(agent_name(FLAPJACK)).await.unwrap() {
        let late = std::time::Instant::now() >= deadline;
        assert!(!late, "not gone: {}", pretty(&agent));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The note of the event about the CodeAgent with this reason.
async fn note_about(world: &World, agent: &CodeAgent, reason: &str) -> String {
    let events: kube::Api<k8s_openapi::api::events::v1::Event> = world.namespace.api();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let all = events.list(&Default::default()).await.unwrap().items;
        let found = all.iter().find(|event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|it| it.uid.clone()) == agent.uid()
        });
        if let Some(found) = found {
            return found.note.clone().unwrap();
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no {reason}: {all:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn asked(world: &World, operation: Operation) -> usize {
    let requests = world.simulator.requests();
    requests
        .iter()
        .filter(|request| request.operation == Some(operation) && request.key.is_some())
        .count()
}

fn made(world: &World) -> usize {
    asked(world, Operation::FlapjackCreateTemplate)
}

#[tokio::test]
async fn a_template_is_made_once_for_a_hundred_sessions() {
    const SESSIONS: usize = 100;
    let world = World::new().await;
    let person = Person::at(&world);
    let spec = json!({
        "displayName": "Bug fixer",
        "description": "Fixes bugs",
        "preamble": "Be brief.",
        "model": {"id": "gpt-5", "params": {"effort": "high"}},
    });
    world.agent_with(FLAPJACK, spec).await;
    let _operator = world.operator().await;
    for number in 0..SESSIONS {
        world
            .session(FLAPJACK, &format!("s{number}"), "Do it")
            .await;
    }
    for number in 0..SESSIONS {
        let name = format!("s{number}");
        world.until_phase(&name, SessionPhase::Finished).await;
    }
    let agent = until_ready(&world).await;
    assert_eq!(made(&world), 1);
    let template = person.only().await;
    assert_eq!(template["id"], id_of(&agent));
    let name = template["name"].as_str().unwrap();
    assert!(name.starts_with("Bug fixer ["), "{name}");
    assert!(name.contains(&agent.uid().unwrap()), "{name}");
    assert_eq!(template["description"], "Fixes bugs");
    assert_eq!(template["model_id"], "gpt-5");
    assert_eq!(template["default_repo_url"], "https://github.com/acme/app");
    // Ours is part of every prompt.
    assert_eq!(template["preamble"], Value::Null);
    for number in 0..SESSIONS {
        let session = world.sessions().get(&format!("s{number}")).await.unwrap();
        let target = session.status.as_ref().unwrap().launch.as_ref().unwrap();
        assert_eq!(target.target.template_id.as_deref(), Some(&*id_of(&agent)));
        let sent = &world.at_provider(&session).prompts[0].text;
        assert!(sent.starts_with("Be brief.\n\n"), "{sent}");
    }
    let described = world.kubectl(&["describe", "cagent", "flapjack"]).await;
    assert!(described.contains(&id_of(&agent)), "{described}");
    assert_eq!(agent.finalizers(), ["codeagents.dev/provider-template"]);
}

/// The process dies between the creation and its record.
#[tokio::test]
async fn a_template_that_was_made_and_not_recorded_is_found_again() {
    let world = World::new().await;
    let person = Person::at(&world);
    let create = Matcher::operation(Operation::FlapjackCreateTemplate);
    let late = FaultKind::Delay {
        by: Duration::from_secs(60),
    };
    world.simulator.inject(Fault::once(create, late));
    world.agent(FLAPJACK).await;
    let operator = world.operator().await;
    person.until("made", |all| all.len() == 1).await;
    operator.crash().await;
    let left = world.agents().get(agent_name(FLAPJACK)).await.unwrap();
    let claim = template_of(&left).unwrap();
    assert_eq!(
        (claim.state, claim.id.as_ref()),
        (TemplateState::Claimed, None)
    );

    let _operator = world.operator().await;
    let agent = until_ready(&world).await;
    assert_eq!(person.only().await["id"], id_of(&agent));
    assert_eq!(made(&world), 1);
}

/// The answer to the creation is lost on its way, at each point where it can be; no session starts before it is found.
#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_looked_for_and_repeated_only_when_it_cannot_turn_up_any_more()
 {
    for (fault, tries) in [
        (FaultKind::DropAfter, 1),
        (FaultKind::TruncatedBody, 1),
        (FaultKind::DropBefore, 2),
    ] {
        let world = World::new().await;
        let create = Matcher::operation(Operation::FlapjackCreateTemplate);
        world.simulator.inject(Fault::once(create, fault.clone()));
        world.agent(FLAPJACK).await;
        world.session(FLAPJACK, "one", "Do it").await;
        let _operator = world.operator_with(Arguments::impatient()).await;
        world.until_phase("one", SessionPhase::Finished).await;
        let agent = until_ready(&world).await;
        assert_eq!(Person::at(&world).only().await["id"], id_of(&agent));
        assert_eq!(made(&world), tries, "{}", fault.name());
        assert_eq!(world.simulator.launches(&Default::default()).len(), 1);
    }
}

#[tokio::test]
async fn of_two_templates_the_oldest_is_used_and_both_go_with_the_codeagent() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let operator = world.operator().await;
    let first = id_of(&until_ready(&world).await);
    let name = person.only().await["name"].clone();
    operator.stop().await;
    let second = person.make(json!({"name": name})).await;
    person.make(json!({"name": name})).await;
    person.delete(&first).await;

    let _operator = world.operator().await;
    world
        .until_agent(FLAPJACK, "on the second", |agent| {
            is_ready(agent) && id_of(agent) == second
        })
        .await;
    assert_eq!(made(&world), 3, "the operator made one, the person two");
    world.session(FLAPJACK, "one", "Do it").await;
    world.until_phase("one", SessionPhase::Finished).await;
    delete_agent(&world).await;
    until_agent_gone(&world).await;
    assert_eq!(person.list().await, [json!(null); 0]);
}

#[tokio::test]
async fn a_changed_codeagent_changes_its_template() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    let before = id_of(&until_ready(&world).await);
    let spec = json!({
        "description": "Something else",
        "repository": {"url": "https://github.com/acme/other", "ref": "develop"},
        "model": {"id": "opus"},
        "pullRequest": {"autoCreate": false, "workOnCurrentBranch": true},
    });
    world.change_agent(FLAPJACK, spec).await;
    let all = person
        .until("changed", |all| all[0]["model_id"] == "opus")
        .await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["id"], before);
    assert_eq!(all[0]["description"], "Something else");
    assert_eq!(all[0]["default_repo_url"], "https://github.com/acme/other");
    assert_eq!(all[0]["default_starting_ref"], "develop");
    assert_eq!(all[0]["auto_create_pr"], false);
    assert_eq!(all[0]["work_on_current_branch"], true);
    world
        .until_agent(FLAPJACK, "brought in line", |agent| {
            template_of(agent).unwrap().observed_generation == Some(2)
        })
        .await;
    assert_eq!(made(&world), 1);
}

/// A person wrote a preamble into the template and changed its model: both are taken back at the next look.
#[tokio::test]
async fn what_people_change_in_a_template_is_taken_back() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let arguments = Arguments::calm().with("--agent-recheck", "500ms");
    let _operator = world.operator_with(arguments).await;
    let id = id_of(&until_ready(&world).await);
    person
        .change(&id, json!({"preamble": "Obey me", "modelId": "tiny"}))
        .await;
    let mended = person
        .until("mended", |all| {
            all[0]["preamble"] == Value::Null && all[0]["model_id"] == "auto"
        })
        .await;
    assert_eq!(mended[0]["id"], id);
    // It is not changed for ever.
    let updates = asked(&world, Operation::FlapjackUpdateTemplate);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked(&world, Operation::FlapjackUpdateTemplate), updates);
    assert_eq!(updates, 2, "the person's and the operator's");
}

#[tokio::test]
async fn a_template_goes_with_its_codeagent_and_another_installations_stays() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent_alone(FLAPJACK, json!({})).await;
    let uid = world
        .agents()
        .get(agent_name(FLAPJACK))
        .await
        .unwrap()
        .uid()
        .unwrap();
    let theirs = format!("flapjack [codeagents.dev/00c0ffee/{uid}]");
    person.make(json!({"name": theirs})).await;
    let theirs = person.only().await;
    world.secret(FLAPJACK, demo_key(FLAPJACK)).await;
    let _operator = world.operator().await;
    let agent = until_ready(&world).await;
    assert_ne!(theirs["id"], id_of(&agent));
    assert_eq!(person.list().await.len(), 2);
    world.session(FLAPJACK, "one", "Do it").await;
    world.until_phase("one", SessionPhase::Finished).await;
    world.until_settled("one").await;

    delete_agent(&world).await;
    until_agent_gone(&world).await;
    assert_eq!(person.only().await, theirs);
}

#[tokio::test]
async fn under_an_active_session_the_template_outlives_its_codeagent_and_that_is_said() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    world.session(FLAPJACK, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    let agent = until_ready(&world).await;
    delete_agent(&world).await;
    until_agent_gone(&world).await;
    let note = note_about(&world, &agent, "TemplateLeft").await;
    assert!(note.contains(&id_of(&agent)), "{note}");
    assert!(note.contains("a session is active under it"), "{note}");
    assert_eq!(person.only().await["id"], id_of(&agent));

    // The session is followed and stopped as ever.
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("long").await;
    assert_eq!(phase_of(&ended), SessionPhase::Cancelled);
    assert!(!world.at_provider(&running).active);
    // What comes later waits for a CodeAgent.
    world.session(FLAPJACK, "new", "Do it").await;
    world.until_reason("new", "Stalled", "AgentNotFound").await;
}

/// Sessions and CodeAgent are deleted together: the template waits for the sessions' end and goes.
#[tokio::test]
async fn a_template_goes_after_the_sessions_that_go_with_its_codeagent() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    world.session(FLAPJACK, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_session("long").await;
    delete_agent(&world).await;
    world.until_gone("long").await;
    until_agent_gone(&world).await;
    assert!(!world.at_provider(&running).active);
    assert_eq!(person.list().await, [json!(null); 0]);
}

/// One of two watches may be behind the other: that the sessions go as well is found out before the template is left to them.
#[tokio::test]
async fn a_template_is_not_left_to_sessions_whose_deletion_the_operator_has_not_seen() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    let operator = world.operator().await;
    world.session(FLAPJACK, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;
    operator.stop().await;
    world.watches::<CodeSession>(false).await;
    let log = world.audit_log().await;
    let _operator = world.operator().await;
    world.delete_session("long").await;
    delete_agent(&world).await;
    world.until_read(&log, "codesessions").await;
    world.watches::<CodeSession>(true).await;
    world.until_gone("long").await;
    until_agent_gone(&world).await;
    assert_eq!(person.list().await, [json!(null); 0]);
}

/// Somebody deletes the template: the next launch is refused, the session waits and is launched from a new one.
#[tokio::test]
async fn a_template_that_was_deleted_behind_our_back_is_made_again() {
    let world = World::new().await;
    let person = Person::at(&world);
    world.agent(FLAPJACK).await;
    // Nobody looks by himself.
    let arguments = Arguments::impatient().with("--agent-recheck", "10m");
    let _operator = world.operator_with(arguments).await;
    let first = id_of(&until_ready(&world).await);
    person.delete(&first).await;
    let session = world.session(FLAPJACK, "one", "Do it").await;
    let waiting = world
        .until_reason("one", "Reconciling", "WaitingForTemplate")
        .await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    let second = id_of(&until_ready(&world).await);
    assert_ne!(first, second);
    let record = done.status.as_ref().unwrap().launch.as_ref().unwrap();
    assert_eq!(record.target.template_id.as_deref(), Some(&*second));
    assert_eq!(world.launches(&session).len(), 1);
    assert_eq!(made(&world), 2);
}

#[tokio::test]
async fn without_its_secret_a_codeagent_goes_and_says_what_stays() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    let agent = until_ready(&world).await;
    world.delete_secret(FLAPJACK).await;
    // What was read of a Secret is kept for a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    delete_agent(&world).await;
    until_agent_gone(&world).await;
    let note = note_about(&world, &agent, "TemplateLeft").await;
    assert!(note.contains(&id_of(&agent)), "{note}");
}

#[tokio::test]
async fn a_provider_that_is_down_does_not_hold_a_codeagent_for_ever() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    let _operator = world.operator_with(Arguments::resigned()).await;
    let agent = until_ready(&world).await;
    let down = FaultKind::ErrorBefore {
        status: 503,
        code: "unavailable".to_owned(),
    };
    let all = Matcher::class(OperationClass::Configure);
    world.simulator.inject(Fault::always(all, down));
    let begun = std::time::Instant::now();
    delete_agent(&world).await;
    let what = "that it waits for its template";
    world
        .until_agent(FLAPJACK, what, |agent| {
            agent_is(agent, "Ready", ConditionStatus::False, "RemovingTemplate")
        })
        .await;
    until_agent_gone(&world).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    let note = note_about(&world, &agent, "TemplateLeft").await;
    assert!(note.contains("in time"), "{note}");
}

/// Flapjack does not take the template: nothing is launched, and who looks is told what to do.
#[tokio::test]
async fn a_template_that_is_refused_is_told_and_mended_by_a_changed_codeagent() {
    let world = World::new().await;
    let create = Matcher::operation(Operation::FlapjackCreateTemplate);
    let refusal = FaultKind::Respond {
        status: 422,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({"error": "VALIDATION_ERROR", "detail": "description: Too long"}).to_string(),
    };
    world.simulator.inject(Fault::once(create, refusal));
    world.agent(FLAPJACK).await;
    world.session(FLAPJACK, "one", "Do it").await;
    let arguments = Arguments::calm().with("--refusal-wait", "1h");
    let _operator = world.operator_with(arguments).await;
    let stalled = world
        .until_agent(FLAPJACK, "refused", |agent| {
            agent_is(agent, "Stalled", ConditionStatus::True, "TemplateRefused")
        })
        .await;
    assert!(agent_is(
        &stalled,
        "Ready",
        ConditionStatus::False,
        "TemplateRefused"
    ));
    assert!(pretty(&stalled).contains("description: Too long"));
    assert_eq!(template_of(&stalled), None);
    let waiting = world
        .until_reason("one", "Reconciling", "WaitingForTemplate")
        .await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);

    world
        .change_agent(FLAPJACK, json!({"description": "Short"}))
        .await;
    world.until_phase("one", SessionPhase::Finished).await;
    until_ready(&world).await;
    assert_eq!(world.simulator.launches(&Default::default()).len(), 1);
}

/// A key of several organisations: template and sessions are those of the one that is named, also for a lost launch.
#[tokio::test]
async fn sessions_of_a_named_organisation_are_launched_found_and_stopped_there() {
    let mut options = SimulatorOptions::for_tests();
    options.flapjack.shared_orgs = vec!["org-team".to_owned()];
    let world = World::with(options).await;
    let launch = Matcher::class(OperationClass::Launch);
    world
        .simulator
        .inject(Fault::once(launch, FaultKind::DropAfter));
    let spec = json!({"provider": {"flapjack": {"orgId": "org-team"}}});
    world.agent_with(FLAPJACK, spec).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(FLAPJACK, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    assert_eq!(
        condition_of(&running, "Launched").unwrap().reason,
        "Adopted"
    );
    assert_eq!(session_id(&running), world.at_provider(&running).id);
    // In the key's own organisation there is nothing.
    assert_eq!(Person::at(&world).list().await, [json!(null); 0]);
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("long").await;
    assert_eq!(phase_of(&ended), SessionPhase::Cancelled);
    delete_agent(&world).await;
    until_agent_gone(&world).await;
}

/// A session with a key of its own cannot use the template of another account: it says so, and waits to be mended.
#[tokio::test]
async fn a_session_with_another_accounts_key_is_not_launched_from_the_codeagents_template() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    world.simulator.add_key(codeagent_simulator::Key::user(
        FLAPJACK,
        "stranger",
        "fj_live_stranger",
    ));
    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "own", "labels": {"codeagents.dev/credential": "true"}},
            "stringData": {"api-key": "fj_live_stranger", "cursor-api-key": "cursor-demo-key"},
        }))
        .await;
    let _operator = world.operator().await;
    until_ready(&world).await;
    let settings = json!({"prompt": "Do it", "credentials": {"secretRef": {"name": "own"}}});
    world.session_with(FLAPJACK, "own", settings).await;
    let told = world
        .until_reason("own", "Stalled", "CapabilityMissing")
        .await;
    assert_eq!(phase_of(&told), SessionPhase::Pending);
    let why = &condition_of(&told, "Stalled").unwrap().message;
    assert!(why.contains("spec.credentials"), "{why}");
    world
        .change_session("own", json!({"credentials": null}))
        .await;
    world.until_phase("own", SessionPhase::Finished).await;
}

/// Before a session is handed to Cursor it cannot be stopped: the stop is repeated until it can.
#[tokio::test]
async fn a_stop_of_a_pending_session_waits_until_it_is_creating() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    let prompt = "sim: pending=3s creating=30s outcome=never\nGo on";
    let session = world.session(FLAPJACK, "early", prompt).await;
    world.until_phase("early", SessionPhase::Creating).await;
    world
        .until_true("it is there", || !world.launches(&session).is_empty())
        .await;
    world
        .change_session("early", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("early").await;
    assert_eq!(
        phase_of(&ended),
        SessionPhase::Cancelled,
        "{}",
        pretty(&ended)
    );
    assert_eq!(world.at_provider(&ended).status, "cancelled");
    assert!(asked(&world, Operation::FlapjackCancelSession) >= 2);
}

/// `cursor_cancel_failed` asks for another try, and says nothing of the key or of other sessions.
#[tokio::test]
async fn a_stop_that_fails_at_cursor_is_repeated_and_holds_up_nobody_else() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    world
        .session(FLAPJACK, "long", "sim: outcome=never cancel=fails\nGo on")
        .await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    world
        .until_true("it was tried several times", || {
            asked(&world, Operation::FlapjackCancelSession) >= 4
        })
        .await;
    let still = world.sessions().get("long").await.unwrap();
    assert_eq!(
        condition_of(&still, "Reconciling").unwrap().reason,
        "Cancelling"
    );
    let agent = world.agents().get(agent_name(FLAPJACK)).await.unwrap();
    assert!(is_ready(&agent), "{}", pretty(&agent));
    world.session(FLAPJACK, "other", "Do it").await;
    world.until_phase("other", SessionPhase::Finished).await;

    let script = Script {
        outcome: Some(codeagent_simulator::Outcome::Never),
        cancel: Some(codeagent_simulator::CancelBehaviour::Accepted),
        ..Script::fast()
    };
    let id = session_id(&running);
    assert!(world.simulator.rescript(FLAPJACK, &id, script));
    let ended = world.until_settled("long").await;
    assert_eq!(phase_of(&ended), SessionPhase::Cancelled);
    assert!(!world.at_provider(&ended).active);
}

/// `CANCEL_UNSUPPORTED`: the session is followed to its own end, and deleting it does not hold the object.
#[tokio::test]
async fn a_session_that_cannot_be_stopped_says_so_and_is_followed_to_its_end() {
    let world = World::new().await;
    world.agent(FLAPJACK).await;
    let _operator = world.operator().await;
    let prompt = "sim: outcome=never cancel=unsupported\nGo on";
    world.session(FLAPJACK, "long", prompt).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    world
        .until_reason("long", "Stalled", "CancelUnsupported")
        .await;
    world.let_finish(FLAPJACK, &running);
    let ended = world.until_settled("long").await;
    assert_eq!(phase_of(&ended), SessionPhase::Finished);
    assert_eq!(asked(&world, Operation::FlapjackCancelSession), 1);
}
