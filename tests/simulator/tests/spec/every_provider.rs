//! What holds at every provider alike: scripts, faults and the record do not depend on whose API it is.

use std::time::Duration;

use codeagent_simulator::{
    Fault, FaultKind, ImageRecord, LaunchFilter, Matcher, Operation, OperationClass, Outcome,
    Provider, Script,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Api, cursor_launch, cursor_v0_launch, firebender_launch, flapjack_start, send,
};

/// How a session is started at one of the APIs.
struct Case {
    api: Api,
    provider: Provider,
    operation: Operation,
    path: &'static str,
    body: Value,
}

async fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case {
            api: Api::cursor().await,
            provider: Provider::Cursor,
            operation: Operation::CursorV1CreateAgent,
            path: "/v1/agents",
            body: cursor_launch("Fix"),
        },
        Case {
            api: Api::cursor().await,
            provider: Provider::Cursor,
            operation: Operation::CursorV0CreateAgent,
            path: "/v0/agents",
            body: cursor_v0_launch("Fix"),
        },
        Case {
            api: Api::firebender().await,
            provider: Provider::Firebender,
            operation: Operation::FirebenderCreateAgent,
            path: "/v0/agents",
            body: firebender_launch("Fix"),
        },
        Case {
            api: Api::firetiger().await,
            provider: Provider::Firetiger,
            operation: Operation::FiretigerLaunchSession,
            path: "/v1/coding-agents/cursor-prod/sessions:launch",
            body: json!({"issue": "issues/FT-42"}),
        },
        Case {
            api: Api::http().await,
            provider: Provider::Http,
            operation: Operation::HttpCreateSession,
            path: "/v3/organizations/org-1/sessions",
            body: json!({"prompt": "Fix"}),
        },
    ];
    let api = Api::flapjack().await;
    let template = json!({"defaultRepoUrl": "https://github.com/acme/app"});
    let template = api.post_json("/api/code-agents", template).await;
    cases.push(Case {
        api,
        provider: Provider::Flapjack,
        operation: Operation::FlapjackStartSession,
        path: "/api/code-sessions",
        body: flapjack_start(&template.text("/id"), "Fix"),
    });
    cases
}

impl Case {
    fn inject(&self, fault: FaultKind) {
        let at_launch = Matcher::class(OperationClass::Launch);
        self.api.simulator.inject(Fault::once(at_launch, fault));
    }

    /// The status of a launch's answer; `None`: there was none.
    async fn launch(&self) -> Option<StatusCode> {
        let request = self.api.request(Method::POST, self.path).json(&self.body);
        request.send().await.ok().map(|answer| answer.status())
    }

    fn launches(&self) -> usize {
        self.api.simulator.launches(&LaunchFilter::default()).len()
    }
}

/// Of an image digest, size, type and dimension are told, of one at a URL the URL; the content is told to nobody.
#[tokio::test]
async fn what_was_received_of_images_is_told_without_their_content() {
    // "hi"
    const SHA256: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";
    let given = json!([
        {"data": "aGk=", "mimeType": "image/png", "dimension": {"width": 3, "height": 2}},
        {"url": "https://example.com/a.png"},
    ]);
    let by_content = ImageRecord {
        url: None,
        sha256: Some(SHA256.to_owned()),
        bytes: 2,
        mime_type: Some("image/png".to_owned()),
        dimension: Some((3, 2)),
    };
    let by_url = ImageRecord {
        url: Some("https://example.com/a.png".to_owned()),
        sha256: None,
        bytes: 0,
        mime_type: None,
        dimension: None,
    };
    for mut case in cases().await {
        let (images, received) = match case.operation {
            Operation::CursorV1CreateAgent => {
                (given.clone(), vec![by_content.clone(), by_url.clone()])
            }
            Operation::CursorV0CreateAgent | Operation::FirebenderCreateAgent => {
                (json!([given[0]]), vec![by_content.clone()])
            }
            _ => continue,
        };
        case.body["prompt"]["images"] = images;
        assert_eq!(case.launch().await, Some(StatusCode::CREATED));
        let launches = case.api.simulator.launches(&LaunchFilter::default());
        assert_eq!(launches[0].images, received, "{:?}", case.operation);
        let told = serde_json::to_string(&launches).unwrap();
        assert!(!told.contains("aGk="), "{told}");
    }
}

#[tokio::test]
async fn a_launch_is_counted_when_it_took_effect_whatever_became_of_its_answer() {
    for case in cases().await {
        let (status, code) = (503, "injected".to_owned());
        for (fault, answered, counted) in [
            (FaultKind::DropBefore, None, 0),
            (FaultKind::DropAfter, None, 1),
            (
                FaultKind::ErrorBefore {
                    status,
                    code: code.clone(),
                },
                Some(503),
                0,
            ),
            (FaultKind::ErrorAfter { status, code }, Some(503), 1),
            (FaultKind::RateLimited { retry_after: None }, Some(429), 0),
        ] {
            let before = case.launches();
            case.inject(fault.clone());
            let answer = case.launch().await.map(|status| status.as_u16());
            assert_eq!(answer, answered, "{} {fault:?}", case.operation);
            assert_eq!(
                case.launches() - before,
                counted,
                "{} {fault:?}",
                case.operation
            );
            let record = case.api.simulator.requests().pop().unwrap();
            assert_eq!(
                (record.operation, record.accepted, record.session.is_some()),
                (Some(case.operation), counted == 1, counted == 1)
            );
        }
    }
}

#[tokio::test]
async fn a_launch_may_take_effect_long_after_its_connection_was_closed() {
    for case in cases().await {
        case.inject(FaultKind::LateCommit {
            after: Duration::from_secs(60),
            close_after: Duration::ZERO,
        });
        assert_eq!(case.launch().await, None);
        assert_eq!(case.launches(), 0, "{}", case.operation);
        case.api.pass(60_000);
        assert_eq!(case.launches(), 1, "{}", case.operation);
        assert_eq!(case.api.simulator.sessions().len(), 1);
    }
}

#[tokio::test]
async fn a_running_session_can_be_ended_from_outside_and_an_unknown_one_cannot() {
    let at_once = |outcome| Script {
        pending: Some(Duration::ZERO),
        creating: Some(Duration::ZERO),
        setup: Some(Duration::ZERO),
        running: Some(Duration::ZERO),
        outcome: Some(outcome),
        ..Script::default()
    };
    for case in cases().await {
        case.launch().await.unwrap();
        case.api.pass(1000);
        let simulator = &case.api.simulator;
        let session = simulator.sessions()[0].clone();
        assert!(session.active, "{}", case.operation);
        assert!(!simulator.rescript(case.provider, "unknown", at_once(Outcome::Error)));
        assert!(simulator.rescript(case.provider, &session.id, at_once(Outcome::Finished)));
        assert!(!simulator.sessions()[0].active, "{}", case.operation);
    }
}

#[tokio::test]
async fn a_key_is_rotated_and_revoked_and_belongs_to_one_provider() {
    for case in cases().await {
        let simulator = &case.api.simulator;
        assert!(case.launch().await.unwrap().is_success());
        let key = simulator
            .keys()
            .into_iter()
            .find(|key| key.provider == case.provider && key.name == "demo")
            .unwrap();
        for other in Provider::ALL {
            if other != case.provider {
                simulator.revoke(other, "demo");
            }
        }
        assert!(case.launch().await.unwrap().is_success());
        assert!(simulator.revoke(case.provider, "demo"));
        assert_eq!(case.launch().await, Some(StatusCode::UNAUTHORIZED));
        simulator.add_key(key);
        assert!(case.launch().await.unwrap().is_success());
        assert_eq!(case.launches(), 3, "{}", case.operation);
    }
}

#[tokio::test]
async fn every_provider_answers_on_a_url_of_its_own_and_knows_no_other_paths() {
    let api = Api::cursor().await;
    let mut urls: Vec<&str> = Provider::ALL
        .into_iter()
        .map(|provider| api.simulator.url(provider))
        .collect();
    assert_eq!(
        urls[2..4],
        [api.simulator.flapjack_url(), api.simulator.firetiger_url()]
    );
    urls.sort_unstable();
    urls.dedup();
    assert_eq!(urls.len(), Provider::ALL.len());
    for case in cases().await {
        for path in ["/", "/v2/agents", "/control/info"] {
            let answer = send(case.api.anonymous(Method::GET, path)).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn a_bare_array_can_be_made_huge_too() {
    let api = Api::flapjack().await;
    let list = Matcher::operation(Operation::FlapjackListSessions);
    let huge = FaultKind::HugeBody { bytes: 3_000_000 };
    api.simulator.inject(Fault::once(list, huge));
    let answer = api.get("/api/code-sessions").await;
    assert!(answer.body.is_array() && answer.body.to_string().len() > 3_000_000);
}
