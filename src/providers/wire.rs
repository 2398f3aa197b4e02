//! Reading what providers send: untrusted, partly undocumented, changing, and perhaps meant to take our memory. What is kept of an
//! answer is bounded while it is parsed: items are read one by one, and what goes beyond a bound is passed over, not stored.
//! And the parts of a request that more than one provider has.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::domain::ids::{SessionId, hex};
use crate::domain::image::ImageData;
use crate::domain::remote::{PageToken, ProviderError};

/// The most items of one list that are kept; a page of a provider that has pages holds a hundred.
const MOST_ITEMS: usize = 5000;
/// The most values (texts, numbers, members, items of items) that one item or field may have; a session has some thirty.
const MOST_VALUES: usize = 10_000;
/// The longest id, page token and link that are believed.
const LONGEST_ID: usize = 256;
const LONGEST_TOKEN: usize = 4096;
const LONGEST_LINK: usize = 2048;
/// The longest name of a branch that is believed; Git's hosts allow 255.
const LONGEST_BRANCH: usize = 255;
/// The longest address of a repository that is believed.
const LONGEST_REPOSITORY: usize = 1024;
/// The longest status that is shown, in characters.
const LONGEST_STATUS: usize = 64;

/// Content that is sent in base64. It is encoded while the request is written, so that no second copy of it is held, and `Debug` does
/// not show it.
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

impl fmt::Debug for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// Width and height of an image, in pixels.
#[derive(Debug, Serialize)]
pub(super) struct Dimension {
    width: u32,
    height: u32,
}

impl Dimension {
    pub(super) fn of(image: &ImageData) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
        }
    }
}

/// For a field that we can do without: absent, `null` and a type that no document names are all the same. For a list:
/// [`lenient_items`].
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = bounded(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok().flatten()))
}

/// For a list that we can do without.
pub(super) fn lenient_items<'de, D, T>(deserializer: D) -> Result<Option<Items<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    deserializer.deserialize_any(OneByOne(PhantomData))
}

/// A value of any kind, with a bounded number of values in it; none if it has more.
pub(super) fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    let room = Cell::new(MOST_VALUES);
    let value = Bounded { room: &room }.deserialize(deserializer)?;
    Ok((room.get() > 0).then_some(value))
}

/// Builds a value as long as there is room, and passes over the rest.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    /// For how many more values there is room.
    room: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn is_full(self) -> bool {
        self.room.set(self.room.get().saturating_sub(1));
        self.room.get() == 0
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while !self.is_full() {
            match list.next_element_seed(self)? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while !self.is_full() {
            let Some(name) = members.next_key::<String>()? else {
                return Ok(object.into());
            };
            object.insert(name, members.next_value_seed(self)?);
        }
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}

/// Items of a list, where one that cannot be read costs only itself.
#[derive(Debug)]
pub(super) struct Items<T> {
    /// The readable ones, in the provider's order; at most [`MOST_ITEMS`].
    pub(super) readable: Vec<T>,
    /// How many could not be read.
    pub(super) unreadable: usize,
    /// How many stood behind the last one that was kept.
    pub(super) beyond: usize,
}

impl<T> Items<T> {
    /// How many there are that are not among the readable ones.
    pub(super) fn missing(&self) -> usize {
        self.unreadable + self.beyond
    }

    /// All of them, if none is missing.
    pub(super) fn all(&self) -> Option<&[T]> {
        (self.missing() == 0).then_some(&self.readable)
    }
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            readable: Vec::new(),
            unreadable: 0,
            beyond: 0,
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient_items(deserializer)?.ok_or_else(|| D::Error::custom("not a list"))
    }
}

/// Reads a list item by item; anything else is none.
struct OneByOne<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for OneByOne<T> {
    type Value = Option<Items<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::default();
        while items.readable.len() + items.unreadable < MOST_ITEMS {
            let room = Cell::new(MOST_VALUES);
            let Some(value) = list.next_element_seed(Bounded { room: &room })? else {
                return Ok(Some(items));
            };
            let item = Some(value)
                .filter(|_| room.get() > 0)
                .and_then(|value| serde_json::from_value(value).ok());
            match item {
                Some(item) => items.readable.push(item),
                None => items.unreadable += 1,
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            items.beyond += 1;
        }
        Ok(Some(items))
    }
}

/// Whether an answer, of which there may be more than this, begins as a list of objects does.
///
/// # Errors
/// If it cannot be read, or is something else. `cut`: there is more of it, so that its end may be missing.
pub(super) fn begins_as_list(
    body: &[u8],
    cut: bool,
    member: Option<&'static str>,
) -> Result<(), serde_json::Error> {
    let begun = Cell::new(false);
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = ListAt {
        member,
        begun: &begun,
    }
    .deserialize(&mut json)
    .and_then(|()| json.end());
    match read {
        Err(error) if cut && begun.get() && error.is_eof() => Ok(()),
        Ok(()) if !begun.get() => Err(Error::custom("no list")),
        read => read,
    }
}

/// A list, or the member of an object that is one.
#[derive(Clone, Copy)]
struct ListAt<'a> {
    member: Option<&'static str>,
    /// Set where the list has begun as one of objects does.
    begun: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for ListAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.member {
            Some(_) => deserializer.deserialize_map(self),
            None => deserializer.deserialize_seq(self),
        }
    }
}

/// The first item of a list, which must be an object.
#[derive(Clone, Copy)]
struct FirstItem<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for FirstItem<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FirstItem<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.0.set(true);
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> Visitor<'de> for ListAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if list.next_element_seed(FirstItem(self.begun))?.is_none() {
            self.begun.set(true);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            if self.member == Some(&*name) {
                members.next_value_seed(ListAt {
                    member: None,
                    ..self
                })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
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
            Err(Error::custom("not an id"))
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

/// The name of a branch as it may be kept. Cut, it would be the name of another.
pub(super) fn branch(name: Option<String>) -> Option<String> {
    name.filter(|name| name.len() <= LONGEST_BRANCH)
}

/// The address of a repository as it may be kept.
pub(super) fn repository(address: Option<String>) -> Option<String> {
    address.filter(|address| address.len() <= LONGEST_REPOSITORY)
}

/// A text of fixed size that differs when one of these does.
pub(super) fn hint(parts: &[Option<&str>]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        let part = part.unwrap_or_default();
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    hex(&digest.finalize(), 8)
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

    /// Each of these would take thirty times its size as a tree of values.
    #[test]
    fn a_list_or_a_field_that_is_made_to_take_memory_takes_none() {
        let numbers = format!("[{}0]", "0,".repeat(1_000_000));
        let items: Items<Item> = serde_json::from_str(&numbers).unwrap();
        assert_eq!(
            (items.readable.len(), items.unreadable, items.beyond),
            (0, MOST_ITEMS, 1_000_001 - MOST_ITEMS)
        );
        let many = format!(
            "[{}{{\"id\":\"z\"}}]",
            r#"{"id":"a"},"#.repeat(2 * MOST_ITEMS)
        );
        let items: Items<Item> = serde_json::from_str(&many).unwrap();
        assert_eq!(items.readable.len(), MOST_ITEMS);
        assert_eq!(items.missing(), MOST_ITEMS + 1);
        assert!(items.all().is_none());
        let item: Item =
            serde_json::from_str(&format!(r#"{{"id":"a","name":{numbers}}}"#)).unwrap();
        assert_eq!(item.name, None);
        let large = format!(r#"[{{"id":"a","x":{numbers}}},{{"id":"b"}}]"#);
        let items: Items<Item> = serde_json::from_str(&large).unwrap();
        assert_eq!((items.readable.len(), items.unreadable), (1, 1));
        // Deeper than the parser goes is no answer at all.
        let deep = format!(
            r#"{{"id":"a","name":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(serde_json::from_str::<Item>(&deep).is_err());
    }

    #[test]
    fn the_beginning_of_a_list_is_told_from_anything_else() {
        for (body, cut, member, good) in [
            ("[]", false, None, true),
            (r#"[{"id":"a"},{"id"#, true, None, true),
            (r#"[{"id":"a"},{"id"#, false, None, false),
            (r#"[{"id":"a"},7]"#, false, None, true),
            (r#"[{"id":"#, true, None, true),
            ("[[[[[[", true, None, false),
            ("[7,7", true, None, false),
            (r#"{"id":"#, true, None, false),
            (r#"{"agents":[]}"#, false, Some("agents"), true),
            (r#"{"x":7,"agents":[{"id":"#, true, Some("agents"), true),
            (r#"{"x":"aaaaaaaaa"#, true, Some("agents"), false),
            (r#"{"agents":7}"#, false, Some("agents"), false),
            (r#"{"agents":{}}"#, false, Some("agents"), false),
            ("{}", false, Some("agents"), false),
            ("[]", false, Some("agents"), false),
            ("null", false, None, false),
            ("[] x", false, None, false),
            ("", true, None, false),
        ] {
            let answer = begins_as_list(body.as_bytes(), cut, member);
            assert_eq!(answer.is_ok(), good, "{body} {cut} {member:?}");
        }
    }

    #[test]
    fn a_hint_is_of_one_size_and_moves_with_each_part() {
        let long = "x".repeat(1 << 20);
        let all = [
            hint(&[Some("a"), Some("b")]),
            hint(&[Some("a"), None]),
            hint(&[Some("ab"), None]),
            hint(&[Some(&long), None]),
        ];
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|hint| hint.len() == 16));
    }

    #[test]
    fn what_is_too_long_to_be_kept_whole_is_not_kept_cut() {
        assert_eq!(branch(Some("x".repeat(256))), None);
        assert!(branch(Some("x".repeat(255))).is_some());
        assert_eq!(repository(Some("x".repeat(1025))), None);
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
