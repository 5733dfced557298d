//! The same model, seen camera by camera and hour by hour: an average hides the camera that is out of focus.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Answers, Row};

/// A part of the pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// `camera` or `hour` (of the day, UTC).
    pub by: &'static str,
    /// Which one.
    pub value: String,
    /// Pictures in it.
    pub count: usize,
    /// Share of right answers.
    pub accuracy: f64,
}

/// Microseconds in an hour.
const HOUR_US: i64 = 3_600_000_000;

/// Every slice that there are facts for.
pub fn slices(answers: &Answers) -> Vec<Slice> {
    let by = |name: &'static str, of: &dyn Fn(&Row) -> Option<String>| -> Vec<Slice> {
        let mut parts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for row in &answers.rows {
            let Some(value) = of(row) else { continue };
            let part = parts.entry(value).or_default();
            part.0 += 1;
            part.1 += usize::from(row.is_right());
        }
        let slice = |(value, (count, right)): (String, (usize, usize))| Slice {
            by: name,
            value,
            count,
            accuracy: right as f64 / count as f64,
        };
        parts.into_iter().map(slice).collect()
    };
    let mut all = by("camera", &|row| row.camera.clone());
    all.extend(by("hour", &|row| row.captured_at.map(|at| format!("{:02}", at.div_euclid(HOUR_US).rem_euclid(24)))));
    all
}
