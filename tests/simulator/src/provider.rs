//! What a simulated provider consists of. Everything is synchronous and free of I/O; time, caller and scripts are handed in.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::clock::{Clock, Moment};
use super::http::{Answer, Call, Code, Refusal, StreamPosition, StreamStep};
use super::keys::Key;
use super::members::insert;
use super::operation::{Operation, Route};
use super::rate_limit::Limit;
use super::record::SessionView;
use super::script::{Script, ScriptBook};
use super::webhook::Delivery;

/// A refusal that a person mends on a page, which it names.
pub(crate) const NOT_CONNECTED: &str = "integration_not_connected";
const HELP_URL: &str = "https://cursor.com/dashboard?tab=integrations";

/// What an operation may use besides the provider's own state.
pub(crate) struct Context<'a> {
    pub(crate) now: Moment,
    pub(crate) clock: &'a Clock,
    pub(crate) scripts: &'a mut ScriptBook,
    pub(crate) caller: &'a Key,
}

pub(crate) trait ProviderApi: Send {
    fn route(&self, method: &Method, segments: &[&str]) -> Route;

    /// The session that a path names, for the record.
    fn session_in_path<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
        match segments {
            [_, "agents" | "recordings" | "traces", id, ..] => Some(id),
            _ => None,
        }
    }

    /// Status and body of a refusal. Unless a provider has its own shape, it is the one that Cursor documents and Firebender is assumed to share.
    fn refusal(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let code = match &refusal.code {
            Code::Common(reason) => reason.cursor_word(),
            Code::Own(word) => word,
        };
        let mut error = json!({"code": code, "message": refusal.message});
        if code == NOT_CONNECTED {
            insert(&mut error, "helpUrl", json!(HELP_URL));
            insert(&mut error, "provider", json!("github"));
        }
        (refusal.status, json!({ "error": error }))
    }

    /// The key that a request carries, in the provider's way of sending it (unless it has its own: Cursor's).
    fn presented_key(&self, call: &Call) -> Option<String> {
        call.authorization_key()
    }

    /// The provider's own limits for an operation.
    fn limits(&self, _operation: Operation) -> Vec<Limit> {
        Vec::new()
    }

    /// Answers an operation that needs no key (presigned URLs); `None` for all others.
    fn public_answer(
        &self,
        _operation: Operation,
        _call: &Call,
        _now: Moment,
    ) -> Option<Result<Answer, Refusal>> {
        None
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal>;

    /// The next step of an event stream. Only Cursor v1 has any.
    fn stream(&self, _position: &mut StreamPosition, _now: Moment, _clock: &Clock) -> StreamStep {
        StreamStep::End
    }

    /// All sessions ever created, oldest first.
    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView>;

    /// Every delivery to a webhook that has been due until now, oldest first within a session. Only those with webhooks have any.
    fn deliveries(&self, _now: Moment, _clock: &Clock) -> Vec<Delivery> {
        Vec::new()
    }

    /// Adds a link to an issue, as a person would; `false`: no such issue. Only Firetiger has any.
    fn link_issue(&mut self, _issue: &str, _url: &str) -> bool {
        false
    }

    /// Changes the rest of a session's newest run; `false`: no such session.
    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool;
}
