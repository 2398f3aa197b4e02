//! What a simulated provider consists of. Everything is synchronous and free of I/O; time, caller and scripts are handed in.

use http::Method;

use super::clock::{Clock, Moment};
use super::http::{Answer, Call, Refusal, StreamPosition, StreamStep};
use super::keys::Key;
use super::operation::{Operation, Route};
use super::rate_limit::Limit;
use super::record::SessionView;
use super::script::{Script, ScriptBook};

/// What an operation may use besides the provider's own state.
pub(crate) struct Context<'a> {
    pub(crate) now: Moment,
    pub(crate) clock: &'a Clock,
    pub(crate) scripts: &'a mut ScriptBook,
    pub(crate) caller: &'a Key,
}

pub(crate) trait ProviderApi: Send {
    fn route(&self, method: &Method, segments: &[&str]) -> Route;

    /// The key that a request carries, in the provider's way of sending it.
    fn presented_key(&self, call: &Call) -> Option<String>;

    /// The provider's own limits for an operation.
    fn limits(&self, operation: Operation) -> Vec<Limit>;

    /// Answers an operation that needs no key (presigned URLs); `None` for all others.
    fn public_answer(
        &self,
        operation: Operation,
        call: &Call,
        now: Moment,
    ) -> Option<Result<Answer, Refusal>>;

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal>;

    /// The next step of an event stream.
    fn stream(&self, position: &mut StreamPosition, now: Moment, clock: &Clock) -> StreamStep;

    /// All sessions ever created, oldest first.
    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView>;

    /// Changes the rest of a session's newest run; `false`: no such session.
    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool;
}
