//! The sense of a manifest, and whether a graph is what its manifest says.

use std::collections::HashSet;

use contract::{
    SCHEMA,
    model::{Agreement, Dtype, Golden, ModelInput, ModelManifest, Precision},
};
use vision::{MAX_SIDE, PREPROCESS_VERSION, Spec};

use crate::{
    files,
    onnx::{self, Dim, Value},
    package::MODEL,
};

/// A manifest that contradicts itself or asks for what we do not know.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum Manifest {
    #[error(
        "`schema` is {schema}, this program reads up to {SCHEMA}; upgrade it, or make the package for this version"
    )]
    Newer { schema: u16 },
    #[error("`{field}` is empty; give it a value")]
    Empty { field: &'static str },
    #[error("`files` does not name `{name}`; add it with its digest")]
    NotListed { name: String },
    #[error("`files`: {why}")]
    FileName { why: String },
    #[error("`input` is {width}x{height}; both sides must be 1 to {MAX_SIDE} pixels")]
    Side { width: u32, height: u32 },
    #[error("`input.preprocess.version` is {version}, this program computes version {PREPROCESS_VERSION}")]
    Preprocess { version: u16 },
    #[error("`input.dtype` is float32 but `input.normalize` is absent; say how uint8 becomes float")]
    NoNormalize,
    #[error("`input.normalize` is given for a uint8 model, whose normalisation is inside; remove one of the two")]
    SuperfluousNormalize,
    #[error("`input.normalize.{field}` has {got} values, the input has {expected} channels; give one a channel")]
    NormalizeLength { field: &'static str, got: usize, expected: usize },
    #[error("`input.normalize.{field}` holds {value}; it must be finite{more}")]
    NormalizeValue { field: &'static str, value: f32, more: &'static str },
    #[error("class {index} is empty; every class needs a name")]
    EmptyClass { index: usize },
    #[error("class `{class}` stands twice, the second time at {index}; names must differ")]
    TwiceClass { class: String, index: usize },
    #[error("`thresholds` names `{class}`, which is not a class of this model")]
    ThresholdClass { class: String },
    #[error("`thresholds.{class}` is {value}; scores are 0 to 1")]
    ThresholdValue { class: String, value: f32 },
    #[error("variant `{variant}` is `{MODEL}` itself; leave it out")]
    VariantIsModel { variant: Precision },
    #[error("variant `{variant}`: `agreement.{field}` is {value}; measure it again with `sightline-train variants`")]
    VariantAgreement { variant: Precision, field: &'static str, value: f32 },
    #[error("golden rows: {why}")]
    Golden { why: String },
    #[error("golden input `{input}` has {got} bytes, the model's input has {expected}")]
    GoldenLength { input: String, got: usize, expected: usize },
}

/// A graph that is not what its manifest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum Graph {
    #[error("the model has no {what} `{name}`, it has {known}; correct `{what}.name` in the manifest")]
    Name { what: &'static str, name: String, known: String },
    #[error("the model needs {names} beside `{input}`; only models with one input can run")]
    MoreInputs { input: String, names: String },
    #[error("{what} `{name}` is {found}, the manifest says {expected}; correct the manifest or export the model again")]
    Type { what: &'static str, name: String, found: String, expected: String },
    #[error(
        "{what} `{name}` has shape {found}, the manifest says {expected}; correct the manifest or export the model again"
    )]
    Shape { what: &'static str, name: String, found: String, expected: String },
    #[error("input `{name}` has a fixed batch of {batch}; export the model with a dynamic batch axis, or with 1")]
    Batch { name: String, batch: i64 },
    #[error("output `{name}` gives {found} classes, the manifest lists {listed}; list exactly one name a class")]
    Classes { name: String, found: i64, listed: usize },
    #[error("tensor `{tensor}` lies in another file; export the model as one file")]
    External { tensor: String },
}

/// Checks all that the manifest alone can tell.
pub fn manifest(manifest: &ModelManifest) -> Result<(), Manifest> {
    if manifest.schema > SCHEMA {
        return Err(Manifest::Newer { schema: manifest.schema });
    }
    let texts = [("id", manifest.id.as_str()), ("version", &manifest.version), ("input.name", &manifest.input.name)];
    for (field, text) in texts.into_iter().chain([("output.name", manifest.output.name.as_str())]) {
        if text.trim().is_empty() {
            return Err(Manifest::Empty { field });
        }
    }
    files_named(manifest)?;
    input(&manifest.input)?;
    variants(manifest)?;
    classes(manifest)
}

fn variants(manifest: &ModelManifest) -> Result<(), Manifest> {
    for (&precision, variant) in &manifest.variants {
        if precision == Precision::Fp32 || variant.file == MODEL {
            return Err(Manifest::VariantIsModel { variant: precision });
        }
        let Agreement { top1, difference_max, difference_mean, .. } = variant.agreement;
        let shares = [("top1", top1), ("difference_max", difference_max), ("difference_mean", difference_mean)];
        if let Some((field, value)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Manifest::VariantAgreement { variant: precision, field, value });
        }
    }
    Ok(())
}

fn files_named(manifest: &ModelManifest) -> Result<(), Manifest> {
    for name in manifest.files.keys() {
        files::check_name(name).map_err(|error| Manifest::FileName { why: error.to_string() })?;
    }
    let variants = manifest.variants.values().map(|variant| variant.file.as_str());
    for name in [MODEL].into_iter().chain(manifest.golden.as_deref()).chain(variants) {
        if !manifest.files.contains_key(name) {
            return Err(Manifest::NotListed { name: name.into() });
        }
    }
    Ok(())
}

fn input(input: &ModelInput) -> Result<(), Manifest> {
    let (width, height) = (input.width, input.height);
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        return Err(Manifest::Side { width, height });
    }
    if input.preprocess.version != PREPROCESS_VERSION {
        return Err(Manifest::Preprocess { version: input.preprocess.version });
    }
    match (input.dtype, &input.normalize) {
        (Dtype::Uint8, None) => Ok(()),
        (Dtype::Uint8, Some(_)) => Err(Manifest::SuperfluousNormalize),
        (Dtype::Float32, None) => Err(Manifest::NoNormalize),
        (Dtype::Float32, Some(_)) => normalize(input),
    }
}

fn normalize(input: &ModelInput) -> Result<(), Manifest> {
    let Some(normalize) = &input.normalize else { return Ok(()) };
    let expected = input.color.channels();
    for (field, values) in [("mean", &normalize.mean), ("std", &normalize.std)] {
        if values.len() != expected {
            return Err(Manifest::NormalizeLength { field, got: values.len(), expected });
        }
    }
    let finite = |field, values: &[f32], zero_allowed: bool| {
        let more = if zero_allowed { "" } else { " and not 0" };
        match values.iter().find(|v| !v.is_finite() || (**v == 0.0 && !zero_allowed)) {
            Some(&value) => Err(Manifest::NormalizeValue { field, value, more }),
            None => Ok(()),
        }
    };
    finite("scale", &[normalize.scale], false)?;
    finite("mean", &normalize.mean, true)?;
    finite("std", &normalize.std, false)
}

fn classes(manifest: &ModelManifest) -> Result<(), Manifest> {
    if manifest.classes.is_empty() {
        return Err(Manifest::Empty { field: "classes" });
    }
    let mut seen = HashSet::new();
    for (index, class) in manifest.classes.iter().enumerate() {
        if class.trim().is_empty() {
            return Err(Manifest::EmptyClass { index });
        }
        if !seen.insert(class) {
            return Err(Manifest::TwiceClass { class: class.to_string(), index });
        }
    }
    for (class, &value) in &manifest.thresholds {
        if !seen.contains(class) {
            return Err(Manifest::ThresholdClass { class: class.to_string() });
        }
        if !(0.0..=1.0).contains(&value) {
            return Err(Manifest::ThresholdValue { class: class.to_string(), value });
        }
    }
    Ok(())
}

/// Checks golden rows against the manifest.
pub fn golden(manifest: &ModelManifest, golden: &Golden) -> Result<(), Manifest> {
    let bad = |why: String| Err(Manifest::Golden { why });
    if !(golden.tolerance.is_finite() && golden.tolerance > 0.0) {
        return bad(format!("`tolerance` is {}; it must be above 0", golden.tolerance));
    }
    if golden.rows.is_empty() {
        return bad("there are none; add some, or remove `golden` from the manifest".into());
    }
    for row in &golden.rows {
        if !manifest.files.contains_key(&row.input) {
            return Err(Manifest::NotListed { name: row.input.clone() });
        }
        if row.probabilities.is_empty() {
            return bad(format!("the row of `{}` names no probability", row.input));
        }
        if let Some(class) = row.probabilities.keys().find(|class| **class >= manifest.classes.len()) {
            return bad(format!(
                "the row of `{}` names class {class}, the last is {}",
                row.input,
                manifest.classes.len() - 1
            ));
        }
    }
    Ok(())
}

/// Checks that the graph takes and gives what the manifest says.
pub fn graph(manifest: &ModelManifest, graph: &onnx::Model) -> Result<(), Graph> {
    if let Some(tensor) = &graph.external {
        return Err(Graph::External { tensor: tensor.clone() });
    }
    graph_input(&manifest.input, &graph.inputs)?;
    let output = named("output", &manifest.output.name, &graph.outputs)?;
    element("output", output, onnx::FLOAT)?;
    let Some(shape) = &output.shape else { return Ok(()) };
    let listed = manifest.classes.len();
    match shape[..] {
        [_, Dim::Fixed(found)] if usize::try_from(found) != Ok(listed) => {
            Err(Graph::Classes { name: output.name.clone(), found, listed })
        }
        [_, _] => Ok(()),
        _ => Err(shape_differs("output", output, format!("[N, {listed}]"))),
    }
}

fn graph_input(input: &ModelInput, inputs: &[Value]) -> Result<(), Graph> {
    let value = named("input", &input.name, inputs)?;
    let more: Vec<String> = inputs.iter().filter(|v| v.name != input.name).map(|v| format!("`{}`", v.name)).collect();
    if !more.is_empty() {
        return Err(Graph::MoreInputs { input: input.name.clone(), names: more.join(", ") });
    }
    let expected = match input.dtype {
        Dtype::Uint8 => onnx::UINT8,
        Dtype::Float32 => onnx::FLOAT,
    };
    element("input", value, expected)?;
    let Some(shape) = &value.shape else { return Ok(()) };
    let [_, axes @ ..] = Spec::from(input).shape();
    let fits = |(dim, &axis): (&Dim, &usize)| match dim {
        Dim::Any(_) => true,
        Dim::Fixed(length) => usize::try_from(*length) == Ok(axis),
    };
    if shape.len() != 4 || !shape[1..].iter().zip(&axes).all(fits) {
        return Err(shape_differs("input", value, format!("[N, {}, {}, {}]", axes[0], axes[1], axes[2])));
    }
    match shape[0] {
        Dim::Fixed(batch) if batch != 1 => Err(Graph::Batch { name: value.name.clone(), batch }),
        _ => Ok(()),
    }
}

fn named<'a>(what: &'static str, name: &str, values: &'a [Value]) -> Result<&'a Value, Graph> {
    values.iter().find(|value| value.name == name).ok_or_else(|| {
        let known: Vec<String> = values.iter().map(|value| format!("`{}`", value.name)).collect();
        Graph::Name { what, name: name.into(), known: if known.is_empty() { "none".into() } else { known.join(", ") } }
    })
}

fn element(what: &'static str, value: &Value, expected: i32) -> Result<(), Graph> {
    if value.element == expected {
        return Ok(());
    }
    let (found, expected) = (onnx::element_name(value.element).into(), onnx::element_name(expected).into());
    Err(Graph::Type { what, name: value.name.clone(), found, expected })
}

fn shape_differs(what: &'static str, value: &Value, expected: String) -> Graph {
    Graph::Shape { what, name: value.name.clone(), found: onnx::describe_shape(value.shape.as_deref()), expected }
}
