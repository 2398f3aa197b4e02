//! Images beside a prompt or a message, as each provider documents them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::image::{Image, ImageData};
use codeagent_operator::providers::contract::{
    Capability, Connection, LaunchOutcome, LaunchRequest, MessageOutcome, MessageRequest, Provider,
    SessionRef,
};
use codeagent_operator::providers::error::{ErrorClass, ProviderError, Sent};
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

use crate::support::*;

const URL: &str = "https://example.com/a.png";

/// The API versions that take images.
const ABLE: [(ProviderKind, Option<CursorApiVersion>); 3] = [
    (ProviderKind::Cursor, Some(CursorApiVersion::V1)),
    (ProviderKind::Cursor, Some(CursorApiVersion::V0)),
    (ProviderKind::Firebender, None),
];

fn spec_of((kind, version): (ProviderKind, Option<CursorApiVersion>)) -> ProviderSpec {
    match version {
        None => spec(kind),
        Some(_) => ProviderSpec {
            cursor: Some(CursorSpec {
                api_version: version,
                endpoint: None,
            }),
            ..ProviderSpec::default()
        },
    }
}

fn provider(api: (ProviderKind, Option<CursorApiVersion>), server: &Server) -> Arc<dyn Provider> {
    let connection = Connection {
        spec: spec_of(api),
        ..connection(&stack(settings()), api.0, &server.url, KEY)
    };
    Registry::get(api.0).unwrap().connect(connection).unwrap()
}

/// Sends a launch and a message with these images; what was sent as images, and what was answered.
async fn sent(
    api: (ProviderKind, Option<CursorApiVersion>),
    images: &[Image],
) -> (Vec<Value>, [Option<ProviderError>; 2]) {
    let server = Server::start(|_| refusal(400, "validation_error")).await;
    let provider = provider(api, &server);
    let launch = LaunchRequest {
        images: images.to_vec(),
        ..launch_request()
    };
    let message = MessageRequest {
        session: SessionRef {
            session_id: SessionId::new("bc-1"),
            run_id: None,
        },
        prompt: launch.prompt.clone(),
        images: images.to_vec(),
        model: None,
        window: window(Duration::from_secs(20)),
    };
    let launched = match provider.launch(&launch).await {
        LaunchOutcome::Rejected(error) => Some(error),
        LaunchOutcome::Accepted(_) | LaunchOutcome::Unknown(_) => None,
    };
    let messaged = match provider.follow_ups().unwrap().send(&message).await {
        MessageOutcome::Rejected(error) => Some(error),
        MessageOutcome::Accepted(_) | MessageOutcome::Unknown(_) => None,
    };
    let sent = server.seen().into_iter().map(|seen| {
        let prompt = seen.json()["prompt"].take();
        assert_eq!(prompt["text"], json!(launch.prompt), "{}", seen.target);
        prompt.get("images").cloned().unwrap_or_default()
    });
    (sent.collect(), [launched, messaged])
}

#[tokio::test]
async fn an_image_is_sent_in_the_form_that_each_api_documents() {
    for api in ABLE {
        let mut image = json!({"data": PNG, "dimension": {"width": 1, "height": 1}});
        if api.1 == Some(CursorApiVersion::V1) {
            image["mimeType"] = json!("image/png");
        }
        let (images, _) = sent(api, &[png(), png()]).await;
        let both = json!([image, image]);
        assert_eq!(images, [both.clone(), both], "{api:?}");
        // Without images nothing is said of them.
        let (images, _) = sent(api, &[]).await;
        assert_eq!(images, [Value::Null, Value::Null], "{api:?}");
    }
}

#[tokio::test]
async fn an_image_by_its_url_goes_to_the_api_that_takes_urls_and_nowhere_else() {
    for api in ABLE {
        let takes_urls = Registry::get(api.0)
            .unwrap()
            .capabilities(&spec_of(api))
            .contains(&Capability::ImageUrls);
        assert_eq!(takes_urls, api.1 == Some(CursorApiVersion::V1));
        let (images, errors) = sent(api, &[Image::Url(URL.to_owned())]).await;
        if takes_urls {
            let by_url = json!([{"url": URL}]);
            assert_eq!(images, [by_url.clone(), by_url]);
            continue;
        }
        assert!(images.is_empty(), "{api:?}: {images:?}");
        for error in errors {
            let error = error.unwrap();
            assert_eq!(
                (error.class, error.sent),
                (ErrorClass::InvalidRequest, Sent::Nothing)
            );
        }
    }
}

/// A provider may quote what it refuses.
#[tokio::test]
async fn a_refusal_does_not_repeat_an_image() {
    for api in ABLE {
        let server = Server::start(|_| {
            let message = format!("images[0].data: '{PNG}' cannot be decoded");
            reply(
                400,
                json!({"error": {"code": "validation_error", "message": message}}),
            )
        })
        .await;
        let request = LaunchRequest {
            images: vec![png()],
            ..launch_request()
        };
        let outcome = provider(api, &server).launch(&request).await;
        let LaunchOutcome::Rejected(error) = &outcome else {
            panic!("{outcome:?}")
        };
        let told = format!("{outcome:?} {error}");
        assert!(told.contains("'[omitted]' cannot be decoded"), "{told}");
        assert!(!told.contains("iVBORw0KGgo"), "{told}");
    }
}

/// Five of the largest images that fit into Kubernetes objects, and one as large as a provider takes.
#[tokio::test]
async fn a_large_request_goes_out_whole() {
    let content = |bytes: usize| {
        let mut content = STANDARD.decode(PNG).unwrap();
        content.resize(bytes, 0);
        Image::Data(ImageData::new(content).unwrap())
    };
    for images in [vec![content(1 << 20); 5], vec![content(15_000_000)]] {
        let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let server = Server::start_with_room(64 << 20, move |request| {
            seen.lock().unwrap().push(request.body.len());
            refusal(400, "validation_error")
        })
        .await;
        let encoded: usize = images
            .iter()
            .map(|image| match image {
                Image::Data(data) => data.content().len().div_ceil(3) * 4,
                Image::Url(_) => 0,
            })
            .sum();
        let request = LaunchRequest {
            images,
            window: window(Duration::from_secs(600)),
            ..launch_request()
        };
        let patient = settings_with(Duration::from_secs(60));
        let connection = connection(&stack(patient), ProviderKind::Cursor, &server.url, KEY);
        let cursor = Registry::get(ProviderKind::Cursor).unwrap();
        let outcome = cursor.connect(connection).unwrap().launch(&request).await;
        assert!(matches!(outcome, LaunchOutcome::Rejected(_)), "{outcome:?}");
        let sizes = sizes.lock().unwrap().clone();
        assert!(
            sizes.len() == 1 && sizes[0] > encoded,
            "{sizes:?} {encoded}"
        );
    }
}
