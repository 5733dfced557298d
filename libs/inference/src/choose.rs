//! Chooses the engine for a package: the first in the order of preference that is there, loads the model, and gives
//! the golden rows' answers. Says which one, why, and why each better one was refused.

use std::fmt;

use crate::{
    Engine, EngineFactory, Package,
    engine::full,
    golden::{self, Checked},
};

/// The engine that was chosen.
pub struct Chosen {
    /// Loaded, warmed up, and checked on the golden rows.
    pub engine: Box<dyn Engine>,
    /// Why this one, for people: it stands in health records.
    pub reason: String,
    /// The engines that were tried before, with the reason why not.
    pub refused: Vec<Refused>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("engine", &self.engine.name())
            .field("reason", &self.reason)
            .field("refused", &self.refused)
            .finish()
    }
}

/// An engine that was tried and not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The engine's name.
    pub engine: String,
    /// Why not, with causes, on one line.
    pub why: String,
}

/// No engine can run the package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no engine can run model `{model}`: {}", listed(.refused))]
pub struct NoEngine {
    /// The model's id.
    pub model: String,
    /// Each engine that was tried, with the reason why not.
    pub refused: Vec<Refused>,
}

fn listed(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "this program was built without engines".into();
    }
    refused.iter().map(|r| format!("`{}` refused: {}", r.engine, r.why)).collect::<Vec<_>>().join("; ")
}

/// Finds the first engine that can run the package, in the order of `preference`, or of `factories` when it is empty.
///
/// An engine counts only when it is there (probe), takes the model (load), runs it (warm-up, which also lets the
/// runtime plan its memory before the first frame), and gives the package's golden answers.
///
/// # Errors
/// [`NoEngine`] with the reason of each.
pub fn choose(factories: &[&dyn EngineFactory], preference: &[String], package: &Package) -> Result<Chosen, NoEngine> {
    let mut refused = Vec::new();
    for wanted in order(factories, preference) {
        match attempt(factories, &wanted, package) {
            Ok((engine, found)) => {
                let reason = reason(&wanted, &found, preference.is_empty(), &refused);
                return Ok(Chosen { engine, reason, refused });
            }
            Err(why) => refused.push(Refused { engine: wanted, why }),
        }
    }
    Err(NoEngine { model: package.manifest().id.clone(), refused })
}

fn order(factories: &[&dyn EngineFactory], preference: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let built_in = || factories.iter().map(|f| f.name().to_owned());
    let wanted: Vec<String> = if preference.is_empty() { built_in().collect() } else { preference.to_vec() };
    for name in wanted {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Probe, load, warm up, golden check: what the engine is and how it proved itself, or why not.
fn attempt(
    factories: &[&dyn EngineFactory],
    wanted: &str,
    package: &Package,
) -> Result<(Box<dyn Engine>, String), String> {
    let Some(factory) = factories.iter().find(|f| f.name() == wanted) else {
        let known: Vec<&str> = factories.iter().map(|f| f.name()).collect();
        return Err(format!("no engine of this name is built in; known: {}", known.join(", ")));
    };
    let probe = factory.probe().map_err(|refusal| full(&refusal))?;
    let mut engine = factory.load(package).map_err(|refusal| full(&refusal))?;
    let checked = golden::check(engine.as_mut(), package).map_err(|error| full(&error))?;
    let proof = match checked {
        Checked::Rows { rows, largest_difference } => {
            format!("{rows} golden rows agree within {largest_difference:.1e}")
        }
        Checked::WarmedUpOnly => "the package has no golden rows, only a warm-up was run".into(),
    };
    Ok((engine, format!("{} {} on {}; {proof}", factory.name(), probe.version, probe.device)))
}

fn reason(name: &str, found: &str, by_default: bool, refused: &[Refused]) -> String {
    let place = match (refused.is_empty(), by_default) {
        (true, true) => format!("`{name}` is the first engine of this program"),
        (true, false) => format!("`{name}` is the first in the preference"),
        (false, _) => {
            let why: Vec<String> = refused.iter().map(|r| format!("`{}` refused: {}", r.engine, r.why)).collect();
            format!("`{name}` is the first that works ({})", why.join("; "))
        }
    };
    format!("{place}: {found}")
}
