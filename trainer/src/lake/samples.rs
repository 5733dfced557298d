//! The lake's samples: rows of Parquet objects, selected.

use arrow_array::{Array, Float32Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use contract::{CameraId, Digest, FrameId, GatewayId, Kind, RegionId, SiteId, Timestamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use store::lake_index::ObjectQuery;
use vision::Rect;

use super::{Error, Hub};

/// Objects that are asked for at once.
const PAGE: u64 = 1000;

/// Which samples.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Captured at or after this, by the corrected clock.
    pub from: Option<Timestamp>,
    /// Captured before this.
    pub to: Option<Timestamp>,
    /// Of this site.
    pub site: Option<SiteId>,
    /// Of this gateway.
    pub gateway: Option<GatewayId>,
    /// Of one of these cameras; of any when there is none.
    pub cameras: Vec<CameraId>,
    /// Of one of these regions; of any when there is none.
    pub regions: Vec<RegionId>,
    /// Kept for one of these reasons; for any when there is none.
    pub reasons: Vec<String>,
}

/// A kept picture: where it lies and what is known of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The frame.
    pub frame_id: FrameId,
    /// The region of it that was classified.
    pub region: RegionId,
    /// The camera.
    pub camera: CameraId,
    /// When, by the corrected clock.
    pub corrected_at: Timestamp,
    /// The tar object with its files.
    pub shard: String,
    /// First byte and length of the picture in the shard.
    pub picture: [u64; 2],
    /// The region's rectangle.
    pub rect: Rect,
    /// The picture's size.
    pub size: [u32; 2],
    /// The best classes at that moment, best first, and their scores.
    pub answer: (Vec<String>, Vec<f32>),
    /// The model that said so.
    pub model: Option<Digest>,
    /// The exact tensor that it saw, where it was kept.
    pub input: Option<Input>,
}

/// A kept tensor.
#[derive(Clone, Debug)]
pub struct Input {
    /// First byte and length of the compressed tensor in the shard.
    pub at: [u64; 2],
    /// Of the uncompressed tensor.
    pub sha256: Digest,
    /// Shape without the batch axis.
    pub shape: Vec<u32>,
}

impl Selection {
    /// As options, for a dataset's manifest.
    pub fn options(&self) -> std::collections::BTreeMap<String, String> {
        let many = |all: Vec<&str>| (!all.is_empty()).then(|| all.join(","));
        let options = [
            ("from", self.from.map(|time| time.to_string())),
            ("to", self.to.map(|time| time.to_string())),
            ("site", self.site.as_ref().map(ToString::to_string)),
            ("gateway", self.gateway.as_ref().map(ToString::to_string)),
            ("camera", many(self.cameras.iter().map(CameraId::as_str).collect())),
            ("region", many(self.regions.iter().map(RegionId::as_str).collect())),
            ("reason", many(self.reasons.iter().map(String::as_str).collect())),
        ];
        options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn takes(&self, sample: &Sample, row: &Row<'_>) -> Result<bool, String> {
        let any = |wanted: &[String], has: &str| wanted.is_empty() || wanted.iter().any(|one| one == has);
        let of = |wanted: Option<&str>, column: &'static str| {
            Ok::<_, String>(wanted.is_none_or(|one| one == row.text(column).unwrap_or_default()))
        };
        Ok(self.from.is_none_or(|from| sample.corrected_at >= from)
            && self.to.is_none_or(|to| sample.corrected_at < to)
            && (self.cameras.is_empty() || self.cameras.contains(&sample.camera))
            && (self.regions.is_empty() || self.regions.contains(&sample.region))
            && any(&self.reasons, row.need("reason")?)
            && of(self.site.as_ref().map(SiteId::as_str), "site")?
            && of(self.gateway.as_ref().map(GatewayId::as_str), "gateway")?)
    }
}

/// The selected samples, by frame and region.
///
/// # Errors
/// The lake, or an object that is none of its.
pub async fn samples(hub: &Hub, selection: &Selection) -> Result<Vec<Sample>, Error> {
    let mut found = Vec::new();
    let mut query = ObjectQuery {
        from: selection.from,
        to: selection.to,
        site: selection.site.clone(),
        limit: PAGE,
        ..ObjectQuery::rows_of(Kind::Sample)
    };
    loop {
        let objects = hub.index.objects(&query).await?;
        for object in &objects {
            let bytes = hub.objects.get(&object.key).await?;
            let wrong = |why: String| Error::Object { key: object.key.clone(), why };
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
            for batch in reader.map_err(|error| wrong(error.to_string()))? {
                let batch = batch.map_err(|error| wrong(error.to_string()))?;
                for at in 0..batch.num_rows() {
                    let row = Row { batch: &batch, at };
                    let sample = row.sample().map_err(wrong)?;
                    if selection.takes(&sample, &row).map_err(wrong)? {
                        found.push(sample);
                    }
                }
            }
        }
        query.offset += PAGE;
        if (objects.len() as u64) < PAGE {
            break;
        }
    }
    // A frame may be kept for several reasons: it is one picture all the same.
    found.sort_by(|a, b| (&a.frame_id, &a.region).cmp(&(&b.frame_id, &b.region)));
    found.dedup_by(|a, b| a.frame_id == b.frame_id && a.region == b.region);
    Ok(found)
}

/// One row of a batch, by column name.
struct Row<'b> {
    batch: &'b RecordBatch,
    at: usize,
}

impl<'b> Row<'b> {
    fn column<T: 'static>(&self, name: &str) -> Option<&'b T> {
        self.batch.column_by_name(name)?.as_any().downcast_ref().filter(|_| self.is_there(name))
    }

    fn is_there(&self, name: &str) -> bool {
        self.batch.column_by_name(name).is_some_and(|column| !column.is_null(self.at))
    }

    fn text(&self, name: &str) -> Option<&'b str> {
        Some(self.column::<StringArray>(name)?.value(self.at))
    }

    fn need(&self, name: &str) -> Result<&'b str, String> {
        self.text(name).ok_or_else(|| format!("row {}: column {name} is absent", self.at))
    }

    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, String> {
        self.need(name)?.parse().map_err(|error| format!("row {}: column {name}: {error}", self.at))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let number = self.column::<Int64Array>(name).and_then(|column| u64::try_from(column.value(self.at)).ok());
        number.ok_or_else(|| format!("row {}: column {name} is no number", self.at))
    }

    fn side(&self, name: &str) -> Result<u32, String> {
        u32::try_from(self.number(name)?).map_err(|_| format!("row {}: column {name} is too large", self.at))
    }

    fn list<T: Array + Clone + 'static>(&self, name: &str) -> Option<T> {
        self.column::<ListArray>(name)?.value(self.at).as_any().downcast_ref::<T>().cloned()
    }

    fn sides(&self, name: &str) -> Result<Vec<u32>, String> {
        let list: Option<Int64Array> = self.list(name);
        let sides = list.and_then(|list| list.values().iter().map(|side| u32::try_from(*side).ok()).collect());
        sides.ok_or_else(|| format!("row {}: column {name} is no list of numbers", self.at))
    }

    fn sample(&self) -> Result<Sample, String> {
        let rect: [u32; 4] = self
            .sides("region_rect")?
            .try_into()
            .map_err(|_| format!("row {}: column region_rect is no rectangle", self.at))?;
        let time = self.column::<TimestampMicrosecondArray>("corrected_at");
        let labels: Option<StringArray> = self.list("labels");
        let scores: Option<Float32Array> = self.list("scores");
        let input = if self.is_there("input_offset") {
            Some(Input {
                at: [self.number("input_offset")?, self.number("input_bytes")?],
                sha256: self.parse("input_sha256")?,
                shape: self.sides("input_shape")?,
            })
        } else {
            None
        };
        Ok(Sample {
            frame_id: self.parse("frame_id")?,
            region: self.parse("region")?,
            camera: self.parse("camera")?,
            corrected_at: Timestamp(time.ok_or_else(|| format!("row {}: no corrected_at", self.at))?.value(self.at)),
            shard: self.need("shard")?.to_owned(),
            picture: [self.number("picture_offset")?, self.number("picture_bytes")?],
            rect: Rect { x: rect[0], y: rect[1], width: rect[2], height: rect[3] },
            size: [self.side("width")?, self.side("height")?],
            answer: (
                labels.map(|labels| labels.iter().flatten().map(str::to_owned).collect()).unwrap_or_default(),
                scores.map(|scores| scores.values().to_vec()).unwrap_or_default(),
            ),
            model: self.text("model_digest").and_then(|text| text.parse().ok()),
            input,
        })
    }
}
