//! The whole state of a simulator behind one lock, and the path of a request through it: fault, key, limit, provider, record.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::Urls;
use super::alter;
use super::clock::{Clock, Moment};
use super::connection::Connection;
use super::cursor::Cursor;
use super::fault::{FaultKind, Faults};
use super::firebender::Firebender;
use super::firetiger::Firetiger;
use super::flapjack::Flapjack;
use super::http::{
    Answer, AnswerBody, Call, EffectKind, Reason, Refusal, StreamPosition, StreamStep,
};
use super::http_service::HttpService;
use super::keys::{Key, KeyRing};
use super::marker::marker_of;
use super::operation::{Operation, Provider, Route};
use super::options::SimulatorOptions;
use super::provider::{Context, ProviderApi};
use super::rate_limit::{Limit, RateLimiter, too_many};
use super::record::{ImageRecord, Launch, LaunchKind, Log, RequestRecord, VariableRecord};
use super::script::ScriptBook;
use super::webhook::{Delivery as WebhookDelivery, WebhookMode};

/// What the server does with a request.
#[derive(Debug)]
pub(crate) enum Delivery {
    Answer {
        answer: Box<Answer>,
        after: Duration,
        cut_after_bytes: Option<usize>,
    },
    /// Close the connection without a byte.
    Close { after: Duration },
    /// Never answer; the connection stays open until the client or the simulator closes it.
    Silence,
}

pub(crate) struct World {
    pub(crate) clock: Clock,
    state: Mutex<WorldState>,
}

pub(crate) struct WorldState {
    cursor: Cursor,
    firebender: Firebender,
    flapjack: Flapjack,
    firetiger: Firetiger,
    http: HttpService,
    pub(crate) keys: KeyRing,
    pub(crate) faults: Faults,
    pub(crate) scripts: ScriptBook,
    pub(crate) log: Log,
    limiter: RateLimiter,
    general_limit: Option<u32>,
    pub(crate) webhook_mode: WebhookMode,
    /// Ids of the deliveries that were made, or left out.
    delivered: HashSet<String>,
    late: Vec<LateCommit>,
    open: HashMap<u64, Connection>,
    accepted_connections: HashMap<Provider, u64>,
    next_connection: u64,
}

/// A request that takes effect later.
#[derive(Debug)]
struct LateCommit {
    due: Moment,
    provider: Provider,
    operation: Operation,
    call: Call,
    caller: Key,
    request: u64,
}

impl World {
    /// `urls` are what the providers' own links begin with.
    pub(crate) fn new(options: SimulatorOptions, urls: &Urls) -> Self {
        Self {
            clock: Clock::start(options.time, options.clock_offset),
            state: Mutex::new(WorldState {
                cursor: Cursor::new(options.cursor, &urls.cursor),
                firebender: Firebender::new(options.firebender, urls.firebender.clone()),
                flapjack: Flapjack::new(options.flapjack),
                firetiger: Firetiger::new(options.firetiger),
                http: HttpService::default(),
                keys: KeyRing::new(options.keys),
                faults: Faults::default(),
                scripts: ScriptBook::new(options.script),
                log: Log::new(options.request_log),
                limiter: RateLimiter::default(),
                general_limit: options.rate_limit,
                webhook_mode: WebhookMode::default(),
                delivered: HashSet::new(),
                late: Vec::new(),
                open: HashMap::new(),
                accepted_connections: HashMap::new(),
                next_connection: 0,
            }),
        }
    }

    /// The state as of now: everything that was due has happened.
    pub(crate) fn state(&self) -> MutexGuard<'_, WorldState> {
        // A panic under the lock is a failed test already; the state itself is changed only in whole steps.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(&self.clock);
        state
    }

    pub(crate) fn process(&self, provider: Provider, call: Call, connection: u64) -> Delivery {
        self.state()
            .process(provider, call, connection, &self.clock)
    }

    /// A refusal of a request that never got as far as [`Self::process`].
    pub(crate) fn refuse(&self, provider: Provider, refusal: Refusal) -> Answer {
        refusal_answer(self.state().api_ref(provider), refusal)
    }

    pub(crate) fn stream(&self, provider: Provider, position: &mut StreamPosition) -> StreamStep {
        let state = self.state();
        state
            .api_ref(provider)
            .stream(position, self.clock.now(), &self.clock)
    }

    /// Deliveries to webhooks that have become due since the last time, and how often each is made.
    pub(crate) fn due_deliveries(&self) -> Vec<(WebhookDelivery, usize)> {
        let mut state = self.state();
        let times = match state.webhook_mode {
            WebhookMode::Once => 1,
            WebhookMode::Twice => 2,
            WebhookMode::Never => 0,
        };
        let all = state.deliveries(&self.clock);
        let due = all
            .into_iter()
            .filter(|delivery| state.delivered.insert(delivery.id.clone()));
        due.map(|delivery| (delivery, times)).collect()
    }

    pub(crate) fn cut_all_connections(&self) {
        for connection in self.state().open.values() {
            connection.cut();
        }
    }
}

impl WorldState {
    pub(crate) fn api(&mut self, provider: Provider) -> &mut dyn ProviderApi {
        match provider {
            Provider::Cursor => &mut self.cursor,
            Provider::Firebender => &mut self.firebender,
            Provider::Flapjack => &mut self.flapjack,
            Provider::Firetiger => &mut self.firetiger,
            Provider::Http => &mut self.http,
        }
    }

    pub(crate) fn api_ref(&self, provider: Provider) -> &dyn ProviderApi {
        match provider {
            Provider::Cursor => &self.cursor,
            Provider::Firebender => &self.firebender,
            Provider::Flapjack => &self.flapjack,
            Provider::Firetiger => &self.firetiger,
            Provider::Http => &self.http,
        }
    }

    /// Every delivery to a webhook that has been due until now.
    pub(crate) fn deliveries(&self, clock: &Clock) -> Vec<WebhookDelivery> {
        let now = clock.now();
        let providers = Provider::ALL.into_iter();
        providers
            .flat_map(|provider| self.api_ref(provider).deliveries(now, clock))
            .collect()
    }

    pub(crate) fn connection_number(&mut self, provider: Provider) -> u64 {
        *self.accepted_connections.entry(provider).or_insert(0) += 1;
        let number = self.next_connection;
        self.next_connection += 1;
        number
    }

    pub(crate) fn connection_opened(&mut self, connection: Connection) {
        self.open.insert(connection.number, connection);
    }

    pub(crate) fn connection_closed(&mut self, number: u64) {
        self.open.remove(&number);
        self.log.connection_closed(number);
    }

    /// TCP connections that a provider's listener accepted since the start.
    pub(crate) fn accepted_connections(&self, provider: Provider) -> u64 {
        self.accepted_connections
            .get(&provider)
            .copied()
            .unwrap_or(0)
    }

    /// Lets late commits that are due take effect, in their order.
    fn settle(&mut self, clock: &Clock) {
        let now = clock.now();
        while let Some(index) = self
            .late
            .iter()
            .enumerate()
            .filter(|(_, late)| late.due <= now)
            .min_by_key(|(_, late)| late.due)
            .map(|(index, _)| index)
        {
            let late = self.late.remove(index);
            let result = self.perform(
                late.provider,
                late.operation,
                &late.call,
                &late.caller,
                late.due,
                clock,
            );
            if let Ok(answer) = result {
                self.record_effect(
                    late.request,
                    late.provider,
                    &late.caller,
                    &late.call,
                    &answer,
                    late.due,
                    clock,
                );
            }
        }
    }

    fn perform(
        &mut self,
        provider: Provider,
        operation: Operation,
        call: &Call,
        caller: &Key,
        now: Moment,
        clock: &Clock,
    ) -> Result<Answer, Refusal> {
        let api: &mut dyn ProviderApi = match provider {
            Provider::Cursor => &mut self.cursor,
            Provider::Firebender => &mut self.firebender,
            Provider::Flapjack => &mut self.flapjack,
            Provider::Firetiger => &mut self.firetiger,
            Provider::Http => &mut self.http,
        };
        let context = Context {
            now,
            clock,
            scripts: &mut self.scripts,
            caller,
        };
        api.answer(operation, call, context)
    }

    fn process(
        &mut self,
        provider: Provider,
        mut call: Call,
        connection: u64,
        clock: &Clock,
    ) -> Delivery {
        let now = clock.now();
        let api = self.api_ref(provider);
        let route = api.route(&call.method, &call.segments());
        let secret = api.presented_key(&call);
        let session = api.session_in_path(&call.segments()).map(str::to_owned);
        let operation = match &route {
            Route::To(operation) => Some(*operation),
            Route::MethodNotAllowed(_) | Route::NotFound => None,
        };
        let caller = secret.and_then(|secret| self.keys.find(provider, &secret).cloned());
        let fault = self.faults.take(provider, operation, &call);
        let mut record = new_record(provider, operation, &call, connection, clock, now);
        record.session = session;
        record.key = caller.as_ref().map(|key| key.name.clone());
        record.fault = fault.as_ref().map(|fault| fault.name().to_owned());
        let request = self.log.add(record);

        let before = fault
            .as_ref()
            .and_then(|fault| fault_before(fault, self.api_ref(provider), clock));
        if let Some(delivery) = before {
            return self.deliver(request, delivery);
        }
        if let (Some(FaultKind::LateCommit { after, close_after }), Some(operation), Some(caller)) =
            (&fault, operation, &caller)
        {
            self.late.push(LateCommit {
                due: now.plus(*after),
                provider,
                operation,
                call,
                caller: caller.clone(),
                request,
            });
            return self.deliver(
                request,
                Delivery::Close {
                    after: *close_after,
                },
            );
        }
        match &fault {
            Some(FaultKind::IgnoreAgentId) => call.tampering.ignore_agent_id = true,
            Some(FaultKind::Lag { duration }) => call.tampering.lag = *duration,
            Some(FaultKind::SmallPages { items }) => call.tampering.largest_page = Some(*items),
            _ => {}
        }

        let result = self.authorized(provider, route, &call, caller.as_ref(), now, clock);
        if let (Ok(answer), Some(caller)) = (&result, &caller) {
            self.record_effect(request, provider, caller, &call, answer, now, clock);
        }
        let api = self.api_ref(provider);
        let answer = result.unwrap_or_else(|refusal| refusal_answer(api, refusal));
        let delivery = fault_after(fault.as_ref(), answer, api);
        self.deliver(request, delivery)
    }

    /// Routing errors, key and limits before the operation itself.
    fn authorized(
        &mut self,
        provider: Provider,
        route: Route,
        call: &Call,
        caller: Option<&Key>,
        now: Moment,
        clock: &Clock,
    ) -> Result<Answer, Refusal> {
        let operation = match route {
            Route::To(operation) => operation,
            Route::NotFound => return Err(Refusal::no_such_path(&call.path)),
            Route::MethodNotAllowed(methods) => {
                let allowed: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
                let mut refusal = Refusal::common(
                    Reason::MethodNotAllowed,
                    format!("{} is not allowed here", call.method),
                );
                refusal.headers.push(("allow", allowed.join(", ")));
                return Err(refusal);
            }
        };
        if let Some(answer) = self.api_ref(provider).public_answer(operation, call, now) {
            return answer;
        }
        let Some(caller) = caller else {
            return Err(Refusal::common(
                Reason::Unauthorized,
                "Invalid or missing API key",
            ));
        };
        let mut limits = self.api_ref(provider).limits(operation);
        limits.extend(self.general_limit.map(|requests| Limit {
            requests,
            window: Duration::from_secs(60),
        }));
        self.limiter
            .admit(&caller.account, operation, &limits, clock)?;
        self.perform(provider, operation, call, caller, now, clock)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a record is made of all of these"
    )]
    fn record_effect(
        &mut self,
        request: u64,
        provider: Provider,
        caller: &Key,
        call: &Call,
        answer: &Answer,
        now: Moment,
        clock: &Clock,
    ) {
        let Some(effect) = &answer.effect else {
            return;
        };
        self.log.amend(request, |record| {
            record.accepted = true;
            record.session = Some(effect.session.clone());
            record.run = effect.run.clone();
        });
        let kind = match effect.kind {
            EffectKind::Launched => LaunchKind::Session,
            EffectKind::Messaged => LaunchKind::Message,
            EffectKind::Changed => return,
        };
        let body = call.json();
        self.log.add_launch(Launch {
            request,
            provider,
            kind,
            session: effect.session.clone(),
            run: effect.run.clone(),
            key: caller.name.clone(),
            agent_id: agent_id_in(body.as_ref()),
            marker: marker_in(body.as_ref()),
            images: ImageRecord::all_in(body.as_ref()),
            environment: VariableRecord::all_in(body.as_ref()),
            at: clock.timestamp(now),
        });
    }

    fn deliver(&mut self, request: u64, delivery: Delivery) -> Delivery {
        let status = match &delivery {
            Delivery::Answer { answer, .. } => Some(answer.status.as_u16()),
            Delivery::Close { .. } | Delivery::Silence => None,
        };
        self.log.amend(request, |record| record.status = status);
        delivery
    }
}

fn new_record(
    provider: Provider,
    operation: Option<Operation>,
    call: &Call,
    connection: u64,
    clock: &Clock,
    now: Moment,
) -> RequestRecord {
    let body = call.json();
    RequestRecord {
        sequence: 0,
        provider,
        operation,
        class: operation.map(Operation::class),
        method: call.method.to_string(),
        path: call.path.clone(),
        query: call.query.clone(),
        key: None,
        connection,
        position_on_connection: 0,
        at: clock.timestamp(now),
        accepted: false,
        status: None,
        session: None,
        run: None,
        agent_id: agent_id_in(body.as_ref()),
        marker: marker_in(body.as_ref()),
        idempotency_key: call.header("idempotency-key").map(str::to_owned),
        fault: None,
        body_bytes: call.body.len(),
        body_fields: body
            .as_ref()
            .and_then(Value::as_object)
            .map(|members| members.keys().cloned().collect())
            .unwrap_or_default(),
    }
}

fn agent_id_in(body: Option<&Value>) -> Option<String> {
    body?.get("agentId")?.as_str().map(str::to_owned)
}

fn marker_in(body: Option<&Value>) -> Option<String> {
    let prompt = body?.get("prompt")?;
    let text = prompt.get("text").unwrap_or(prompt).as_str()?;
    marker_of(text).map(str::to_owned)
}

fn refusal_answer(api: &dyn ProviderApi, refusal: Refusal) -> Answer {
    let (status, body) = api.refusal(&refusal);
    let mut answer = Answer::json(status, body);
    answer.headers = refusal.headers;
    answer
}

fn at_once(answer: Answer) -> Delivery {
    Delivery::Answer {
        after: answer.latency,
        answer: Box::new(answer),
        cut_after_bytes: None,
    }
}

const INJECTED: &str = "Injected by a fault";

fn scripted_error(api: &dyn ProviderApi, status: u16, code: &str, message: &str) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let refusal = Refusal::new(status, code.to_owned(), message);
    refusal_answer(api, refusal)
}

/// What something between a client and a provider shows to a browser.
fn web_page(status: u16) -> Answer {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = match code {
        StatusCode::OK => "Sign in",
        _ => code.canonical_reason().unwrap_or("Error"),
    };
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1><p>Reference 0.7f3a21c8</p></body>\n</html>\n"
    );
    let mut answer = Answer::file("text/html; charset=utf-8", page);
    answer.status = code;
    answer
}

/// The faults that leave the state alone.
fn fault_before(fault: &FaultKind, api: &dyn ProviderApi, clock: &Clock) -> Option<Delivery> {
    match fault {
        FaultKind::DropBefore => Some(Delivery::Close {
            after: Duration::ZERO,
        }),
        FaultKind::Hang { duration } => Some(Delivery::Close { after: *duration }),
        FaultKind::ErrorBefore { status, code } => {
            Some(at_once(scripted_error(api, *status, code, INJECTED)))
        }
        FaultKind::Refused {
            status,
            code,
            message,
        } => Some(at_once(scripted_error(api, *status, code, message))),
        FaultKind::WebPage { status } => Some(at_once(web_page(*status))),
        FaultKind::SilentBefore => Some(Delivery::Silence),
        FaultKind::RateLimited { retry_after } => {
            let refusal = match retry_after {
                Some(seconds) => too_many(20, Duration::from_secs(*seconds), clock),
                None => Refusal::rate_limited("Rate limit exceeded"),
            };
            Some(at_once(refusal_answer(api, refusal)))
        }
        FaultKind::Respond {
            status,
            headers,
            body,
        } => Some(at_once(raw_answer(*status, headers, body))),
        FaultKind::DropAfter
        | FaultKind::SilentAfter
        | FaultKind::Delay { .. }
        | FaultKind::LateCommit { .. }
        | FaultKind::ErrorAfter { .. }
        | FaultKind::TruncatedBody
        | FaultKind::HugeBody { .. }
        | FaultKind::HugeField { .. }
        | FaultKind::HugeArray { .. }
        | FaultKind::Echo { .. }
        | FaultKind::PageToken { .. }
        | FaultKind::UnknownStatus { .. }
        | FaultKind::Lag { .. }
        | FaultKind::IgnoreAgentId
        | FaultKind::SmallPages { .. }
        | FaultKind::CutStream { .. }
        | FaultKind::StreamError { .. } => None,
    }
}

fn raw_answer(status: u16, headers: &[(String, String)], body: &str) -> Answer {
    let content_type = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map_or("application/json", |(_, value)| value.as_str());
    let mut answer = Answer::file(content_type, body.to_owned());
    answer.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.extra_headers = headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"))
        .cloned()
        .collect();
    answer
}

/// The faults that act on the answer.
fn fault_after(fault: Option<&FaultKind>, mut answer: Answer, api: &dyn ProviderApi) -> Delivery {
    let Some(fault) = fault else {
        return at_once(answer);
    };
    match fault {
        FaultKind::DropAfter => Delivery::Close {
            after: answer.latency,
        },
        FaultKind::Delay { by } => {
            answer.latency = answer.latency.saturating_add(*by);
            at_once(answer)
        }
        FaultKind::SilentAfter => Delivery::Silence,
        FaultKind::ErrorAfter { status, code } => {
            at_once(scripted_error(api, *status, code, INJECTED))
        }
        FaultKind::TruncatedBody => {
            if let AnswerBody::Json(body) = &answer.body {
                let text = body.to_string();
                let half = text.len() / 2;
                answer.body = AnswerBody::File {
                    media_type: "application/json".to_owned(),
                    content: Bytes::from(text).slice(..half),
                };
            }
            at_once(answer)
        }
        FaultKind::HugeBody { .. }
        | FaultKind::HugeField { .. }
        | FaultKind::HugeArray { .. }
        | FaultKind::Echo { .. }
        | FaultKind::PageToken { .. }
        | FaultKind::UnknownStatus { .. } => {
            if let AnswerBody::Json(body) = &mut answer.body {
                alter_body(fault, body);
            }
            at_once(answer)
        }
        FaultKind::CutStream { after_bytes } => Delivery::Answer {
            after: answer.latency,
            answer: Box::new(answer),
            cut_after_bytes: Some(*after_bytes),
        },
        FaultKind::StreamError { code } => {
            if let AnswerBody::Stream(_) = answer.body {
                let data = json!({"code": code, "message": "Injected by a fault"});
                answer.body = AnswerBody::File {
                    media_type: "text/event-stream".to_owned(),
                    content: Bytes::from(format!("event: error\ndata: {data}\n\n")),
                };
            }
            at_once(answer)
        }
        FaultKind::Lag { .. }
        | FaultKind::IgnoreAgentId
        | FaultKind::SmallPages { .. }
        | FaultKind::LateCommit { .. }
        | FaultKind::DropBefore
        | FaultKind::SilentBefore
        | FaultKind::Hang { .. }
        | FaultKind::ErrorBefore { .. }
        | FaultKind::Refused { .. }
        | FaultKind::WebPage { .. }
        | FaultKind::RateLimited { .. }
        | FaultKind::Respond { .. } => at_once(answer),
    }
}

/// The faults that change the JSON of an answer.
fn alter_body(fault: &FaultKind, body: &mut Value) {
    match fault {
        FaultKind::HugeBody { bytes } => alter::pad(body, *bytes),
        FaultKind::HugeField { member, bytes } => {
            let text = Value::String("x".repeat((*bytes).min(alter::MAX_HUGE)));
            alter::overwrite_member(body, member, &text);
        }
        FaultKind::HugeArray {
            member,
            items,
            item,
        } => {
            let array = Value::Array(vec![item.clone(); (*items).min(alter::MAX_HUGE)]);
            alter::overwrite_member(body, member, &array);
        }
        FaultKind::Echo { how } => alter::echo(body, *how),
        FaultKind::PageToken { token } => alter::overwrite_page_token(body, token),
        FaultKind::UnknownStatus { value } => alter::overwrite_status(body, value),
        _ => {}
    }
}
