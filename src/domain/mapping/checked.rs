//! A mapping that was checked: what each request is made of, and where in its answer things stand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::misfit::Misfit;
use super::read::{NotUnderstood, Place, SessionReader};
use super::template::{Json, Name, Text, Values};
use crate::api::{
    HttpCall, HttpConversation, HttpKey, HttpLaunch, HttpLaunchMethod, HttpList, HttpMessage,
    HttpMethod, HttpRead, HttpSpec,
};

const OF_LAUNCH: [Name; 9] = [
    Name::Key,
    Name::Name,
    Name::Prompt,
    Name::Repository,
    Name::Ref,
    Name::PullRequestUrl,
    Name::Model,
    Name::BranchName,
    Name::AutoCreatePullRequest,
];
const OF_MESSAGE: [Name; 2] = [Name::SessionId, Name::Message];
const OF_SESSION: [Name; 1] = [Name::SessionId];
const OF_LIST: [Name; 1] = [Name::Page];

/// What is sent: method, path and the rest, as templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// How.
    pub method: HttpMethod,
    path: Vec<Text>,
    query: Vec<(String, Text)>,
    body: Option<Json>,
}

/// What is sent, with its values. Segments and query are encoded by whoever sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// The segments of the path.
    pub path: Vec<String>,
    /// Names and values behind the question mark.
    pub query: Vec<(String, String)>,
    /// The body.
    pub body: Option<Value>,
}

impl Call {
    fn new(
        field: &str,
        (method, path): (HttpMethod, &str),
        query: &BTreeMap<String, String>,
        body: Option<&Value>,
        allowed: &[Name],
    ) -> Result<Self, Misfit> {
        let query_field = format!("{field}.query");
        let query = query.iter().map(|(name, text)| {
            let text = Text::parse(&format!("{query_field}[{name}]"), text, allowed)?;
            Ok((name.clone(), text))
        });
        Ok(Self {
            method,
            path: segments(&format!("{field}.path"), path, allowed)?,
            query: query.collect::<Result<_, Misfit>>()?,
            body: body
                .map(|body| Json::parse(&format!("{field}.body"), body, allowed))
                .transpose()?,
        })
    }

    fn read(field: &str, read: &HttpRead, allowed: &[Name]) -> Result<Self, Misfit> {
        let (method, path) = (HttpMethod::default(), read.path.as_str());
        Self::new(field, (method, path), &read.query, None, allowed)
    }

    fn of(field: &str, call: &HttpCall, allowed: &[Name]) -> Result<Self, Misfit> {
        let (method, path) = (call.method, call.path.as_str());
        Self::new(
            field,
            (method, path),
            &call.query,
            call.body.as_ref(),
            allowed,
        )
    }

    /// The names in it.
    pub fn names(&self) -> BTreeSet<Name> {
        let mut names: BTreeSet<Name> = self.path.iter().flat_map(Text::names).collect();
        names.extend(self.query.iter().flat_map(|(_, text)| text.names()));
        if let Some(body) = &self.body {
            body.add_names(&mut names);
        }
        names
    }

    fn needs(&self, field: &str, name: Name, why: &str) -> Result<(), Misfit> {
        match self.names().contains(&name) {
            true => Ok(()),
            false => Err(Misfit::new(
                field,
                format!("it has no {{{}}}: {why}", name.as_str()),
            )),
        }
    }

    /// What is sent with these values.
    ///
    /// # Errors
    /// If a value would leave the place in the path that it stands in.
    pub fn fill(&self, values: &Values) -> Result<Filled, NotUnderstood> {
        let path = self.path.iter().map(|segment| {
            let filled = segment.fill(values);
            match filled.as_str() {
                "" | "." | ".." => Err(NotUnderstood::new(
                    "path",
                    "a value makes a segment of it empty, . or .., which would be another path",
                )),
                _ => Ok(filled),
            }
        });
        let query = self.query.iter().filter_map(|(name, text)| {
            let absent = text.names().any(|name| !values.contains_key(&name));
            (!absent).then(|| (name.clone(), text.fill(values)))
        });
        Ok(Filled {
            path: path.collect::<Result<_, _>>()?,
            query: query.collect(),
            body: self.body.as_ref().and_then(|body| body.fill(values)),
        })
    }
}

/// The segments of a path. A value is part of one segment, and the fixed text of none leads elsewhere.
fn segments(field: &str, path: &str, allowed: &[Name]) -> Result<Vec<Text>, Misfit> {
    let Some(below) = path.strip_prefix('/') else {
        return Err(Misfit::at(field, 1, "a path begins with a slash"));
    };
    let mut column = 2;
    let mut segments = Vec::new();
    for segment in below.split('/') {
        if matches!(segment, "" | "." | "..") {
            let why = "a segment that is empty, . or .. leads elsewhere: write the path as it is";
            return Err(Misfit::at(field, column, why));
        }
        if segment.contains(['?', '#', '%', '\\']) {
            let why = "a path holds no ?, # or %: what follows a question mark goes into query, and everything is encoded when it is sent";
            return Err(Misfit::at(field, column, why));
        }
        let text = Text::parse(field, segment, allowed).map_err(|misfit| misfit.within(column))?;
        segments.push(text);
        column += segment.chars().count() + 1;
    }
    Ok(segments)
}

/// The list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What is sent for a page.
    pub call: Call,
    /// Where the sessions stand.
    pub items: Place,
    /// Where the token of the next page stands.
    pub next: Option<Place>,
    /// Where it stands whether there is one.
    pub more: Option<Place>,
}

impl List {
    /// The token of the next page, as it stands there; `None` at the end.
    pub fn token<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        let more = self.more.as_ref().and_then(|more| more.find(answer));
        match more {
            Some(Value::Bool(false)) => None,
            Some(_) | None => self.next.as_ref()?.find(answer),
        }
    }
}

/// What was said in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// What is sent.
    pub call: Call,
    /// Where the messages stand.
    pub items: Place,
    /// Where a message has its text.
    pub text: Place,
    /// Where it says whose it is.
    pub by: Place,
    /// The word for the user.
    pub user: String,
    /// The word for the agent.
    pub agent: String,
}

/// How a further message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is sent.
    pub call: Call,
    taken: Place,
}

impl Message {
    /// Checks that an answer says that the message was taken.
    ///
    /// # Errors
    /// If nothing, or `false`, stands where it would.
    pub fn taken(&self, answer: &Value) -> Result<(), NotUnderstood> {
        match self.taken.find(answer) {
            Some(Value::String(text)) if !text.is_empty() => Ok(()),
            Some(Value::Bool(true)) => Ok(()),
            Some(_) | None => {
                let why = format!("{} does not say that it was taken", self.taken.dotted());
                Err(NotUnderstood::new("message.taken", why))
            }
        }
    }
}

/// A mapping that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What is read to see whether the key is accepted.
    pub verify: Option<Call>,
    /// What starts a session.
    pub launch: Call,
    /// Where the session stands in the answer to it.
    pub launched: Place,
    /// What the service makes of the key.
    pub key: Option<HttpKey>,
    /// Further statuses whose answer is a session.
    pub accepted: Vec<u16>,
    /// Further statuses with which nothing was started.
    pub refused: Vec<u16>,
    /// What reads a session.
    pub get: Call,
    /// Where the session stands in the answer to it.
    pub got: Place,
    /// How a session reads.
    pub session: SessionReader,
    /// The list.
    pub list: Option<List>,
    /// The conversation.
    pub conversation: Option<Conversation>,
    /// What sends a further message.
    pub message: Option<Message>,
    /// What stops a session.
    pub cancel: Option<Call>,
    /// What puts one away.
    pub archive: Option<Call>,
    /// The member that every error has.
    pub error_member: Option<String>,
}

const WHICH_SESSION: &str = "the service could not tell which session is meant";

impl Mapping {
    /// Checks what a CodeAgent says.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(spec: &HttpSpec) -> Result<Self, Misfit> {
        let launch = launch(&spec.launch)?;
        let of_session = |field: &str, call: &Option<HttpCall>, allowed: &[Name]| {
            let call = call.as_ref().map(|call| Call::of(field, call, allowed));
            let call = call.transpose()?;
            if let Some(call) = &call {
                call.needs(field, Name::SessionId, WHICH_SESSION)?;
            }
            Ok(call)
        };
        let get = Call::read("get", &spec.get, &OF_SESSION)?;
        get.needs("get", Name::SessionId, WHICH_SESSION)?;
        let verify = spec.verify.as_ref();
        Ok(Self {
            verify: verify
                .map(|verify| Call::read("verify", verify, &[]))
                .transpose()?,
            launch,
            launched: Place::new(spec.launch.at.as_deref()),
            key: spec.launch.key,
            accepted: spec.launch.accepted.clone(),
            refused: spec.launch.refused.clone(),
            get,
            got: Place::new(spec.get.at.as_deref()),
            session: SessionReader::new(&spec.session)?,
            list: spec.list.as_ref().map(list).transpose()?,
            conversation: spec.conversation.as_ref().map(conversation).transpose()?,
            message: spec.message.as_ref().map(message).transpose()?,
            cancel: of_session("cancel", &spec.cancel, &OF_SESSION)?,
            archive: of_session("archive", &spec.archive, &OF_SESSION)?,
            error_member: spec.error_member.clone(),
        })
    }

    /// Whether what was said in any session can be read, so that a marker is found.
    pub fn shows_prompts(&self) -> bool {
        self.list.is_some() && self.conversation.is_some()
    }
}

fn launch(launch: &HttpLaunch) -> Result<Call, Misfit> {
    const FIELD: &str = "launch";
    let target = (method(launch.method), launch.path.as_str());
    let call = Call::new(FIELD, target, &launch.query, Some(&launch.body), &OF_LAUNCH)?;
    call.needs(
        FIELD,
        Name::Prompt,
        "the agent would not be told what to do",
    )?;
    let names = call.names();
    let (repository, reference) = (
        names.contains(&Name::Repository),
        names.contains(&Name::Ref),
    );
    if repository != reference {
        let missing = if repository { "ref" } else { "repository" };
        let why = format!(
            "it names only one of {{repository}} and {{ref}}: without {{{missing}}} a session would start somewhere else than it says"
        );
        return Err(Misfit::new(FIELD, why));
    }
    if launch.key == Some(HttpKey::SessionId) {
        if launch.refused.contains(&409) {
            let why = "with key: SessionId a 409 may say that the session is there already, from a request whose answer was lost: remove it";
            return Err(Misfit::new("launch.refused", why));
        }
        call.needs(
            FIELD,
            Name::Key,
            "key: SessionId says that it is the session's id",
        )?;
    }
    Ok(call)
}

fn message(message: &HttpMessage) -> Result<Message, Misfit> {
    const FIELD: &str = "message";
    let target = (method(message.method), message.path.as_str());
    let body = Some(&message.body);
    let call = Call::new(FIELD, target, &message.query, body, &OF_MESSAGE)?;
    call.needs(FIELD, Name::SessionId, WHICH_SESSION)?;
    call.needs(FIELD, Name::Message, "the message would not be sent")?;
    Ok(Message {
        call,
        taken: Place::new(Some(&message.taken)),
    })
}

fn method(method: HttpLaunchMethod) -> HttpMethod {
    match method {
        HttpLaunchMethod::Post => HttpMethod::Post,
        HttpLaunchMethod::Put => HttpMethod::Put,
    }
}

fn list(list: &HttpList) -> Result<List, Misfit> {
    let target = (HttpMethod::default(), list.path.as_str());
    let call = Call::new("list", target, &list.query, None, &OF_LIST)?;
    if call.names().contains(&Name::Page) != list.next.is_some() {
        let why = "next and {page} belong together: the one tells the token of the next page, the other sends it";
        return Err(Misfit::new("list", why));
    }
    Ok(List {
        call,
        items: Place::new(list.items.as_deref()),
        next: list.next.as_deref().map(|next| Place::new(Some(next))),
        more: list.more.as_deref().map(|more| Place::new(Some(more))),
    })
}

fn conversation(told: &HttpConversation) -> Result<Conversation, Misfit> {
    let target = (HttpMethod::default(), told.path.as_str());
    let call = Call::new("conversation", target, &told.query, None, &OF_SESSION)?;
    call.needs("conversation", Name::SessionId, WHICH_SESSION)?;
    if told.user == told.agent {
        let why = "user and agent are the same word: what the agent quotes would be taken for what we sent";
        return Err(Misfit::new("conversation.agent", why));
    }
    Ok(Conversation {
        call,
        items: Place::new(told.items.as_deref()),
        text: Place::new(Some(&told.text)),
        by: Place::new(Some(&told.by)),
        user: told.user.clone(),
        agent: told.agent.clone(),
    })
}
