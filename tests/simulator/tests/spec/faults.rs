//! Faults at every boundary, and the record that tells what really happened.

use std::time::{Duration, Instant};

use codeagent_simulator::{
    Echo, Fault, FaultKind, Launch, LaunchFilter, Matcher, Operation, OperationClass, Provider,
    Simulator, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, CURSOR_KEY, cursor_launch, firebender_launch, send};

const ID: &str = "bc-00000000-0000-4000-8000-000000000001";

fn at_launch(fault: FaultKind) -> Fault {
    Fault::once(Matcher::class(OperationClass::Launch), fault)
}

fn launch_with_id() -> Value {
    let mut body = cursor_launch("Fix\n<!-- codeagents.dev/a1b2c3d4/uid-1/1 -->");
    body["agentId"] = json!(ID);
    body
}

fn launches(simulator: &Simulator) -> Vec<Launch> {
    simulator.launches(&LaunchFilter::default())
}

/// Sends a launch to Cursor and expects the connection to close without an answer.
async fn launch_without_answer(api: &Api) {
    let request = api
        .request(Method::POST, "/v1/agents")
        .json(&launch_with_id());
    let error = request.send().await.unwrap_err();
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
}

#[tokio::test]
async fn a_drop_before_has_no_effect_and_a_drop_after_has_one_and_neither_answers() {
    let api = Api::cursor().await;
    api.simulator.inject(at_launch(FaultKind::DropBefore));
    launch_without_answer(&api).await;
    assert_eq!(launches(&api.simulator).len(), 0);
    assert_eq!(
        api.get(&format!("/v1/agents/{ID}")).await.status,
        StatusCode::NOT_FOUND
    );

    api.simulator.inject(at_launch(FaultKind::DropAfter));
    launch_without_answer(&api).await;
    assert_eq!(launches(&api.simulator).len(), 1);
    assert_eq!(
        api.get(&format!("/v1/agents/{ID}")).await.status,
        StatusCode::OK
    );

    let posts: Vec<_> = api
        .simulator
        .requests()
        .into_iter()
        .filter(|r| r.method == "POST")
        .collect();
    let told: Vec<_> = posts
        .iter()
        .map(|r| (r.fault.as_deref(), r.accepted, r.status))
        .collect();
    assert_eq!(
        told,
        [
            (Some("drop_before"), false, None),
            (Some("drop_after"), true, None)
        ]
    );
}

#[tokio::test]
async fn a_dropped_connection_carries_not_one_byte_of_an_answer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let api = Api::cursor().await;
    for fault in [FaultKind::DropBefore, FaultKind::DropAfter] {
        api.simulator.inject(Fault::once(Matcher::any(), fault));
        let address = api.simulator.cursor_url().strip_prefix("http://").unwrap();
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CURSOR_KEY}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset, both without a byte.
        let _ = socket.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
}

#[tokio::test]
async fn a_server_error_comes_before_or_after_the_effect() {
    let api = Api::cursor().await;
    for (fault, effects) in [
        (
            FaultKind::ErrorBefore {
                status: 503,
                code: "upstream_error".into(),
            },
            0,
        ),
        (
            FaultKind::ErrorAfter {
                status: 500,
                code: "internal_error".into(),
            },
            1,
        ),
    ] {
        api.simulator.inject(at_launch(fault));
        let answer = api.post_json("/v1/agents", launch_with_id()).await;
        assert!(answer.status.is_server_error());
        answer.error();
        assert_eq!(launches(&api.simulator).len(), effects);
    }
}

#[tokio::test]
async fn a_late_commit_is_invisible_at_first_and_then_there() {
    let api = Api::cursor().await;
    api.simulator.inject(at_launch(FaultKind::LateCommit {
        after: Duration::from_secs(60),
        close_after: Duration::ZERO,
    }));
    launch_without_answer(&api).await;
    assert_eq!(
        api.get(&format!("/v1/agents/{ID}")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(launches(&api.simulator).len(), 0);
    api.pass(60_000);
    assert_eq!(launches(&api.simulator).len(), 1);
    let agent = api.get(&format!("/v1/agents/{ID}")).await;
    assert_eq!(agent.status, StatusCode::OK);
    assert!(api.simulator.requests()[0].accepted);
}

#[tokio::test]
async fn a_late_commit_loses_against_a_second_launch_of_the_same_id_but_not_without_an_id() {
    let late = || {
        at_launch(FaultKind::LateCommit {
            after: Duration::from_secs(60),
            close_after: Duration::ZERO,
        })
    };
    let api = Api::cursor().await;
    api.simulator.inject(late());
    launch_without_answer(&api).await;
    assert_eq!(
        api.post_json("/v1/agents", launch_with_id()).await.status,
        StatusCode::CREATED
    );
    api.pass(60_000);
    assert_eq!(launches(&api.simulator).len(), 1);

    let api = Api::firebender().await;
    api.simulator.inject(late());
    let body = firebender_launch("Fix");
    api.request(Method::POST, "/v0/agents")
        .json(&body)
        .send()
        .await
        .unwrap_err();
    api.post_json("/v0/agents", body).await;
    api.pass(60_000);
    assert_eq!(launches(&api.simulator).len(), 2);
}

#[tokio::test]
async fn a_limit_is_announced_with_or_without_a_time_to_wait() {
    let api = Api::cursor().await;
    for (retry_after, header) in [(Some(7), Some("7")), (None, None)] {
        api.simulator.inject(Fault::once(
            Matcher::any(),
            FaultKind::RateLimited { retry_after },
        ));
        let answer = api.get("/v1/me").await;
        assert_eq!(answer.error(), (429, "rate_limit_exceeded"));
        assert_eq!(
            answer
                .headers
                .get("retry-after")
                .map(|value| value.to_str().unwrap()),
            header
        );
    }
}

#[tokio::test]
async fn bodies_can_be_cut_huge_strange_or_anything_at_all() {
    let api = Api::cursor().await;
    let created = api.post_json("/v1/agents", launch_with_id()).await;
    let run = format!("/v1/agents/{ID}/runs/{}", created.text("/run/id"));
    let inject = |fault| {
        api.simulator.inject(Fault::once(
            Matcher::operation(Operation::CursorV1GetRun),
            fault,
        ))
    };

    inject(FaultKind::TruncatedBody);
    let cut = api.get(&run).await;
    assert_eq!(cut.status, StatusCode::OK);
    assert!(
        cut.body.is_string() && cut.body.as_str().unwrap().starts_with('{'),
        "{}",
        cut.body
    );

    inject(FaultKind::HugeBody { bytes: 3_000_000 });
    let huge = api.get(&run).await;
    assert!(huge.body.to_string().len() > 3_000_000 && huge.text("/agentId") == ID);

    inject(FaultKind::UnknownStatus {
        value: "HIBERNATING".into(),
    });
    assert_eq!(api.get(&run).await.text("/status"), "HIBERNATING");

    inject(FaultKind::Respond {
        status: 502,
        headers: vec![
            ("content-type".into(), "text/html".into()),
            ("x-proxy".into(), "1".into()),
        ],
        body: "<h1>Bad gateway</h1>".into(),
    });
    let raw = api.get(&run).await;
    assert_eq!(
        (
            raw.status.as_u16(),
            raw.body,
            raw.headers["x-proxy"].to_str().unwrap()
        ),
        (502, json!("<h1>Bad gateway</h1>"), "1")
    );
    assert_eq!(raw.headers["content-type"], "text/html");

    assert_eq!(api.get(&run).await.text("/status"), "CREATING");
}

#[tokio::test]
async fn a_lagging_session_can_be_read_but_not_listed() {
    let api = Api::cursor().await;
    api.simulator.inject(at_launch(FaultKind::Lag {
        duration: Duration::from_secs(5),
    }));
    api.post_json("/v1/agents", launch_with_id()).await;
    assert_eq!(api.get("/v1/agents").await.body["items"], json!([]));
    assert_eq!(
        api.get(&format!("/v1/agents/{ID}")).await.status,
        StatusCode::OK
    );
    api.pass(5000);
    assert_eq!(api.get("/v1/agents").await.text("/items/0/id"), ID);

    let api = Api::firebender().await;
    api.simulator.inject(at_launch(FaultKind::Lag {
        duration: Duration::from_secs(5),
    }));
    let id = api
        .post_json("/v0/agents", firebender_launch("Fix"))
        .await
        .text("/id");
    api.pass(3000);
    assert_eq!(api.get("/v0/agents").await.body["agents"], json!([]));
    assert_eq!(
        api.get(&format!("/v0/agents/{id}/conversation")).await.body["messages"],
        json!([])
    );
}

#[tokio::test]
async fn a_hang_keeps_the_client_waiting_without_effect_and_a_delay_with_one() {
    let api = Api::cursor().await;
    let wait = Duration::from_millis(150);
    api.simulator
        .inject(at_launch(FaultKind::Hang { duration: wait }));
    let begun = Instant::now();
    launch_without_answer(&api).await;
    assert!(begun.elapsed() >= wait);
    assert_eq!(launches(&api.simulator).len(), 0);

    api.simulator.inject(at_launch(FaultKind::Delay {
        by: Duration::from_secs(60),
    }));
    let impatient = api
        .request(Method::POST, "/v1/agents")
        .json(&launch_with_id())
        .timeout(wait);
    assert!(impatient.send().await.unwrap_err().is_timeout());
    assert_eq!(launches(&api.simulator).len(), 1);
}

#[tokio::test]
async fn one_launch_can_behave_like_an_older_server() {
    let api = Api::cursor().await;
    api.simulator.inject(at_launch(FaultKind::IgnoreAgentId));
    assert_ne!(
        api.post_json("/v1/agents", launch_with_id())
            .await
            .text("/agent/id"),
        ID
    );
    assert_eq!(
        api.post_json("/v1/agents", launch_with_id())
            .await
            .text("/agent/id"),
        ID
    );
}

#[tokio::test]
async fn a_page_can_be_smaller_than_what_was_asked_for_and_the_list_still_comes_to_its_end() {
    let api = Api::cursor().await;
    for _ in 0..5 {
        api.post_json("/v1/agents", cursor_launch("Fix")).await;
    }
    for (items, sizes) in [(2, vec![2, 2, 1]), (0, vec![1; 5]), (9, vec![5])] {
        api.simulator.clear_faults();
        api.simulator.inject(Fault::always(
            Matcher::class(OperationClass::List),
            FaultKind::SmallPages { items },
        ));
        let (mut seen, mut path) = (Vec::new(), "/v1/agents?limit=100".to_owned());
        loop {
            let page = api.get(&path).await;
            seen.push(page.body["items"].as_array().unwrap().len());
            match page.body["nextCursor"].as_str() {
                Some(next) => path = format!("/v1/agents?limit=100&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, sizes);
    }
}

#[tokio::test]
async fn a_stream_can_be_cut_in_the_middle_of_a_character_or_be_unavailable() {
    let api = Api::cursor().await;
    let body = json!({"prompt": {"text": "Fix\nsim: creating=0s running=0s result=\"ééééééééééééééééééééé\""}});
    let created = api.post_json("/v1/agents", body).await;
    let path = format!(
        "/v1/agents/{}/runs/{}/stream",
        created.text("/agent/id"),
        created.text("/run/id")
    );
    let whole = send(api.request(Method::GET, &path)).await;
    let whole = whole.body.as_str().unwrap().as_bytes();
    let cut = whole
        .windows(2)
        .position(|pair| pair == "é".as_bytes())
        .unwrap()
        + 1;

    api.simulator.inject(Fault::once(
        Matcher::any(),
        FaultKind::CutStream { after_bytes: cut },
    ));
    let mut response = api.request(Method::GET, &path).send().await.unwrap();
    let mut seen = Vec::new();
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
            Ok(None) => panic!("the stream ended as if it were complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, whole[..cut], "{error}");
    assert!(String::from_utf8(seen).is_err());

    api.simulator.inject(Fault::once(
        Matcher::any(),
        FaultKind::StreamError {
            code: "stream_unavailable".into(),
        },
    ));
    let unavailable = send(api.request(Method::GET, &path)).await;
    assert!(
        unavailable
            .body
            .as_str()
            .unwrap()
            .starts_with("event: error\n")
    );
}

#[tokio::test]
async fn a_web_page_or_a_refusal_in_words_comes_instead_of_the_answer() {
    let api = Api::cursor().await;
    for status in [200, 403, 404, 503] {
        api.simulator
            .inject(Fault::once(Matcher::any(), FaultKind::WebPage { status }));
        let page = api.get("/v1/me").await;
        assert_eq!(page.status.as_u16(), status);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert!(page.body.as_str().unwrap().starts_with("<!DOCTYPE html>"));
    }
    api.simulator.inject(Fault::once(
        Matcher::any(),
        FaultKind::Refused {
            status: 422,
            code: "seat_required".into(),
            message: "stopping needs a seat".into(),
        },
    ));
    let refused = api.get("/v1/me").await;
    assert_eq!(refused.error(), (422, "seat_required"));
    assert_eq!(refused.text("/error/message"), "stopping needs a seat");
}

#[tokio::test]
async fn silence_keeps_the_connection_open_with_or_without_an_effect() {
    let api = Api::cursor().await;
    for (fault, effects) in [(FaultKind::SilentBefore, 0), (FaultKind::SilentAfter, 1)] {
        api.simulator.inject(at_launch(fault));
        let impatient = api
            .request(Method::POST, "/v1/agents")
            .json(&launch_with_id())
            .timeout(Duration::from_millis(150));
        assert!(impatient.send().await.unwrap_err().is_timeout());
        assert_eq!(launches(&api.simulator).len(), effects);
    }
}

#[tokio::test]
async fn a_member_can_be_a_huge_text_or_a_huge_array() {
    let api = Api::firebender().await;
    let id = api
        .post_json("/v0/agents", firebender_launch("Fix"))
        .await
        .text("/id");
    let inject = |fault| api.simulator.inject(Fault::once(Matcher::any(), fault));
    inject(FaultKind::HugeField {
        member: "summary".into(),
        bytes: 1_000_000,
    });
    let agent = api.get(&format!("/v0/agents/{id}")).await;
    assert_eq!(agent.text("/summary").len(), 1_000_000);
    assert_eq!(agent.text("/id"), id);
    inject(FaultKind::HugeArray {
        member: "agents".into(),
        items: 100_000,
        item: json!(0),
    });
    let list = api.get("/v0/agents").await;
    assert_eq!(list.body["agents"].as_array().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_conversation_and_a_session_give_an_altered_prompt_back() {
    let always = |simulator: &Simulator| {
        simulator.inject(Fault::always(
            Matcher::any(),
            FaultKind::Echo {
                how: Echo::CommentsStripped,
            },
        ));
    };
    const PROMPT: &str = "Fix\n<!-- codeagents.dev/a/b/1 -->";
    let api = Api::firebender().await;
    let id = api
        .post_json("/v0/agents", firebender_launch(PROMPT))
        .await
        .text("/id");
    api.pass(3000);
    let conversation = format!("/v0/agents/{id}/conversation");
    let verbatim = api.get(&conversation).await.text("/messages/0/text");
    assert!(verbatim.starts_with(PROMPT), "{verbatim}");
    always(&api.simulator);
    let stripped = api.get(&conversation).await.text("/messages/0/text");
    assert!(stripped.starts_with("Fix\n\nsim:"), "{stripped}");

    let api = Api::flapjack().await;
    let template = api
        .post_json(
            "/api/code-agents",
            json!({"name": "t", "defaultRepoUrl": "https://github.com/acme/app"}),
        )
        .await
        .text("/id");
    let id = api
        .post_json(
            "/api/code-sessions",
            crate::support::flapjack_start(&template, PROMPT),
        )
        .await
        .text("/session_id");
    always(&api.simulator);
    let session = api.get(&format!("/api/code-sessions/{id}")).await;
    let stripped = session.text("/messages/0/prompt");
    assert!(stripped.starts_with("Fix\n\nsim:"), "{stripped}");
}

#[tokio::test]
async fn a_later_page_can_fail_and_a_page_token_can_be_wrong() {
    let api = Api::cursor().await;
    for _ in 0..3 {
        api.post_json("/v1/agents", cursor_launch("Fix")).await;
    }
    api.simulator.inject(Fault::always(
        Matcher {
            later_page: Some(true),
            ..Matcher::class(OperationClass::List)
        },
        FaultKind::ErrorBefore {
            status: 404,
            code: "not_found".into(),
        },
    ));
    let first = api.get("/v1/agents?limit=2").await;
    assert_eq!(first.status, StatusCode::OK);
    let next = first.text("/nextCursor");
    let second = format!("/v1/agents?limit=2&cursor={next}");
    assert_eq!(api.get(&second).await.error(), (404, "not_found"));

    api.simulator.clear_faults();
    api.simulator.inject(Fault::always(
        Matcher::class(OperationClass::List),
        FaultKind::PageToken {
            token: "elsewhere".into(),
        },
    ));
    let wrong = api.get("/v1/agents").await.text("/nextCursor");
    assert_eq!(wrong, "elsewhere");
    let page = api.get(&format!("/v1/agents?cursor={wrong}")).await;
    assert_eq!(page.error(), (400, "validation_error"));
}

#[tokio::test]
async fn a_stop_can_be_answered_like_an_accepted_one_without_effect() {
    let api = Api::cursor().await;
    let prompt = json!({"text": "Fix\nsim: creating=0s running=1h cancel=ignored"});
    let created = api.post_json("/v1/agents", json!({"prompt": prompt})).await;
    let run = format!(
        "/v1/agents/{}/runs/{}",
        created.text("/agent/id"),
        created.text("/run/id")
    );
    assert_eq!(
        api.post(&format!("{run}/cancel")).await.status,
        StatusCode::OK
    );
    api.pass(60_000);
    assert_eq!(api.get(&run).await.text("/status"), "RUNNING");

    let source = json!({"repository": "https://github.com/acme/app"});
    let api_v0 = Api::cursor().await;
    let id = api_v0
        .post_json("/v0/agents", json!({"prompt": prompt, "source": source}))
        .await
        .text("/id");
    assert_eq!(
        api_v0.post(&format!("/v0/agents/{id}/stop")).await.status,
        StatusCode::OK
    );
    api_v0.pass(60_000);
    let agent = api_v0.get(&format!("/v0/agents/{id}")).await;
    assert_eq!(agent.text("/status"), "RUNNING");
}

#[tokio::test]
async fn the_date_of_an_answer_is_the_simulated_clocks() {
    let api = Api::start(
        Provider::Cursor,
        SimulatorOptions {
            clock_offset: jiff::SignedDuration::from_hours(-24 * 365),
            ..crate::support::manual()
        },
    )
    .await;
    let date = |answer: crate::support::Answer| {
        let text = answer.headers["date"].to_str().unwrap().to_owned();
        jiff::fmt::rfc2822::parse(&text).unwrap().timestamp()
    };
    let before = date(api.get("/v1/me").await);
    assert!(before < jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 364));
    api.pass(20 * 60 * 1000);
    let after = date(api.get("/v1/me").await);
    assert_eq!(after.duration_since(before).as_mins(), 20);
}

#[tokio::test]
async fn a_fault_is_for_one_provider_or_operation_only() {
    let api = Api::cursor().await;
    let refuse = FaultKind::ErrorBefore {
        status: 500,
        code: "internal_error".into(),
    };
    api.simulator.inject(Fault::always(
        Matcher {
            provider: Some(Provider::Firebender),
            ..Matcher::any()
        },
        refuse.clone(),
    ));
    api.simulator.inject(Fault::always(
        Matcher::operation(Operation::CursorV1GetMe),
        refuse,
    ));
    assert_eq!(api.get("/v1/models").await.status, StatusCode::OK);
    for _ in 0..3 {
        assert_eq!(
            api.get("/v1/me").await.status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
    api.simulator.clear_faults();
    assert_eq!(api.get("/v1/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_record_tells_who_launched_what_on_which_connection_and_never_the_key() {
    let api = Api::cursor().await;
    api.post_json("/v1/agents", launch_with_id()).await;
    api.post_json("/v1/agents", launch_with_id()).await;
    let fresh = crate::support::client();
    let post = fresh
        .post(format!("{}/v1/agents", api.simulator.cursor_url()))
        .json(&launch_with_id());
    post.bearer_auth(CURSOR_KEY).send().await.unwrap();

    let requests = api.simulator.requests();
    let on: Vec<(u64, u64)> = requests
        .iter()
        .map(|r| (r.connection, r.position_on_connection))
        .collect();
    assert_eq!(on, [(0, 0), (0, 1), (1, 0)]);
    assert_eq!(api.simulator.connections(Provider::Cursor), 2);
    assert_eq!(
        requests.iter().map(|r| r.status).collect::<Vec<_>>(),
        [Some(201), Some(409), Some(409)]
    );
    assert_eq!(requests.iter().filter(|r| r.accepted).count(), 1);
    assert_eq!(requests[0].marker.as_deref(), Some("a1b2c3d4/uid-1/1"));
    assert_eq!(requests[0].session.as_deref(), Some(ID));
    assert_eq!(requests[0].key.as_deref(), Some("demo"));
    assert!(requests[0].body_fields.contains(&"agentId".to_owned()));
    assert!(
        !serde_json::to_string(&requests)
            .unwrap()
            .contains(CURSOR_KEY)
    );

    assert_eq!(
        api.simulator.launches(&LaunchFilter::marker("uid-1")).len(),
        1
    );
    assert_eq!(
        api.simulator.launches(&LaunchFilter::marker("uid-2")).len(),
        0
    );
    let session = &api.simulator.sessions()[0];
    assert_eq!(
        (session.id.as_str(), session.status.as_str(), session.active),
        (ID, "CREATING", true)
    );
}

#[tokio::test]
async fn a_dropped_simulator_closes_its_port_and_what_hangs() {
    let api = Api::cursor().await;
    api.simulator.inject(at_launch(FaultKind::Hang {
        duration: Duration::from_secs(3600),
    }));
    let url = format!("{}/v1/agents", api.simulator.cursor_url());
    let client = crate::support::client();
    let hanging = tokio::spawn(
        client
            .post(&url)
            .bearer_auth(CURSOR_KEY)
            .json(&launch_with_id())
            .send(),
    );
    while api.simulator.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(api);
    let closed = tokio::time::timeout(Duration::from_secs(5), hanging).await;
    assert!(closed.unwrap().unwrap().is_err());
    assert!(client.get(&url).send().await.unwrap_err().is_connect());
}
