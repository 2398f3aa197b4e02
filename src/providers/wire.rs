//! Reading what providers send: untrusted, partly undocumented, and changing.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;

use super::contract::PageToken;
use super::error::ProviderError;
use crate::domain::ids::SessionId;

/// The longest id, page token and link that are believed.
const LONGEST_ID: usize = 256;
const LONGEST_TOKEN: usize = 4096;
const LONGEST_LINK: usize = 2048;
/// The longest status that is shown, in characters.
const LONGEST_STATUS: usize = 64;

/// For a field that we can do without: absent, `null` and a type that no document names are all the same.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Items of a list, where one that cannot be read costs only itself.
#[derive(Debug)]
pub(super) struct Items<T> {
    /// The readable ones, in the provider's order.
    pub(super) readable: Vec<T>,
    /// How many could not be read.
    pub(super) unreadable: usize,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::<Value>::deserialize(deserializer)?;
        let all = values.len();
        let readable: Vec<T> = values
            .into_iter()
            .filter_map(|value| serde_json::from_value(value).ok())
            .collect();
        Ok(Self {
            unreadable: all - readable.len(),
            readable,
        })
    }
}

/// An id from a provider: it becomes part of URLs and of `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WireId(pub(super) String);

impl WireId {
    /// Takes an id that stands in a longer text.
    pub(super) fn within(text: &str) -> Option<Self> {
        let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        Self::deserialize(text).ok()
    }
}

impl From<WireId> for SessionId {
    fn from(id: WireId) -> Self {
        Self::new(id.0)
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let usable = (1..=LONGEST_ID).contains(&id.len())
            && id.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'~')
            })
            && id.bytes().any(|byte| byte != b'.');
        if usable {
            Ok(Self(id))
        } else {
            Err(serde::de::Error::custom("not an id"))
        }
    }
}

/// The token of the next page: absent, `null` and empty all mean the end.
///
/// # Errors
/// If it is too long to be one. A list whose end is not known is not complete.
pub(super) fn next_page(token: Option<String>) -> Result<Option<PageToken>, ProviderError> {
    match token {
        Some(token) if token.len() > LONGEST_TOKEN => Err(ProviderError::unreadable(
            None,
            "the page token is too long",
        )),
        Some(token) if !token.is_empty() => Ok(Some(PageToken(token))),
        _ => Ok(None),
    }
}

/// A status as it may be shown: printable, at most 64 characters.
pub(super) fn raw_status(status: &str) -> String {
    status
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(LONGEST_STATUS)
        .collect()
}

/// A link as it may be kept: http or https, no user, of sane length.
pub(super) fn link(url: Option<String>) -> Option<String> {
    parsed_link(&url?).map(String::from)
}

/// A link that may carry a token behind the path: without query and fragment.
pub(super) fn link_without_query(url: Option<String>) -> Option<String> {
    let mut url = parsed_link(&url?)?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

fn parsed_link(url: &str) -> Option<Url> {
    if url.len() > LONGEST_LINK {
        return None;
    }
    let url = Url::parse(url).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    plain.then_some(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Deserialize)]
    struct Item {
        id: WireId,
        #[serde(default, deserialize_with = "lenient")]
        name: Option<String>,
    }

    #[test]
    fn an_odd_field_costs_the_field_and_an_odd_item_costs_the_item() {
        let items: Items<Item> = serde_json::from_str(
            r#"[{"id":"a","name":7},{"id":"b"},{"id":"c","name":null},{"name":"no id"},7,{"id":"d","name":"n"}]"#,
        )
        .unwrap();
        let names: Vec<_> = items
            .readable
            .iter()
            .map(|item| (item.id.0.as_str(), item.name.as_deref()))
            .collect();
        assert_eq!(
            names,
            [("a", None), ("b", None), ("c", None), ("d", Some("n"))]
        );
        assert_eq!(items.unreadable, 2);
    }

    #[test]
    fn what_could_turn_a_url_elsewhere_is_no_id() {
        for bad in ["", ".", "..", "a/b", "a?b", "a b", "ä", &"x".repeat(257)] {
            assert!(
                serde_json::from_value::<WireId>(bad.into()).is_err(),
                "{bad}"
            );
        }
        for good in ["bc-0", "run-1.2", "fb_x", "x:y"] {
            assert!(
                serde_json::from_value::<WireId>(good.into()).is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn links_are_plain_and_bounded() {
        let of = |url: &str| link(Some(url.to_owned()));
        assert_eq!(
            of("https://x.io/a?id=1").as_deref(),
            Some("https://x.io/a?id=1")
        );
        for bad in [
            "javascript:alert(1)",
            "https://user:pw@x.io/",
            "x",
            &format!("https://x.io/{}", "y".repeat(2048)),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(
            link_without_query(Some("https://x.io/vnc.html?token=t#t".into())).as_deref(),
            Some("https://x.io/vnc.html")
        );
    }

    #[test]
    fn a_status_is_shown_short_and_printable() {
        assert_eq!(raw_status("RUN\u{7}NING\n"), "RUNNING");
        assert_eq!(raw_status(&"X".repeat(100)).len(), 64);
    }

    #[test]
    fn the_end_of_a_list_is_said_in_three_ways() {
        assert_eq!(next_page(None).unwrap(), None);
        assert_eq!(next_page(Some(String::new())).unwrap(), None);
        assert_eq!(
            next_page(Some("c".into())).unwrap(),
            Some(PageToken("c".into()))
        );
        assert!(next_page(Some("c".repeat(5000))).is_err());
    }
}
