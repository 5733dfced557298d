//! The deserializer over the tree, which notes mistakes with their path and goes on.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize,
    de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::{
    mistakes::{Mistake, similar},
    tree::{Item, Node},
};

/// More mistakes than a person reads in one go.
const MISTAKES_MAX: usize = 100;

/// Reads as much as can be read: the value when it could be built, every mistake, and the tables in which a stand-in was
/// read (see [`super::Config::STAND_INS`]).
pub(crate) fn read_all<T: DeserializeOwned>(
    tree: &Item,
    stand_ins: &[(&str, &str)],
) -> (Option<T>, Vec<Mistake>, Vec<String>) {
    let noted = RefCell::new(Vec::new());
    let mut tree = tree.clone();
    let mut stood_in = Vec::new();
    loop {
        let error = match T::deserialize(Reader { item: &tree, path: Vec::new(), noted: &noted }) {
            Ok(value) => {
                let noted = noted.into_inner();
                return (Some(value), noted, stood_in);
            }
            Err(error) => error,
        };
        let path = error.at.clone().unwrap_or_default();
        let key = path.join(".");
        // what fails only because something wrong was left out of it is not a mistake of its own
        let told = |key: &str| {
            let inside = format!("{key}.");
            noted.borrow().iter().any(|m: &Mistake| m.key == key || m.key.starts_with(&inside))
        };
        let known = match &error.kind {
            Kind::Missing(field) => told(&join(&key, field)),
            Kind::Other(_) => told(&key),
        };
        if !known {
            note(&noted, &tree, &path, error.kind.to_string());
        }
        let stand_in = match &error.kind {
            Kind::Missing(field) => stand_ins.iter().find(|(name, _)| name == field),
            Kind::Other(_) => None,
        };
        let mended = match stand_in {
            Some((field, text)) if !stood_in.contains(&key) => {
                stood_in.push(key);
                tree.set(&[path.as_slice(), &[(*field).to_owned()]].concat(), Item::text(text))
            }
            _ => (0..path.len()).rev().any(|end| tree.remove(&path[..=end])),
        };
        if !mended || noted.borrow().len() >= MISTAKES_MAX {
            return (None, noted.into_inner(), stood_in);
        }
    }
}

fn join(key: &str, field: &str) -> String {
    if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") }
}

fn note(noted: &RefCell<Vec<Mistake>>, tree: &Item, path: &[String], message: String) {
    let key = path.join(".");
    let mut noted = noted.borrow_mut();
    if !noted.iter().any(|mistake| mistake.key == key && mistake.message == message) {
        let origin = path.iter().try_fold(tree, |item, segment| item.find(segment)).unwrap_or(tree).origin.clone();
        noted.push(Mistake { origin, key, message });
    }
}

/// An error on its way up, with the path of the value that it concerns once somebody knows it.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    at: Option<Vec<String>>,
}

#[derive(Debug)]
enum Kind {
    Missing(&'static str),
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "key {field} is missing"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = match message.to_string() {
            // The standard library's words for a `SocketAddr` that is none say nothing about what to write.
            bare if bare == "invalid socket address syntax" => {
                "this is not an address with a port; write one such as 127.0.0.1:8080".to_owned()
            }
            said => said,
        };
        Self { kind: Kind::Other(message), at: None }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("{} is not {expected}", Plain(unexpected)))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("{} is not {expected}", Plain(unexpected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { kind: Kind::Missing(field), at: None }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(one_of(variant, expected, "value"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(one_of(field, expected, "key"))
    }
}

/// A value in words that a person who writes TOML knows.
struct Plain<'a>(de::Unexpected<'a>);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            de::Unexpected::Str(text) => write!(f, "{text:?}"),
            de::Unexpected::Bool(value) => write!(f, "{value}"),
            de::Unexpected::Signed(value) => write!(f, "{value}"),
            de::Unexpected::Unsigned(value) => write!(f, "{value}"),
            de::Unexpected::Float(value) => write!(f, "{value}"),
            de::Unexpected::Map => f.write_str("a table"),
            de::Unexpected::Seq => f.write_str("a list"),
            other => write!(f, "{other}"),
        }
    }
}

fn one_of(word: &str, expected: &[&str], what: &str) -> String {
    let meant = similar(word, expected.iter().copied()).map(|m| format!("; did you mean {m}?")).unwrap_or_default();
    match (meant.is_empty(), expected.is_empty()) {
        (false, _) => format!("unknown {what} {word}{meant}"),
        (true, true) => format!("unknown {what} {word}; none is allowed here"),
        (true, false) => format!("unknown {what} {word}; there are {}", expected.join(", ")),
    }
}

/// Reads one value.
struct Reader<'a> {
    item: &'a Item,
    path: Vec<String>,
    noted: &'a RefCell<Vec<Mistake>>,
}

impl<'a> Reader<'a> {
    fn child(&self, segment: &str, item: &'a Item) -> Self {
        let mut path = self.path.clone();
        path.push(segment.to_owned());
        Self { item, path, noted: self.noted }
    }

    fn entries(&self) -> &'a [(String, Item)] {
        match &self.item.node {
            Node::Table(entries) => entries,
            _ => &[],
        }
    }

    fn place<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| Error { at: Some(error.at.unwrap_or_else(|| self.path.clone())), ..error })
    }

    /// A value from the environment is text when text is wanted, whatever it looks like.
    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (&self.item.loose, &self.item.node) {
            (Some(text), Node::Integer(_) | Node::Float(_) | Node::Boolean(_)) => {
                let result = visitor.visit_str(text);
                self.place(result)
            }
            _ => de::Deserializer::deserialize_any(self, visitor),
        }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.item.node {
            Node::Text(text) => visitor.visit_str(text),
            Node::Integer(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (Ok(n), _) => visitor.visit_i64(n),
                (_, Ok(n)) => visitor.visit_u64(n),
                _ => Err(de::Error::custom(format!("{n} is beyond what 64 bits hold"))),
            },
            Node::Float(x) => visitor.visit_f64(*x),
            Node::Boolean(b) => visitor.visit_bool(*b),
            Node::Array(items) => visitor.visit_seq(Elements { reader: &self, items, at: 0 }),
            Node::Table(_) => visitor.visit_map(Entries { reader: &self, fields: None, at: 0, value: None }),
        };
        self.place(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if !matches!(self.item.node, Node::Table(_)) {
            return self.deserialize_any(visitor);
        }
        let result = visitor.visit_map(Entries { reader: &self, fields: Some(fields), at: 0, value: None });
        self.place(result)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (name, content) = match &self.item.node {
            Node::Text(text) => (text.as_str(), None),
            Node::Table(entries) => match entries.as_slice() {
                [(name, item)] => (name.as_str(), Some(self.child(name, item))),
                _ => {
                    let why = format!("write exactly one of {}", variants.join(", "));
                    return self.place(Err(de::Error::custom(why)));
                }
            },
            _ => match &self.item.loose {
                Some(text) => (text.as_str(), None),
                None => return self.deserialize_any(visitor),
            },
        };
        let result = visitor.visit_enum(Variant { name, content });
        self.place(result)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (&self.item.loose, &self.item.node) {
            // SIGHTLINE_HUB__ROLES=ingest,api
            (Some(text), Node::Text(_)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let items: Vec<Item> = parts
                    .map(|part| Item {
                        node: Node::Text(part.to_owned()),
                        origin: self.item.origin.clone(),
                        loose: Some(part.to_owned()),
                    })
                    .collect();
                let result = visitor.visit_seq(Elements { reader: &self, items: &items, at: 0 });
                self.place(result)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        map identifier
    }
}

struct Elements<'r, 'a> {
    reader: &'r Reader<'a>,
    items: &'r [Item],
    at: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(item) = self.items.get(self.at) else { return Ok(None) };
        let mut path = self.reader.path.clone();
        path.push(self.at.to_string());
        self.at += 1;
        let child = Reader { item, path, noted: self.reader.noted };
        let path = child.path.clone();
        seed.deserialize(child).map(Some).map_err(|error| Error { at: error.at.or(Some(path)), ..error })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.at)
    }
}

struct Entries<'r, 'a> {
    reader: &'r Reader<'a>,
    /// The fields of a struct; a map takes any key that its type allows.
    fields: Option<&'static [&'static str]>,
    at: usize,
    value: Option<Reader<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let entries = self.reader.entries();
        // a seed works once, so keys that a struct does not have are passed over before it is used
        while let Some((name, item)) = entries.get(self.at) {
            self.at += 1;
            let child = self.reader.child(name, item);
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&name.as_str())) {
                self.note(&child, one_of(name, fields, "key"));
                continue;
            }
            let key = de::value::StrDeserializer::<Error>::new(name);
            let path = child.path.clone();
            self.value = Some(child);
            return seed.deserialize(key).map(Some).map_err(|error| Error { at: error.at.or(Some(path)), ..error });
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let child = self.value.take().ok_or_else(|| de::Error::custom("value was asked for before its key"))?;
        let path = child.path.clone();
        seed.deserialize(child).map_err(|error| Error { at: error.at.or(Some(path)), ..error })
    }
}

impl Entries<'_, '_> {
    fn note(&self, child: &Reader<'_>, message: String) {
        let key = child.path.join(".");
        let mut noted = self.reader.noted.borrow_mut();
        if !noted.iter().any(|mistake| mistake.key == key) {
            noted.push(Mistake { origin: child.item.origin.clone(), key, message });
        }
    }
}

struct Variant<'n, 'a> {
    name: &'n str,
    content: Option<Reader<'a>>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'_, 'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'a>), Error> {
        let value = seed.deserialize(de::value::StrDeserializer::<Error>::new(self.name))?;
        Ok((value, Content(self.content)))
    }
}

struct Content<'a>(Option<Reader<'a>>);

impl<'a> Content<'a> {
    fn reader(self) -> Result<Reader<'a>, Error> {
        self.0.ok_or_else(|| de::Error::custom("this value needs a table of its own with its keys"))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), <()>::deserialize)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.reader()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self.reader()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.reader()?, "", fields, visitor)
    }
}
