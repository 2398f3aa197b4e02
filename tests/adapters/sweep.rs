//! The search for every session of an installation (`Provider::marked`), for each adapter that can list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::support::*;
use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::ids::{InstallationId, LaunchKey, SessionId};
use codeagent_operator::domain::marker::{Marker, MarkerSubject};
use codeagent_operator::providers::contract::{
    Connection, Mark, Marked, MarkedPage, MarkedRequest, Provider,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

/// The adapters that can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adapter {
    CursorV0,
    CursorV1,
    Firebender,
    Flapjack,
}

const ALL: [Adapter; 4] = [
    Adapter::CursorV0,
    Adapter::CursorV1,
    Adapter::Firebender,
    Adapter::Flapjack,
];

/// A session at the provider.
#[derive(Clone, Debug)]
struct Fake {
    id: String,
    created: &'static str,
    ended: bool,
    /// The marker under its first prompt.
    marker: Option<Marker>,
    /// Whether its prompt or, where there is none to be read, its run can be read.
    readable: bool,
}

const IN_WINDOW: &str = "2026-10-01T12:30:00Z";
const LAST_YEAR: &str = "2025-10-01T12:30:00Z";
/// Clocks differ.
const OF_THE_FUTURE: &str = "2126-10-01T12:00:00Z";
/// In the window, and older than ended sessions are of interest.
const OLDER: &str = "2026-09-28T12:30:00Z";

fn fake(id: &str, marker: Option<Marker>) -> Fake {
    Fake {
        id: id.to_owned(),
        created: IN_WINDOW,
        ended: false,
        marker,
        readable: true,
    }
}

fn ours(uid: &str) -> Option<Marker> {
    Some(Marker::launch(installation(), uid, 1))
}

fn theirs(uid: &str) -> Option<Marker> {
    Some(Marker::launch(InstallationId::new("ffffffff"), uid, 1))
}

fn key_of(marker: &Marker) -> LaunchKey {
    let MarkerSubject::Launch(attempt) = marker.subject else {
        panic!("{marker:?}")
    };
    LaunchKey::derive("namespace-uid", &marker.uid, attempt)
}

impl Adapter {
    fn kind(self) -> ProviderKind {
        match self {
            Self::CursorV0 | Self::CursorV1 => ProviderKind::Cursor,
            Self::Firebender => ProviderKind::Firebender,
            Self::Flapjack => ProviderKind::Flapjack,
        }
    }

    fn connect(self, server: &Server) -> Arc<dyn Provider> {
        let http = stack(settings());
        let mut connection = connection(&http, self.kind(), &server.url, KEY);
        if self == Self::CursorV0 {
            connection = Connection {
                spec: ProviderSpec {
                    cursor: Some(CursorSpec {
                        api_version: Some(CursorApiVersion::V0),
                        endpoint: None,
                    }),
                    ..ProviderSpec::default()
                },
                ..connection
            };
        }
        Registry::get(self.kind())
            .unwrap()
            .connect(connection)
            .unwrap()
    }

    /// The session whose closer look this path is, if it is one.
    fn looked_at(self, target: &str) -> Option<&str> {
        match self {
            Self::CursorV0 | Self::Firebender => target
                .strip_prefix("/v0/agents/")?
                .strip_suffix("/conversation"),
            Self::CursorV1 => target
                .strip_prefix("/v1/agents/")?
                .strip_suffix("/runs/run-1"),
            Self::Flapjack => target.strip_prefix("/api/code-sessions/"),
        }
    }

    fn listed(self, fake: &Fake) -> Value {
        let status = match (self, fake.ended) {
            (Self::CursorV0 | Self::Firebender, false) => "RUNNING",
            (Self::CursorV0 | Self::Firebender, true) => "FINISHED",
            (Self::CursorV1, false) => "ACTIVE",
            (Self::CursorV1, true) => "IDLE",
            (Self::Flapjack, false) => "running",
            (Self::Flapjack, true) => "finished",
        };
        match self {
            Self::CursorV0 | Self::Firebender => json!({
                "id": fake.id, "name": "n", "status": status, "createdAt": fake.created,
                "source": {"repository": REPOSITORY}, "target": {}
            }),
            Self::CursorV1 => {
                let suffix = fake
                    .marker
                    .as_ref()
                    .map(|marker| format!(" [{} {}]", key_of(marker).short(), marker.installation));
                json!({
                    "id": fake.id, "name": format!("n{}", suffix.unwrap_or_default()),
                    "status": status, "createdAt": fake.created, "latestRunId": "run-1"
                })
            }
            Self::Flapjack => json!({
                "id": fake.id, "status": status, "created_at": fake.created, "repo_url": REPOSITORY
            }),
        }
    }

    fn look(self, fake: &Fake) -> Value {
        let marker = fake.marker.as_ref().map(Marker::to_string);
        let prompt = format!("Fix it\n\n{}", marker.unwrap_or_default());
        match self {
            Self::CursorV0 | Self::Firebender => json!({"id": "c", "messages": [
                {"id": "1", "type": "user_message", "text": prompt}
            ]}),
            Self::CursorV1 => {
                let status = if fake.ended { "FINISHED" } else { "RUNNING" };
                json!({"id": "run-1", "status": status})
            }
            Self::Flapjack => {
                let mut session = self.listed(fake);
                session["messages"] = json!([{"id": "m", "role": "user", "prompt": prompt}]);
                session
            }
        }
    }

    /// A page of a list; only Flapjack's has no pages, but a second list, of what is archived.
    fn page(self, fakes: &[Fake], target: &str) -> Value {
        const PER_PAGE: usize = 30;
        let number: usize = target
            .split_once("cursor=")
            .map_or(0, |(_, cursor)| cursor.parse().unwrap());
        let pages: Vec<&[Fake]> = fakes.chunks(PER_PAGE).collect();
        let items =
            |fakes: &[Fake]| -> Vec<Value> { fakes.iter().map(|fake| self.listed(fake)).collect() };
        let of_page = items(pages.get(number).copied().unwrap_or_default());
        let next = (number + 1 < pages.len()).then(|| (number + 1).to_string());
        match self {
            Self::CursorV0 | Self::Firebender => json!({"agents": of_page, "nextCursor": next}),
            Self::CursorV1 => json!({"items": of_page, "nextCursor": next}),
            Self::Flapjack if target.contains("archived=true") => json!([]),
            Self::Flapjack => json!(items(fakes)),
        }
    }

    async fn serve(self, fakes: &Arc<Mutex<Vec<Fake>>>) -> Server {
        let fakes = Arc::clone(fakes);
        Server::start(move |seen| {
            assert_eq!(seen.method, "GET");
            let fakes = fakes.lock().unwrap().clone();
            let Some(id) = self.looked_at(&seen.target) else {
                return reply(200, self.page(&fakes, &seen.target));
            };
            match fakes.iter().find(|fake| fake.id == id).unwrap() {
                fake if fake.readable => reply(200, self.look(fake)),
                _ => refusal(500, "internal_error"),
            }
        })
        .await
    }

    /// The sessions that were looked at closer, in order.
    fn looks(self, server: &Server) -> Vec<String> {
        server
            .seen()
            .iter()
            .filter_map(|seen| self.looked_at(&seen.target).map(str::to_owned))
            .collect()
    }
}

fn request() -> MarkedRequest {
    MarkedRequest {
        installation: installation(),
        created_from: "2026-09-25T13:00:00Z".parse().unwrap(),
        ended_from: "2026-09-30T13:00:00Z".parse().unwrap(),
        known: Default::default(),
        resume: None,
    }
}

fn shared(fakes: Vec<Fake>) -> Arc<Mutex<Vec<Fake>>> {
    Arc::new(Mutex::new(fakes))
}

fn ids(page: &MarkedPage) -> Vec<&str> {
    page.found
        .iter()
        .map(|marked| marked.snapshot.session_id.as_str())
        .collect()
}

/// A round: as many calls as it takes, each knowing what the ones before have said. Answers with what was found and the
/// number of calls.
async fn round(provider: &dyn Provider, mut request: MarkedRequest) -> (Vec<Marked>, usize) {
    let mut all = Vec::new();
    for calls in 1..20 {
        let page = provider.listing().unwrap().marked(&request).await.unwrap();
        let found = page.found.iter().map(|it| it.snapshot.session_id.clone());
        let seen = found.chain(page.foreign).collect();
        request.known = request.known.and(seen);
        all.extend(page.found);
        request.resume = page.resume;
        if request.resume.is_none() {
            return (all, calls);
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn only_sessions_of_this_installation_are_found_and_say_whose_they_are() {
    for adapter in ALL {
        let key = key_of(&ours("uid-1").unwrap());
        let with_our_id = format!("bc-{key}");
        let server = adapter
            .serve(&shared(vec![
                fake("by-hand", None),
                fake(&with_our_id, ours("uid-1")),
                fake("theirs", theirs("uid-1")),
                fake("bc-made-up", ours("uid-2")),
            ]))
            .await;
        let page = adapter
            .connect(&server)
            .listing()
            .unwrap()
            .marked(&request())
            .await
            .unwrap();
        assert_eq!(
            ids(&page),
            [with_our_id.as_str(), "bc-made-up"],
            "{adapter:?}"
        );
        let marks: Vec<&Mark> = page.found.iter().map(|marked| &marked.mark).collect();
        match adapter {
            Adapter::CursorV1 => {
                let other = key_of(&ours("uid-2").unwrap());
                let name = |key: &LaunchKey, whole: Option<LaunchKey>| Mark::Name {
                    installation: installation(),
                    digits: key.short().to_owned(),
                    key: whole,
                };
                assert_eq!(marks, [&name(&key, Some(key.clone())), &name(&other, None)]);
            }
            Adapter::CursorV0 | Adapter::Firebender | Adapter::Flapjack => {
                let line = |uid| Mark::Prompt(ours(uid).unwrap());
                assert_eq!(marks, [&line("uid-1"), &line("uid-2")], "{adapter:?}");
                let foreign: BTreeSet<&str> = page.foreign.iter().map(SessionId::as_str).collect();
                assert_eq!(foreign, ["by-hand", "theirs"].into(), "{adapter:?}");
            }
        }
        for marked in &page.found {
            assert!(!marked.snapshot.phase.is_terminal(), "{adapter:?}");
            let created = marked.snapshot.created_at;
            assert_eq!(created, Some(IN_WINDOW.parse().unwrap()), "{adapter:?}");
        }
    }
}

#[tokio::test]
async fn what_is_known_or_too_old_costs_no_look_and_nothing_is_too_new() {
    for adapter in ALL {
        let at = |id: &str, created, ended| Fake {
            created,
            ended,
            ..fake(id, ours("uid-1"))
        };
        let server = adapter
            .serve(&shared(vec![
                at("known", IN_WINDOW, false),
                at("last-year", LAST_YEAR, false),
                at("of-the-future", OF_THE_FUTURE, false),
                at("ended-before", OLDER, true),
                at("long-running", OLDER, false),
                at("just-ended", IN_WINDOW, true),
            ]))
            .await;
        let request = MarkedRequest {
            known: [SessionId::new("known")].into(),
            ..request()
        };
        let page = adapter
            .connect(&server)
            .listing()
            .unwrap()
            .marked(&request)
            .await
            .unwrap();
        let expected = ["of-the-future", "long-running", "just-ended"];
        assert_eq!(ids(&page), expected, "{adapter:?}");
        let ended: Vec<bool> = page
            .found
            .iter()
            .map(|marked| marked.snapshot.phase.is_terminal())
            .collect();
        assert_eq!(ended, [false, false, true], "{adapter:?}");
        assert_eq!(adapter.looks(&server), expected, "{adapter:?}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_judged_yet_is_in_no_answer_and_looked_at_again_in_the_next_round() {
    for adapter in ALL {
        let fakes = shared(vec![
            Fake {
                readable: false,
                ..fake("late", ours("uid-1"))
            },
            fake("clear", ours("uid-2")),
        ]);
        let server = adapter.serve(&fakes).await;
        let provider = adapter.connect(&server);
        let page = provider
            .listing()
            .unwrap()
            .marked(&request())
            .await
            .unwrap();
        assert_eq!(ids(&page), ["clear"], "{adapter:?}");
        assert_eq!((page.foreign.len(), page.resume), (0, None), "{adapter:?}");
        fakes.lock().unwrap()[0].readable = true;
        let next = MarkedRequest {
            known: [SessionId::new("clear")].into(),
            ..request()
        };
        let page = provider.listing().unwrap().marked(&next).await.unwrap();
        assert_eq!(ids(&page), ["late"], "{adapter:?}");
    }
}

#[tokio::test]
async fn a_large_account_takes_several_bounded_calls_and_every_session_one_look() {
    for adapter in ALL {
        let all: Vec<Fake> = (0..100)
            .map(|n| fake(&format!("s{n}"), ours(&format!("uid-{n}"))))
            .collect();
        let server = adapter.serve(&shared(all)).await;
        let provider = adapter.connect(&server);
        let first = provider
            .listing()
            .unwrap()
            .marked(&request())
            .await
            .unwrap();
        assert!(first.found.len() < 100, "{adapter:?}");
        assert!(first.resume.is_some(), "{adapter:?}");
        let (found, calls) = round(provider.as_ref(), request()).await;
        assert!(calls > 1, "{adapter:?}");
        let mut looks: BTreeMap<String, usize> = BTreeMap::new();
        for id in adapter.looks(&server).split_off(first.found.len()) {
            *looks.entry(id).or_default() += 1;
        }
        assert_eq!(looks.len(), 100, "{adapter:?}");
        assert!(
            looks.values().all(|count| *count == 1),
            "{adapter:?}: {looks:?}"
        );
        let distinct: BTreeSet<&str> = found
            .iter()
            .map(|marked| marked.snapshot.session_id.as_str())
            .collect();
        assert_eq!((found.len(), distinct.len()), (100, 100), "{adapter:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_an_error_and_nothing_else_is_asked() {
    for adapter in ALL {
        let server = Server::start(|_| refusal(401, "unauthorized")).await;
        let error = adapter
            .connect(&server)
            .listing()
            .unwrap()
            .marked(&request())
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Unauthorized, "{adapter:?}");
        assert_eq!(server.lines().len(), 1, "{adapter:?}");
    }
}

#[tokio::test]
async fn a_provider_without_a_list_has_nothing_to_search() {
    let server = Server::start(|_| refusal(500, "internal_error")).await;
    let firetiger = connect(&stack(settings()), ProviderKind::Firetiger, &server.url);
    assert!(firetiger.listing().is_none());
    assert_eq!(server.lines(), [""; 0]);
}
