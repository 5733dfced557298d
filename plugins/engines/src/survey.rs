//! What of the engines is there: asked of each without loading a model.

use inference::EngineFactory;
use serde::Serialize;

/// One engine and whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Surveyed {
    /// Its name, as in `engines.preference`.
    pub engine: String,
    /// Whether its runtime and device are there.
    pub usable: bool,
    /// The runtime's version, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The device, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What the model files that it takes compute in, the best first.
    pub precisions: Vec<String>,
    /// Why it cannot be used, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Asks each.
pub fn survey(factories: &[Box<dyn EngineFactory>]) -> Vec<Surveyed> {
    let one = |factory: &dyn EngineFactory| {
        let (engine, probe) = (factory.name().to_owned(), factory.probe());
        let precisions = factory.precisions().iter().map(ToString::to_string).collect();
        match probe {
            Ok(probe) => {
                let (version, device) = (Some(probe.version), Some(probe.device));
                Surveyed { engine, usable: true, version, device, precisions, why: None }
            }
            Err(refusal) => {
                let why = Some(refusal.full());
                Surveyed { engine, usable: false, version: None, device: None, precisions, why }
            }
        }
    };
    factories.iter().map(|factory| one(factory.as_ref())).collect()
}

/// The survey as text: a line an engine, and below it why not.
pub fn table(survey: &[Surveyed]) -> String {
    let mut text = format!("{:<10} {:<6} {:<20} {:<12} {}\n", "ENGINE", "USABLE", "VERSION", "PRECISION", "DEVICE");
    for one in survey {
        let usable = if one.usable { "yes" } else { "no" };
        let (version, device) = (one.version.as_deref().unwrap_or("-"), one.device.as_deref().unwrap_or("-"));
        let precisions = one.precisions.join(", ");
        text.push_str(&format!("{:<10} {usable:<6} {version:<20} {precisions:<12} {device}\n", one.engine));
        if let Some(why) = &one.why {
            text.push_str(&format!("           {why}\n"));
        }
    }
    text
}
