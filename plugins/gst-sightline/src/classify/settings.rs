//! The element's properties, and what they mean.

use std::{path::PathBuf, time::Duration};

use contract::RegionId;
use frames::RectSpec;
use gstreamer::{glib, prelude::*};

use crate::instance::Recipe;

/// As they are set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub model: Option<String>,
    pub engine: Option<String>,
    pub region: Option<String>,
    pub interval: u32,
    pub top_k: u32,
    pub batch_size: u32,
    pub batch_timeout_ms: u32,
    pub instance: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            engine: None,
            region: None,
            interval: 1,
            top_k: 1,
            batch_size: 8,
            batch_timeout_ms: 0,
            instance: None,
        }
    }
}

/// A region as it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub rect: RectSpec,
}

impl Settings {
    /// What `gst-inspect-1.0` shows.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let usual = Self::default();
        let text = |name: &str, blurb: &str| glib::ParamSpecString::builder(name).blurb(blurb).mutable_ready().build();
        let number = |name: &str, blurb: &str, least: u32, most: u32, default: u32| {
            let spec = glib::ParamSpecUInt::builder(name).blurb(blurb).minimum(least).maximum(most);
            spec.default_value(default).mutable_ready().build()
        };
        vec![
            text("model", "Model package: a folder or a plain tar with manifest.json and model.onnx"),
            text(
                "engine",
                "Engines in the order in which they are tried, as in tensorrt,ort-cpu; all of this build when empty",
            ),
            text(
                "region",
                "Regions: [name=]x,y,width,height in pixels, or in fractions of the picture; several are divided by ;",
            ),
            number("interval", "Classify every n-th picture", 1, u32::MAX, usual.interval),
            number("top-k", "Classes to add for each region, best first", 1, 100, usual.top_k),
            number("batch-size", "Inputs in one batch at most", 1, 1024, usual.batch_size),
            number(
                "batch-timeout",
                "Milliseconds that an input waits at most for others of its batch, while elements that share it have not asked",
                0,
                10_000,
                usual.batch_timeout_ms,
            ),
            glib::ParamSpecString::builder("engine-in-use")
                .blurb("The engine that runs the model now; a message `sightline-engine` on the bus says why, and when it changes")
                .read_only()
                .build(),
            text(
                "model-instance-id",
                "Elements with the same id share one model and engine, also across pipelines of a process",
            ),
        ]
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let text = || value.get::<Option<String>>().ok().flatten().filter(|text| !text.is_empty());
        let number = || value.get::<u32>().unwrap_or_default();
        match name {
            "model" => self.model = text(),
            "engine" => self.engine = text(),
            "region" => self.region = text(),
            "interval" => self.interval = number(),
            "top-k" => self.top_k = number(),
            "batch-size" => self.batch_size = number(),
            "batch-timeout" => self.batch_timeout_ms = number(),
            "model-instance-id" => self.instance = text(),
            _ => {}
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "model" => self.model.to_value(),
            "engine" => self.engine.to_value(),
            "region" => self.region.to_value(),
            "interval" => self.interval.to_value(),
            "top-k" => self.top_k.to_value(),
            "batch-size" => self.batch_size.to_value(),
            "batch-timeout" => self.batch_timeout_ms.to_value(),
            _ => self.instance.to_value(),
        }
    }

    /// What the instance needs.
    ///
    /// # Errors
    /// No model is named.
    pub fn recipe(&self) -> Result<Recipe, String> {
        let model = self.model.as_ref().ok_or("property model is not set: name a model package, a folder or a tar")?;
        let engines = self.engine.iter().flat_map(|text| text.split(','));
        Ok(Recipe {
            model: PathBuf::from(model),
            engines: engines.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            batch_size: self.batch_size as usize,
            batch_timeout: Duration::from_millis(self.batch_timeout_ms.into()),
        })
    }

    /// The regions; the whole picture when none is given.
    ///
    /// # Errors
    /// Which one cannot be read, and how it is written.
    pub fn regions(&self) -> Result<Vec<Wanted>, String> {
        let Some(text) = &self.region else { return Ok(vec![Wanted { name: "full".into(), rect: RectSpec::FULL }]) };
        let parts: Vec<&str> = text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        let read = |(at, part): (usize, &&str)| {
            let (name, rect) = part.split_once('=').unwrap_or(("", part));
            let name = if name.is_empty() { format!("region-{}", at + 1) } else { name.trim().to_owned() };
            if let Err(error) = name.parse::<RegionId>() {
                return Err(format!("property region, `{part}`: {error}"));
            }
            let rect = rect.parse().map_err(|error| format!("property region, `{part}`: {error}"))?;
            Ok(Wanted { name, rect })
        };
        let regions: Vec<Wanted> = parts.iter().enumerate().map(read).collect::<Result<_, String>>()?;
        for (at, region) in regions.iter().enumerate() {
            if regions[..at].iter().any(|other| other.name == region.name) {
                return Err(format!(
                    "property region: two regions are called `{}`; give each its own name",
                    region.name
                ));
            }
        }
        Ok(regions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read() {
        let of = |text: &str| Settings { region: Some(text.into()), ..Settings::default() }.regions();
        let names: Vec<_> = of("door=0.1,0.2,0.3,0.4; 0,0,64,48").unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["door", "region-2"]);
        assert_eq!(Settings::default().regions().unwrap()[0].name, "full");
        let error = of("door=1,2,3").unwrap_err();
        for (text, words) in [("Front Door=0,0,64,48", "`Front Door`"), ("a=0,0,8,8;a=8,8,8,8", "called `a`")] {
            let error = of(text).unwrap_err();
            assert!(error.contains("property region") && error.contains(words), "{error}");
        }
        assert!(error.contains("property region, `door=1,2,3`") && error.contains("x,y,width,height"), "{error}");
    }
}
