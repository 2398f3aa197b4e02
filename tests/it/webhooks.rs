//! Reports to webhooks: what a receiver of the user's own gets, whatever happens to it, to the operator and to the webhook.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use codeagent_operator::api::{CodeSession, ReportOutcome, SessionPhase, WebhookStatus};
use codeagent_simulator::Provider;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, phase_of};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    /// Not before the receiver is told to answer otherwise, and then with 500.
    Hang,
    /// 200, and a body that does not end.
    Endless,
}

/// A report as it came in.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Bytes,
    answer: Answer,
}

impl Got {
    fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    fn told(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn phase(&self) -> String {
        let told = self.told();
        told["data"]["phase"].as_str().unwrap().to_owned()
    }

    fn sequence(&self) -> i64 {
        self.told()["data"]["sequence"].as_i64().unwrap()
    }

    fn is_signed_by(&self, secret: &str) -> bool {
        let library = Webhook::new(secret).unwrap();
        library.verify(&self.body, &self.headers).is_ok()
    }

    fn was_taken(&self) -> bool {
        matches!(self.answer, Answer::Status(200..=299) | Answer::Endless)
    }
}

#[derive(Clone)]
struct Inbox {
    got: Arc<Mutex<Vec<Got>>>,
    /// The next answers; then the last of them for ever.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    told_otherwise: Arc<Notify>,
}

/// A receiver on this machine.
struct Receiver {
    address: SocketAddr,
    inbox: Inbox,
    _server: JoinSet<()>,
}

impl Receiver {
    async fn start(answers: &[Answer]) -> Self {
        let inbox = Inbox {
            got: Arc::default(),
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            told_otherwise: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(inbox.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            inbox,
            _server: server,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// From now on.
    fn answer(&self, answer: Answer) {
        *self.inbox.answers.lock().unwrap() = [answer].into();
        self.inbox.told_otherwise.notify_waiters();
    }

    fn got(&self) -> Vec<Got> {
        self.inbox.got.lock().unwrap().clone()
    }

    /// The reports that were taken, oldest first.
    fn taken(&self) -> Vec<Got> {
        let mut got = self.got();
        got.retain(Got::was_taken);
        got
    }
}

async fn take(
    State(inbox): State<Inbox>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = {
        let mut answers = inbox.answers.lock().unwrap();
        match answers.len() {
            1 => answers[0],
            _ => answers.pop_front().unwrap(),
        }
    };
    inbox.got.lock().unwrap().push(Got {
        path: uri.path().to_owned(),
        headers,
        body,
        answer,
    });
    match answer {
        Answer::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Answer::Hang => {
            inbox.told_otherwise.notified().await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Answer::Endless => {
            let more = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4096]));
            let endless = futures::stream::repeat_with(more);
            Body::from_stream(endless).into_response()
        }
    }
}

/// An operator that tries again soon.
fn prompt() -> Arguments {
    Arguments::calm()
        .with("--webhook-timeout", "2s")
        .with("--webhook-wait", "50ms")
}

fn webhook_of(session: &CodeSession) -> Option<&WebhookStatus> {
    session.status.as_ref()?.webhook.as_ref()
}

fn outcome_of(session: &CodeSession) -> Option<ReportOutcome> {
    webhook_of(session)?.outcome
}

/// Waits until the end of the session has been reported.
async fn until_reported(world: &World, name: &str) -> CodeSession {
    world
        .until(name, "reported", |session| {
            let delivered = webhook_of(session).and_then(|it| it.delivered.as_ref());
            phase_of(session).is_terminal()
                && outcome_of(session) == Some(ReportOutcome::Delivered)
                && delivered.is_some_and(|delivered| delivered.phase == phase_of(session))
        })
        .await
}

async fn secret(world: &World, values: &str) {
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "hook", "labels": {"codeagents.dev/webhook": "true"}},
            "stringData": {"secret": values},
        }))
        .await;
}

fn signed(url: &str) -> Value {
    json!({"url": url, "secretRef": {"name": "hook", "key": "secret"}})
}

/// Each report is newer than the one before, has its own id, is signed, and the last one tells the end; the CodeAgent's webhook is the
/// default of its sessions.
#[tokio::test]
async fn changes_are_reported_in_order_and_the_end_is_the_last_of_them() {
    const ORDER: [&str; 4] = ["Pending", "Creating", "Running", "Finished"];
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(204)]).await;
    secret(&world, OLD).await;
    let webhook = json!({"webhook": signed(&receiver.url("agent"))});
    world.agent_with(Provider::Cursor, webhook).await;
    let operator = world.operator_with(prompt()).await;
    world.session(Provider::Cursor, "fix", "Do it").await;
    let reported = until_reported(&world, "fix").await;
    let got = receiver.got();
    let places: Vec<usize> = got
        .iter()
        .map(|it| ORDER.iter().position(|phase| it.phase() == *phase).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    let numbers: Vec<i64> = got.iter().map(Got::sequence).collect();
    let grow = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(grow, "one report, one attempt: {numbers:?}");
    for (at, report) in got.iter().enumerate() {
        assert!(report.is_signed_by(OLD));
        assert!(got[..at].iter().all(|earlier| earlier.id() != report.id()));
        assert_eq!(report.path, "/agent");
        assert_eq!(report.headers["content-type"], "application/json");
    }
    let last = got.last().unwrap().told();
    assert_eq!(last["type"], "codesession.changed");
    let data = &last["data"];
    assert_eq!(data["phase"], "Finished");
    assert_eq!(data["namespace"], world.name());
    assert_eq!(data["name"], "fix");
    assert_eq!(data["uid"].as_str(), reported.metadata.uid.as_deref());
    assert_eq!(
        data["message"],
        json!({"name": "prompt", "phase": "Finished"})
    );
    let pull_request = reported.status.as_ref().unwrap().pull_request.as_ref();
    assert_eq!(
        data["pullRequest"]["url"].as_str(),
        pull_request.unwrap().url.as_deref()
    );
    let delivered = condition_of(&reported, "WebhookDelivered").unwrap();
    assert_eq!(
        (delivered.status.as_str(), delivered.reason.as_str()),
        ("True", "Reported")
    );
    let metrics = operator.metrics().await;
    let counted = format!(
        "codeagent_webhook_reports_total{{result=\"Delivered\"}} {}",
        got.len()
    );
    assert!(metrics.contains(&counted), "{metrics}");
}

/// The state of a session is what says that a report is due: a process that ends between the change and its report loses nothing.
#[tokio::test]
async fn a_crash_between_a_change_and_its_report_loses_nothing() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(500)]).await;
    world.agent(Provider::Cursor).await;
    let operator = world.operator_with(prompt()).await;
    let webhook = json!({"prompt": "Do it", "webhook": {"url": receiver.url("x")}});
    world.session_with(Provider::Cursor, "fix", webhook).await;
    let ended = |session: &CodeSession| {
        phase_of(session) == SessionPhase::Finished
            && outcome_of(session) == Some(ReportOutcome::Retrying)
    };
    world.until("fix", "ended and not reported", ended).await;
    world
        .until_true("the end was tried", || {
            receiver.got().iter().any(|it| it.phase() == "Finished")
        })
        .await;
    operator.crash().await;
    let tried: Vec<String> = receiver
        .got()
        .iter()
        .filter(|it| it.phase() == "Finished")
        .map(|it| it.id().to_owned())
        .collect();
    receiver.answer(Answer::Status(204));
    let _successor = world.operator_with(prompt()).await;
    until_reported(&world, "fix").await;
    let taken = receiver.taken();
    let last = taken.last().unwrap();
    assert_eq!(last.phase(), "Finished");
    let known = tried.iter().filter(|id| *id == last.id()).count();
    assert!(
        known > 0,
        "the same report has the same id: {tried:?}, {}",
        last.id()
    );
    assert!(
        taken.iter().all(|it| it.phase() == "Finished"),
        "older states are not told any more"
    );
}

/// While the receiver holds every report, the session goes on to its end, and its object with it. Then one attempt delivers it.
#[tokio::test]
async fn a_receiver_that_hangs_holds_no_session() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Hang]).await;
    world.agent(Provider::Cursor).await;
    let _operator = world
        .operator_with(prompt().with("--webhook-timeout", "10m"))
        .await;
    let webhook = json!({"prompt": "Do it", "webhook": {"url": receiver.url("x")}});
    world
        .session_with(Provider::Cursor, "held", webhook.clone())
        .await;
    world.session(Provider::Cursor, "other", "Do it").await;
    let held = world.until_settled("held").await;
    world.until_settled("other").await;
    assert_eq!(phase_of(&held), SessionPhase::Finished);
    assert!(receiver.taken().is_empty());
    // It hung from the first report on: none came after it, and nothing was stored of it.
    assert_eq!(receiver.got().len(), 1);
    assert_eq!(outcome_of(&held), None);
    receiver.answer(Answer::Status(204));
    until_reported(&world, "held").await;
    assert_eq!(receiver.taken().len(), 1);
}

/// What a receiver does that is no success is tried again until it is; a body that does not end is one.
#[tokio::test]
async fn what_a_receiver_does_not_take_is_tried_again() {
    let world = World::new().await;
    let answers = [
        Answer::Status(500),
        Answer::Status(302),
        Answer::Status(404),
        Answer::Hang,
        Answer::Status(429),
        Answer::Endless,
    ];
    let receiver = Receiver::start(&answers).await;
    world.agent(Provider::Cursor).await;
    let webhook = json!({"prompt": "Do it", "webhook": {"url": receiver.url("x")}});
    let operator = world.operator_with(prompt()).await;
    world.session_with(Provider::Cursor, "fix", webhook).await;
    let reported = until_reported(&world, "fix").await;
    assert_eq!(receiver.taken().last().unwrap().phase(), "Finished");
    assert!(receiver.got().len() >= answers.len());
    let recorded = webhook_of(&reported).unwrap();
    assert_eq!(recorded.last_code, Some(200));
    assert!(recorded.last_delivered_at.is_some());
    let metrics = operator.metrics().await;
    let counted = "codeagent_webhook_reports_total{result=\"Retried\"} 5";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_report_that_is_never_taken_is_given_up_and_counted() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(500)]).await;
    world.agent(Provider::Cursor).await;
    let arguments = prompt()
        .with("--webhook-wait", "1ms")
        .with("--webhook-patience", "1s");
    let operator = world.operator_with(arguments).await;
    let webhook = json!({"prompt": "Do it", "webhook": {"url": receiver.url("x")}});
    world.session_with(Provider::Cursor, "fix", webhook).await;
    let lost = world
        .until("fix", "given up", |session| {
            phase_of(session).is_terminal()
                && outcome_of(session) == Some(ReportOutcome::Undelivered)
        })
        .await;
    let said = condition_of(&lost, "WebhookDelivered").unwrap();
    assert_eq!(said.reason, "WebhookUndelivered");
    assert!(said.message.contains("it answered 500"), "{}", said.message);
    let told = world.until_event(&lost, "WebhookUndelivered").await;
    assert!(told.contains("given up"), "{told}");
    let metrics = operator.metrics().await;
    let none = "codeagent_webhook_reports_total{result=\"Undelivered\"} 0";
    assert!(!metrics.contains(none), "{metrics}");
    // Another webhook is told of it.
    let other = Receiver::start(&[Answer::Status(204)]).await;
    let webhook = json!({"webhook": {"url": other.url("y")}});
    world.change_session("fix", webhook).await;
    until_reported(&world, "fix").await;
    assert_eq!(other.taken().len(), 1);
}

/// 410 ends it, whatever changes, until the webhook is another; one that is taken away leaves nothing behind.
#[tokio::test]
async fn a_webhook_that_is_gone_is_left_alone_until_it_is_changed() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(410)]).await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator_with(prompt()).await;
    let webhook = json!({"prompt": "Do it", "webhook": {"url": receiver.url("old")}});
    world.session_with(Provider::Cursor, "fix", webhook).await;
    world.until_settled("fix").await;
    let gone = world
        .until_reason("fix", "WebhookDelivered", "WebhookGone")
        .await;
    world.until_event(&gone, "WebhookGone").await;
    assert_eq!(receiver.got().len(), 1);
    world
        .change_session("fix", json!({"desiredState": "Archived"}))
        .await;
    world.until_reason("fix", "Archived", "Archived").await;
    receiver.answer(Answer::Status(204));
    world
        .change_session("fix", json!({"webhook": {"url": receiver.url("new")}}))
        .await;
    until_reported(&world, "fix").await;
    let got = receiver.got();
    let paths: Vec<&str> = got.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["/old", "/new"]);
    assert_eq!(got[1].told()["data"]["archived"], true);
    world.change_session("fix", json!({"webhook": null})).await;
    let without = world
        .until("fix", "without a webhook", |session| {
            webhook_of(session).is_none()
        })
        .await;
    let said = condition_of(&without, "WebhookDelivered").unwrap();
    assert_eq!(said.reason, "NothingReported");
}

/// A secret that is missing or signs nothing stops the report, which is never sent unsigned; while one secret replaces another, both sign.
#[tokio::test]
async fn a_report_is_signed_by_each_secret_or_not_sent() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(204)]).await;
    world.agent(Provider::Cursor).await;
    let operator = world
        .operator_with(prompt().with("--log-level", "trace"))
        .await;
    let webhook = json!({"prompt": "Do it", "webhook": signed(&receiver.url("x"))});
    world.session_with(Provider::Cursor, "fix", webhook).await;
    let says = |words: &'static str| {
        move |session: &CodeSession| {
            let said = condition_of(session, "WebhookDelivered");
            said.is_some_and(|said| said.message.contains(words))
        }
    };
    let missing = "there is no Secret hook in namespace";
    world.until("fix", missing, says(missing)).await;
    secret(&world, "whsec_").await;
    let empty = "the key secret of the Secret hook signs nothing: a secret must be the base64 of 24 to 64 bytes";
    world.until("fix", empty, says(empty)).await;
    assert!(receiver.got().is_empty());
    secret(&world, &format!("{NEW}\n{OLD}\n")).await;
    let reported = until_reported(&world, "fix").await;
    let got = receiver.got();
    let stored = serde_json::to_string(&reported).unwrap();
    let events = format!("{:?}", world.events(&reported).await);
    let (log, metrics) = (operator.log(), operator.metrics().await);
    for secret in [OLD, NEW] {
        assert!(got.iter().all(|it| it.is_signed_by(secret)));
        let key = secret.trim_start_matches("whsec_");
        for text in [&stored, &events, &log, &metrics] {
            assert!(!text.contains(key), "a secret stands where it can be read");
        }
        assert!(
            got.iter()
                .all(|it| !String::from_utf8_lossy(&it.body).contains(key))
        );
    }
}

/// A time to live does not take the object away before its end was reported.
#[tokio::test]
async fn an_object_is_not_deleted_before_its_end_is_reported() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(500)]).await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator_with(prompt()).await;
    let settings = json!({
        "prompt": "Do it", "ttlSecondsAfterFinished": 0, "webhook": {"url": receiver.url("x")},
    });
    world.session_with(Provider::Cursor, "fix", settings).await;
    world.until_settled("fix").await;
    let tried = |at_least: usize| {
        let got = receiver.got();
        got.iter().filter(|it| it.phase() == "Finished").count() >= at_least
    };
    world
        .until_true("three attempts at its end", || tried(3))
        .await;
    assert!(world.sessions().get_opt("fix").await.unwrap().is_some());
    receiver.answer(Answer::Status(204));
    world.until_gone("fix").await;
    assert_eq!(receiver.taken().last().unwrap().phase(), "Finished");
}

/// An operator without the development flag dials nothing that is not public, and says so.
#[tokio::test]
async fn a_webhook_that_is_not_public_is_refused() {
    let world = World::new().await;
    let receiver = Receiver::start(&[Answer::Status(204)]).await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator_with(prompt()).await;
    for (name, url, words) in [
        (
            "private",
            "https://10.0.0.1/x",
            "10.0.0.1 has an address that is not public: nothing was sent",
        ),
        (
            "metadata",
            "https://[::ffff:169.254.169.254]/x",
            "has an address that is not public",
        ),
        (
            "odd",
            "https://0x7f000001/x",
            "the URL's host is not written as it is understood: write 127.0.0.1",
        ),
        (
            "user",
            "https://me@127.0.0.1/x",
            "the URL holds a user name or a password",
        ),
    ] {
        let settings = json!({"prompt": "Do it", "webhook": {"url": url}});
        world.session_with(Provider::Cursor, name, settings).await;
        world
            .until(name, words, |session| {
                let said = condition_of(session, "WebhookDelivered");
                said.is_some_and(|said| said.message.contains(words))
            })
            .await;
    }
    assert!(receiver.got().is_empty());
}
