//! Secret values must not be told: not in the log, not in the report, not in a pull request.

use serde_json::Value;

/// What stands in place of a secret value.
const MARK: &str = "[redacted]";

/// Shorter values are no secrets, and words of everyday text.
const SHORTEST: usize = 8;

/// The values that are known to be secret.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The values of variables whose name says that they are secret, and `more`.
    pub fn new(
        variables: impl IntoIterator<Item = (String, String)>,
        more: impl IntoIterator<Item = String>,
    ) -> Self {
        let named = |name: &str| {
            let name = name.to_ascii_uppercase();
            ["KEY", "TOKEN", "SECRET", "PASSWORD"]
                .iter()
                .any(|word| name.contains(word))
        };
        let of_variables = variables
            .into_iter()
            .filter(|(name, _)| named(name))
            .map(|(_, value)| value);
        let mut values: Vec<_> = of_variables
            .chain(more)
            .map(|value| value.trim().to_owned())
            .filter(|value| value.len() >= SHORTEST)
            .collect();
        // A value that holds another one is replaced as a whole.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    /// `text` without them.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.0 {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), MARK);
            }
        }
        text
    }

    /// `value` without them, in whatever text and name they stand.
    pub fn redact_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(&text)),
            Value::Array(parts) => parts
                .into_iter()
                .map(|part| self.redact_json(part))
                .collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, member)| (self.redact(&name), self.redact_json(member)))
                .collect(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_replaced_wherever_they_stand() {
        let variables = [
            ("ANTHROPIC_API_KEY", "sk-ant-12345678"),
            ("github_token", "sk-ant-12345678-longer"),
            ("SOME_TOKEN_LIMIT", "100"),
            ("PATH", "/usr/local/bin"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets::new(variables, ["from a file\n".to_owned(), String::new()]);
        let said = "sk-ant-12345678 sk-ant-12345678-longer from a file 100 /usr/local/bin";
        let left = "[redacted] [redacted] [redacted] 100 /usr/local/bin";
        assert_eq!(secrets.redact(said), left);
        let json = json!({"a": [said, {said: 1}]});
        assert_eq!(secrets.redact_json(json), json!({"a": [left, {left: 1}]}));
    }
}
