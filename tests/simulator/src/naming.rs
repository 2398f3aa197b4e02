//! Names that providers derive from prompts.

use super::script::DIRECTIVE;

/// The first words of a prompt, without directives and comments.
pub(crate) fn derived_name(prompt: &str) -> String {
    let words: Vec<&str> = prompt
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(DIRECTIVE) && !line.starts_with("<!--"))
        .flat_map(str::split_whitespace)
        .take(8)
        .collect();
    if words.is_empty() {
        return "New agent".to_owned();
    }
    words.join(" ").chars().take(60).collect()
}

/// The branch that Cursor makes for an agent: from its name, with the end of its id.
pub(crate) fn branch_name(name: &str, id: &str) -> String {
    format!("cursor/{}-{}", slug(name), id_tail(id))
}

fn slug(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(4)
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() {
        "work".to_owned()
    } else {
        words.join("-")
    }
}

fn id_tail(id: &str) -> &str {
    id.len()
        .checked_sub(4)
        .and_then(|start| id.get(start..))
        .unwrap_or(id)
}
