//! Query parameters, and pages as Cursor and Firebender share them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::http::{Call, Refusal};

/// Items per page unless asked otherwise.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// The query of a request whose keys are all known.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    largest_page: usize,
}

impl Query {
    /// Refuses keys that the operation does not document, as Cursor does, and keys given twice.
    pub(crate) fn strict(call: &Call, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = call.query_pairs();
        let unknown: Vec<String> = pairs
            .iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, _)| format!("'{key}'"))
            .collect();
        if !unknown.is_empty() {
            return Err(Refusal::validation(format!(
                "Unrecognized key(s) in object: {}",
                unknown.join(", ")
            )));
        }
        let twice = known
            .iter()
            .find(|known| pairs.iter().filter(|(key, _)| key == *known).count() > 1);
        if let Some(key) = twice {
            return Err(Refusal::validation(format!(
                "{key}: Expected string, received array"
            )));
        }
        Ok(Self {
            pairs,
            largest_page: largest_page(call),
        })
    }

    /// Any further keys are ignored.
    pub(crate) fn lenient(call: &Call) -> Self {
        Self {
            pairs: call.query_pairs(),
            largest_page: largest_page(call),
        }
    }

    /// A value that is not empty.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.pairs.iter().find(|(key, _)| key == name) {
            Some((_, value)) if value.is_empty() => Err(Refusal::validation(format!(
                "{name}: String must contain at least 1 character(s)"
            ))),
            found => Ok(found.map(|(_, value)| value.as_str())),
        }
    }

    /// A value; an empty one counts as absent.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.string(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::validation(format!(
                "{name}: Expected boolean, received '{other}'"
            ))),
        }
    }

    /// An integer in a range.
    pub(crate) fn number<N>(
        &self,
        name: &str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, Refusal>
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Refusal::validation(format!(
                "{name}: Expected an integer from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// A page with these names for how many and after what, of at most `most`.
    pub(crate) fn page_of(
        &self,
        limit: &str,
        cursor: &str,
        most: usize,
    ) -> Result<Page<'_>, Refusal> {
        Ok(Page {
            limit: self
                .number(limit, 1..=most)?
                .unwrap_or(most)
                .min(self.largest_page),
            cursor: self.given(cursor),
        })
    }

    pub(crate) fn page(&self) -> Result<Page<'_>, Refusal> {
        Ok(Page {
            limit: self
                .number("limit", 1..=MAX_LIMIT)?
                .unwrap_or(DEFAULT_LIMIT)
                .min(self.largest_page),
            cursor: self.string("cursor")?,
        })
    }
}

/// At least one item, so that every list has an end.
fn largest_page(call: &Call) -> usize {
    call.tampering.largest_page.unwrap_or(MAX_LIMIT).max(1)
}

/// Which page of a list was asked for. The cursor is the id of the last item of the page before, so items that appear in front move nothing.
pub(crate) struct Page<'a> {
    limit: usize,
    cursor: Option<&'a str>,
}

impl Page<'_> {
    /// The page's items out of all, newest first, and the cursor for the next page if there is one.
    pub(crate) fn of<T>(
        &self,
        newest_first: Vec<T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        let start = match self.cursor {
            None => 0,
            Some(cursor) => newest_first
                .iter()
                .position(|item| id(item) == cursor)
                .map(|index| index + 1)
                .ok_or_else(|| Refusal::validation("cursor: Invalid cursor"))?,
        };
        let more = newest_first.len() > start + self.limit;
        let items: Vec<T> = newest_first
            .into_iter()
            .skip(start)
            .take(self.limit)
            .collect();
        let next = more
            .then(|| items.last().map(|item| id(item).to_owned()))
            .flatten();
        Ok((items, next))
    }
}
