//! One adapter, connected to its simulated provider, and what the tests do with the two.

use std::sync::Arc;
use std::time::Duration;

use codeagent_operator::api::PullRequestSpec;
use codeagent_operator::domain::ids::{LaunchKey, SessionId};
use codeagent_operator::domain::image::Image;
use codeagent_operator::domain::marker::{Marker, MarkerSubject};
use codeagent_operator::domain::snapshot::Snapshot;
use codeagent_operator::providers::contract::{
    API_KEY, AdoptAnswer, AdoptRequest, Capability, Connection, Found, LaunchOutcome,
    LaunchRequest, Launched, MessageRequest, PageToken, Provider, SessionPage, SessionRef,
};
use codeagent_operator::providers::contract::{Template, TemplateMark};
use codeagent_operator::providers::credential::Credential;
use codeagent_operator::providers::error::ProviderError;
use codeagent_operator::providers::http::{HttpSettings, HttpStack, RateLimit};
use codeagent_simulator::{
    Fault, FaultKind, Key, LaunchFilter, Matcher, OperationClass, RequestRecord, Script,
    SessionView, Simulator, SimulatorOptions, TimeFlow,
};
use jiff::Timestamp;

use crate::provider_support::{
    REPOSITORY, adopt_request, installation, launch_request, no_pull_request, png, settings, stack,
    window,
};
use crate::subject::Subject;

/// The uid of the session that the tests look for.
pub const UID: &str = "session-uid";
/// So long a session stays in each state before it works.
pub const STAGE: Duration = Duration::from_secs(1);
/// So long it works.
pub const WORK: Duration = Duration::from_secs(600);
/// More passes than any lookup of these tests takes.
const MANY_PASSES: usize = 200;

pub struct Bench {
    pub subject: Subject,
    pub simulator: Simulator,
    pub provider: Arc<dyn Provider>,
    http: HttpStack,
    template: Option<String>,
}

/// Patient, for a slow machine; what hangs on purpose has settings of its own.
pub fn patient() -> HttpSettings {
    HttpSettings {
        get_timeout: Duration::from_secs(30),
        list_timeout: Duration::from_secs(30),
        post_timeout: Duration::from_secs(30),
        rate_limit: RateLimit {
            interval: Duration::from_micros(10),
            burst: 100_000,
            ..RateLimit::default()
        },
        ..settings()
    }
}

impl Bench {
    pub async fn new(subject: Subject) -> Self {
        Self::with(subject, |_| {}, patient()).await
    }

    /// Sessions proceed only by [`Self::pass`], so that a slow machine changes nothing.
    pub async fn with(
        subject: Subject,
        change: impl FnOnce(&mut SimulatorOptions),
        settings: HttpSettings,
    ) -> Self {
        let mut options = SimulatorOptions {
            time: TimeFlow::Manual,
            keys: vec![
                key(subject, "ours", &subject.credential()),
                key(subject, "theirs", &subject.credential_of_another_account()),
            ],
            script: Script {
                pending: Some(STAGE),
                creating: Some(STAGE),
                setup: Some(STAGE),
                running: Some(WORK),
                ..Script::default()
            },
            ..SimulatorOptions::default()
        };
        change(&mut options);
        let http = stack(settings);
        let simulator = Simulator::start(options).await.unwrap();
        let mut bench = Self {
            subject,
            provider: connect(subject, &http, &simulator, subject.credential()).unwrap(),
            simulator,
            http,
            template: None,
        };
        if subject.can(Capability::Templates) {
            let templates = bench.provider.templates().unwrap();
            bench.template = Some(templates.create(&template()).await.unwrap());
        }
        bench
    }

    /// Another connection to the same simulated provider.
    pub fn connect(&self, credential: Credential) -> Result<Arc<dyn Provider>, ProviderError> {
        connect(self.subject, &self.http, &self.simulator, credential)
    }

    /// A connection of another account.
    pub fn stranger(&self) -> Arc<dyn Provider> {
        self.connect(self.subject.credential_of_another_account())
            .unwrap()
    }

    /// The first attempt of the session that the tests look for.
    pub fn request(&self) -> LaunchRequest {
        self.attempt(UID, 1)
    }

    /// A launch of the session with this uid, with everything set that the adapter says it can do.
    pub fn attempt(&self, uid: &str, attempt: i32) -> LaunchRequest {
        let can = |capability| self.subject.can(capability);
        LaunchRequest {
            key: LaunchKey::derive("namespace-uid", uid, attempt),
            prompt: prompt(&Marker::launch(installation(), uid, attempt)),
            images: self.images(),
            environment: self.subject.environment(),
            pull_request: PullRequestSpec {
                auto_create: can(Capability::AutoCreatePullRequest),
                ..no_pull_request()
            },
            issue: can(Capability::Issue).then(|| "issues/FT-42".to_owned()),
            template_id: self.template.clone(),
            window: window(Duration::from_secs(60)),
            ..launch_request()
        }
    }

    /// Images in every form that the adapter says it takes.
    fn images(&self) -> Vec<Image> {
        let content = self.subject.can(Capability::Images).then(png);
        let url = Image::Url("https://example.com/a.png".to_owned());
        let by_url = self.subject.can(Capability::ImageUrls).then_some(url);
        content.into_iter().chain(by_url).collect()
    }

    /// A lookup of attempt 1 that knows the issue as it is now, where there is one.
    pub async fn lookup(&self) -> AdoptRequest {
        let now = Timestamp::now();
        AdoptRequest {
            message: None,
            keys: vec![self.request().key],
            uid: UID.to_owned(),
            recovery: self.subject.recovery(),
            template_id: self.template.clone(),
            sent: Some(self.request().prompt),
            baseline: self.baseline().await.unwrap(),
            created_from: now - Duration::from_secs(600),
            created_until: now + Duration::from_secs(3600),
            ..adopt_request()
        }
    }

    /// The message of this name to a session, with everything set that the adapter says it can do.
    pub fn message(&self, session: &SessionId, name: &str) -> MessageRequest {
        let marker = Marker {
            installation: installation(),
            uid: UID.to_owned(),
            subject: MarkerSubject::Message(name.to_owned()),
        };
        MessageRequest {
            session: reference(session),
            prompt: prompt(&marker),
            images: self.images(),
            model: None,
            window: window(Duration::from_secs(60)),
        }
    }

    /// A lookup of the message of this name, with what is there before it.
    pub async fn message_lookup(&self, session: &SessionId, name: &str) -> AdoptRequest {
        let follow_ups = self.provider.follow_ups().unwrap();
        AdoptRequest {
            message: Some(name.to_owned()),
            keys: Vec::new(),
            sent: Some(self.message(session, name).prompt),
            baseline: follow_ups.newest(&reference(session)).await.unwrap(),
            ..self.lookup().await
        }
    }

    /// What is there before a launch.
    pub async fn baseline(&self) -> Result<Option<String>, ProviderError> {
        self.provider
            .baseline(self.request().issue.as_deref())
            .await
    }

    /// Launches, and it must be accepted.
    pub async fn launch(&self, request: &LaunchRequest) -> Launched {
        match self.provider.launch(request).await {
            LaunchOutcome::Accepted(launched) => launched,
            other => panic!("{:?}: {other:?}", self.subject),
        }
    }

    /// Launches, and the answer gets lost. The id is what the simulator knows, and nobody else.
    pub async fn lose(&self, request: &LaunchRequest) -> SessionId {
        self.fault(OperationClass::Launch, FaultKind::DropAfter);
        match self.provider.launch(request).await {
            LaunchOutcome::Unknown(_) => {}
            other => panic!("{:?}: {other:?}", self.subject),
        }
        SessionId::new(
            self.simulator
                .launches(&LaunchFilter::default())
                .pop()
                .unwrap()
                .session,
        )
    }

    /// Looks for a lost launch, pass after pass, until there is an answer.
    pub async fn look_up(&self, mut request: AdoptRequest) -> AdoptAnswer {
        for _ in 0..MANY_PASSES {
            match self.provider.adopt(&request).await.unwrap() {
                AdoptAnswer::Inconclusive {
                    resume: Some(state),
                    ..
                } if !state.begin_anew => request.resume = Some(state),
                answer => return answer,
            }
        }
        panic!("{:?}: no answer in {MANY_PASSES} passes", self.subject);
    }

    /// A page of the list; where there is no list, one that is empty.
    pub async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        let listing = self.provider.listing();
        assert_eq!(listing.is_some(), self.subject.can(Capability::List));
        match listing {
            Some(listing) => listing.list(page).await,
            None => Ok(SessionPage {
                items: Vec::new(),
                next: None,
            }),
        }
    }

    pub async fn get(&self, session: &SessionId) -> Snapshot {
        self.provider.get(&reference(session)).await.unwrap()
    }

    /// Lets every session proceed by this long.
    pub fn pass(&self, time: Duration) {
        self.simulator.advance(time);
    }

    /// Lets every session work, so that its first prompt can be read.
    pub fn begin_work(&self) {
        self.pass(3 * STAGE);
    }

    /// For the next request of this class.
    pub fn fault(&self, class: OperationClass, fault: FaultKind) {
        self.simulator
            .inject(Fault::once(Matcher::class(class), fault));
    }

    /// For every request until the faults are cleared.
    pub fn always(&self, when: Matcher, fault: FaultKind) {
        self.simulator.inject(Fault::always(when, fault));
    }

    /// Makes a session vanish, if the provider lets anyone do that.
    pub async fn remove(&self, session: &str) -> bool {
        let Some((method, path)) = self.subject.removal(session) else {
            return false;
        };
        let url = format!("{}{path}", self.simulator.url(self.subject.simulated()));
        let key = crate::provider_support::KEY;
        let response = reqwest::Client::new()
            .request(method, url)
            .bearer_auth(key)
            .header("x-api-key", key)
            .send()
            .await
            .unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        true
    }

    /// How many sessions were started and paid for.
    pub fn started(&self) -> usize {
        self.simulator.launches(&LaunchFilter::default()).len()
    }

    /// What the simulator knows of a session.
    pub fn truth(&self, session: &SessionId) -> SessionView {
        let mut sessions = self.simulator.sessions();
        sessions.retain(|view| view.id == session.as_str());
        sessions.pop().unwrap()
    }

    /// The requests of this class, oldest first.
    pub fn requests(&self, class: OperationClass) -> Vec<RequestRecord> {
        let mut requests = self.simulator.requests();
        requests.retain(|record| record.class == Some(class));
        requests
    }
}

fn connect(
    subject: Subject,
    http: &HttpStack,
    simulator: &Simulator,
    credential: Credential,
) -> Result<Arc<dyn Provider>, ProviderError> {
    subject.registered().connect(Connection {
        spec: subject.spec(),
        endpoint: simulator.url(subject.simulated()).parse().unwrap(),
        credential,
        cluster: None,
        http: http.clone(),
    })
}

/// What the simulated provider accepts of a credential.
fn key(subject: Subject, name: &str, credential: &Credential) -> Key {
    let secret = match (credential.get("username"), credential.get("password")) {
        (Some(user), Some(password)) => format!("{user}:{password}"),
        _ => credential.get(API_KEY).unwrap().to_owned(),
    };
    Key {
        // So that a session leaves all that it can.
        enterprise: true,
        ..Key::user(subject.simulated(), name, &secret)
    }
}

pub fn reference(session: &SessionId) -> SessionRef {
    SessionRef {
        session_id: session.clone(),
        run_id: None,
    }
}

/// A prompt with this marker under it.
pub fn prompt(marker: &Marker) -> String {
    format!("Fix the login\n\n{marker}")
}

pub fn template() -> Template {
    Template {
        mark: TemplateMark {
            installation: installation(),
            uid: "agent-uid".into(),
        },
        name: "Bug Fixer".into(),
        description: None,
        repository: Some(REPOSITORY.into()),
        reference: None,
        model: None,
        pull_request: no_pull_request(),
    }
}

/// Ids and attempts of what was found, in its order.
#[track_caller]
pub fn found(answer: AdoptAnswer) -> Vec<(SessionId, Option<i32>)> {
    match answer {
        AdoptAnswer::Found(found) => found
            .into_iter()
            .map(
                |Found {
                     snapshot, attempt, ..
                 }| (snapshot.session_id, attempt),
            )
            .collect(),
        other => panic!("{other:?}"),
    }
}
