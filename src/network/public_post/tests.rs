//! Every target is harmless: what is refused is refused before anything is dialled, and what is dialled is this machine.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// No test waits for it where it should not.
const LONG: Duration = Duration::from_secs(60);

/// Answers with these addresses, and counts how often it was asked.
struct Fixed {
    addresses: Vec<SocketAddr>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolver for Fixed {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.addresses.clone())
    }
}

/// A post to a name that has these addresses.
fn resolving(development: bool, addresses: &[&str]) -> (PublicPost, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let fixed = Fixed {
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        asked: Arc::clone(&asked),
    };
    let post = PublicPost::new(development, None).resolving_with(Box::new(fixed));
    (post, asked)
}

async fn send(post: &PublicPost, url: &str, within: Duration) -> Result<Answer, PostError> {
    let body = Bytes::from_static(b"{}");
    post.send(url, HeaderMap::new(), body, within).await
}

/// What a server saw.
type Seen = Arc<Mutex<Vec<String>>>;

/// Serves each connection by `serve`; answers with its address and what was sent to it.
async fn server<F>(serve: impl Fn(TcpStream, Seen) -> F + Send + 'static) -> (SocketAddr, Seen)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&kept)));
        }
    });
    (address, seen)
}

/// Reads one request.
async fn read(stream: &mut (impl AsyncRead + Unpin), seen: &Seen) {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with("{}") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => text.push_str(&String::from_utf8_lossy(buffer.get(..read).unwrap())),
        }
    }
    seen.lock().unwrap().push(text);
}

/// A server that reads a request and answers with `answer`, again and again if it does not end.
async fn answering(answer: &'static str, endless: bool) -> (SocketAddr, Seen) {
    server(move |mut stream, seen| async move {
        read(&mut stream, &seen).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        while endless && stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await
}

/// One address that is not public among the name's is enough, whatever its form, and nothing is dialled.
#[tokio::test]
async fn a_name_with_an_address_that_is_not_public_is_refused() {
    let (listening, seen) = answering("", false).await;
    let loopback = listening.to_string();
    let mapped = format!("[::ffff:127.0.0.1]:{}", listening.port());
    for addresses in [
        vec![loopback.as_str()],
        vec!["1.1.1.1:443", loopback.as_str()],
        vec![loopback.as_str(), "1.1.1.1:443"],
        vec![mapped.as_str()],
        vec!["10.0.0.1:443"],
        vec!["169.254.169.254:443"],
        vec!["[64:ff9b::a00:1]:443"],
        vec!["[fe80::1]:443"],
        vec!["0.0.0.0:443"],
    ] {
        let (post, asked) = resolving(false, &addresses);
        let refused = send(&post, "https://hooks.example.com/x", LONG).await;
        assert!(
            matches!(refused, Err(PostError::NotPublic { .. })),
            "{addresses:?}: {refused:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
    // The development flag is for this machine alone.
    let (post, _) = resolving(true, &["10.0.0.1:443"]);
    let refused = send(&post, "https://hooks.example.com/x", LONG).await;
    assert!(
        matches!(refused, Err(PostError::NotPublic { .. })),
        "{refused:?}"
    );
    for literal in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "0.0.0.0",
    ] {
        let (post, asked) = resolving(false, &[]);
        let refused = send(&post, &format!("https://{literal}/x"), LONG).await;
        assert!(
            matches!(refused, Err(PostError::NotPublic { .. })),
            "{literal}: {refused:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 0, "a literal is no name");
    }
    assert!(seen.lock().unwrap().is_empty());
}

/// The address that was checked is the one that is dialled: the name is resolved once, so a second answer changes nothing.
#[tokio::test]
async fn a_request_goes_to_the_checked_address_and_says_what_it_is() {
    let (address, seen) = answering("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let (post, asked) = resolving(true, &[&address.to_string()]);
    let url = format!("http://hooks.example.com:{}/a?b=c", address.port());
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
    let body = Bytes::from_static(b"{}");
    let answer = post.send(&url, headers, body, LONG).await.unwrap();
    assert_eq!((answer.code, answer.retry_after), (204, None));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let seen = seen.lock().unwrap().concat();
    assert!(seen.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{seen}");
    let host = format!("host: hooks.example.com:{}\r\n", address.port());
    for part in [
        host.as_str(),
        "webhook-id: msg_1\r\n",
        "connection: close\r\n",
        "content-length: 2\r\n",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (elsewhere, never) = answering("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let text = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
    );
    let (address, _) = answering(text.leak(), false).await;
    let (post, _) = resolving(true, &[]);
    let answer = send(&post, &format!("http://{address}/"), LONG)
        .await
        .unwrap();
    assert_eq!(answer.code, 307);
    assert!(never.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_receiver_asks_for_is_read() {
    let (address, _) = answering(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n",
        false,
    )
    .await;
    let (post, _) = resolving(true, &[]);
    let answer = send(&post, &format!("http://{address}/"), LONG)
        .await
        .unwrap();
    assert_eq!(answer.code, 503);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(120)));
}

/// Who has answered with a status has decided: the rest of an endless body is left, and its connection closed.
#[tokio::test]
async fn an_endless_body_is_cut_and_its_status_counts() {
    let (address, _) = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n",
        true,
    )
    .await;
    let (post, _) = resolving(true, &[]);
    let answer = send(&post, &format!("http://{address}/"), LONG)
        .await
        .unwrap();
    assert_eq!(answer.code, 200);
}

/// A receiver that says nothing, or says a little now and then, or a head that does not end: no answer.
#[tokio::test]
async fn a_receiver_that_hangs_or_trickles_is_cut() {
    let (hangs, _) = server(|mut stream, seen| async move {
        read(&mut stream, &seen).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (trickles, _) = server(|mut stream, seen| async move {
        read(&mut stream, &seen).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (post, _) = resolving(true, &[]);
    for address in [hangs, trickles] {
        let cut = send(
            &post,
            &format!("http://{address}/"),
            Duration::from_millis(300),
        )
        .await;
        assert!(matches!(cut, Err(PostError::Timeout(_))), "{cut:?}");
    }
    let (floods, _) = answering("HTTP/1.1 200 OK\r\nx: ", true).await;
    let cut = send(&post, &format!("http://{floods}/"), LONG).await;
    assert!(matches!(cut, Err(PostError::Http { .. })), "{cut:?}");
}

/// A TLS server for `name` on this machine, and the certificate to trust.
async fn tls_server(name: &str) -> (SocketAddr, Seen, Vec<u8>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, seen) = server(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read(&mut stream, &seen).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (address, seen, certificate.pem().into_bytes())
}

/// The certificate must be the name's, also where the address was chosen by us.
#[tokio::test]
async fn the_certificate_is_the_names() {
    let (address, seen, authority) = tls_server("hooks.example.com").await;
    let post = |trusted: Option<Vec<u8>>| {
        let fixed = Fixed {
            addresses: vec![address],
            asked: Arc::default(),
        };
        PublicPost::new(true, trusted).resolving_with(Box::new(fixed))
    };
    let url = |host: &str| format!("https://{host}:{}/x", address.port());
    let trusting = post(Some(authority));
    let answer = send(&trusting, &url("hooks.example.com"), LONG)
        .await
        .unwrap();
    assert_eq!(answer.code, 204);
    let other = send(&trusting, &url("other.example.com"), LONG).await;
    assert!(matches!(other, Err(PostError::Tls { .. })), "{other:?}");
    let unknown = send(&post(None), &url("hooks.example.com"), LONG).await;
    assert!(matches!(unknown, Err(PostError::Tls { .. })), "{unknown:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_does_not_answer_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (post, _) = resolving(true, &[]);
    let refused = send(&post, &format!("http://{closed}/"), LONG).await;
    assert!(
        matches!(refused, Err(PostError::Connect { .. })),
        "{refused:?}"
    );
    let nowhere = send(&post, "https://hooks.example.com/", LONG).await;
    assert!(
        matches!(nowhere, Err(PostError::Connect { .. })),
        "{nowhere:?}"
    );
    let (other, _) = answering("SSH-2.0-OpenSSH_9.9\r\n", false).await;
    let strange = send(&post, &format!("http://{other}/"), LONG).await;
    assert!(
        matches!(strange, Err(PostError::Http { .. })),
        "{strange:?}"
    );
}
