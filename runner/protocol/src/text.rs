//! Text that has to fit.

/// What stands at the end of a text that was cut.
const MARK: &str = "…[cut]";

/// `text` in at most `bytes` bytes of UTF-8, with a mark at its end if something was cut off. A `bytes` below the mark's length gives
/// no mark.
#[must_use]
pub fn clip(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mark = if bytes > MARK.len() { MARK } else { "" };
    let mut end = bytes - mark.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", text.get(..end).unwrap_or_default())
}

/// The longest beginning of `text` that `fits`, cut with the mark; the whole of it if it fits. `fits` must hold for every text
/// shorter than one it holds for. Nothing is left (an empty text) if not even that fits.
pub(crate) fn clip_to_fit(text: &str, fits: impl Fn(&str) -> bool) -> String {
    if fits(text) {
        return text.to_owned();
    }
    let (mut fitting, mut too_long) = (0, text.len());
    while fitting + 1 < too_long {
        let middle = usize::midpoint(fitting, too_long);
        if fits(&clip(text, middle)) {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
    clip(text, fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("short", 5), "short");
        let long = "ü".repeat(100);
        for bytes in 0..200 {
            let cut = clip(&long, bytes);
            assert!(cut.len() <= bytes, "{bytes}: {}", cut.len());
            assert!(bytes <= MARK.len() || cut.ends_with(MARK));
        }
    }
}
