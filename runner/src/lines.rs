//! Lines of a program that may be anything: of any length, not text at all, without an end.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is read as a whole. Agents print whole files in one; what a longer one says cannot be understood.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// What is kept of a longer line.
const KEPT_BYTES: usize = 16 * 1024;

/// How much is read at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Splits a stream into lines in bounded memory.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the line begins.
    start: usize,
    /// Up to where a newline was looked for.
    searched: usize,
    /// How much of a line that is too long was forgotten.
    dropped: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            dropped: 0,
            ended: false,
        }
    }

    /// The next line without its end; bytes that are not UTF-8 become `U+FFFD`. A last line needs no newline. `None` at the end.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                let rest = self.buffer.len() > self.start || self.dropped > 0;
                let line = rest.then(|| self.line(self.buffer.len()));
                self.start = self.buffer.len();
                return Ok(line);
            }
            self.make_room();
            let mut chunk = (&mut self.source).take(CHUNK_BYTES);
            self.ended = chunk.read_buf(&mut self.buffer).await? == 0;
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let unread = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = unread.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let line = self.line(end);
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }

    fn line(&mut self, end: usize) -> String {
        let bytes = self.buffer.get(self.start..end).unwrap_or_default();
        let length = std::mem::take(&mut self.dropped) + bytes.len();
        if length > MAX_LINE_BYTES {
            let beginning = bytes.get(..KEPT_BYTES).unwrap_or(bytes);
            let text = String::from_utf8_lossy(beginning);
            return format!("[a line of {length} bytes, too long to be read] {text}");
        }
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Forgets the lines that were taken, and the rest of one that is too long, which goes on.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > MAX_LINE_BYTES || self.dropped > 0 && self.buffer.len() > KEPT_BYTES
        {
            self.dropped += self.buffer.len() - KEPT_BYTES;
            self.buffer.truncate(KEPT_BYTES);
            self.buffer.shrink_to(KEPT_BYTES);
        }
        self.searched = self.buffer.len();
        self.buffer.reserve(64 * 1024);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn read(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(line);
        }
        read
    }

    #[tokio::test]
    async fn lines_are_split_whatever_they_hold() {
        let read = read(b"one\r\n\ntwo \xff\xc3\nlast \xe2\x82").await;
        assert_eq!(read, ["one", "", "two \u{fffd}\u{fffd}", "last \u{fffd}"]);
        assert_eq!(super::Lines::new(&b""[..]).next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_long_line_is_read_and_an_endless_one_is_cut() {
        let long = "x".repeat(5_000_000);
        let text = format!("{long}\nnext\n{}{long}{long}\nlast", "y".repeat(100));
        let read = read(text.as_bytes()).await;
        let lengths: Vec<_> = read.iter().map(String::len).collect();
        assert_eq!(lengths.len(), 4);
        assert_eq!(read.first(), Some(&long));
        assert_eq!(read.get(1).map(String::as_str), Some("next"));
        assert_eq!(read.get(3).map(String::as_str), Some("last"));
        let cut = read.get(2).unwrap();
        assert!(
            cut.starts_with("[a line of 10000100 bytes, too long to be read] yyy"),
            "{cut:.90}"
        );
        assert!(cut.len() < KEPT_BYTES + 100);
    }
}
