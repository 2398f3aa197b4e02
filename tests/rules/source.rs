//! Rust source as the paths that stand in it: enough to know who depends on whom.

/// A path such as `crate::api::Reason`, with the line it begins on. Groups are taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSeparator,
    Sign(char),
}

/// Every path in `text`, comments and literals left out.
pub fn paths(text: &str) -> Vec<Path> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at].0 {
            Token::Word(_) => read(&tokens, at, &[], &mut found),
            Token::PathSeparator | Token::Sign(_) => at + 1,
        };
    }
    found
}

/// Reads one path at `at`, or the paths of a group that ends it; answers with what comes after.
fn read(
    tokens: &[(Token, usize)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<Path>,
) -> usize {
    let mut segments = before.to_vec();
    let line = tokens[at].1;
    loop {
        match tokens.get(at) {
            Some((Token::Word(word), _)) => segments.push(word.clone()),
            Some((Token::Sign('{'), _)) if !segments.is_empty() => {
                return read_group(tokens, at + 1, &segments, found);
            }
            _ => break,
        }
        at += 1;
        match tokens.get(at) {
            Some((Token::PathSeparator, _)) => at += 1,
            _ => break,
        }
    }
    found.push(Path { segments, line });
    at
}

fn read_group(
    tokens: &[(Token, usize)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<Path>,
) -> usize {
    while let Some((token, _)) = tokens.get(at) {
        at = match token {
            Token::Sign('}') => return at + 1,
            // Another name is nobody else.
            Token::Word(word) if word == "as" => at + 2,
            Token::Word(_) => read(tokens, at, before, found),
            Token::PathSeparator | Token::Sign(_) => at + 1,
        };
    }
    at
}

/// `text` without its modules that exist for tests only.
pub fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        let attributed = &rest[start..];
        // A module in a file of its own, or one with a body.
        let end = match (attributed.find(';'), attributed.find('{')) {
            (Some(end), None) => end + 1,
            (Some(end), Some(body)) if end < body => end + 1,
            (_, Some(body)) => {
                // The repository's format puts the closing brace of a module at the start of a line.
                attributed[body..]
                    .find("\n}")
                    .map_or(attributed.len(), |end| body + end + 2)
            }
            (None, None) => attributed.len(),
        };
        rest = &attributed[end..];
    }
    kept + rest
}

fn tokens(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = |at: usize, with: &str| {
        with.chars()
            .enumerate()
            .all(|(offset, c)| chars.get(at + offset) == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        let begun = at;
        if starts(at, "//") {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if starts(at, "/*") {
            at += 2;
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if let Some(end) = raw_string(&chars, at) {
            at = end;
        } else if c == '"' {
            at += 1;
            while chars.get(at).is_some_and(|c| *c != '"') {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A character, or else a lifetime.
            at += if chars.get(at + 1) == Some(&'\\') {
                let close = chars[at + 3..].iter().position(|c| *c == '\'');
                close.map_or(1, |close| close + 4)
            } else if chars.get(at + 2) == Some(&'\'') {
                3
            } else {
                1
            };
        } else if starts(at, "::") {
            tokens.push((Token::PathSeparator, line));
            at += 2;
        } else if is_word(c) {
            while chars.get(at).is_some_and(|c| is_word(*c)) {
                at += 1;
            }
            tokens.push((Token::Word(chars[begun..at].iter().collect()), line));
        } else {
            if !c.is_whitespace() {
                tokens.push((Token::Sign(c), line));
            }
            at += 1;
        }
        let end = at.min(chars.len());
        line += chars[begun..end].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// Where the raw string that begins at `at` ends.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let follows_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars.get(at) != Some(&'r') || follows_word {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |position: usize| {
        chars[position] == '"'
            && chars[position + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    (open + 1..chars.len())
        .find(|position| closes(*position))
        .map(|close| close + 1 + hashes)
}

#[test]
fn paths_are_read_through_groups_and_not_from_comments_or_literals() {
    let text = r####"
        //! crate::comment::no
        use crate::api::{self, provider::{Kind, Spec as S}};
        use super::super::domain;
        /* crate::block::no */
        fn f<'a>(x: &'a str) -> char { g("crate::text::no", 'x', '\'', r#"crate::"raw"::no"#); crate::cli::run() }
    "####;
    let found: Vec<(String, usize)> = paths(text)
        .into_iter()
        .filter(|path| path.segments.len() > 1)
        .map(|path| (path.segments.join("::"), path.line))
        .collect();
    let expected = [
        ("crate::api::self", 3),
        ("crate::api::provider::Kind", 3),
        ("crate::api::provider::Spec", 3),
        ("super::super::domain", 4),
        ("crate::cli::run", 6),
    ];
    let expected: Vec<(String, usize)> = expected
        .iter()
        .map(|(path, line)| ((*path).to_owned(), *line))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn modules_for_tests_are_cut_out() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
    let left = without_tests(text);
    assert_eq!(
        left.matches("fn ").collect::<String>(),
        "fn fn fn ",
        "{left}"
    );
    assert!(!left.contains("fn b"), "{left}");
}
