//! What is asked for, parsed and checked.

use url::form_urlencoded;

use super::answer::{Refusal, RefusalReason};
use crate::domain::timeline::{DEFAULT_PAGE, MAX_PAGE, MAX_SEQ};
use crate::providers::contract::LONGEST_ARTIFACT_PATH;

/// What of a timeline is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    /// The number of the last event that is not wanted. Default 0: all of them.
    pub since: u64,
    /// Only events of this message. Default: of all messages.
    pub message: Option<String>,
    /// The most events of a page, from 1 to [`MAX_PAGE`]. Default [`DEFAULT_PAGE`].
    pub limit: usize,
    /// Whether events are told until the session ends. Default: no, one page.
    pub follow: bool,
}

impl EventsQuery {
    /// What a query string says. An unknown parameter is refused: a misspelt one would otherwise read something else than what was meant.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parsed = Self {
            since: 0,
            message: None,
            limit: DEFAULT_PAGE,
            follow: false,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "since" => parsed.since = since(&value)?,
                "message" if value.is_empty() => {}
                "message" => parsed.message = Some(value.into_owned()),
                "limit" => parsed.limit = limit(&value)?,
                "follow" => parsed.follow = follow(&value)?,
                _ => {
                    return Err(bad(format!(
                        "there is no parameter {name:?}: there are since, message, limit and follow"
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

/// What of a session's artifacts is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactsQuery {
    /// The one that is fetched. Default: all are listed.
    pub path: Option<String>,
}

impl ArtifactsQuery {
    /// What a query string says.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "path" if value.is_empty() || value.len() > LONGEST_ARTIFACT_PATH => {
                    return Err(bad(format!(
                        "path is not that of an artifact: it has {} bytes, and one has 1 to {LONGEST_ARTIFACT_PATH}",
                        value.len()
                    )));
                }
                "path" => parsed.path = Some(value.into_owned()),
                _ => {
                    return Err(bad(format!(
                        "there is no parameter {name:?}: there is path"
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

/// Refuses a query where there is nothing to be asked.
///
/// # Errors
/// 400, if there is one.
pub fn no_query(query: &str) -> Result<(), Refusal> {
    if query.is_empty() {
        return Ok(());
    }
    Err(bad("there are no parameters here".to_owned()))
}

fn bad(message: String) -> Refusal {
    Refusal::new(RefusalReason::BadRequest, message)
}

fn since(value: &str) -> Result<u64, Refusal> {
    // `parse` takes a plus sign, which nobody means.
    let number = value.parse().ok().filter(|since| *since <= MAX_SEQ);
    number.filter(|_| !value.starts_with('+')).ok_or_else(|| {
        bad(format!(
            "since={value:?} is not the number of an event: use 0 for all of them, or the lastSeq or seq of what you read last"
        ))
    })
}

fn limit(value: &str) -> Result<usize, Refusal> {
    let number = value.parse().ok();
    number
        .filter(|limit| (1..=MAX_PAGE).contains(limit))
        .ok_or_else(|| {
            bad(format!(
                "limit={value:?} is not a number from 1 to {MAX_PAGE}"
            ))
        })
}

fn follow(value: &str) -> Result<bool, Refusal> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(format!("follow={value:?} is neither true nor false"))),
    }
}

/// Whether something can be the name of a namespace.
pub fn is_namespace_name(name: &str) -> bool {
    name.len() <= 63 && is_label(name)
}

/// Whether something can be the name of a CodeSession.
pub fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// RFC 1123, in lower case.
fn is_label(label: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.starts_with(alphanumeric)
        && label.ends_with(alphanumeric)
        && label.chars().all(|c| alphanumeric(c) || c == '-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_means_the_first_page() {
        let query = EventsQuery::parse("").unwrap();
        let expected = EventsQuery {
            since: 0,
            message: None,
            limit: 200,
            follow: false,
        };
        assert_eq!(query, expected);
    }

    #[test]
    fn everything_can_be_said() {
        let query = EventsQuery::parse("since=17&message=add-tests&limit=500&follow=true").unwrap();
        let expected = EventsQuery {
            since: 17,
            message: Some("add-tests".to_owned()),
            limit: 500,
            follow: true,
        };
        assert_eq!(query, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in [
            "since=-1",
            "since=",
            "since=abc",
            "since=%2B1",
            "since=1.5",
            "since=99999999999999999999",
            "since=9007199254740992",
            "limit=0",
            "limit=501",
            "limit=-1",
            "follow=maybe",
            "sicne=1",
        ] {
            let refusal = EventsQuery::parse(query).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::BadRequest, "{query}");
        }
    }

    #[test]
    fn an_artifact_is_asked_for_by_its_path() {
        let asked = ArtifactsQuery::parse("path=%2Fopt%2Fa+b.png").unwrap();
        assert_eq!(asked.path.as_deref(), Some("/opt/a b.png"));
        assert_eq!(ArtifactsQuery::parse("").unwrap().path, None);
        let long = format!("path={}", "a".repeat(LONGEST_ARTIFACT_PATH + 1));
        for query in ["path=", "paht=a", &long] {
            let refusal = ArtifactsQuery::parse(query).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::BadRequest, "{query}");
        }
        assert!(no_query("").is_ok() && no_query("token=1").is_err());
    }

    #[test]
    fn names_are_names_of_objects() {
        for name in ["a", "fix-login", "a.b-c.d1"] {
            assert!(is_object_name(name), "{name}");
        }
        for name in [
            "", ".", "..", "A", "a/b", "a b", "-a", "a-", "a..b", "ä", "a\nb",
        ] {
            assert!(!is_object_name(name), "{name}");
            assert!(!is_namespace_name(name), "{name}");
        }
        assert!(is_object_name(&"a".repeat(253)) && !is_object_name(&"a".repeat(254)));
        assert!(is_namespace_name(&"a".repeat(63)) && !is_namespace_name(&"a".repeat(64)));
        assert!(!is_namespace_name("a.b"));
    }
}
