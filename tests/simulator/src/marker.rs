//! The operator's marker line in prompts. The simulator only stores and reports it.

const OPEN: &str = "<!-- codeagents.dev/";
const CLOSE: &str = " -->";

/// What the last marker line of a prompt says, e.g. `a1b2c3d4/5f0e…/1`.
pub(crate) fn marker_of(prompt: &str) -> Option<&str> {
    prompt
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(OPEN)?.strip_suffix(CLOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_marker_line_counts_and_other_comments_do_not() {
        let prompt =
            "<!-- note -->\nFix it\n<!-- codeagents.dev/a/b/1 -->\n<!-- codeagents.dev/a/b/2 -->\n";
        assert_eq!(marker_of(prompt), Some("a/b/2"));
        assert_eq!(marker_of("Fix <!-- codeagents.dev/a/b/1 --> it"), None);
    }
}
