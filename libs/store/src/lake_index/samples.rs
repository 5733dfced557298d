//! Samples by their frame: where the picture and the model's input lie.

use std::fmt::Write as _;

use contract::{FrameId, RegionId, Timestamp};
use sqlx::AssertSqlSafe;

use super::{LakeIndex, SampleInput, SampleQuery, SampleRow, signed};
use crate::tables::{Error, Row, Statement, Tx, many};

const COLUMNS: &str = "frame_id, region, seq, site, gateway, camera, corrected_at, captured_at, reason, label, score, \
                       shard, media_type, picture_offset, picture_bytes, picture_digest, width, height, input_offset, \
                       input_bytes, input_digest, input_encoding, input_dtype, input_shape";
const COLUMN_COUNT: usize = 24;

impl LakeIndex {
    /// The samples of a frame, of one region or of all.
    pub async fn samples_of(&self, frame: &FrameId, region: Option<&RegionId>) -> Result<Vec<SampleRow>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM lake_samples WHERE frame_id = $1 AND ($2 = '' OR region = $2) \
             ORDER BY region, seq LIMIT 1000"
        );
        let sql = sql.as_str();
        self.tables()
            .read(|tx| async move {
                let statement = tx.sql(AssertSqlSafe(sql)).bind(frame.as_str());
                let rows = statement.bind(region.map_or("", |region| region.as_str())).fetch_all().await?;
                rows.iter().map(read).collect()
            })
            .await
    }

    /// Samples by camera, time and label, newest first.
    pub async fn samples(&self, query: &SampleQuery) -> Result<Vec<SampleRow>, Error> {
        let filters = [
            ("site", query.site.as_ref().map(|v| v.as_str())),
            ("gateway", query.gateway.as_ref().map(|v| v.as_str())),
            ("camera", query.camera.as_ref().map(|v| v.as_str())),
            ("region", query.region.as_ref().map(|v| v.as_str())),
            ("label", query.label.as_deref()),
        ];
        let mut sql = format!("SELECT {COLUMNS} FROM lake_samples WHERE corrected_at >= $1 AND corrected_at < $2");
        let given: Vec<_> = filters.iter().filter_map(|(column, value)| value.map(|value| (column, value))).collect();
        for (i, (column, _)) in given.iter().enumerate() {
            let _ = write!(sql, " AND {column} = ${}", i + 5);
        }
        sql.push_str(" ORDER BY corrected_at DESC, frame_id, region, seq LIMIT $3 OFFSET $4");
        let (sql, given) = (sql.as_str(), &given);
        self.tables()
            .read(|tx| async move {
                let statement = tx
                    .sql(AssertSqlSafe(sql))
                    .bind(query.from.map_or(i64::MIN, |t| t.0))
                    .bind(query.to.map_or(i64::MAX, |t| t.0))
                    .bind(signed(query.limit, "limit")?)
                    .bind(signed(query.offset, "offset")?);
                let statement = given.iter().fold(statement, |statement, (_, value)| statement.bind(*value));
                statement.fetch_all().await?.iter().map(read).collect()
            })
            .await
    }
}

/// Every sample, by frame, region and number.
pub(super) async fn all(tx: &Tx) -> Result<Vec<SampleRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM lake_samples ORDER BY frame_id, region, seq");
    tx.sql(AssertSqlSafe(sql)).fetch_all().await?.iter().map(read).collect()
}

pub(super) async fn insert(tx: &Tx, samples: &[SampleRow]) -> Result<(), Error> {
    for batch in many::runs(samples) {
        let statement = tx.sql(AssertSqlSafe(insert_sql(batch.len())));
        batch.iter().try_fold(statement, bind)?.execute().await?;
    }
    Ok(())
}

fn insert_sql(rows: usize) -> String {
    format!("INSERT INTO lake_samples ({COLUMNS}) VALUES {}", many::places(rows, COLUMN_COUNT))
}

fn bind<'t>(statement: Statement<'t>, row: &SampleRow) -> Result<Statement<'t>, Error> {
    let input = row.input.as_ref();
    let shape = input.map(|i| serde_json::to_string(&i.shape)).transpose().map_err(|e| Error::other(e.to_string()))?;
    Ok(statement
        .bind(row.frame_id.as_str())
        .bind(row.region.as_str())
        .bind(signed(row.seq, "sequence number")?)
        .bind(row.site.as_str())
        .bind(row.gateway.as_str())
        .bind(row.camera.as_str())
        .bind(row.corrected_at.0)
        .bind(row.captured_at.0)
        .bind(row.reason.as_str())
        .bind(row.label.as_str())
        .bind(f64::from(row.score))
        .bind(row.shard.as_str())
        .bind(row.media_type.as_str())
        .bind(signed(row.picture[0], "offset")?)
        .bind(signed(row.picture[1], "length")?)
        .bind(row.picture_digest.as_str())
        .bind(i64::from(row.size[0]))
        .bind(i64::from(row.size[1]))
        .bind(input.map(|i| signed(i.at[0], "offset")).transpose()?)
        .bind(input.map(|i| signed(i.at[1], "length")).transpose()?)
        .bind(input.map(|i| i.digest.as_str()))
        .bind(input.map(|i| i.encoding.clone()))
        .bind(input.map(|i| i.dtype.clone()))
        .bind(shape))
}

fn read(row: &Row) -> Result<SampleRow, Error> {
    let time = |column| row.get(column).map(Timestamp);
    let has_input = row.get::<Option<i64>>("input_offset")?.is_some();
    Ok(SampleRow {
        frame_id: row.parse("frame_id")?,
        region: row.parse("region")?,
        seq: row.unsigned("seq")?,
        site: row.parse("site")?,
        gateway: row.parse("gateway")?,
        camera: row.parse("camera")?,
        corrected_at: time("corrected_at")?,
        captured_at: time("captured_at")?,
        reason: row.get("reason")?,
        label: row.get("label")?,
        score: row.get::<f64>("score")? as f32,
        shard: row.get("shard")?,
        media_type: row.get("media_type")?,
        picture: [row.unsigned("picture_offset")?, row.unsigned("picture_bytes")?],
        picture_digest: row.parse("picture_digest")?,
        size: [row.unsigned("width")? as u32, row.unsigned("height")? as u32],
        input: has_input.then(|| read_input(row)).transpose()?,
    })
}

fn read_input(row: &Row) -> Result<SampleInput, Error> {
    let shape: String = row.get("input_shape")?;
    Ok(SampleInput {
        at: [row.unsigned("input_offset")?, row.unsigned("input_bytes")?],
        digest: row.parse("input_digest")?,
        encoding: row.get("input_encoding")?,
        dtype: row.get("input_dtype")?,
        shape: serde_json::from_str(&shape).map_err(|e| Error::other(format!("input shape cannot be read: {e}")))?,
    })
}
