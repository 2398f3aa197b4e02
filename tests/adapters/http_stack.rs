//! What every provider's calls have in common, seen through Cursor's adapter: when a launch counts as sent, what is
//! refused, how much is read, and that no key ever shows.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use axum::body::Body;
use axum::response::Response;
use codeagent_operator::api::ProviderKind::{self, Cursor};
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::providers::contract::{LaunchOutcome, LaunchRequest, SessionRef};
use codeagent_operator::providers::error::{ErrorClass, ProviderError, Sent};
use codeagent_operator::providers::http::{
    HttpObserver, HttpSettings, HttpStack, Operation, RateLimit, Reach,
};
use codeagent_operator::providers::registry::Registry;
use futures::StreamExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

const CREATED: &str = r#"{"agent":{"id":"bc-1","url":"https://cursor.com/agents/bc-1"},"run":{"id":"run-1","status":"CREATING"}}"#;
const ME: &str =
    r#"{"apiKeyName":"CI","createdAt":"2026-01-01T00:00:00Z","userEmail":"dev@acme.com"}"#;

/// A listener that takes one connection, reads until the request seems complete or the peer closes, answers with these
/// bytes and closes. Returns what it read.
async fn raw(answer: &'static str) -> (Url, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut buffer) = (Vec::new(), [0; 65536]);
        loop {
            let n = stream.read(&mut buffer).await.unwrap_or(0);
            read.extend_from_slice(&buffer[..n]);
            if n == 0 || read.ends_with(b"}") {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.ok();
        read
    });
    (url.parse().unwrap(), reading)
}

fn rejected(outcome: LaunchOutcome) -> ProviderError {
    match outcome {
        LaunchOutcome::Rejected(error) => error,
        other => panic!("{other:?}"),
    }
}

fn unknown(outcome: LaunchOutcome) -> ProviderError {
    match outcome {
        LaunchOutcome::Unknown(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_post_gets_a_connection_of_its_own_and_reads_share_one() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => reply(201, CREATED),
        _ => reply(200, ME),
    })
    .await;
    let http = stack(settings());
    for _ in 0..3 {
        connect(&http, Cursor, &server.url).verify().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    let cursor = connect(&http, Cursor, &server.url);
    for _ in 0..3 {
        let outcome = cursor.launch(&launch_request()).await;
        assert!(matches!(outcome, LaunchOutcome::Accepted(_)), "{outcome:?}");
    }
    assert_eq!(server.connections(), 4);
    assert_eq!(server.lines().len(), 6);
}

#[tokio::test]
async fn a_launch_is_one_http_1_1_request_with_its_exact_length() {
    let (url, reading) = raw("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").await;
    let cursor = connect(&stack(settings()), Cursor, &url);
    // No id in the answer: it may have been started.
    let error = unknown(cursor.launch(&launch_request()).await);
    assert_eq!(
        (error.class, error.status),
        (ErrorClass::Protocol, Some(201))
    );

    let request = String::from_utf8(reading.await.unwrap()).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/agents http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\ncontent-length: {}", body.len())),
        "{head}"
    );
    assert!(
        !head.contains("transfer-encoding") && !head.contains("expect"),
        "{head}"
    );
}

#[tokio::test]
async fn a_closed_window_lets_not_one_byte_out() {
    let (url, reading) = raw("").await;
    let cursor = connect(&stack(settings()), Cursor, &url);
    let late = LaunchRequest {
        window: window(Duration::ZERO),
        ..launch_request()
    };
    let error = rejected(cursor.launch(&late).await);
    assert_eq!(error.sent, Sent::Nothing);
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(
        error.message.contains("the send window has closed"),
        "{error}"
    );
    // The connection was there, so that it was the body's check and nothing earlier that held the request back.
    assert_eq!(reading.await.unwrap(), b"");
}

#[tokio::test]
async fn a_window_that_closes_by_wall_clock_counts_as_well() {
    let (url, reading) = raw("").await;
    let cursor = connect(&stack(settings()), Cursor, &url);
    let mut late = launch_request();
    late.window.not_after = jiff::Timestamp::now();
    assert_eq!(rejected(cursor.launch(&late).await).sent, Sent::Nothing);
    assert_eq!(reading.await.unwrap(), b"");
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let error = rejected(
        connect(&stack(settings()), Cursor, &url)
            .launch(&launch_request())
            .await,
    );
    assert_eq!(
        (error.sent, error.class),
        (Sent::Nothing, ErrorClass::Unavailable)
    );
    assert!(error.message.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn without_a_tls_session_nothing_was_sent() {
    // Answers the client's hello with something that is not TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("https://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        buffer[..n].to_vec()
    });
    let error = rejected(
        connect(&stack(settings()), Cursor, &url)
            .launch(&launch_request())
            .await,
    );
    assert_eq!(error.sent, Sent::Nothing);
    let hello = answering.await.unwrap();
    assert!(!hello.windows(10).any(|part| part == b"/v1/agents"));
}

#[tokio::test]
async fn a_launch_that_runs_out_of_time_before_it_is_written_was_not_sent() {
    // Takes the connection and never answers the TLS hello.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("https://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let http = stack(HttpSettings {
        post_timeout: Duration::from_millis(300),
        ..settings()
    });
    let error = rejected(connect(&http, Cursor, &url).launch(&launch_request()).await);
    assert_eq!(
        (error.class, error.sent),
        (ErrorClass::Timeout, Sent::Nothing)
    );
}

#[tokio::test]
async fn waiting_for_the_rate_limit_counts_against_the_window() {
    let server = Server::start(|_| reply(200, ME)).await;
    let http = stack(HttpSettings {
        rate_limit: RateLimit {
            interval: Duration::from_millis(400),
            burst: 1,
            ..RateLimit::default()
        },
        ..settings()
    });
    let cursor = connect(&http, Cursor, &server.url);
    cursor.verify().await.unwrap();
    let request = LaunchRequest {
        window: window(Duration::from_millis(100)),
        ..launch_request()
    };
    assert_eq!(rejected(cursor.launch(&request).await).sent, Sent::Nothing);
    assert_eq!(server.lines(), ["GET /v1/me"]);
}

#[tokio::test]
async fn a_launch_without_a_whole_answer_is_unknown_whatever_its_status() {
    for answer in [
        "",
        "HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{\"agent\":{\"id\":\"bc-1\"",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 500\r\n\r\n{\"error\":",
        "HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nnot json!",
        "garbage\r\n\r\n",
    ] {
        let (url, reading) = raw(answer).await;
        let error = unknown(
            connect(&stack(settings()), Cursor, &url)
                .launch(&launch_request())
                .await,
        );
        assert_eq!(error.sent, Sent::Possibly, "{answer}");
        assert!(!reading.await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let huge = "x".repeat(300 << 10);
    let server = Server::start(move |seen| match seen.method.as_str() {
        "GET" => reply(200, &huge),
        _ => reply(400, &huge),
    })
    .await;
    let cursor = connect(&stack(settings()), Cursor, &server.url);
    let error = cursor.verify().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
    assert!(error.message.contains("65536"), "{error}");
    // A refusal with too long an explanation is a refusal.
    let error = rejected(cursor.launch(&launch_request()).await);
    assert_eq!(error.message.chars().count(), 512);
}

#[tokio::test]
async fn an_endless_answer_without_a_length_is_cut_as_well() {
    let server = Server::start(|_| {
        let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 32 << 10]));
        Response::new(Body::from_stream(chunks))
    })
    .await;
    let error = connect(&stack(settings()), Cursor, &server.url)
        .verify()
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
}

/// What one large answer holds, others wait for, no longer than their own requests may take; small ones wait for nobody.
#[tokio::test]
async fn large_answers_share_one_budget_and_small_ones_need_none() {
    let server = Server::start(|seen| {
        if seen.target.ends_with("/me") {
            return reply(200, ME);
        }
        // Large, and it never ends.
        let chunk = |_| async { Some((Ok::<_, std::io::Error>(vec![b' '; 16 << 10]), ())) };
        let large = futures::stream::unfold((), chunk).take(8);
        Response::new(Body::from_stream(large.chain(futures::stream::pending())))
    })
    .await;
    let http = stack(HttpSettings {
        answer_budget: 192 << 10,
        get_timeout: Duration::from_secs(1),
        list_timeout: Duration::from_secs(20),
        ..settings()
    });
    let cursor = connect(&http, Cursor, &server.url);
    let listing = Arc::clone(&cursor);
    let listing = tokio::spawn(async move { listing.listing().unwrap().list(None).await });
    while server.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let session = SessionRef {
        session_id: SessionId::new("bc-1"),
        run_id: None,
    };
    // Whichever comes first takes all the room: a look for one second, or the list for twenty.
    let mut waited = false;
    for _ in 0..5 {
        let error = cursor.get(&session).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout, "{error}");
        waited |= error.message.contains("too many large answers");
        cursor.verify().await.unwrap();
    }
    assert!(waited);
    listing.abort();
}

/// An endpoint that a user of the cluster chose is never one inside, whatever its name is, and nothing of the network is told.
#[tokio::test]
async fn a_guarded_connection_reaches_no_private_address_and_says_who_can_allow_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let strict = HttpSettings {
        allow_http: false,
        ..settings()
    };
    let http = stack(strict).reaching(Reach::Public);
    let by_name = format!("https://localhost:{port}").parse().unwrap();
    let cursor = connect(&http, Cursor, &by_name);
    let error = rejected(cursor.launch(&launch_request()).await);
    assert_eq!(error.sent, Sent::Nothing);
    assert!(error.message.contains("--allow-endpoint-hosts"), "{error}");
    assert!(!error.message.contains("127.0.0.1"), "{error}");
    let by_address = format!("https://127.0.0.1:{port}").parse().unwrap();
    let refused = Registry::get(Cursor)
        .unwrap()
        .connect(connection(&http, Cursor, &by_address, KEY))
        .err()
        .unwrap();
    assert_eq!(refused.class, ErrorClass::InvalidRequest);
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn plain_http_takes_the_development_flag() {
    let http = stack(HttpSettings::default());
    let url: Url = "http://127.0.0.1:1".parse().unwrap();
    let refused = Registry::get(Cursor)
        .unwrap()
        .connect(connection(&http, Cursor, &url, KEY))
        .err()
        .unwrap();
    assert_eq!(
        (refused.class, refused.sent),
        (ErrorClass::InvalidRequest, Sent::Nothing)
    );
}

/// What a TLS server saw of its one connection.
struct Handshaken {
    /// The protocol that was agreed upon, if any was offered.
    protocol: Option<Vec<u8>>,
    /// What was read after the handshake.
    read: Vec<u8>,
}

/// A TLS server that takes one connection, reads one request, answers it and closes.
fn tls(answer: String) -> (Url, std::thread::JoinHandle<Handshaken>) {
    let certificate = CertificateDer::from_pem_file("tests/fixtures/tls/server.pem").unwrap();
    let key = PrivateKeyDer::from_pem_file("tests/fixtures/tls/server.key").unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // A client that keeps the connection open must fail the test, not stop it.
        let patience = Some(Duration::from_secs(3));
        socket.set_read_timeout(patience).unwrap();
        let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let (mut read, mut buffer) = (Vec::new(), [0; 65536]);
        while !read.ends_with(b"}") {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        stream.write_all(answer.as_bytes()).ok();
        Handshaken {
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            read,
        }
    });
    (url.parse().unwrap(), serving)
}

fn trusting() -> HttpStack {
    stack(HttpSettings {
        extra_ca_bundle: Some(std::fs::read("tests/fixtures/tls/ca.pem").unwrap()),
        allow_http: false,
        ..settings()
    })
}

#[tokio::test]
async fn over_tls_with_an_extra_authority_a_launch_speaks_http_1_1() {
    let http = trusting();
    let (url, serving) = tls(format!(
        "HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{CREATED}",
        CREATED.len()
    ));
    let outcome = connect(&http, Cursor, &url).launch(&launch_request()).await;
    assert!(matches!(outcome, LaunchOutcome::Accepted(_)), "{outcome:?}");
    let Handshaken { protocol, read } = serving.join().unwrap();
    // The server would have preferred HTTP/2.
    assert_ne!(protocol.as_deref(), Some(&b"h2"[..]));
    assert!(read.starts_with(b"POST /v1/agents HTTP/1.1\r\n"));
}

#[tokio::test]
async fn over_tls_a_closed_window_lets_not_one_byte_of_the_request_out() {
    let http = trusting();
    let (url, serving) = tls(String::new());
    let late = LaunchRequest {
        window: window(Duration::ZERO),
        ..launch_request()
    };
    assert_eq!(
        rejected(connect(&http, Cursor, &url).launch(&late).await).sent,
        Sent::Nothing
    );
    assert_eq!(serving.join().unwrap().read, b"");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let http = stack(settings());
    let (url, serving) = tls(String::new());
    let error = rejected(connect(&http, Cursor, &url).launch(&launch_request()).await);
    assert_eq!(error.sent, Sent::Nothing);
    // Whoever may set an endpoint must not learn from it what listens where.
    assert_eq!(error.message, "127.0.0.1: cannot connect");
    assert_eq!(serving.join().unwrap().read, b"");
}

#[tokio::test]
async fn an_extra_ca_bundle_must_hold_certificates() {
    let _ = stack(settings());
    for pem in [&b""[..], b"-----BEGIN NOTHING-----"] {
        let settings = HttpSettings {
            extra_ca_bundle: Some(pem.to_vec()),
            ..settings()
        };
        assert!(HttpStack::new(settings).is_err());
    }
}

type Call = (ProviderKind, Operation, Result<(), ErrorClass>);

#[derive(Default)]
struct Told(Mutex<Vec<Call>>);

impl HttpObserver for Told {
    fn answered(
        &self,
        kind: ProviderKind,
        operation: Operation,
        outcome: Result<(), ErrorClass>,
        seconds: f64,
    ) {
        assert!(seconds >= 0.0);
        self.0.lock().unwrap().push((kind, operation, outcome));
    }
}

#[tokio::test]
async fn the_observer_is_told_of_every_call() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => reply(500, ""),
        _ => reply(200, ME),
    })
    .await;
    let told = Arc::new(Told::default());
    let http = stack(settings()).observed_by(told.clone());
    let cursor = connect(&http, Cursor, &server.url);
    cursor.verify().await.unwrap();
    cursor.launch(&launch_request()).await;
    assert_eq!(
        *told.0.lock().unwrap(),
        [
            (Cursor, Operation::Verify, Ok(())),
            (Cursor, Operation::Launch, Err(ErrorClass::Unavailable)),
        ]
    );
}
