//! MJPEG over HTTP: cuts a `multipart/x-mixed-replace` stream into pictures. A pure machine, bounded.
//!
//! Cameras disagree about the details: some give no Content-Length, some write the boundary with its dashes in the
//! header, some end lines with a bare line feed. All of that is read; what is longer than the bound is refused.

/// The longest head of one part.
const HEAD_MAX: usize = 8 << 10;

/// Why the stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The content type names no boundary.
    #[error("MJPEG stream's content type `{0}` names no boundary")]
    NoBoundary(String),
    /// A part's head or body is longer than allowed.
    #[error("MJPEG stream sends a part longer than {0} bytes")]
    TooLong(usize),
}

/// The machine.
#[derive(Debug)]
pub struct Multipart {
    boundary: Vec<u8>,
    part_max: usize,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Head,
    Body { length: Option<usize> },
}

impl Multipart {
    /// For a stream of this content type.
    ///
    /// # Errors
    /// The content type names no boundary.
    pub fn new(content_type: &str, part_max: usize) -> Result<Self, Error> {
        let parameter = content_type.split(';').skip(1).filter_map(|p| p.trim().split_once('='));
        let boundary = parameter
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
            .map(|(_, value)| value.trim().trim_matches('"').trim_start_matches("--").to_owned())
            .find(|value| !value.is_empty())
            .ok_or_else(|| Error::NoBoundary(content_type.to_owned()))?;
        let boundary = format!("--{boundary}").into_bytes();
        Ok(Self { boundary, part_max, buffer: Vec::new(), state: State::Preamble })
    }

    /// Takes in what came; afterwards ask [`Multipart::next_part`] until it has none.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole part's body.
    ///
    /// # Errors
    /// A part longer than allowed.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.state {
                State::Preamble => {
                    let Some(at) = find(&self.buffer, &self.boundary) else {
                        let keep = self.buffer.len().saturating_sub(self.boundary.len());
                        self.buffer.drain(..keep);
                        return Ok(None);
                    };
                    self.buffer.drain(..at + self.boundary.len());
                    self.state = State::Head;
                }
                State::Head => {
                    let Some((head, rest)) = head_end(&self.buffer) else {
                        let short = self.buffer.len() <= HEAD_MAX;
                        return if short { Ok(None) } else { Err(Error::TooLong(HEAD_MAX)) };
                    };
                    let length = content_length(&self.buffer[..head]);
                    if length.is_some_and(|n| n > self.part_max) {
                        return Err(Error::TooLong(self.part_max));
                    }
                    self.buffer.drain(..rest);
                    self.state = State::Body { length };
                }
                State::Body { length } => return self.body(length),
            }
        }
    }

    fn body(&mut self, length: Option<usize>) -> Result<Option<Vec<u8>>, Error> {
        let end = match length {
            Some(length) => (self.buffer.len() >= length).then_some(length),
            None => find(&self.buffer, &self.boundary),
        };
        let Some(end) = end else {
            let short = self.buffer.len() <= self.part_max;
            return if short { Ok(None) } else { Err(Error::TooLong(self.part_max)) };
        };
        let mut part: Vec<u8> = self.buffer.drain(..end).collect();
        if length.is_none() {
            // The line break before a boundary belongs to the boundary.
            for end in [&b"\n"[..], b"\r"] {
                if part.ends_with(end) {
                    part.pop();
                }
            }
        }
        self.state = State::Preamble;
        Ok(Some(part))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Where the head ends, and where the body begins.
fn head_end(buffer: &[u8]) -> Option<(usize, usize)> {
    let crlf = find(buffer, b"\r\n\r\n").map(|at| (at, at + 4));
    let lf = find(buffer, b"\n\n").map(|at| (at, at + 2));
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(if a.0 < b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(head);
    let headers = text.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = headers.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-length"));
    lengths.find_map(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stream: &[u8], chunk: usize) -> Vec<Vec<u8>> {
        let mut machine = Multipart::new("multipart/x-mixed-replace; boundary=--frame", 1000).unwrap();
        let mut out = Vec::new();
        for piece in stream.chunks(chunk) {
            machine.push(piece);
            while let Some(part) = machine.next_part().unwrap() {
                out.push(part);
            }
        }
        out
    }

    #[test]
    fn parts_come_whole_however_they_are_cut() {
        let stream = b"junk\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 5\r\n\r\nab\r\nc\r\n\
            --frame\r\nContent-Type: image/jpeg\r\n\r\nsecond\r\n--frame\n\nthird\n--frame--";
        for chunk in [1, 3, 7, 1000] {
            assert_eq!(parts(stream, chunk), [&b"ab\r\nc"[..], b"second", b"third"], "chunk {chunk}");
        }
    }

    #[test]
    fn bounds_hold() {
        assert!(matches!(Multipart::new("multipart/x-mixed-replace", 10), Err(Error::NoBoundary(_))));
        for stream in ["--b\r\nContent-Length: 2000\r\n\r\n".to_owned(), format!("--b\r\n\r\n{}", "x".repeat(2000))] {
            let mut machine = Multipart::new("multipart/x-mixed-replace;boundary=\"b\"", 1000).unwrap();
            machine.push(stream.as_bytes());
            assert_eq!(machine.next_part(), Err(Error::TooLong(1000)));
        }
    }
}
