//! Reads server-sent events as the HTML standard says (section 9.2.6, "Interpreting an event stream"), and bounds what is kept.
//!
//! A parser of our own, because the numbers of a timeline stand on two things: whether this very event has an id (`eventsource-stream` and its
//! like give the last one there was, and keep a line of any length), and that an event that is too long is still counted (the parsers with a
//! bound fail there).

use std::collections::VecDeque;

/// The longest data of one event that is kept, in bytes.
pub(super) const LONGEST_DATA: usize = 256 << 10;
/// The longest line that is kept: a field of data that may be kept, and a little more.
const LONGEST_LINE: usize = LONGEST_DATA + 64;
/// The longest name and id that are kept, in bytes.
const LONGEST_NAME: usize = 256;

/// One event. `Debug` is not derived: nothing of its content is logged.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::providers) struct ServerEvent {
    /// Its type; `message` where it has none.
    pub(in crate::providers) name: String,
    /// Its id, if this very event has one that can be sent back in a header.
    pub(in crate::providers) id: Option<String>,
    /// Its data; `None` if there is more of it than is kept.
    pub(in crate::providers) data: Option<String>,
}

/// Takes bytes, gives events.
#[derive(Default)]
pub(super) struct Parser {
    /// The line that has not ended, as far as it is kept.
    line: Vec<u8>,
    /// Whether there is more of the line than is kept.
    cut: bool,
    /// Whether the last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// Whether a line was read: only the first may begin with a byte order mark.
    begun: bool,
    name: String,
    id: Option<String>,
    data: Option<Data>,
    events: VecDeque<ServerEvent>,
}

enum Data {
    Whole(String),
    TooLong,
}

impl Parser {
    /// Takes the next bytes of the stream, cut anywhere.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && *byte == b'\n' {
                rest = after;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, ending) = rest.split_at(end.unwrap_or(rest.len()));
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.cut |= part.len() > room;
            self.line.extend(part.iter().take(room));
            rest = ending;
            if let Some((byte, after)) = ending.split_first() {
                self.after_return = *byte == b'\r';
                self.end_line();
                rest = after;
            }
        }
    }

    /// The oldest event that was not taken yet.
    pub(super) fn pop(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    fn end_line(&mut self) {
        // Long lines are rare, and their memory is not kept for the short ones.
        let bytes = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let first = !std::mem::replace(&mut self.begun, true);
        let mark: &[u8] = b"\xef\xbb\xbf";
        let bytes = match bytes.strip_prefix(mark) {
            Some(after) if first => after,
            _ => &bytes,
        };
        // Bytes that are not UTF-8 become replacement characters. A line is whole here, so that no character is cut in two.
        let line = String::from_utf8_lossy(bytes);
        if line.is_empty() && !cut {
            self.dispatch();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.add_data(value, cut),
            "event" => clip(value).clone_into(&mut self.name),
            "id" if !value.contains('\0') => self.id = sendable(value, cut),
            // Comments, `retry` and what is not known.
            _ => {}
        }
    }

    fn add_data(&mut self, value: &str, cut: bool) {
        self.data = Some(match self.data.take() {
            _ if cut => Data::TooLong,
            Some(Data::TooLong) => Data::TooLong,
            Some(Data::Whole(before)) if before.len() + value.len() >= LONGEST_DATA => {
                Data::TooLong
            }
            Some(Data::Whole(before)) => Data::Whole(before + "\n" + value),
            None if value.len() > LONGEST_DATA => Data::TooLong,
            None => Data::Whole(value.to_owned()),
        });
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let id = self.id.take();
        // Without data it is none.
        let Some(data) = self.data.take() else { return };
        self.events.push_back(ServerEvent {
            name: match name.is_empty() {
                true => "message".to_owned(),
                false => name,
            },
            id,
            data: match data {
                Data::Whole(text) => Some(text),
                Data::TooLong => None,
            },
        });
    }
}

fn clip(name: &str) -> &str {
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// An id that can be sent back as a header.
fn sendable(id: &str, cut: bool) -> Option<String> {
    let usable = !cut
        && (1..=LONGEST_NAME).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Read = (String, Option<String>, Option<String>);

    fn read(parts: &[&[u8]]) -> Vec<Read> {
        let mut parser = Parser::default();
        for part in parts {
            parser.push(part);
        }
        std::iter::from_fn(|| parser.pop())
            .map(|event| (event.name, event.id, event.data))
            .collect()
    }

    fn event(name: &str, id: Option<&str>, data: &str) -> Read {
        (
            name.to_owned(),
            id.map(str::to_owned),
            Some(data.to_owned()),
        )
    }

    /// The examples of the standard.
    #[test]
    fn what_the_standard_shows_is_read_as_it_says() {
        let told: &[(&str, Vec<Read>)] = &[
            (
                "data: YHOO\ndata: +2\ndata: 10\n\n",
                vec![event("message", None, "YHOO\n+2\n10")],
            ),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                vec![
                    event("message", Some("1"), "first event"),
                    event("message", None, "second event"),
                    event("message", None, " third event"),
                ],
            ),
            (
                "data\n\ndata\ndata\n\ndata:",
                vec![event("message", None, ""), event("message", None, "\n")],
            ),
            (
                "data:test\n\ndata: test\n\n",
                vec![
                    event("message", None, "test"),
                    event("message", None, "test"),
                ],
            ),
            (
                "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: only a name\n\n",
                vec![
                    event("add", None, "73857293"),
                    event("remove", None, "2153"),
                ],
            ),
            ("\u{feff}data: a\n\n", vec![event("message", None, "a")]),
            (
                "id: a\0b\nretry: 10\nDATA: x\ndata: y\n\n",
                vec![event("message", None, "y")],
            ),
        ];
        for (text, events) in told {
            assert_eq!(read(&[text.as_bytes()]), *events, "{text:?}");
        }
    }

    #[test]
    fn every_kind_of_line_end_and_every_cut_reads_the_same() {
        let text = "event: x\nid: 7-0\ndata: \u{1f600} é\ndata: b\n\n:c\ndata: z\n\n";
        let expected = vec![
            event("x", Some("7-0"), "\u{1f600} é\nb"),
            event("message", None, "z"),
        ];
        for end in ["\n", "\r", "\r\n"] {
            let bytes = text.replace('\n', end).into_bytes();
            for at in 0..=bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(read(&[first, second]), expected, "{end:?} {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(&single), expected);
        }
    }

    #[test]
    fn an_event_that_is_cut_off_is_none_and_bytes_that_are_no_text_are_replaced() {
        assert_eq!(
            read(&[b"data: a\n\ndata: half"]),
            [event("message", None, "a")]
        );
        assert_eq!(
            read(&[b"data: a\xffb\xf0\x9f\n\n"]),
            [event("message", None, "a\u{fffd}b\u{fffd}")]
        );
    }

    #[test]
    fn what_is_too_long_keeps_its_name_and_id_and_no_memory() {
        let mut parser = Parser::default();
        parser.push(b"event: tool_call\nid: 1-0\ndata: ");
        for _ in 0..10_000 {
            parser.push(&[b'x'; 1000]);
            assert!(parser.line.len() <= LONGEST_LINE);
        }
        parser.push(b"\n\n");
        for _ in 0..100 {
            parser.push(b"data: ");
            parser.push(&[b'x'; 10_000]);
            parser.push(b"\n");
        }
        parser.push(b"id: 2-0\n\ndata: small\n\n:");
        parser.push(&vec![b' '; 1 << 20]);
        assert!(parser.line.len() <= LONGEST_LINE);
        parser.push(b"\ndata: z\n\n");
        let events: Vec<Read> = std::iter::from_fn(|| parser.pop())
            .map(|event| (event.name, event.id, event.data))
            .collect();
        assert_eq!(
            events,
            [
                ("tool_call".to_owned(), Some("1-0".to_owned()), None),
                ("message".to_owned(), Some("2-0".to_owned()), None),
                event("message", None, "small"),
                event("message", None, "z"),
            ]
        );
    }

    #[test]
    fn an_id_that_no_header_can_carry_is_none() {
        let long = format!("id: {}\ndata: x\n\n", "1".repeat(300));
        for text in [
            "id: é\ndata: x\n\n",
            "id: a b\ndata: x\n\n",
            "id:\ndata: x\n\n",
            &long,
        ] {
            assert_eq!(read(&[text.as_bytes()]), [event("message", None, "x")]);
        }
    }
}
