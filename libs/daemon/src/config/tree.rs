//! The document before it is typed: values with where they come from, from file, environment and command line.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::{
    Sources,
    mistakes::{ConfigErrors, Mistake},
};

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A file; line and column count from 1.
    File {
        /// The file.
        path: Arc<PathBuf>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable.
    Environment(Arc<str>),
    /// A flag of the command line.
    CommandLine(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine(flag) => write!(f, "command line {flag}"),
        }
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub node: Node,
    /// Where the value stands; for a key of a file, where the key stands.
    pub origin: Origin,
    /// The text as it was given, for values that came without quotes (environment, command line).
    pub loose: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Array(Vec<Item>),
    Table(Vec<(String, Item)>),
}

impl Item {
    fn table(origin: Origin) -> Self {
        Self { node: Node::Table(Vec::new()), origin, loose: None }
    }

    /// A text that nobody set.
    pub fn text(text: &str) -> Self {
        Self { node: Node::Text(text.to_owned()), origin: Origin::Default, loose: None }
    }

    /// The value at a dotted key.
    pub fn find(&self, key: &str) -> Option<&Self> {
        key.split('.').try_fold(self, |item, segment| item.child(segment))
    }

    /// The value at a dotted key, or what stands nearest above it, with how many segments were found.
    pub fn nearest(&self, key: &str) -> &Self {
        let mut item = self;
        for segment in key.split('.') {
            match item.child(segment) {
                Some(child) => item = child,
                None => break,
            }
        }
        item
    }

    fn child(&self, segment: &str) -> Option<&Self> {
        match &self.node {
            Node::Table(entries) => entries.iter().find(|(name, _)| name == segment).map(|(_, item)| item),
            Node::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Takes the value at a path out, so that reading can go on without it.
    pub fn remove(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        match &mut self.node {
            Node::Table(entries) => {
                let Some(at) = entries.iter().position(|(name, _)| name == first) else { return false };
                if rest.is_empty() {
                    entries.remove(at);
                    return true;
                }
                entries[at].1.remove(rest)
            }
            Node::Array(items) => {
                let Some(item) = first.parse::<usize>().ok().and_then(|at| items.get_mut(at)) else { return false };
                // an element cannot be taken out without moving those after it: the array goes as a whole
                !rest.is_empty() && item.remove(rest)
            }
            _ => false,
        }
    }

    /// Sets the value at a path. False when something on the way is not a table.
    pub fn set(&mut self, path: &[String], item: Self) -> bool {
        let Node::Table(entries) = &mut self.node else { return false };
        let Some((first, rest)) = path.split_first() else { return false };
        let dashed = first.replace('_', "-");
        let at = entries
            .iter()
            .position(|(name, _)| name == first)
            .or_else(|| entries.iter().position(|(name, _)| *name == dashed));
        match (at, rest.is_empty()) {
            (Some(at), true) => entries[at].1 = item,
            (Some(at), false) => return entries[at].1.set(rest, item),
            (None, true) => entries.push((first.clone(), item)),
            (None, false) => {
                let mut table = Self::table(item.origin.clone());
                let set = table.set(rest, item);
                entries.push((first.clone(), table));
                return set;
            }
        }
        true
    }
}

/// Reads all sources into one tree.
pub(crate) fn read(sources: &Sources) -> Result<Item, ConfigErrors> {
    let mut tree = match &sources.file {
        Some(path) => read_file(path)?,
        None => Item::table(Origin::Default),
    };
    let prefix = format!("{}__", sources.env_prefix);
    let mut mistakes = Vec::new();
    let from_env = sources.env.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(&prefix)?.to_lowercase().replace("__", ".");
        Some((key, Origin::Environment(name.as_str().into()), value))
    });
    let from_flags =
        sources.flags.iter().map(|(key, flag, value)| (key.clone(), Origin::CommandLine(flag.as_str().into()), value));
    for (key, origin, value) in from_env.chain(from_flags) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) || !tree.set(&path, loose(value, origin.clone())) {
            mistakes.push(Mistake { origin, key, message: "there is no such key".to_owned() });
        }
    }
    if mistakes.is_empty() { Ok(tree) } else { Err(ConfigErrors::new(mistakes)) }
}

fn loose(text: &str, origin: Origin) -> Item {
    let node = match DeValue::parse(text) {
        Ok(value) => convert(value.into_inner(), &mut |_| origin.clone()),
        Err(_) => Node::Text(text.to_owned()),
    };
    Item { node, origin, loose: Some(text.to_owned()) }
}

fn read_file(path: &PathBuf) -> Result<Item, ConfigErrors> {
    let source = Arc::new(path.clone());
    let whole = |message: String| {
        let origin = Origin::File { path: source.clone(), line: 1, column: 1 };
        ConfigErrors::new(vec![Mistake { origin, key: String::new(), message }])
    };
    let bytes = std::fs::read(path).map_err(|error| {
        whole(format!("cannot read the file: {error}; correct --config, or leave it out for the defaults"))
    })?;
    let text = String::from_utf8(bytes).map_err(|_| whole("the file is not UTF-8 text".to_owned()))?;
    let mut place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Origin::File { path: source.clone(), line, column: before[line_start..].chars().count() + 1 }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        let mistakes = errors.iter().map(|error| {
            let origin = place(error.span().map_or(0, |span| span.start));
            Mistake { origin, key: String::new(), message: format!("not TOML: {}", error.message()) }
        });
        return Err(ConfigErrors::new(mistakes.collect()));
    }
    let node = convert(DeValue::Table(table.into_inner()), &mut place);
    Ok(Item { node, origin: place(0), loose: None })
}

fn convert(value: DeValue<'_>, place: &mut dyn FnMut(usize) -> Origin) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.into_owned()),
        DeValue::Integer(integer) => {
            Node::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(float) => Node::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Node::Boolean(boolean),
        DeValue::Datetime(datetime) => Node::Text(datetime.to_string()),
        DeValue::Array(items) => Node::Array(
            items
                .into_iter()
                .map(|item| {
                    let origin = place(item.span().start);
                    Item { node: convert(item.into_inner(), place), origin, loose: None }
                })
                .collect(),
        ),
        DeValue::Table(table) => {
            let mut entries: Vec<(usize, String, Item)> = table
                .into_iter()
                .map(|(key, item)| {
                    let at = key.span().start;
                    let origin = place(at);
                    let item = Item { node: convert(item.into_inner(), place), origin, loose: None };
                    (at, key.into_inner().into_owned(), item)
                })
                .collect();
            entries.sort_by_key(|(at, ..)| *at); // mistakes are told in the order of the file
            Node::Table(entries.into_iter().map(|(_, key, item)| (key, item)).collect())
        }
    }
}
