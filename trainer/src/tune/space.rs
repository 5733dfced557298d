//! The space that is searched, as TOML declares it.
//!
//! ```toml
//! [rate]
//! float = [0.001, 0.5]
//! log = true
//! [augment.shift]           # a training's setting by its dotted key
//! int = [0, 3]
//! [optimiser]
//! choice = ["sgd", "adamw"]
//! ["optimiser.momentum"]
//! float = [0.5, 0.99]
//! when = { optimiser = ["sgd"] }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use contract::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Parameters, Value};

/// A space: its parameters, each behind those that it depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// The parameters.
    pub parameters: Vec<Parameter>,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub domain: Domain,
    /// It is active only while these others have one of these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Vec<Value>>,
}

/// What a parameter may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// A number within both ends.
    Float {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// Whether orders of magnitude are alike.
        log: bool,
        /// Where it is there: multiples of it above the lower end alone.
        step: Option<f64>,
    },
    /// A whole number within both ends.
    Int {
        /// The lower end.
        low: i64,
        /// The upper end.
        high: i64,
        /// Whether orders of magnitude are alike.
        log: bool,
    },
    /// One of these.
    Choice(Vec<Value>),
}

/// As TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    float: Option<[f64; 2]>,
    int: Option<[i64; 2]>,
    choice: Option<Vec<Value>>,
    #[serde(default)]
    log: bool,
    step: Option<f64>,
    #[serde(default)]
    when: BTreeMap<String, Vec<Value>>,
}

/// A space that cannot be: every mistake, each with its parameter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("space: {}", .0.join("; "))]
pub struct Mistakes(pub Vec<String>);

impl Space {
    /// Reads a declaration.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(toml: &str) -> Result<Self, Mistakes> {
        let table: toml::Table = toml.parse().map_err(|error: toml::de::Error| Mistakes(vec![error.to_string()]))?;
        let mut mistakes = Vec::new();
        let mut parameters = Vec::new();
        walk("", &table, &mut parameters, &mut mistakes);
        if parameters.is_empty() && mistakes.is_empty() {
            mistakes.push("it has no parameter: declare one, as in `[rate]` with `float = [0.001, 0.5]`".into());
        }
        let space = Self { parameters: ordered(parameters, &mut mistakes) };
        if mistakes.is_empty() { Ok(space) } else { Err(Mistakes(mistakes)) }
    }

    /// Names the space: another one has another.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into())
    }

    /// The parameter of a name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl Parameter {
    /// Whether it counts, given the parameters before it.
    pub fn is_active(&self, given: &Parameters) -> bool {
        self.when.iter().all(|(name, values)| given.get(name).is_some_and(|value| values.contains(value)))
    }
}

/// A table with `float`, `int` or `choice` is a parameter; another one holds parameters, whose names begin with its own.
fn walk(prefix: &str, table: &toml::Table, found: &mut Vec<Parameter>, mistakes: &mut Vec<String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(inner) = value.as_table() else {
            mistakes.push(format!("`{name}` is no table with float, int or choice"));
            continue;
        };
        if !["float", "int", "choice"].iter().any(|kind| inner.contains_key(*kind)) {
            walk(&name, inner, found, mistakes);
            continue;
        }
        match inner.clone().try_into::<Declared>() {
            Ok(declared) => match declared.domain() {
                Ok(domain) => found.push(Parameter { name, domain, when: declared.when }),
                Err(why) => mistakes.push(format!("`{name}`: {why}")),
            },
            Err(error) => mistakes.push(format!("`{name}`: {}", error.message())),
        }
    }
}

impl Declared {
    fn domain(&self) -> Result<Domain, String> {
        let log = self.log;
        match (self.float, self.int, &self.choice) {
            (Some([low, high]), None, None) => {
                let step = self.step;
                if !(low < high && low.is_finite() && high.is_finite()) {
                    Err(format!("float = [{low}, {high}]: the lower end comes first"))
                } else if log && low <= 0.0 {
                    Err(format!("log needs a lower end above zero; it is {low}"))
                } else if step.is_some_and(|step| step <= 0.0 || step > high - low || log) {
                    Err("step must be above zero, smaller than the range, and not with log".into())
                } else {
                    Ok(Domain::Float { low, high, log, step })
                }
            }
            (None, Some([low, high]), None) if low < high && !(log && low < 1) => Ok(Domain::Int { low, high, log }),
            (None, Some([low, high]), None) => {
                Err(format!("int = [{low}, {high}]: the lower end comes first, and is 1 or more with log"))
            }
            (None, None, Some(choices)) if choices.len() >= 2 && !log => Ok(Domain::Choice(choices.clone())),
            (None, None, Some(_)) => Err("choice needs two values or more, and no log".into()),
            _ => Err("say one of float, int and choice".into()),
        }
    }
}

/// Each behind those that it depends on.
fn ordered(mut left: Vec<Parameter>, mistakes: &mut Vec<String>) -> Vec<Parameter> {
    left.sort_by(|a, b| a.name.cmp(&b.name));
    let names: BTreeSet<String> = left.iter().map(|parameter| parameter.name.clone()).collect();
    for parameter in &left {
        for name in parameter.when.keys().filter(|name| !names.contains(*name)) {
            mistakes.push(format!("`{}` depends on `{name}`, which is no parameter", parameter.name));
        }
    }
    let mut done: Vec<Parameter> = Vec::new();
    loop {
        let ready = |parameter: &Parameter| {
            let known = |name: &String| done.iter().any(|one| one.name == *name) || !names.contains(name);
            parameter.when.keys().all(known)
        };
        let (next, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(ready);
        left = rest;
        if next.is_empty() {
            break;
        }
        done.extend(next);
    }
    if let Some(stuck) = left.first() {
        mistakes.push(format!("`{}` depends on itself, by others", stuck.name));
    }
    done
}
