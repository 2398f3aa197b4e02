//! Settings of a provider that is any HTTP service: how the service is called and how its answers read, written by the user.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shared::{ENDPOINT_PATTERN, words_schema};

/// Paths below the endpoint: they begin with a slash and hold neither query nor escapes.
const PATH_PATTERN: &str = r"^(/[A-Za-z0-9._~:@!$&'()*+,;={}\-]+)+$";
/// Where something stands in an answer: names and positions, separated by dots.
const AT_PATTERN: &str = r"^[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*$";

/// An agent behind any HTTP service.
///
/// Requests are templates: `{name}` stands for a value, which is encoded for the place where it stands. Answers are read by a
/// dotted path and a table of words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.verify) || has(self.list)",
    "message": "set verify or list: one of them is read to see whether the service accepts the key"
}]))]
pub struct HttpSpec {
    /// Base URL of the service, such as https://api.example.com. The Secret must allow its host with the annotation
    /// codeagents.dev/allowed-hosts.
    #[schemars(length(max = 253), regex(pattern = ENDPOINT_PATTERN))]
    pub endpoint: String,
    /// How a request carries the key. Default: Authorization: Bearer KEY.
    #[serde(default)]
    pub auth: HttpAuth,
    /// What is read to see whether the key is accepted. Default: the first page of list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<HttpRead>,
    /// The request that starts a session and is paid for. Its answer is a session.
    pub launch: HttpLaunch,
    /// The request that reads one session, with {sessionId} in its path or query.
    pub get: HttpRead,
    /// How a session reads, wherever it stands in an answer.
    pub session: HttpSession,
    /// The request that lists the sessions of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<HttpList>,
    /// The request that reads what was said in a session. With it and list a lost launch is found again by the marker under its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<HttpConversation>,
    /// The request that sends a further message, with {message} in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<HttpMessage>,
    /// The request that stops a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<HttpCall>,
    /// The request that puts an ended session away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<HttpCall>,
    /// The member by which an error of the service is known besides error and code, such as detail. A 403 or 404 without any of them is
    /// taken for the answer of something in between, which proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub error_member: Option<String>,
    /// Answers of the service, as its documentation shows them. What they read as stands in the CodeAgent's status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub examples: Vec<HttpExample>,
}

/// How a request carries the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuth {
    /// Name of the header. Default: Authorization.
    #[serde(default = "default_header")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9\-]*$"), extend("x-kubernetes-validations" = [{
        "rule": "!(self.lowerAscii() in ['host', 'connection', 'content-length', 'content-type', 'transfer-encoding', 'accept', 'cookie', 'te', 'upgrade'])",
        "message": "this header cannot carry a key: name the one that the service documents, such as Authorization or X-API-Key"
    }]))]
    pub header: String,
    /// The word before the key, such as Bearer or Token; empty for none. Default: Bearer.
    #[serde(default = "default_scheme")]
    #[schemars(length(max = 32), regex(pattern = r"^[A-Za-z0-9._\-]*$"))]
    pub scheme: String,
}

impl Default for HttpAuth {
    fn default() -> Self {
        Self {
            header: default_header(),
            scheme: default_scheme(),
        }
    }
}

fn default_header() -> String {
    "Authorization".to_owned()
}

fn default_scheme() -> String {
    "Bearer".to_owned()
}

/// A request that reads: GET.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRead {
    /// Path below the endpoint, such as /v1/sessions/{sessionId}. A value is one segment of it.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// Where what is read stands in the answer, such as data.session. Default: it is the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub at: Option<String>,
}

/// A request that changes something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCall {
    /// POST, PUT, PATCH or DELETE. Default: POST.
    #[serde(default)]
    pub method: HttpMethod,
    /// Path below the endpoint. A value is one segment of it.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// The JSON body, whose texts are templates. A text that is one {name} alone and has no value is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "body_schema")]
    pub body: Option<Value>,
}

/// The request that sends a further message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMessage {
    /// POST or PUT. Default: POST.
    #[serde(default)]
    pub method: HttpLaunchMethod,
    /// Path below the endpoint. A value is one segment of it.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// The JSON body, whose texts are templates.
    #[schemars(schema_with = "body_schema")]
    pub body: Value,
    /// Where the answer says that the message was taken, such as id: a text, or true. Without it the answer proves nothing.
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub taken: String,
}

/// The request that starts a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpLaunch {
    /// POST or PUT. Default: POST.
    #[serde(default)]
    pub method: HttpLaunchMethod,
    /// Path below the endpoint. A value is one segment of it.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// The JSON body, whose texts are templates. A text that is one {name} alone and has no value is left out.
    #[schemars(schema_with = "body_schema")]
    pub body: Value,
    /// Where the session stands in the answer. Default: it is the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub at: Option<String>,
    /// What the service makes of {key}, which is the same for every request of one launch and of no other. SessionId: the session has it as
    /// its id, so that a lost launch is found by it. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<HttpKey>,
    /// Statuses besides 200 and 201 whose answer is a session that was started, such as 202.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "accepted_schema")]
    pub accepted: Vec<u16>,
    /// Statuses besides the usual ones with which the service says that nothing was started, such as 409.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "refused_schema")]
    pub refused: Vec<u16>,
}

/// Methods of requests that change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

words_schema!(HttpMethod: Post, Put, Patch, Delete);

/// Methods of requests that start something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpLaunchMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

words_schema!(HttpLaunchMethod: Post, Put);

/// What a service makes of the key of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpKey {
    /// It is the id of the session.
    SessionId,
}

words_schema!(HttpKey: SessionId);

/// The request that lists sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpList {
    /// Path below the endpoint.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates. {page} is the token of the page, which the first one lacks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// Where the sessions stand in the answer. Default: it is the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub items: Option<String>,
    /// Where the token of the next page stands. Default: there is one page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub next: Option<String>,
    /// Where it stands whether there is a further page: true or false. Default: there is one if there is a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub more: Option<String>,
}

/// The request that reads what was said in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpConversation {
    /// Path below the endpoint, with {sessionId}.
    #[schemars(length(max = 256), regex(pattern = PATH_PATTERN))]
    pub path: String,
    /// What stands behind the question mark, as templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "query_schema")]
    pub query: BTreeMap<String, String>,
    /// Where the messages stand in the answer, oldest first. Default: it is the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub items: Option<String>,
    /// Where a message has its text.
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub text: String,
    /// Where a message says who wrote it.
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub by: String,
    /// What stands there for the user, such as user.
    #[schemars(length(min = 1, max = 64))]
    pub user: String,
    /// What stands there for the agent, such as assistant.
    #[schemars(length(min = 1, max = 64))]
    pub agent: String,
}

/// How a session reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSession {
    /// The id: letters, digits, - _ . : and ~, at most 256.
    pub id: HttpField,
    /// Where it stands: Creating, Running, Finished, Error, Cancelled or Expired.
    pub phase: HttpField,
    /// The page on which a person can watch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<HttpField>,
    /// The repository that it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<HttpField>,
    /// The branch that it pushes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<HttpField>,
    /// The URL of its pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<HttpField>,
    /// The agent's closing words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<HttpField>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HttpField>,
    /// Why it waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<HttpField>,
    /// Whether it takes no message now: true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<HttpField>,
    /// When it was created: a date and time, or seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<HttpField>,
    /// Tokens read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<HttpField>,
    /// Tokens written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<HttpField>,
    /// Cost in hundredths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_cents: Option<HttpField>,
}

/// How one value is read from a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpField {
    /// Where it stands, such as pull_requests.0.url.
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub path: String,
    /// Where a word stands that says more: the table is asked for WORD/DETAIL first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = AT_PATTERN))]
    pub detail: Option<String>,
    /// What the service's words mean. Without it the value is taken as it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "words_table_schema")]
    pub values: BTreeMap<String, String>,
    /// What a word means that the table lacks. For a phase Creating or Running: an unknown word ends no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub default: Option<String>,
}

/// An answer of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpExample {
    /// Which request it answers: Launch, Get, List or Conversation.
    pub of: HttpExampleOf,
    /// The JSON body of the answer.
    #[schemars(schema_with = "answer_schema")]
    pub answer: Value,
}

/// Which request an example answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpExampleOf {
    /// launch.
    Launch,
    /// get.
    Get,
    /// list.
    List,
    /// conversation.
    Conversation,
}

words_schema!(HttpExampleOf: Launch, Get, List, Conversation);

impl HttpExampleOf {
    /// The word in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "Launch",
            Self::Get => "Get",
            Self::List => "List",
            Self::Conversation => "Conversation",
        }
    }
}

fn query_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 256}
    })
}

fn words_table_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 64}
    })
}

/// Statuses. Their own format, uint16, is none that the API server knows: kubectl would warn of it.
fn statuses_schema(most: usize, lowest: u16, highest: u16) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": most,
        "items": {"type": "integer", "format": "int32", "minimum": lowest, "maximum": highest}
    })
}

fn accepted_schema(_: &mut SchemaGenerator) -> Schema {
    statuses_schema(4, 200, 299)
}

fn refused_schema(_: &mut SchemaGenerator) -> Schema {
    let mut schema = statuses_schema(8, 400, 499);
    schema.insert(
        "x-kubernetes-validations".to_owned(),
        json!([{
            "rule": "!self.exists(status, status in [408, 425, 499])",
            "message": "408, 425 and 499 do not say whether something was started: remove them"
        }]),
    );
    schema
}

fn body_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list may be answered with an array.
fn answer_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
