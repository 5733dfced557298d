//! A protobuf message as the list of its fields, each as it stands in the file.

use std::borrow::Cow;

use prost::{
    DecodeError,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint},
};

/// One field: its number and, of length-delimited ones, the content; of others, the value's bytes.
pub struct Field<'a> {
    pub number: u32,
    pub wire: WireType,
    pub bytes: Cow<'a, [u8]>,
}

/// A message's fields in their order.
#[derive(Default)]
pub struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// Splits a message.
    pub fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut rest, mut fields) = (message, Vec::new());
        while !rest.is_empty() {
            let (number, wire) = decode_key(&mut rest)?;
            let bytes = match wire {
                WireType::LengthDelimited => {
                    let len = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
                    take(&mut rest, len)?
                }
                WireType::Varint => {
                    let before = rest;
                    decode_varint(&mut rest)?;
                    &before[..before.len() - rest.len()]
                }
                WireType::ThirtyTwoBit => take(&mut rest, 4)?,
                WireType::SixtyFourBit => take(&mut rest, 8)?,
                WireType::StartGroup | WireType::EndGroup => return Err(torn()),
            };
            fields.push(Field { number, wire, bytes: Cow::Borrowed(bytes) });
        }
        Ok(Self(fields))
    }

    /// The message again.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.iter().map(|field| field.bytes.len() + 16).sum());
        for field in &self.0 {
            encode_key(field.number, field.wire, &mut out);
            if field.wire == WireType::LengthDelimited {
                encode_varint(field.bytes.len() as u64, &mut out);
            }
            out.extend_from_slice(&field.bytes);
        }
        out
    }

    /// The contents of all fields of this number.
    pub fn all(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        self.positions(number).map(|(_, bytes)| bytes)
    }

    /// The same, with the place of each.
    pub fn positions(&self, number: u32) -> impl Iterator<Item = (usize, &[u8])> {
        let fields = self.0.iter().enumerate().filter(move |(_, field)| field.number == number);
        fields.map(|(at, field)| (at, &*field.bytes))
    }

    /// The content of the field at this place.
    pub fn at(&self, place: usize) -> &[u8] {
        &self.0[place].bytes
    }

    /// Puts another content at this place.
    pub fn set(&mut self, place: usize, bytes: Vec<u8>) {
        self.0[place].bytes = Cow::Owned(bytes);
    }

    /// Puts another content into the first field of this number.
    pub fn replace(&mut self, number: u32, bytes: Vec<u8>) {
        if let Some(field) = self.0.iter_mut().find(|field| field.number == number) {
            field.bytes = Cow::Owned(bytes);
        }
    }

    /// Puts another number into the first field of this number.
    pub fn replace_number(&mut self, number: u32, value: u64) {
        self.replace(number, varint(value));
    }

    /// Adds a field of bytes behind all others.
    pub fn push(&mut self, number: u32, bytes: Vec<u8>) {
        self.insert(self.0.len(), number, bytes);
    }

    /// Adds a field of a whole number behind all others.
    pub fn push_number(&mut self, number: u32, value: u64) {
        self.0.push(Field { number, wire: WireType::Varint, bytes: Cow::Owned(varint(value)) });
    }

    /// Adds a field of bytes at this place.
    pub fn insert(&mut self, place: usize, number: u32, bytes: Vec<u8>) {
        self.0.insert(place, Field { number, wire: WireType::LengthDelimited, bytes: Cow::Owned(bytes) });
    }

    /// Keeps only some fields.
    pub fn retain(&mut self, keep: impl FnMut(&Field<'a>) -> bool) {
        self.0.retain(keep);
    }
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(value, &mut bytes);
    bytes
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, left) = rest.split_at_checked(len).ok_or_else(torn)?;
    *rest = left;
    Ok(taken)
}

/// `prost` makes its errors itself: this asks it to read a key that is cut off.
fn torn() -> DecodeError {
    decode_varint(&mut &[0x80u8][..]).err().unwrap_or_else(|| unreachable!("a varint that goes on and ends"))
}
