//! Firetiger.

use std::time::Duration;

use codeagent_simulator::{
    CodingAgentType, ConnectionType, Fault, FaultKind, FiretigerConnection, FiretigerOptions,
    IssueLinks, Key, LaunchFilter, Matcher, MemberNames, OperationClass, Outcome, Provider, Script,
    ScriptRule, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Api, manual, send};

const LAUNCH: &str = "/v1/coding-agents/cursor-prod/sessions:launch";
const ISSUE: &str = "/v1/issues/FT-42";

async fn with(options: FiretigerOptions) -> Api {
    let options = SimulatorOptions {
        firetiger: options,
        ..with_phases_of_a_second()
    };
    Api::start(Provider::Firetiger, options).await
}

fn with_phases_of_a_second() -> SimulatorOptions {
    SimulatorOptions {
        script: Script {
            creating: Some(Duration::from_secs(1)),
            running: Some(Duration::from_secs(1)),
            ..Script::default()
        },
        ..manual()
    }
}

async fn launched(api: &Api) -> Answer {
    let answer = api
        .post_json(LAUNCH, json!({"issue": "issues/FT-42"}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

/// The path of a session, from its resource name.
fn path_of(session: &Answer) -> String {
    format!("/v1/{}", session.text("/name"))
}

fn agents(list: &Answer) -> Vec<&str> {
    let agents = list.body["codingAgents"].as_array().unwrap();
    agents
        .iter()
        .map(|agent| agent["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn user_and_password_are_sent_as_basic_and_nothing_else_is_accepted() {
    let api = Api::firetiger().await;
    let path = "/v1/codingAgents";
    assert_eq!(api.get(path).await.status, StatusCode::OK);
    for refused in [
        api.anonymous(Method::GET, path),
        api.anonymous(Method::GET, path)
            .basic_auth("demo", Some("wrong")),
        api.anonymous(Method::GET, path)
            .basic_auth("firetiger-demo-password", Some("")),
        api.anonymous(Method::GET, path)
            .bearer_auth("demo:firetiger-demo-password"),
    ] {
        assert_eq!(
            send(refused).await.connect_error(),
            (401, "unauthenticated")
        );
    }
}

#[tokio::test]
async fn a_coding_agent_is_a_connection_of_a_coding_agent_type() {
    let api = Api::firetiger().await;
    let agent = api.get("/v1/coding-agents/cursor-prod").await;
    assert_eq!(
        (agent.text("/name"), agent.text("/connectionType")),
        (
            "coding-agents/cursor-prod".into(),
            "CONNECTION_TYPE_CURSOR".into()
        )
    );
    for (other, reason) in [
        ("docs-http", "not a coding-agent type"),
        ("nobody", "not found"),
    ] {
        let path = format!("/v1/coding-agents/{other}");
        let answer = api.get(&path).await;
        assert_eq!(answer.connect_error(), (404, "not_found"));
        assert!(answer.text("/message").contains(reason));
        let launch = api
            .post_json(
                &format!("{path}/sessions:launch"),
                json!({"issue": "issues/FT-42"}),
            )
            .await;
        assert_eq!(launch.connect_error(), (404, "not_found"));
    }
}

#[tokio::test]
async fn the_list_pages_by_token_orders_by_name_and_rejects_filters() {
    let connection = |id: &str| FiretigerConnection {
        id: id.to_owned(),
        kind: ConnectionType::CodingAgent(CodingAgentType::Inspect),
    };
    let api = with(FiretigerOptions {
        connections: vec![
            connection("c"),
            connection("a"),
            FiretigerConnection {
                id: "aa".to_owned(),
                kind: ConnectionType::Http,
            },
            connection("b"),
        ],
        ..FiretigerOptions::default()
    })
    .await;
    let all = api.get("/v1/codingAgents").await;
    let sorted = ["coding-agents/a", "coding-agents/b", "coding-agents/c"];
    assert_eq!(agents(&all), sorted);
    assert_eq!(all.body.get("nextPageToken"), None);
    let first = api.get("/v1/codingAgents?page_size=2").await;
    assert_eq!(agents(&first), sorted[..2]);
    let token = first.text("/nextPageToken");
    let second = api
        .get(&format!("/v1/codingAgents?page_size=2&page_token={token}"))
        .await;
    assert_eq!(
        (agents(&second), second.body.get("nextPageToken")),
        (sorted[2..].to_vec(), None)
    );
    let reversed = api
        .get("/v1/codingAgents?order_by=name%20desc&page_size=1")
        .await;
    assert_eq!(agents(&reversed), sorted[2..]);
    for (query, error) in [
        ("filter=x", (501, "unimplemented")),
        ("page_size=-1", (400, "invalid_argument")),
        ("page_token=x", (400, "invalid_argument")),
        ("order_by=age", (400, "invalid_argument")),
    ] {
        let answer = api.get(&format!("/v1/codingAgents?{query}")).await;
        assert_eq!(answer.connect_error(), error, "{query}");
    }
    let empty = api
        .get("/v1/codingAgents?filter=&page_token=&order_by=")
        .await;
    assert_eq!(agents(&empty), sorted);
}

#[tokio::test]
async fn a_launch_starts_a_session_that_goes_from_pending_over_running_to_finished() {
    let api = Api::start(Provider::Firetiger, with_phases_of_a_second()).await;
    let session = launched(&api).await;
    assert_eq!(session.text("/status"), "PENDING");
    let id = session.text("/externalId");
    assert_eq!(
        (session.text("/name"), session.text("/sessionUrl")),
        (
            format!("coding-agents/cursor-prod/sessions/{id}"),
            format!("https://cursor.com/agents/{id}")
        )
    );
    let path = path_of(&session);
    assert_eq!(api.get(&path).await.body, session.body);
    for status in ["RUNNING", "FINISHED"] {
        api.pass(1000);
        assert_eq!(api.get(&path).await.text("/status"), status);
    }
    let truth = &api.simulator.sessions()[0];
    assert_eq!(
        (
            truth.id.as_str(),
            truth.active,
            truth.prompts[0].text.as_str()
        ),
        (id.as_str(), false, "issues/FT-42")
    );
    let read = api.simulator.requests().pop().unwrap();
    assert_eq!(read.session, Some(id));
}

#[tokio::test]
async fn whatever_goes_wrong_at_the_provider_is_failed() {
    let api = Api::start(Provider::Firetiger, with_phases_of_a_second()).await;
    for outcome in [Outcome::Error, Outcome::Expired, Outcome::Cancelled] {
        api.simulator.script(ScriptRule {
            prompt_contains: Some("issues/FT-42".to_owned()),
            script: Script {
                outcome: Some(outcome),
                ..Script::default()
            },
            ..ScriptRule::default()
        });
        let path = path_of(&launched(&api).await);
        api.pass(2000);
        assert_eq!(api.get(&path).await.text("/status"), "FAILED");
    }
}

#[tokio::test]
async fn each_launch_is_a_new_session_and_its_url_is_added_to_the_links_of_the_issue() {
    let api = Api::firetiger().await;
    assert_eq!(api.get(ISSUE).await.body["links"], json!([]));
    let first = launched(&api).await.text("/sessionUrl");
    let second = launched(&api).await.text("/sessionUrl");
    assert_eq!(api.get(ISSUE).await.body["links"], json!([first, second]));
    assert_eq!(
        api.get("/v1/issues/FT-43").await.body["links"],
        json!([]),
        "another issue"
    );
    assert_eq!(api.simulator.launches(&LaunchFilter::default()).len(), 2);
}

#[tokio::test]
async fn a_link_may_come_late_or_never() {
    let api = Api::firetiger().await;
    let lag = FaultKind::Lag {
        duration: Duration::from_secs(30),
    };
    api.simulator
        .inject(Fault::once(Matcher::class(OperationClass::Launch), lag));
    let url = launched(&api).await.text("/sessionUrl");
    assert_eq!(api.get(ISSUE).await.body["links"], json!([]));
    api.pass(30_000);
    assert_eq!(api.get(ISSUE).await.body["links"], json!([url]));

    let api = with(FiretigerOptions {
        issue_links: IssueLinks::Lost,
        ..FiretigerOptions::default()
    })
    .await;
    launched(&api).await;
    api.pass(3_600_000);
    assert_eq!(api.get(ISSUE).await.body["links"], json!([]));
}

#[tokio::test]
async fn people_add_links_to_issues_that_there_are() {
    let api = Api::firetiger().await;
    let page = "https://acme.slack.com/archives/1";
    assert!(api.simulator.link_issue("issues/FT-42", page));
    assert!(!api.simulator.link_issue("issues/FT-99", page));
    assert_eq!(api.get(ISSUE).await.body["links"], json!([page]));
    let session = launched(&api).await.text("/sessionUrl");
    assert_eq!(api.get(ISSUE).await.body["links"], json!([session, page]));
}

#[tokio::test]
async fn a_lost_answer_leaves_only_the_link() {
    let api = Api::firetiger().await;
    let lost = Matcher::class(OperationClass::Launch);
    api.simulator
        .inject(Fault::once(lost, FaultKind::DropAfter));
    let request = api
        .request(Method::POST, LAUNCH)
        .json(&json!({"issue": "issues/FT-42"}));
    assert!(request.send().await.is_err());
    let link = api.get(ISSUE).await.text("/links/0");
    let id = link.rsplit('/').next().unwrap();
    let found = api
        .get(&format!("/v1/coding-agents/cursor-prod/sessions/{id}"))
        .await;
    assert_eq!(found.text("/sessionUrl"), link);
}

#[tokio::test]
async fn the_actor_is_passed_on_to_inspect_and_to_nobody_else() {
    let api = Api::firetiger().await;
    for (agent, member, passed_on) in [
        ("inspect-prod", "actor_email", true),
        ("inspect-prod", "actorEmail", true),
        ("cursor-prod", "actor_email", false),
    ] {
        let mut body = json!({"issue": "issues/FT-42"});
        body[member] = json!("jane@acme.com");
        let path = format!("/v1/coding-agents/{agent}/sessions:launch");
        let answer = api.post_json(&path, body).await;
        assert_eq!(answer.status, StatusCode::OK);
        let sessions = api.simulator.sessions();
        let expected = passed_on.then(|| "jane@acme.com".to_owned());
        assert_eq!(sessions.last().unwrap().on_behalf_of, expected);
    }
}

#[tokio::test]
async fn mistakes_in_a_launch_are_refused_and_launch_nothing() {
    let api = Api::firetiger().await;
    for (body, error) in [
        (json!({}), (400, "invalid_argument")),
        (json!({"issue": ""}), (400, "invalid_argument")),
        (json!({"issue": 42}), (400, "invalid_argument")),
        (json!({"issue": "FT-42"}), (400, "invalid_argument")),
        (json!({"issue": "issues/"}), (400, "invalid_argument")),
        (
            json!({"issue": "issues/FT-42", "actor_email": 1}),
            (400, "invalid_argument"),
        ),
        (json!({"issue": "issues/FT-999"}), (404, "not_found")),
    ] {
        let answer = api.post_json(LAUNCH, body.clone()).await;
        assert_eq!(answer.connect_error(), error, "{body}");
    }
    assert_eq!(
        api.post(LAUNCH).await.connect_error(),
        (400, "invalid_argument")
    );
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());
    for (path, error) in [
        ("/v1/issues/FT-999", (404, "not_found")),
        ("/v1/nothing", (404, "not_found")),
        (LAUNCH, (405, "unimplemented")),
    ] {
        assert_eq!(api.get(path).await.connect_error(), error, "{path}");
    }
}

#[tokio::test]
async fn a_session_is_seen_only_under_its_agent_and_by_its_account() {
    let api = Api::firetiger().await;
    let path = path_of(&launched(&api).await);
    let elsewhere = path.replace("cursor-prod", "inspect-prod");
    assert_eq!(
        api.get(&elsewhere).await.connect_error(),
        (404, "not_found")
    );
    api.simulator
        .add_key(Key::user(Provider::Firetiger, "other", "other:password"));
    let other = |path: &str| {
        let request = api.anonymous(Method::GET, path);
        async move { send(request.basic_auth("other", Some("password"))).await }
    };
    assert_eq!(other(&path).await.connect_error(), (404, "not_found"));
    assert_eq!(other(ISSUE).await.body["links"], json!([]));
}

#[tokio::test]
async fn members_are_in_snake_case_if_the_switch_says_so() {
    let api = with(FiretigerOptions {
        member_names: MemberNames::Snake,
        ..FiretigerOptions::default()
    })
    .await;
    let session = launched(&api).await;
    assert!(
        session
            .text("/session_url")
            .ends_with(&session.text("/external_id"))
    );
    assert_eq!(session.body.get("sessionUrl"), None::<&Value>);
    let list = api.get("/v1/codingAgents?page_size=1").await;
    assert!(list.body["coding_agents"].is_array());
    assert!(list.body["next_page_token"].is_string());
}

#[tokio::test]
async fn faults_are_answered_in_the_providers_own_shape() {
    let api = Api::firetiger().await;
    let launches = || Matcher::class(OperationClass::Launch);
    let unavailable = FaultKind::ErrorBefore {
        status: 503,
        code: "unavailable".to_owned(),
    };
    let limited = FaultKind::RateLimited {
        retry_after: Some(3),
    };
    api.simulator.inject(Fault::once(launches(), unavailable));
    api.simulator.inject(Fault::once(launches(), limited));
    let launch = || api.post_json(LAUNCH, json!({"issue": "issues/FT-42"}));
    assert_eq!(launch().await.connect_error(), (503, "unavailable"));
    let answer = launch().await;
    assert_eq!(answer.connect_error(), (429, "resource_exhausted"));
    assert_eq!(answer.headers["retry-after"], "3");
}
