//! Chooses the engine for a package: the first in the order of preference that is there, loads the model, and gives
//! the golden rows' answers. Says which one, why, and why each better one was refused.

use std::{fmt, ops::Range, sync::Arc};

use contract::model::Precision;

use crate::{
    Engine, EngineFactory, Package,
    engine::full,
    golden::{self, Checked},
};

/// Which of a package's files an engine may take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Accuracy {
    /// Only the float32 file: the answers that the model was made with.
    #[default]
    Exact,
    /// The fastest file that changes the best label of at most this share of inputs, 0 to 1, as was measured when the
    /// file was made.
    Fast {
        /// The largest share.
        loss_max: f32,
    },
}

impl Accuracy {
    fn accepts(self, package: &Package) -> bool {
        match (self, package.agreement()) {
            (_, None) => true,
            (Accuracy::Exact, Some(_)) => false,
            (Accuracy::Fast { loss_max }, Some(agreement)) => 1.0 - agreement.top1 <= loss_max,
        }
    }
}

/// The engine that was chosen.
pub struct Chosen {
    /// Loaded, warmed up, and checked on the golden rows.
    pub engine: Box<dyn Engine>,
    /// What the model file that it runs computes in.
    pub precision: Precision,
    /// Why this one, for people: it stands in health records.
    pub reason: String,
    /// The engines that were tried before, with the reason why not.
    pub refused: Vec<Refused>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("engine", &self.engine.name())
            .field("precision", &self.precision)
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
/// Of the package's files it gets the first that it can make use of and that `accuracy` accepts.
///
/// # Errors
/// [`NoEngine`] with the reason of each.
pub fn choose(
    factories: &[&dyn EngineFactory],
    preference: &[String],
    accuracy: Accuracy,
    package: &Package,
) -> Result<Chosen, NoEngine> {
    let mut refused = Vec::new();
    for wanted in order(factories, preference) {
        match attempt(factories, &wanted, accuracy, package) {
            Ok((engine, precision, found)) => {
                let reason = reason(&wanted, &found, preference.is_empty(), &refused);
                return Ok(Chosen { engine, precision, reason, refused });
            }
            Err(why) => refused.push(Refused { engine: wanted, why }),
        }
    }
    Err(NoEngine { model: package.manifest().id.clone(), refused })
}

/// All that is needed to try the engines for a package, one by one and again.
pub(crate) struct Candidates {
    factories: Arc<[Box<dyn EngineFactory>]>,
    names: Vec<String>,
    by_default: bool,
    accuracy: Accuracy,
    package: Package,
}

/// An engine that works.
pub(crate) struct Found {
    /// Its place in the order of preference.
    pub place: usize,
    pub engine: Box<dyn Engine>,
    pub precision: Precision,
    /// What it is and how it proved itself.
    pub proof: String,
}

impl Candidates {
    pub fn new(
        factories: Arc<[Box<dyn EngineFactory>]>,
        preference: &[String],
        accuracy: Accuracy,
        package: &Package,
    ) -> Self {
        let names = order(&borrowed(&factories), preference);
        Self { factories, names, by_default: preference.is_empty(), accuracy, package: package.clone() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The names of some.
    pub fn names(&self, places: Range<usize>) -> &[String] {
        &self.names[places]
    }

    /// Whether one of them may be there later.
    pub fn may_come(&self) -> bool {
        self.factories.iter().any(|factory| factory.may_come() && self.names.iter().any(|name| name == factory.name()))
    }

    /// Tries one.
    pub fn attempt(&self, place: usize) -> Result<Found, Refused> {
        let wanted = &self.names[place];
        match attempt(&borrowed(&self.factories), wanted, self.accuracy, &self.package) {
            Ok((engine, precision, proof)) => Ok(Found { place, engine, precision, proof }),
            Err(why) => Err(Refused { engine: wanted.clone(), why }),
        }
    }

    /// Why this one, for people.
    pub fn reason(&self, found: &Found, refused: &[Refused]) -> String {
        reason(&self.names[found.place], &found.proof, self.by_default, refused)
    }
}

fn borrowed(factories: &[Box<dyn EngineFactory>]) -> Vec<&dyn EngineFactory> {
    factories.iter().map(AsRef::as_ref).collect()
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

/// Probe, then load, warm up and golden check with each file until one does: what the engine is and how it proved itself,
/// or why not.
fn attempt(
    factories: &[&dyn EngineFactory],
    wanted: &str,
    accuracy: Accuracy,
    package: &Package,
) -> Result<(Box<dyn Engine>, Precision, String), String> {
    let Some(factory) = factories.iter().find(|f| f.name() == wanted) else {
        let known: Vec<&str> = factories.iter().map(|f| f.name()).collect();
        return Err(format!("no engine of this name is built in; known: {}", known.join(", ")));
    };
    let probe = factory.probe().map_err(|refusal| full(&refusal))?;
    let files = factory.precisions().iter().filter_map(|&precision| package.variant(precision));
    let mut refused = Vec::new();
    for package in files.filter(|package| accuracy.accepts(package)) {
        match prove(*factory, &package) {
            Ok((engine, proof)) => {
                let (precision, device) = (package.precision(), &probe.device);
                let found = format!("{} {} on {device} in {precision}; {proof}", factory.name(), probe.version);
                return Ok((engine, precision, found));
            }
            Err(why) => refused.push(format!("{}: {why}", package.precision())),
        }
    }
    match &refused[..] {
        [only] => Err(only.split_once(": ").map_or(only.clone(), |(_, why)| why.to_owned())),
        [] => {
            Err(format!("the package has no file that it takes; it takes {}", listed_precisions(factory.precisions())))
        }
        _ => Err(refused.join("; ")),
    }
}

fn listed_precisions(precisions: &[Precision]) -> String {
    precisions.iter().map(|precision| precision.as_str()).collect::<Vec<_>>().join(", ")
}

/// Loads the package's file and runs the golden rows; how they went.
fn prove(factory: &dyn EngineFactory, package: &Package) -> Result<(Box<dyn Engine>, String), String> {
    let mut engine = factory.load(package).map_err(|refusal| full(&refusal))?;
    let proof = match golden::check(engine.as_mut(), package).map_err(|error| full(&error))? {
        Checked::Rows { rows, largest_difference } => {
            format!("{rows} golden rows agree within {largest_difference:.1e}")
        }
        Checked::WarmedUpOnly => "the package has no golden rows, only a warm-up was run".into(),
    };
    Ok((engine, proof))
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
