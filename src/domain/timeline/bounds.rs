//! How much of an event is kept.

use serde_json::{Value, json};

/// The longest text of an event, in bytes.
pub const TEXT_BYTES: usize = 16 << 10;
/// The largest payload of an event as JSON, in bytes.
pub const PAYLOAD_BYTES: usize = 16 << 10;
/// How long the texts in a payload that is too large may still be, in bytes: the first of these with which it fits.
const SHORTER: [usize; 4] = [8 << 10, 2 << 10, 512, 128];
/// How much of a payload is shown that does not fit with short texts either, in bytes, before it is written as JSON text: that can take
/// six bytes for one.
const EXCERPT_BYTES: usize = 2 << 10;

/// `text` cut to at most `bytes` bytes at a character boundary, with an ellipsis where something was cut.
pub(super) fn text(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// `payload` as it is if it is small enough, or with its texts cut, each with a mark that says how long it was; or, if it is made of many
/// small things, its beginning as text: `{"truncated": true, "bytes": …, "excerpt": "…"}`.
pub(super) fn payload(payload: Value) -> Value {
    let whole = size(&payload);
    if whole <= PAYLOAD_BYTES {
        return payload;
    }
    for longest in SHORTER {
        let shorter = with_short_texts(&payload, longest);
        if size(&shorter) <= PAYLOAD_BYTES {
            return shorter;
        }
    }
    json!({
        "truncated": true,
        "bytes": whole,
        "excerpt": text(&payload.to_string(), EXCERPT_BYTES),
    })
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

fn with_short_texts(value: &Value, longest: usize) -> Value {
    match value {
        Value::String(long) if long.len() > longest => {
            let kept = text(long, longest);
            format!("{kept} [cut: {} bytes in all]", long.len()).into()
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::Array(items) => items
            .iter()
            .map(|item| with_short_texts(item, longest))
            .collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), with_short_texts(member, longest)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_small_payload_stays_as_it_is() {
        let small = json!({"path": "src/auth.ts", "lines": [1, 2, null]});
        assert_eq!(payload(small.clone()), small);
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark_and_the_rest_of_the_payload_stays() {
        let cut = payload(json!({"path": "src/auth.ts", "content": "é".repeat(100_000)}));
        assert_eq!(cut["path"], "src/auth.ts");
        let content = cut["content"].as_str().unwrap();
        assert!(
            content.ends_with("… [cut: 200000 bytes in all]"),
            "{content}"
        );
        assert!(size(&cut) <= PAYLOAD_BYTES);
    }

    #[test]
    fn whatever_a_payload_is_made_of_it_is_bounded_and_says_that_it_was_cut() {
        let many: Vec<u64> = (0..100_000).collect();
        let named: serde_json::Map<String, Value> = (0..5000)
            .map(|n| (format!("\u{1}member {n}"), Value::Null))
            .collect();
        let quotes = "\"\u{1}".repeat(40_000);
        for large in [json!(many), named.into(), json!(vec![quotes.clone(); 300])] {
            let cut = payload(large);
            assert!(size(&cut) <= PAYLOAD_BYTES, "{}", size(&cut));
            assert_eq!(cut["truncated"], true);
            assert!(cut["bytes"].as_u64().unwrap() > 16 << 10);
        }
        assert!(size(&payload(json!(quotes))) <= PAYLOAD_BYTES);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(text("ééé", 6), "ééé");
        assert_eq!(text("éééé", 6), "é…");
    }
}
