//! Undoing what renderers and sanitisers do to text.

/// How often escapes are undone: text that was escaped on its way in and again on its way out.
const ROUNDS: usize = 2;
/// The longest entity that is looked for, in bytes.
const LONGEST_ENTITY: usize = 10;

/// `text` with HTML entities, JSON escapes and Markdown's backslashes undone, and without characters that nobody sees.
pub fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS {
        if !text.contains(['&', '\\']) {
            break;
        }
        text = undo(&text);
    }
    text.retain(|c| !is_invisible(c));
    text
}

/// `text` without tags and comments. What only looks like one, such as `a < b`, stays.
pub fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = match from.strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|end| end + "<!---->".len()),
            None => is_tag(from)
                .then(|| from.find('>').map(|end| end + 1))
                .flatten(),
        };
        match end.and_then(|end| from.get(end..)) {
            Some(after) => rest = after,
            None => {
                out.push('<');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_tag(from: &str) -> bool {
    from.chars()
        .nth(1)
        .is_some_and(|c| c == '/' || c.is_ascii_alphabetic())
}

fn undo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['&', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let found = if from.starts_with('&') {
            entity(from)
        } else {
            backslash(from)
        };
        let (c, length) = found.unwrap_or_else(|| {
            let c = from.chars().next().unwrap_or_default();
            (c, c.len_utf8())
        });
        out.push(c);
        rest = from.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The character that an entity at the beginning of `text` stands for, and how long it is.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text
        .bytes()
        .take(LONGEST_ENTITY)
        .position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let c = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    Some((c, end + 1))
}

/// The character that a backslash at the beginning of `text` escapes, and how long both are.
fn backslash(text: &str) -> Option<(char, usize)> {
    let escaped = text.chars().nth(1)?;
    if escaped == 'u' {
        let code = u32::from_str_radix(text.get(2..6)?, 16).ok()?;
        return Some((char::from_u32(code)?, 6));
    }
    escaped.is_ascii_punctuation().then_some((escaped, 2))
}

/// Soft hyphens, zero-width characters and byte order marks.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_twice_and_what_is_none_stays() {
        for (shown, meant) in [
            ("a &lt; b &amp;&amp; c", "a < b && c"),
            ("&amp;lt;p&amp;gt;", "<p>"),
            ("&#65;&#x42;&nbsp;", "AB\u{a0}"),
            (r"a\*b\_c", "a*b_c"),
            (r"\u003cp\u003E", "<p>"),
            ("R&D; AT&T & more &unknown;", "R&D; AT&T & more &unknown;"),
            (r"C:\temp \u00", r"C:\temp \u00"),
            ("&#xd800; &#99999999;", "&#xd800; &#99999999;"),
            ("sof\u{ad}t\u{200b}ly", "softly"),
            ("ends with \\", "ends with \\"),
        ] {
            assert_eq!(unescaped(shown), meant, "{shown}");
        }
    }

    #[test]
    fn tags_and_comments_go_and_comparisons_stay() {
        for (shown, meant) in [
            ("<p>a</p><br/>b", "ab"),
            ("a <!-- b --> c", "a  c"),
            ("if a < b and c > d", "if a < b and c > d"),
            ("a <!-- open", "a <!-- open"),
            ("1 <2 <b", "1 <2 <b"),
        ] {
            assert_eq!(without_tags(shown), meant, "{shown}");
        }
    }
}
