//! Configuration: a TOML file, then the environment, then the command line, each over the one before.
//!
//! Every mistake is reported with its place and its dotted key, not only the first. Serde stops at the first error, so
//! this module brings its own deserializer: it notes an unknown key and goes on, and a value that is wrong is noted,
//! left out, and the whole read again, until it passes. Structs need no `deny_unknown_fields`: a key that a struct does
//! not have is always a mistake. Avoid `flatten` and `untagged`, which lose the place of what is inside them.

mod de;
mod mistakes;
mod print;
mod redact;
mod tree;
mod values;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

pub use mistakes::{ConfigErrors, Mistake, Problems};
pub use redact::without_secrets;
pub use tree::Origin;
pub use values::{Bytes, Secret, Span};

use tree::Item;

/// What a program reads: every field with a default, so that no file is needed.
pub trait Config: DeserializeOwned + Serialize {
    /// For fields without a default: a value that is read in place of one that is absent or wrong, so that what stands
    /// beside and below it is looked at too. The reading has failed already; this only lets it tell more.
    const STAND_INS: &'static [(&'static str, &'static str)] = &[];

    /// Looks for mistakes that no single value shows; adds them with the dotted key that is at fault.
    fn check(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// Prefix of environment variables, such as `SIGHTLINE_EDGE`: `SIGHTLINE_EDGE__MQTT__URL` sets `mqtt.url`.
    pub env_prefix: String,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Keys set on the command line: key, flag, value.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// The file and the process's environment.
    pub fn new(file: Option<&Path>, env_prefix: &str) -> Self {
        let text = |os: std::ffi::OsString| os.into_string().ok();
        let env = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        Self { file: file.map(Path::to_owned), env_prefix: env_prefix.to_owned(), env, flags: Vec::new() }
    }

    /// Sets a key from the command line, where the flag was given.
    pub fn flag(mut self, key: &str, flag: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.flags.push((key.to_owned(), flag.to_owned(), value.to_string()));
        }
        self
    }
}

/// A configuration and where each of its keys comes from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    tree: Item,
}

/// Reads and checks a configuration; on failure, with every mistake.
pub fn load<T: Config>(sources: &Sources) -> Result<Loaded<T>, ConfigErrors> {
    let tree = tree::read(sources)?;
    let (value, mut mistakes, stood_in) = de::read_all::<T>(&tree, T::STAND_INS);
    if let Some(value) = &value {
        let mut problems = Problems::default();
        value.check(&mut problems);
        mistakes.extend(problems.place(&tree, &stood_in));
    }
    match value {
        Some(value) if mistakes.is_empty() => Ok(Loaded { value, tree }),
        _ => Err(ConfigErrors::new(mistakes)),
    }
}

impl<T: Config> Loaded<T> {
    /// Where a key's value comes from; a key that nobody set is a default.
    pub fn origin(&self, key: &str) -> Origin {
        self.tree.find(key).map_or(Origin::Default, |item| item.origin.clone())
    }

    /// Whether somebody set the key.
    pub fn is_set(&self, key: &str) -> bool {
        self.tree.find(key).is_some()
    }

    /// The whole configuration as TOML, defaults included, each line that somebody set with where that was.
    /// Secrets print as where they come from.
    pub fn print(&self) -> String {
        print::print(&self.value, &self.tree)
    }
}
