//! Reads headers and predictions in the very form that our own writer gives them: keys in their order, no white space, no
//! escapes. Nearly every record that comes is so, and this reads it in a fifth of the time that a parser of any JSON takes.
//!
//! Everything else is none of its business: it says `None`, and serde reads the text. What it does read it reads as serde
//! does; properties in `tests/wire/scan.rs` hold the two against each other.

use std::sync::Arc;

use crate::{
    CaptureSource, Digest, Epoch, FrameId, Header, Kind, ModelRef, Prediction, Timestamp,
    names::Names,
    record::{Latency, ServedBy},
};

/// Reads records, and keeps the texts that come again.
#[derive(Default)]
pub struct Scanner {
    names: Names,
}

impl Scanner {
    /// A header as `serde_json::to_vec` writes it.
    pub fn header(&mut self, json: &[u8]) -> Option<Header> {
        let names = &mut self.names;
        let mut at = Cursor(json);
        at.skip(b"{\"schema\":")?;
        let schema = u16::try_from(at.unsigned()?).ok()?;
        at.skip(b",\"kind\":\"")?;
        let kind = kind(at.text()?)?;
        at.skip(b",\"site\":\"")?;
        let site = names.site(at.text()?)?;
        at.skip(b",\"gateway\":\"")?;
        let gateway = names.gateway(at.text()?)?;
        let camera = if at.has(b",\"camera\":\"") { Some(names.camera(at.text()?)?) } else { None };
        let region = if at.has(b",\"region\":\"") { Some(names.region(at.text()?)?) } else { None };
        at.skip(b",\"epoch\":\"")?;
        let epoch = at.epoch()?;
        at.skip(b"\",\"seq\":")?;
        let seq = at.unsigned()?;
        at.skip(b",\"captured_at\":\"")?;
        let captured_at: Timestamp = at.text()?.parse().ok()?;
        at.skip(b",\"captured_source\":\"")?;
        let captured_source = match at.text()? {
            "reference" => CaptureSource::Reference,
            "arrival" => CaptureSource::Arrival,
            "client" => CaptureSource::Client,
            _ => return None,
        };
        at.skip(b",\"monotonic_us\":")?;
        let monotonic_us = at.unsigned()?;
        at.skip(b",\"boot_id\":\"")?;
        let boot_id = names.text(at.text()?);
        let traceparent = if at.has(b",\"traceparent\":\"") { Some(at.text()?.to_owned()) } else { None };
        let model = if at.has(b",\"model\":{\"digest\":\"sha256:") { Some(at.model(names)?) } else { None };
        let frame_id = if at.has(b",\"frame_id\":\"") { Some(at.frame_id(names)?) } else { None };
        at.end()?;
        Some(Header {
            schema,
            kind,
            site,
            gateway,
            camera,
            region,
            epoch,
            seq,
            captured_at,
            captured_source,
            monotonic_us,
            boot_id,
            traceparent,
            model,
            frame_id,
        })
    }

    /// A prediction's body as `serde_json::to_vec` writes it.
    pub fn prediction(&mut self, json: &[u8]) -> Option<Prediction> {
        let names = &mut self.names;
        let mut at = Cursor(json);
        at.skip(b"{\"labels\":[")?;
        let labels = at.list(b'"', |at| Some(names.text(at.text()?)))?;
        at.skip(b",\"scores\":[")?;
        let scores = at.list(0, Cursor::float)?;
        at.skip(b",\"latency\":{\"decode_us\":")?;
        let decode_us = at.unsigned()?;
        at.skip(b",\"preprocess_us\":")?;
        let preprocess_us = at.unsigned()?;
        at.skip(b",\"queue_us\":")?;
        let queue_us = at.unsigned()?;
        at.skip(b",\"inference_us\":")?;
        let inference_us = at.unsigned()?;
        at.skip(b",\"total_us\":")?;
        let total_us = at.unsigned()?;
        at.skip(b"},\"engine\":\"")?;
        let engine: Arc<str> = names.text(at.text()?);
        at.skip(b",\"served_by\":\"")?;
        let served_by = match at.text()? {
            "gateway" => ServedBy::Gateway,
            "hub" => ServedBy::Hub,
            _ => return None,
        };
        at.end()?;
        let latency = Latency { decode_us, preprocess_us, queue_us, inference_us, total_us };
        Some(Prediction { labels, scores, latency, engine, served_by })
    }
}

fn kind(name: &str) -> Option<Kind> {
    name.parse().ok()
}

/// What is left of a document.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn has<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        match self.0.strip_prefix(literal) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn skip<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        self.has(literal).then_some(())
    }

    /// The closing brace, and nothing after it.
    fn end(&self) -> Option<()> {
        (self.0 == b"}").then_some(())
    }

    /// Up to the closing quote, which is passed over. An escape or a control character is serde's business.
    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// Digits, as JSON has them: no sign, no leading zero, and no fraction or exponent behind.
    fn unsigned(&mut self) -> Option<u64> {
        let (digits, value) = self.digits()?;
        let leads = self.0[0] == b'0' && digits > 1;
        self.0 = &self.0[digits..];
        (!leads && !matches!(self.0.first(), Some(b'.' | b'e' | b'E'))).then_some(value)
    }

    /// How many digits follow, and their value; at least one, at most nineteen.
    fn digits(&self) -> Option<(usize, u64)> {
        let mut value = 0u64;
        let mut count = 0;
        while let Some(digit) = self.0.get(count).filter(|byte| byte.is_ascii_digit()) {
            if count == 19 {
                return None;
            }
            value = value * 10 + u64::from(digit - b'0');
            count += 1;
        }
        (count > 0).then_some((count, value))
    }

    /// A number of few digits, computed as serde_json does: one rounded division in 64 bits.
    fn float(&mut self) -> Option<f32> {
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
            1e19, 1e20, 1e21, 1e22,
        ];
        let (whole_digits, whole) = self.digits()?;
        let leads = self.0[0] == b'0' && whole_digits > 1;
        self.0 = &self.0[whole_digits..];
        let (mut significand, mut digits, mut power) = (whole, whole_digits, 0i32);
        if self.has(b".") {
            let (count, fraction) = self.digits()?;
            self.0 = &self.0[count..];
            digits += count;
            power -= count as i32;
            significand = significand.checked_mul(10u64.checked_pow(count as u32)?)?.checked_add(fraction)?;
        }
        if self.has(b"e-") {
            let (count, exponent) = self.digits()?;
            self.0 = &self.0[count..];
            power -= i32::try_from(exponent).ok()?;
        }
        if leads || digits > 15 || matches!(self.0.first(), Some(b'e' | b'E')) {
            return None;
        }
        let value = significand as f64 / *POWERS.get(power.unsigned_abs() as usize)?;
        Some(value as f32)
    }

    /// Items up to the closing bracket; each begins with `open`, unless that is 0.
    fn list<T>(&mut self, open: u8, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::with_capacity(4);
        if self.has(b"]") {
            return Some(items);
        }
        loop {
            if open != 0 {
                self.skip(&[open])?;
            }
            items.push(item(self)?);
            if self.has(b"]") {
                return Some(items);
            }
            self.skip(b",")?;
        }
    }

    /// 32 hex digits.
    fn epoch(&mut self) -> Option<Epoch> {
        Some(Epoch(u128::from_be_bytes(self.hex()?)))
    }

    /// Twice as many lower-case hex digits as bytes.
    fn hex<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (digits, rest) = self.0.split_at_checked(2 * N)?;
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
            if high | low > 0xf {
                return None;
            }
            *byte = high << 4 | low;
        }
        self.0 = rest;
        Some(bytes)
    }

    /// The rest of a model's reference, after `sha256:`.
    fn model(&mut self, names: &mut Names) -> Option<ModelRef> {
        let digest = Digest(self.hex()?);
        self.skip(b"\"")?;
        let version = if self.has(b",\"version\":\"") { Some(names.text(self.text()?)) } else { None };
        self.skip(b"}")?;
        Some(ModelRef { digest, version })
    }

    /// `<epoch>_<camera>_<counter>"`.
    fn frame_id(&mut self, names: &mut Names) -> Option<FrameId> {
        let epoch = self.epoch()?;
        let (camera, counter) = self.text()?.strip_prefix('_')?.split_once('_')?;
        let camera = names.camera(camera)?;
        // Another underscore, or a sign, is for serde to judge.
        let mut digits = Cursor(counter.as_bytes());
        let counter = digits.unsigned()?;
        digits.0.is_empty().then_some(FrameId { epoch, camera, counter })
    }
}

/// The value of a lower-case hex digit; 255 for what is none.
const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
};
