//! Samples with labels as pictures that a dataset is made of.

use std::collections::HashMap;

use contract::model::Color;
use store::labels::{Label, Subject};
use vision::Rect;

use super::{Copies, Error, Sample, samples::Input};
use crate::{
    dataset::{Archived, Bytes, Found},
    tensors::Form,
};

/// Who says what a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teacher {
    /// People, in the table of labels.
    People,
    /// The model that ran at that moment: its best class, where its score was at least so much of 100.
    Model {
        /// 0 to 100.
        percent: u8,
    },
}

/// Length in microseconds of the block of one camera's time that no split tears.
pub type Block = i64;

/// Pictures with their classes, groups and archived inputs.
///
/// # Errors
/// The store, or the disk.
pub async fn found(
    samples: &[Sample],
    labels: &HashMap<Subject, Label>,
    teacher: Teacher,
    block: Block,
    copies: &mut Copies<'_>,
) -> Result<Vec<Found>, Error> {
    let mut all = Vec::with_capacity(samples.len());
    for sample in samples {
        let class = match teacher {
            Teacher::People => {
                labels.get(&(sample.frame_id.clone(), sample.region.clone())).map(|label| label.class.clone())
            }
            Teacher::Model { percent } => said(sample, percent),
        };
        // Only what has a class is copied out of the lake; the rest is counted.
        let (bytes, input) = match &class {
            Some(_) => {
                let shard = copies.bring(&sample.shard).await?;
                let form_of = |input: &Input| {
                    let form = form(input)?;
                    let bytes = Bytes::Zstd(shard.clone(), input.at[0], input.at[1], form.spec().len());
                    Some((bytes, form))
                };
                let [offset, length] = sample.picture;
                (Bytes::Part(shard.clone(), offset, length), sample.input.as_ref().and_then(form_of))
            }
            None => (Bytes::Here(Vec::new().into()), None),
        };
        let [width, height] = sample.size;
        let is_whole = sample.rect == Rect { x: 0, y: 0, width, height };
        let at = sample.corrected_at.0;
        all.push(Found {
            name: name(sample),
            class,
            split: None,
            group: Some(format!("{}/{}", sample.camera, at.div_euclid(block) * block)),
            bytes,
            taken: Some((sample.camera.to_string(), at)),
            region: (!is_whole).then_some(sample.rect),
            archived: Some(Archived { id: name(sample), input }),
        });
    }
    Ok(all)
}

/// How a sample is known outside the lake: its frame, `@`, its region.
pub fn name(sample: &Sample) -> String {
    format!("{}@{}", sample.frame_id, sample.region)
}

/// The other way round.
pub fn subject(name: &str) -> Option<Subject> {
    let (frame, region) = name.split_once('@')?;
    Some((frame.parse().ok()?, region.parse().ok()?))
}

fn said(sample: &Sample, percent: u8) -> Option<String> {
    let (labels, scores) = &sample.answer;
    let (label, score) = labels.first().zip(scores.first())?;
    (*score >= f32::from(percent) / 100.0).then(|| label.clone())
}

/// What preprocessing made a tensor of this shape; `None` for one that this version does not make.
pub fn form(input: &Input) -> Option<Form> {
    let color = |channels: u32| match channels {
        1 => Some(Color::Gray),
        3 => Some(Color::Rgb),
        _ => None,
    };
    let [height, width, channels] = *input.shape.first_chunk::<3>().filter(|_| input.shape.len() == 3)?;
    // Every record so far is of the first version.
    Some(Form { width, height, color: color(channels)?, preprocess: vision::PREPROCESS_VERSION })
}
