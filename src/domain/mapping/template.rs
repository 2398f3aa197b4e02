//! Templates of requests: text and JSON in which `{name}` stands for a value.
//!
//! A value is data, never syntax: in a path it is one whole segment or a part of one, in a query and in JSON it is a text. Encoding is
//! left to whoever writes the request, so that nothing is pasted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::misfit::Misfit;

/// How deep a body may be nested.
const MOST_DEPTH: usize = 16;
/// How many texts a body may hold.
const MOST_TEXTS: usize = 256;
/// The longest text of a template, in bytes.
const LONGEST_TEXT: usize = 8 << 10;

/// What a template may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The key of the launch, a UUID.
    Key,
    /// `NAMESPACE/NAME` of the CodeSession.
    Name,
    /// The prompt with its marker.
    Prompt,
    /// The URL of the repository.
    Repository,
    /// Branch, tag or commit to start from.
    Ref,
    /// The pull request to start from.
    PullRequestUrl,
    /// The model.
    Model,
    /// The branch to push to.
    BranchName,
    /// Whether a pull request is to be opened: true or false.
    AutoCreatePullRequest,
    /// The id of the session.
    SessionId,
    /// The text of a further message with its marker.
    Message,
    /// The token of a page of a list.
    Page,
}

impl Name {
    /// Every name.
    pub const ALL: [Self; 12] = [
        Self::Key,
        Self::Name,
        Self::Prompt,
        Self::Repository,
        Self::Ref,
        Self::PullRequestUrl,
        Self::Model,
        Self::BranchName,
        Self::AutoCreatePullRequest,
        Self::SessionId,
        Self::Message,
        Self::Page,
    ];

    /// As it stands in a template.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Name => "name",
            Self::Prompt => "prompt",
            Self::Repository => "repository",
            Self::Ref => "ref",
            Self::PullRequestUrl => "pullRequestURL",
            Self::Model => "model",
            Self::BranchName => "branchName",
            Self::AutoCreatePullRequest => "autoCreatePullRequest",
            Self::SessionId => "sessionId",
            Self::Message => "message",
            Self::Page => "page",
        }
    }
}

/// What the names of a request stand for. One that is absent has no value.
pub type Values = BTreeMap<Name, Value>;

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Value(Name),
}

impl Text {
    /// Reads a template that may name `allowed`. `{{` and `}}` are braces.
    ///
    /// # Errors
    /// If a brace is not closed, or a name is none of `allowed`.
    pub fn parse(field: &str, text: &str, allowed: &[Name]) -> Result<Self, Misfit> {
        if text.len() > LONGEST_TEXT {
            let why = format!("the text is longer than {LONGEST_TEXT} bytes");
            return Err(Misfit::new(field, why));
        }
        let mut parts = Vec::new();
        let mut fixed = String::new();
        let mut rest = text.char_indices().peekable();
        let column = |at: usize| text.get(..at).map_or(0, |before| before.chars().count()) + 1;
        while let Some((at, c)) = rest.next() {
            match c {
                '{' | '}' if rest.peek().is_some_and(|(_, next)| *next == c) => {
                    rest.next();
                    fixed.push(c);
                }
                '{' => {
                    let after = text.get(at + 1..).unwrap_or_default();
                    let Some((word, _)) = after.split_once('}') else {
                        let why = "a brace is not closed; write {{ for a brace itself";
                        return Err(Misfit::at(field, column(at), why));
                    };
                    let Some(name) = allowed.iter().find(|name| name.as_str() == word) else {
                        return Err(Misfit::at(field, column(at), unknown(word, allowed)));
                    };
                    if !fixed.is_empty() {
                        parts.push(Part::Fixed(std::mem::take(&mut fixed)));
                    }
                    parts.push(Part::Value(*name));
                    let end = at + 1 + word.len();
                    while rest.next_if(|(at, _)| *at <= end).is_some() {}
                }
                '}' => {
                    let why = "a brace is closed that was not opened; write }} for a brace itself";
                    return Err(Misfit::at(field, column(at), why));
                }
                c => fixed.push(c),
            }
        }
        if !fixed.is_empty() {
            parts.push(Part::Fixed(fixed));
        }
        Ok(Self(parts))
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.iter().filter_map(|part| match part {
            Part::Value(name) => Some(*name),
            Part::Fixed(_) => None,
        })
    }

    /// The text with its values; one that is absent leaves nothing.
    pub fn fill(&self, values: &Values) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Fixed(fixed) => text.push_str(fixed),
                Part::Value(name) => match values.get(name) {
                    Some(Value::String(value)) => text.push_str(value),
                    Some(value) => text.push_str(&value.to_string()),
                    None => {}
                },
            }
        }
        text
    }

    /// The name that it is and nothing else.
    fn alone(&self) -> Option<Name> {
        match self.0.as_slice() {
            [Part::Value(name)] => Some(*name),
            _ => None,
        }
    }

    /// The same as JSON: a value that stands alone keeps its type, and leaves nothing where it is absent.
    fn json(&self, values: &Values) -> Option<Value> {
        match self.alone() {
            Some(name) => values.get(&name).cloned(),
            None => Some(Value::String(self.fill(values))),
        }
    }
}

fn unknown(word: &str, allowed: &[Name]) -> String {
    let known: Vec<String> = allowed
        .iter()
        .map(|name| format!("{{{}}}", name.as_str()))
        .collect();
    let word: String = word.chars().take(40).collect();
    match known.is_empty() {
        true => format!("{{{word}}} is no name here: there is none to use in this place"),
        false => format!("{{{word}}} is no name here; there are {}", known.join(", ")),
    }
}

/// A JSON value whose texts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// As it is.
    Fixed(Value),
    /// A text.
    Text(Text),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a template that may name `allowed`.
    ///
    /// # Errors
    /// If one of its texts is no template, or it is nested too deep or too large.
    pub fn parse(field: &str, value: &Value, allowed: &[Name]) -> Result<Self, Misfit> {
        let mut left = MOST_TEXTS;
        Self::read(field, value, allowed, (MOST_DEPTH, &mut left))
    }

    fn read(
        field: &str,
        value: &Value,
        allowed: &[Name],
        (depth, left): (usize, &mut usize),
    ) -> Result<Self, Misfit> {
        let Some(depth) = depth.checked_sub(1) else {
            let why = format!("it is nested deeper than {MOST_DEPTH}");
            return Err(Misfit::new(field, why));
        };
        *left = left.checked_sub(1).ok_or_else(|| {
            Misfit::new(field, format!("the body has more than {MOST_TEXTS} values"))
        })?;
        Ok(match value {
            Value::String(text) => Self::Text(Text::parse(field, text, allowed)?),
            Value::Array(items) => {
                let items = items.iter().enumerate().map(|(place, item)| {
                    Self::read(&format!("{field}[{place}]"), item, allowed, (depth, left))
                });
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let members = members.iter().map(|(name, member)| {
                    let field = format!("{field}.{name}");
                    let member = Self::read(&field, member, allowed, (depth, left))?;
                    Ok((name.clone(), member))
                });
                Self::Object(members.collect::<Result<_, Misfit>>()?)
            }
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    /// Adds the names in it.
    pub fn add_names(&self, names: &mut BTreeSet<Name>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(text) => names.extend(text.names()),
            Self::List(items) => items.iter().for_each(|item| item.add_names(names)),
            Self::Object(members) => members
                .iter()
                .for_each(|(_, member)| member.add_names(names)),
        }
    }

    /// The value with what its names stand for; `None` if it is one name that has no value. Such a member or item is left out.
    pub fn fill(&self, values: &Values) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Text(text) => text.json(values),
            Self::List(items) => {
                let items = items.iter().filter_map(|item| item.fill(values));
                Some(Value::Array(items.collect()))
            }
            Self::Object(members) => {
                let members = members
                    .iter()
                    .filter_map(|(name, member)| Some((name.clone(), member.fill(values)?)));
                Some(Value::Object(members.collect::<Map<_, _>>()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ALLOWED: [Name; 3] = [Name::Prompt, Name::Model, Name::AutoCreatePullRequest];

    fn text(text: &str) -> Result<Text, String> {
        Text::parse("f", text, &ALLOWED).map_err(|misfit| misfit.to_string())
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_column() {
        for (template, why) in [
            (
                "a{nothing}",
                "f, column 2: {nothing} is no name here; there are {prompt}, {model}, {autoCreatePullRequest}",
            ),
            (
                "ä{prompt",
                "f, column 2: a brace is not closed; write {{ for a brace itself",
            ),
            (
                "a}",
                "f, column 2: a brace is closed that was not opened; write }} for a brace itself",
            ),
            (
                "{}",
                "f, column 1: {} is no name here; there are {prompt}, {model}, {autoCreatePullRequest}",
            ),
            (
                "{sessionId}",
                "f, column 1: {sessionId} is no name here; there are {prompt}, {model}, {autoCreatePullRequest}",
            ),
        ] {
            assert_eq!(text(template).unwrap_err(), why);
        }
    }

    #[test]
    fn what_has_no_value_is_left_out_and_what_stands_alone_keeps_its_type() {
        let body = json!({
            "prompt": "{prompt}", "model": "{model}", "open": "{autoCreatePullRequest}",
            "tags": ["a", "{model}"], "say": "with {model}: {{{prompt}}}", "n": 1, "nested": {"model": "{model}"},
        });
        let body = Json::parse("body", &body, &ALLOWED).unwrap();
        let values = Values::from([
            (Name::Prompt, json!("say \"{model}\"")),
            (Name::AutoCreatePullRequest, json!(true)),
        ]);
        assert_eq!(
            body.fill(&values).unwrap(),
            json!({
                "prompt": "say \"{model}\"", "open": true, "tags": ["a"],
                "say": "with : {say \"{model}\"}", "n": 1, "nested": {},
            })
        );
    }

    #[test]
    fn a_body_that_is_too_deep_or_too_large_is_refused() {
        let mut deep = json!("x");
        for _ in 0..20 {
            deep = json!([deep]);
        }
        let why = Json::parse("body", &deep, &ALLOWED)
            .unwrap_err()
            .to_string();
        assert!(why.contains("deeper than 16"), "{why}");
        let wide = json!(vec!["x"; 300]);
        let why = Json::parse("body", &wide, &ALLOWED)
            .unwrap_err()
            .to_string();
        assert!(why.contains("more than 256"), "{why}");
    }

    proptest! {
        /// Whatever a value holds, the body has the same shape and holds it as one text.
        #[test]
        fn a_value_is_never_syntax(prompt in ".*", model in proptest::option::of(".*")) {
            let body = json!({"prompt": "{prompt}", "a": ["x {model} y"]});
            let body = Json::parse("body", &body, &ALLOWED).unwrap();
            let mut values = Values::from([(Name::Prompt, json!(prompt))]);
            values.extend(model.clone().map(|model| (Name::Model, json!(model))));
            let model = model.unwrap_or_default();
            prop_assert_eq!(
                body.fill(&values).unwrap(),
                json!({"prompt": prompt, "a": [format!("x {model} y")]})
            );
        }

        /// Reading a template is total, and a text without braces is itself.
        #[test]
        fn any_text_is_a_template_or_refused(words in ".{0,200}") {
            let read = text(&words);
            if !words.contains(['{', '}']) {
                prop_assert_eq!(read.unwrap().fill(&Values::new()), words);
            }
        }
    }
}
