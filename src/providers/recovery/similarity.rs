//! Whether a text that a provider shows may be one that was sent: as it was, or cut, rendered, escaped, reflowed, or with
//! something put around it.
//!
//! Both are reduced to their letters and digits, and compared by what pieces they share (shingling). Erring on the side of
//! "may be" costs patience; the other side could pay twice.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::domain::markup::{unescaped, without_tags};

/// The length of a piece, in characters.
const PIECE: usize = 8;

/// A text that was sent.
pub(in crate::providers) struct SentText {
    letters: Vec<char>,
    pieces: HashSet<u64>,
}

impl SentText {
    pub(super) fn new(text: &str) -> Self {
        let letters = letters(text);
        let pieces = pieces(&letters).collect();
        Self { letters, pieces }
    }

    /// Whether `shown` may be this text.
    ///
    /// One is the beginning of the other, or at least half of the pieces of one are in the other. A text without a letter
    /// says nothing, so it may be anything.
    pub(super) fn may_be(&self, shown: &str) -> bool {
        let shown = letters(shown);
        if shown.is_empty()
            || self.letters.is_empty()
            || self.letters.starts_with(&shown)
            || shown.starts_with(&self.letters)
        {
            return true;
        }
        // Too short for pieces.
        let (short, long) = if shown.len() < self.letters.len() {
            (&shown, &self.letters)
        } else {
            (&self.letters, &shown)
        };
        if short.len() < PIECE {
            return long
                .windows(short.len())
                .any(|part| part == short.as_slice());
        }
        let theirs: HashSet<u64> = pieces(&shown).collect();
        let shared = theirs.intersection(&self.pieces).count();
        shared > 0 && 2 * shared >= theirs.len().min(self.pieces.len())
    }
}

/// Letters and digits, in lower case, without tags and comments.
fn letters(text: &str) -> Vec<char> {
    without_tags(&unescaped(text))
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn pieces(letters: &[char]) -> impl Iterator<Item = u64> {
    letters.windows(PIECE).map(|piece| {
        let mut hash = DefaultHasher::new();
        piece.hash(&mut hash);
        hash.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "# Task\n\nYou are a *senior* engineer. Fix the login bug in `src/auth.ts` (see [the report](https://example.com/r/1)): the JWT expiry check is off by one hour if a < b && c > d.\n\n1. Write tests.\n2. Keep the API.";

    fn may_be(shown: &str) -> bool {
        SentText::new(SENT).may_be(shown)
    }

    #[test]
    fn whatever_a_provider_does_to_a_text_it_may_still_be_ours() {
        let half: String = SENT.chars().take(SENT.len() / 2).collect();
        for shown in [
            SENT.to_owned(),
            half.clone(),
            format!("{half}…"),
            format!("{half} [truncated, 120 more characters]"),
            "# Ta".into(),
            SENT.replace('<', "&lt;").replace('>', "&gt;").replace('&', "&amp;"),
            SENT.split_whitespace().collect::<Vec<_>>().join(" "),
            SENT.split_whitespace().collect::<String>(),
            SENT.to_uppercase(),
            "<h1>Task</h1><p>You are a <em>senior</em> engineer. Fix the login bug in <code>src/auth.ts</code> (see <a href=\"https://example.com/r/1\">the report</a>): the JWT expiry check is off by one hour if a &lt; b &amp;&amp; c &gt; d.</p><ol><li>Write tests.</li><li>Keep the API.</li></ol>".into(),
            format!("The user has given you this task. Work carefully.\n\n{SENT}\n\nSent by the API."),
            String::new(),
            "\n<!-- -->\n".into(),
        ] {
            assert!(may_be(&shown), "{shown}");
        }
    }

    #[test]
    fn other_tasks_are_not_ours() {
        for shown in [
            "Write a CHANGELOG from the merged pull requests of this year",
            "Fix it",
            "Fix the logout button in src/menu.ts, it does nothing when the menu is closed",
            "修复登录问题",
            "You write documentation. Describe every public function of the API in docs/.",
        ] {
            assert!(!may_be(shown), "{shown}");
        }
        let short = SentText::new("Fix it");
        assert!(short.may_be("fix it!") && short.may_be("Fix"));
        assert!(short.may_be("Task: fix it, please") && !short.may_be("Mend it"));
    }

    #[test]
    fn a_language_without_spaces_is_compared_as_well() {
        let sent = SentText::new("修复登录错误：JWT 过期检查相差一小时。请编写测试。");
        assert!(sent.may_be("修复登录错误 JWT 过期检查相差一小时"));
        assert!(!sent.may_be("从今年合并的拉取请求中编写更新日志"));
    }
}
