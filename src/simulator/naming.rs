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
