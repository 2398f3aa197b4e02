//! Memory cannot be taken by an answer, whatever a provider, or who stands in its place, sends: what is kept of a session is small, no
//! answer is read without end, and what was cut off proves nothing.

use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::snapshot::Snapshot;
use codeagent_operator::providers::contract::{
    AdoptAnswer, Capability, Connection, ItemDetail, LaunchOutcome, Provider,
};
use codeagent_operator::providers::error::{ErrorClass, ProviderError};
use codeagent_operator::providers::http::HttpSettings;
use codeagent_simulator::{FaultKind, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Bench, patient, reference};
use crate::provider_support::stack;
use crate::subject::Subject;

contract!(
    huge_texts_leave_a_small_snapshot,
    huge_arrays_leave_a_small_snapshot_and_prove_nothing,
    an_answer_that_trickles_without_end_ends_with_its_request,
    an_answer_that_pours_without_end_is_cut,
);

/// What is kept of one session, in bytes.
const LARGEST_SNAPSHOT: usize = 16 << 10;

/// Every member of an answer that some provider has.
const MEMBERS: [&str; 33] = [
    "name",
    "status",
    "summary",
    "result",
    "result_text",
    "error",
    "message",
    "url",
    "session_url",
    "sessionUrl",
    "branch",
    "branchName",
    "pr_branch",
    "prUrl",
    "pr_url",
    "repository",
    "repo_url",
    "repoUrl",
    "vncUrl",
    "recordingUrl",
    "traceUrl",
    "createdAt",
    "created_at",
    "updatedAt",
    "completed_at",
    "latestRunId",
    "latest_run_id",
    "text",
    "prompt",
    "messages",
    "repos",
    "branches",
    "model_params",
];

/// As large as an answer may be in production.
fn settings() -> HttpSettings {
    HttpSettings {
        response_cap: HttpSettings::default().response_cap,
        ..patient()
    }
}

/// A bound from above: every text of it, escaped, and every name of a field.
fn size(snapshot: &Snapshot) -> usize {
    format!("{snapshot:?}").len()
}

async fn looked_at(bench: &Bench, what: &str) {
    let session = bench.launch(&bench.request()).await.session_id;
    bench.begin_work();
    for member in MEMBERS {
        for faults in [true, false] {
            bench.simulator.clear_faults();
            if faults {
                bench.always(Matcher::any(), huge(what, member));
            }
            match bench.provider.get(&reference(&session)).await {
                Ok(snapshot) => assert!(size(&snapshot) <= LARGEST_SNAPSHOT, "{member}"),
                Err(error) => {
                    assert!(faults, "{member}: {error}");
                    assert_eq!(error.class, ErrorClass::Protocol, "{member}: {error}");
                }
            }
            if !bench.subject.can(Capability::List) {
                continue;
            }
            match bench.list(None).await {
                Ok(page) => {
                    for item in page.items {
                        let size = match item.detail {
                            ItemDetail::Full(snapshot) => size(&snapshot),
                            ItemDetail::Hint(hint) => hint.len(),
                        };
                        assert!(size <= LARGEST_SNAPSHOT, "{member}");
                    }
                }
                Err(error) => assert_eq!(error.class, ErrorClass::Protocol, "{member}: {error}"),
            }
        }
    }
}

fn huge(what: &str, member: &str) -> FaultKind {
    let member = member.to_owned();
    match what {
        "text" => FaultKind::HugeField {
            member,
            bytes: 200 << 10,
        },
        _ => FaultKind::HugeArray {
            member,
            items: 200_000,
            item: serde_json::json!({}),
        },
    }
}

async fn huge_texts_leave_a_small_snapshot(subject: Subject) {
    let bench = Bench::with(subject, |_| {}, settings()).await;
    looked_at(&bench, "text").await;
}

async fn huge_arrays_leave_a_small_snapshot_and_prove_nothing(subject: Subject) {
    let bench = Bench::with(subject, |_| {}, settings()).await;
    looked_at(&bench, "array").await;
    // A list that is cut off behind thousands of others, in any of its names.
    let lookup = bench.lookup().await;
    for member in ["agents", "items", "links", "messages"] {
        bench.simulator.clear_faults();
        bench.always(Matcher::any(), huge("array", member));
        let answer = bench.provider.adopt(&lookup).await;
        assert!(
            !matches!(
                answer,
                Ok(AdoptAnswer::Absent | AdoptAnswer::Foreign { .. })
            ),
            "{member}: {answer:?}"
        );
    }
}

/// How a server that never comes to an end sends its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// A byte now and then.
    Trickle,
    /// As fast as it is read.
    Pour,
}

/// A server that answers every request so, on loopback, until the test ends.
async fn endless(flow: Flow) -> url::Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_without_end(stream, flow));
        }
    });
    url.parse().unwrap()
}

async fn answer_without_end(mut stream: TcpStream, flow: Flow) {
    let mut request = vec![0; 64 << 10];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes()).await;
    let (bytes, pause) = match flow {
        Flow::Trickle => (1, Duration::from_millis(20)),
        Flow::Pour => (32 << 10, Duration::ZERO),
    };
    let chunk = format!("{bytes:x}\r\n{}\r\n", " ".repeat(bytes));
    while sent.is_ok() {
        tokio::time::sleep(pause).await;
        sent = stream.write_all(chunk.as_bytes()).await;
    }
}

/// What every call says to a server that answers in this way.
async fn calls(subject: Subject, flow: Flow) -> Vec<(&'static str, ProviderError)> {
    let short = Duration::from_millis(300);
    let http = stack(match flow {
        Flow::Trickle => HttpSettings {
            get_timeout: short,
            list_timeout: short,
            post_timeout: short,
            ..patient()
        },
        Flow::Pour => settings(),
    });
    let bench = Bench::new(subject).await;
    let provider = subject
        .registered()
        .connect(Connection {
            spec: subject.spec(),
            endpoint: endless(flow).await,
            credential: subject.credential(),
            cluster: None,
            http,
        })
        .unwrap();
    errors(&bench, provider.as_ref()).await
}

async fn errors(bench: &Bench, provider: &dyn Provider) -> Vec<(&'static str, ProviderError)> {
    let session = reference(&SessionId::new("bc-1"));
    let mut errors = vec![
        ("verify", provider.verify().await.unwrap_err()),
        ("get", provider.get(&session).await.unwrap_err()),
    ];
    match provider.launch(&bench.request()).await {
        LaunchOutcome::Unknown(error) => errors.push(("launch", error)),
        other => panic!("{other:?}"),
    }
    if bench.subject.can(Capability::List) {
        errors.push((
            "list",
            provider.listing().unwrap().list(None).await.unwrap_err(),
        ));
    }
    if bench.subject.can(Capability::Cancel) {
        errors.push(("cancel", provider.cancel(&session).await.unwrap_err()));
    }
    errors
}

async fn an_answer_that_trickles_without_end_ends_with_its_request(subject: Subject) {
    for (call, error) in calls(subject, Flow::Trickle).await {
        assert_eq!(error.class, ErrorClass::Timeout, "{call}: {error}");
    }
}

async fn an_answer_that_pours_without_end_is_cut(subject: Subject) {
    for (call, error) in calls(subject, Flow::Pour).await {
        assert_eq!(error.class, ErrorClass::Protocol, "{call}: {error}");
    }
}
