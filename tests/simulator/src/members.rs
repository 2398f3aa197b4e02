//! Building JSON objects with optional members.

use serde_json::Value;

/// Adds a member to a JSON object; anything else is left alone.
pub(crate) fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}
