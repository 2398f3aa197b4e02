//! Cursor's listener: two versions of one API under the same keys and accounts, and what they share.
//!
//! Agents of one version are seen through the other ([`shared`]), unless [`AgentSets::Separate`] is chosen.

mod access;
mod catalogue;
pub(crate) mod repository;
mod shared;
mod v0;
mod v1;

use std::time::Duration;

use http::Method;

use self::v0::CursorV0;
use self::v1::CursorV1;
use crate::clock::{Clock, Moment};
use crate::http::{Answer, Call, Refusal, StreamPosition, StreamStep};
use crate::operation::{Operation, Route};
use crate::options::{AgentSets, CursorOptions};
use crate::provider::{Context, ProviderApi};
use crate::rate_limit::Limit;
use crate::record::SessionView;
use crate::script::Script;
use crate::webhook::Delivery;

pub(crate) struct Cursor {
    agents: AgentSets,
    v0: CursorV0,
    v1: CursorV1,
}

impl Cursor {
    pub(crate) fn new(options: CursorOptions, url: &str) -> Self {
        Self {
            agents: options.agents,
            v0: CursorV0::new(options.clone(), url.to_owned()),
            v1: CursorV1::new(options, url.to_owned()),
        }
    }

    fn version(&self, segments: &[&str]) -> &dyn ProviderApi {
        match segments {
            ["v0" | v0::ARTIFACT_STORE, ..] => &self.v0,
            _ => &self.v1,
        }
    }

    fn version_mut(&mut self, segments: &[&str]) -> &mut dyn ProviderApi {
        match segments {
            ["v0" | v0::ARTIFACT_STORE, ..] => &mut self.v0,
            _ => &mut self.v1,
        }
    }
}

impl ProviderApi for Cursor {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        self.version(segments).route(method, segments)
    }

    fn limits(&self, operation: Operation) -> Vec<Limit> {
        match operation {
            // Documented: 1 per user and minute, 30 per user and hour.
            Operation::CursorV0ListRepositories | Operation::CursorV1ListRepositories => vec![
                Limit {
                    requests: 1,
                    window: Duration::from_secs(60),
                },
                Limit {
                    requests: 30,
                    window: Duration::from_secs(3600),
                },
            ],
            _ => Vec::new(),
        }
    }

    fn public_answer(
        &self,
        operation: Operation,
        call: &Call,
        now: Moment,
    ) -> Option<Result<Answer, Refusal>> {
        self.version(&call.segments())
            .public_answer(operation, call, now)
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let segments = call.segments();
        if self.agents == AgentSets::Separate {
            return self.version_mut(&segments).answer(operation, call, context);
        }
        let Context {
            now, clock, caller, ..
        } = context;
        let part = |index: usize| segments.get(index).copied().unwrap_or("");
        let id = part(2);
        match (operation, part(0), part(1)) {
            (Operation::CursorV0ListAgents, _, _) => {
                let others = self.v1.listed_in_v0(caller, now, clock);
                self.v0.list_agents(call, context, others)
            }
            (Operation::CursorV1ListAgents, _, _) => {
                let others = self.v0.listed_in_v1(caller, now, clock);
                self.v1.list_agents(call, context, others)
            }
            (_, "v0", "agents") if self.v1.has(id, caller) => {
                self.v1.answer_v0(operation, id, call, context)
            }
            (_, "v1", "agents") if self.v0.has(id, caller) => {
                self.v0.answer_v1(operation, (id, part(4)), context)
            }
            _ => self.version_mut(&segments).answer(operation, call, context),
        }
    }

    fn stream(&self, position: &mut StreamPosition, now: Moment, clock: &Clock) -> StreamStep {
        self.v1.stream(position, now, clock)
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        let mut sessions = self.v1.sessions(now, clock);
        sessions.extend(self.v0.sessions(now, clock));
        sessions.sort_by_key(|session| session.created_at);
        sessions
    }

    fn deliveries(&self, now: Moment, clock: &Clock) -> Vec<Delivery> {
        self.v0.deliveries(now, clock)
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        self.v1.rescript(session, script.clone(), now) || self.v0.rescript(session, script, now)
    }
}
