//! Reading a JSON body field by field, with the place of the first mistake in the refusal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use url::Url;

use super::http::Refusal;

/// Images per prompt (Cursor documents it; Firebender's API has the same shape).
const MAX_IMAGES: usize = 5;
/// Bytes of one decoded image.
const MAX_IMAGE_BYTES: usize = 15 * 1024 * 1024;
const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// An object of the body and the path to it.
pub(crate) struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(members: &'a Map<String, Value>) -> Self {
        Self {
            path: String::new(),
            members,
        }
    }

    fn of(path: String, value: &'a Value) -> Result<Self, Refusal> {
        match value.as_object() {
            Some(members) => Ok(Self { path, members }),
            None => Err(wrong_type(&path, "object", value)),
        }
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A refusal about one of the members.
    pub(crate) fn invalid(&self, name: &str, problem: impl std::fmt::Display) -> Refusal {
        Refusal::validation(format!("{}: {problem}", self.at(name)))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(crate) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| self.invalid(name, "Required"))
    }

    /// A string that is not empty.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => {
                Err(self.invalid(name, "String must contain at least 1 character(s)"))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.at(name), "string", other)),
        }
    }

    /// A string that is not empty; null counts as absent.
    pub(crate) fn nullable_string(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        if self.members.get(name).is_some_and(Value::is_null) {
            return Ok(None);
        }
        self.string(name)
    }

    /// An object that is kept as it is; null counts as absent.
    pub(crate) fn nullable_members(&self, name: &str) -> Result<Option<Value>, Refusal> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(object @ Value::Object(_)) => Ok(Some(object.clone())),
            Some(other) => Err(wrong_type(&self.at(name), "object", other)),
        }
    }

    /// A list of strings.
    pub(crate) fn list_of_strings(&self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let strings = value.as_array().and_then(|items| {
            let items = items.iter().map(|item| item.as_str().map(str::to_owned));
            items.collect::<Option<Vec<_>>>()
        });
        strings
            .map(Some)
            .ok_or_else(|| wrong_type(&self.at(name), "array of strings", value))
    }

    pub(crate) fn required_string(&self, name: &str) -> Result<&'a str, Refusal> {
        self.required(name, self.string(name)?)
    }

    /// A string of at most `max` characters.
    pub(crate) fn short_string(&self, name: &str, max: usize) -> Result<Option<&'a str>, Refusal> {
        match self.string(name)? {
            Some(text) if text.chars().count() > max => Err(self.invalid(
                name,
                format_args!("String must contain at most {max} character(s)"),
            )),
            other => Ok(other),
        }
    }

    pub(crate) fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Refusal> {
        match self.string(name)? {
            Some(word) if !words.contains(&word) => Err(self.invalid(
                name,
                format_args!(
                    "Invalid enum value. Expected {}, received '{word}'",
                    words.join(" | ")
                ),
            )),
            other => Ok(other),
        }
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(&self.at(name), "boolean", other)),
        }
    }

    /// An http or https URL without user information.
    pub(crate) fn web_url(&self, name: &str) -> Result<Option<Url>, Refusal> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        match Url::parse(text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none() =>
            {
                Ok(Some(url))
            }
            _ => Err(self.invalid(name, "Invalid url")),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Refusal> {
        self.members
            .get(name)
            .map(|value| Fields::of(self.at(name), value))
            .transpose()
    }

    pub(crate) fn required_object(&self, name: &str) -> Result<Fields<'a>, Refusal> {
        self.required(name, self.object(name)?)
    }

    /// An array of objects with at most `max` items.
    pub(crate) fn objects(
        &self,
        name: &str,
        max: usize,
    ) -> Result<Option<Vec<Fields<'a>>>, Refusal> {
        let items = match self.members.get(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong_type(&self.at(name), "array", other)),
        };
        if items.len() > max {
            return Err(self.invalid(
                name,
                format_args!("Array must contain at most {max} element(s)"),
            ));
        }
        let path = self.at(name);
        items
            .iter()
            .enumerate()
            .map(|(index, item)| Fields::of(format!("{path}[{index}]"), item))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An object whose members are all strings.
    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<(&'a str, &'a str)>>, Refusal> {
        let Some(object) = self.object(name)? else {
            return Ok(None);
        };
        object
            .members
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key.as_str(), text.as_str())),
                other => Err(wrong_type(&object.at(key), "string", other)),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An array of strings.
    pub(crate) fn string_items(&self, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
        let items = match self.members.get(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong_type(&self.at(name), "array", other)),
        };
        items
            .iter()
            .map(|item| {
                item.as_str()
                    .ok_or_else(|| wrong_type(&self.at(name), "string", item))
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn positive_integer(&self, name: &str) -> Result<(), Refusal> {
        match self.members.get(name) {
            None => Err(self.invalid(name, "Required")),
            // JSON knows only one kind of number: 2.0 is an integer.
            Some(value) if value.as_f64().is_some_and(|n| n >= 1.0 && n.fract() == 0.0) => Ok(()),
            Some(Value::Number(_)) => {
                Err(self.invalid(name, "Number must be an integer greater than 0"))
            }
            Some(other) => Err(wrong_type(&self.at(name), "number", other)),
        }
    }

    /// `prompt{text, images[]}`: the text. Cursor and Firebender share this shape.
    pub(crate) fn prompt(&self, images: ImageForm) -> Result<&'a str, Refusal> {
        let prompt = self.required_object("prompt")?;
        let text = prompt.required_string("text")?;
        for image in prompt.objects("images", MAX_IMAGES)?.unwrap_or_default() {
            image.image(images)?;
        }
        Ok(text)
    }

    fn image(&self, form: ImageForm) -> Result<(), Refusal> {
        match (self.string("data")?, self.web_url("url")?) {
            (Some(_), Some(_)) => {
                return Err(self.invalid("url", "Provide either data or url, not both"));
            }
            (None, None) => return Err(self.invalid("data", "Required")),
            (None, Some(_)) if form == ImageForm::Data => {
                return Err(self.invalid("data", "Required"));
            }
            (None, Some(_)) => {}
            (Some(data), None) => match BASE64.decode(data) {
                Ok(bytes) if bytes.len() > MAX_IMAGE_BYTES => {
                    return Err(self.invalid("data", "Image must be at most 15 MB"));
                }
                Ok(_) => {}
                Err(_) => return Err(self.invalid("data", "Invalid base64")),
            },
        }
        let media_type = self.one_of("mimeType", &IMAGE_TYPES)?;
        if form == ImageForm::TypedOrRemote && self.has("data") {
            self.required("mimeType", media_type)?;
        }
        if let Some(dimension) = self.object("dimension")? {
            dimension.positive_integer("width")?;
            dimension.positive_integer("height")?;
        }
        Ok(())
    }
}

/// How images are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageForm {
    /// As data.
    Data,
    /// As data with its media type, or by URL.
    TypedOrRemote,
}

fn wrong_type(path: &str, expected: &str, value: &Value) -> Refusal {
    let received = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Refusal::validation(format!("{path}: Expected {expected}, received {received}"))
}
