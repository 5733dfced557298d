//! The golden check: an engine is trusted with a model only after it gave the answers that the package expects.

use crate::{Batch, Engine, EngineError, Package, package};

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// A file of the package could not be read again.
    #[error("read the golden rows")]
    Package(#[from] package::Error),
    /// The engine failed on a row, or on the warm-up.
    #[error("run the golden rows")]
    Engine(#[from] EngineError),
    /// The engine's answer differs by more than the tolerance.
    #[error(
        "golden row {row} (`{input}`): probability of class {class} `{label}` is {got:.6}, expected {expected:.6} \
         +- {tolerance}; this engine does not compute this model correctly, use another one"
    )]
    Differs {
        /// Row number, from 0.
        row: usize,
        /// The row's input file.
        input: String,
        /// Class index.
        class: usize,
        /// Class name.
        label: String,
        /// The engine's answer.
        got: f32,
        /// The package's answer.
        expected: f32,
        /// Largest allowed difference.
        tolerance: f32,
    },
    /// The answer is not a distribution.
    #[error("the engine's answer for row {row} is not a distribution: its probabilities sum to {sum}")]
    NotProbabilities {
        /// Row number, from 0.
        row: usize,
        /// What they sum to.
        sum: f32,
    },
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Checked {
    /// The package has golden rows, and all agree.
    Rows {
        /// How many.
        rows: usize,
        /// The largest difference seen.
        largest_difference: f32,
    },
    /// The package has none: a tensor of zeros was run, and gave a distribution.
    WarmedUpOnly,
}

/// How far an answer may be from the golden one: the package's tolerance, and for a variant what it was measured to differ
/// at most besides.
fn tolerance(package: &Package, golden: f32) -> f32 {
    golden + package.agreement().map_or(0.0, |agreement| 2.0 * agreement.difference_max)
}

/// Runs a warm-up, then every golden row alone and then all in one batch (as large as the engine takes).
///
/// # Errors
/// The first row that differs, or the engine's failure.
pub fn check(engine: &mut dyn Engine, package: &Package) -> Result<Checked, GoldenError> {
    let classes = package.classes().len();
    let mut out = vec![0.0; classes];
    engine.run(Batch { input: &vec![0; package.tensor_len()], n: 1 }, &mut out, None)?;
    distribution(0, &out)?;
    let Some(golden) = package.golden() else { return Ok(Checked::WarmedUpOnly) };

    let mut largest_difference = 0.0f32;
    let mut inputs = Vec::new();
    for (index, row) in golden.rows.iter().enumerate() {
        let input = package.read(&row.input)?;
        engine.run(Batch { input: &input, n: 1 }, &mut out, None)?;
        largest_difference = largest_difference.max(compare(index, package, &out)?);
        inputs.extend_from_slice(&input);
    }
    let n = golden.rows.len().min(engine.max_batch());
    if n > 1 {
        let mut all = vec![0.0; n * classes];
        engine.run(Batch { input: &inputs[..n * package.tensor_len()], n }, &mut all, None)?;
        for (index, row) in all.chunks_exact(classes).enumerate() {
            largest_difference = largest_difference.max(compare(index, package, row)?);
        }
    }
    Ok(Checked::Rows { rows: golden.rows.len(), largest_difference })
}

fn compare(index: usize, package: &Package, got: &[f32]) -> Result<f32, GoldenError> {
    distribution(index, got)?;
    let Some(golden) = package.golden() else { return Ok(0.0) };
    let row = &golden.rows[index];
    let tolerance = tolerance(package, golden.tolerance);
    let mut largest = 0.0f32;
    for (&class, &expected) in &row.probabilities {
        let difference = (got[class] - expected).abs();
        // `<=` is false for NaN: an engine that answers NaN fails here, too.
        let agrees = difference <= tolerance;
        if !agrees {
            return Err(GoldenError::Differs {
                row: index,
                input: row.input.clone(),
                class,
                label: package.classes()[class].to_string(),
                got: got[class],
                expected,
                tolerance,
            });
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// 1 % is far above float32 rounding over thousands of classes, and far below any mistake worth finding.
fn distribution(row: usize, got: &[f32]) -> Result<(), GoldenError> {
    let sum: f32 = got.iter().sum();
    let good = (sum - 1.0).abs() < 0.01 && got.iter().all(|p| (-0.001..=1.001).contains(p));
    if good { Ok(()) } else { Err(GoldenError::NotProbabilities { row, sum }) }
}
