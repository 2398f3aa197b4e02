//! Names of the operator's calls that are the same in every run.

use std::fmt;
use std::str::FromStr;

use http::{Method, Uri};
use serde::{Deserialize, Serialize};

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one thing; at a provider also a list.
    Get,
    /// Reads all objects of a kind.
    List,
    /// Begins to follow a kind.
    Watch,
    /// Not a call of the operator's: one change that a watch is about to tell it.
    Event,
    /// Creates, or makes a provider act.
    Post,
    /// Changes.
    Patch,
    /// Replaces.
    Put,
    /// Deletes.
    Delete,
}

impl Verb {
    const ALL: [Self; 8] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Event,
        Self::Post,
        Self::Patch,
        Self::Put,
        Self::Delete,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::List => "LIST",
            Self::Watch => "WATCH",
            Self::Event => "EVENT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    fn of(method: &Method) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verb| verb.as_str() == method.as_str())
    }

    /// Whether it changes something.
    pub fn is_write(self) -> bool {
        match self {
            Self::Post | Self::Patch | Self::Put | Self::Delete => true,
            Self::Get | Self::List | Self::Watch | Self::Event => false,
        }
    }
}

/// Whom a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The API server.
    Api,
    /// The provider.
    Provider,
}

/// A kind of call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// With what: `codesessions/status` at the API server; at a provider the path, with `{id}` for every id: `/v1/agents/{id}`.
    pub target: String,
}

impl Call {
    /// The kind of this request; `None` for a method that nobody uses.
    pub fn of(side: Side, method: &Method, uri: &Uri) -> Option<Self> {
        let verb = Verb::of(method)?;
        match side {
            Side::Api => Some(api_call(verb, uri)),
            Side::Provider => Some(Self {
                verb,
                target: without_ids(uri.path()),
            }),
        }
    }

    /// Whom it goes to.
    pub fn side(&self) -> Side {
        if self.target.starts_with('/') {
            Side::Provider
        } else {
            Side::Api
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.target)
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`, then `namespaces/NAME` where the kind has one, then `RESOURCE[/NAME[/SUBRESOURCE]]`.
fn api_call(verb: Verb, uri: &Uri) -> Call {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
    let skipped = match parts.next() {
        Some("apis") => 2,
        Some(_) | None => 1,
    };
    let rest: Vec<&str> = parts.skip(skipped).collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, resource, name @ ..] => [&[*resource], name].concat(),
        rest => rest.to_vec(),
    };
    let watched = uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let (named, target) = match rest.as_slice() {
        [] => (true, String::new()),
        [resource] => (false, (*resource).to_owned()),
        [resource, _] => (true, (*resource).to_owned()),
        [resource, _, subresource, ..] => (true, format!("{resource}/{subresource}")),
    };
    let verb = match (verb, named, watched) {
        (Verb::Get, false, true) => Verb::Watch,
        (Verb::Get, false, false) => Verb::List,
        (verb, _, _) => verb,
    };
    Call { verb, target }
}

/// Ids are long and contain a digit; words of a path are short or contain none.
fn without_ids(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let id = part.len() >= 8 && part.contains(|letter: char| letter.is_ascii_digit());
        if id { "{id}" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A call of a run: the n-th of its kind. Written `VERB TARGET #N`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Boundary {
    /// Its kind.
    pub call: Call,
    /// Which one of its kind, from 1, restarts of the operator included.
    pub number: u32,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.call, self.number)
    }
}

/// A text that names no boundary.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no boundary; one is written like \"PATCH codesessions/status #2\"")]
pub struct NoBoundary(String);

impl FromStr for Boundary {
    type Err = NoBoundary;

    fn from_str(text: &str) -> Result<Self, NoBoundary> {
        let parse = || {
            let (call, number) = text.rsplit_once(" #")?;
            let (verb, target) = call.split_once(' ')?;
            let verb = Verb::ALL.into_iter().find(|known| known.as_str() == verb)?;
            Some(Self {
                call: Call {
                    verb,
                    target: target.to_owned(),
                },
                number: number.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NoBoundary(text.to_owned()))
    }
}

impl TryFrom<String> for Boundary {
    type Error = NoBoundary;

    fn try_from(text: String) -> Result<Self, NoBoundary> {
        text.parse()
    }
}

impl From<Boundary> for String {
    fn from(boundary: Boundary) -> Self {
        boundary.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn named(side: Side, method: &str, uri: &str) -> String {
        let method = method.parse().unwrap();
        let uri: Uri = uri.parse().unwrap();
        Call::of(side, &method, &uri).unwrap().to_string()
    }

    #[test]
    fn calls_of_the_api_server_are_named_after_verb_and_resource() {
        let base = "/apis/codeagents.dev/v1alpha1/namespaces/team-a/codesessions";
        for (method, uri, name) in [
            ("GET", base.to_owned() + "?limit=500", "LIST codesessions"),
            (
                "GET",
                base.to_owned() + "?watch=true&timeoutSeconds=290",
                "WATCH codesessions",
            ),
            ("PATCH", base.to_owned() + "/one", "PATCH codesessions"),
            (
                "PATCH",
                base.to_owned() + "/one/status?",
                "PATCH codesessions/status",
            ),
            (
                "GET",
                "/api/v1/namespaces/team-a".to_owned(),
                "GET namespaces",
            ),
            (
                "GET",
                "/api/v1/namespaces/team-a/secrets/key".to_owned(),
                "GET secrets",
            ),
        ] {
            assert_eq!(named(Side::Api, method, &uri), name);
        }
    }

    #[test]
    fn ids_in_paths_of_providers_have_no_say_in_names() {
        for (uri, name) in [
            ("/v1/agents", "GET /v1/agents"),
            (
                "/v1/agents/bc-0f3a9c1e-7a52-4f2c-9c0b-2f1e7c1d9b11/runs?limit=20",
                "GET /v1/agents/{id}/runs",
            ),
            (
                "/v1/coding-agents/cursor-prod",
                "GET /v1/coding-agents/cursor-prod",
            ),
        ] {
            assert_eq!(named(Side::Provider, "GET", uri), name);
        }
    }

    #[test]
    fn a_boundary_is_read_as_it_is_written() {
        for text in [
            "PATCH codesessions/status #2",
            "POST /v1/agents/{id}/stop #11",
        ] {
            assert_eq!(text.parse::<Boundary>().unwrap().to_string(), text);
        }
        assert!("PATCH codesessions".parse::<Boundary>().is_err());
    }
}
