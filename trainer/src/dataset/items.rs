//! `items.parquet`: one row an item, written the same way each time.

use std::{path::Path, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt16Array, UInt32Array, UInt64Array,
    cast::AsArray as _,
    types::{Int64Type, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_schema::ArrowError;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use vision::Rect;

use super::{Error, Input, Item, Place};

/// As Parquet.
///
/// # Errors
/// Never, but for a defect of the writer.
pub fn write(items: &[Item]) -> Result<Vec<u8>, ArrowError> {
    let text = |of: &dyn Fn(&Item) -> String| -> ArrayRef {
        Arc::new(items.iter().map(|item| Some(of(item))).collect::<StringArray>())
    };
    let maybe =
        |of: &dyn Fn(&Item) -> Option<String>| -> ArrayRef { Arc::new(items.iter().map(of).collect::<StringArray>()) };
    let long = |of: &dyn Fn(&Item) -> u64| -> ArrayRef { Arc::new(items.iter().map(of).collect::<UInt64Array>()) };
    let side = |of: &dyn Fn(&Item) -> u32| -> ArrayRef { Arc::new(items.iter().map(of).collect::<UInt32Array>()) };
    let input = |of: &dyn Fn(&Place) -> u64| -> ArrayRef {
        Arc::new(items.iter().map(|item| item.input.as_ref().map(|input| of(&input.place))).collect::<UInt64Array>())
    };
    let input_text = |of: &dyn Fn(&Input) -> String| maybe(&|item: &Item| item.input.as_ref().map(of));
    let region = |of: &dyn Fn(Rect) -> u32| -> ArrayRef {
        Arc::new(items.iter().map(|item| item.region.map(of)).collect::<UInt32Array>())
    };
    let class: ArrayRef = Arc::new(items.iter().map(|item| item.class).collect::<UInt16Array>());
    let captured: ArrayRef = Arc::new(items.iter().map(|item| item.captured_at).collect::<Int64Array>());
    let required = [
        ("id", text(&|item| item.id.clone())),
        ("class", class),
        ("split", text(&|item| item.split.to_string())),
        ("group", text(&|item| item.group.clone())),
        ("shard", text(&|item| item.place.shard.clone())),
        ("offset", long(&|item| item.place.offset)),
        ("length", long(&|item| item.place.length)),
        ("sha256", text(&|item| item.sha256.to_string())),
        ("media_type", text(&|item| item.media_type.clone())),
        ("width", side(&|item| item.width)),
        ("height", side(&|item| item.height)),
        ("phash", long(&|item| item.phash)),
    ];
    let optional = [
        ("camera", maybe(&|item| item.camera.clone())),
        ("captured_at", captured),
        ("region_x", region(&|region| region.x)),
        ("region_y", region(&|region| region.y)),
        ("region_width", region(&|region| region.width)),
        ("region_height", region(&|region| region.height)),
        ("input_shard", input_text(&|input| input.place.shard.clone())),
        ("input_offset", input(&|place| place.offset)),
        ("input_length", input(&|place| place.length)),
        ("input_sha256", input_text(&|input| input.sha256.to_string())),
        ("input_form", input_text(&|input| input.form.clone())),
    ];
    let required = required.into_iter().map(|(name, array)| (name, array, false));
    let optional = optional.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(required.chain(optional))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("sightline".into())
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

/// From Parquet.
///
/// # Errors
/// The bytes are no such table.
pub fn read(path: &Path, bytes: bytes::Bytes) -> Result<Vec<Item>, Error> {
    let wrong = |why: String| Error::Changed { path: path.into(), why };
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| wrong(error.to_string()))?;
    let reader = builder.build().map_err(|error| wrong(error.to_string()))?;
    let mut items = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| wrong(error.to_string()))?;
        rows(&batch, &mut items).map_err(&wrong)?;
    }
    Ok(items)
}

fn rows(batch: &RecordBatch, items: &mut Vec<Item>) -> Result<(), String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("it lacks the column `{name}`"));
    let text = |name: &'static str| column(name)?.as_string_opt::<i32>().ok_or_else(|| format!("`{name}` is no text"));
    let long = |name: &'static str| {
        column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| format!("`{name}` is no uint64"))
    };
    let side = |name: &'static str| {
        column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| format!("`{name}` is no uint32"))
    };
    let class = column("class")?.as_primitive_opt::<UInt16Type>().ok_or("`class` is no uint16")?;
    let captured = column("captured_at")?.as_primitive_opt::<Int64Type>().ok_or("`captured_at` is no int64")?;
    let [id, split, group, shard] = [text("id")?, text("split")?, text("group")?, text("shard")?];
    let [sha256, media, camera] = [text("sha256")?, text("media_type")?, text("camera")?];
    let [input_shard, input_sha256, input_form] = [text("input_shard")?, text("input_sha256")?, text("input_form")?];
    let [x, y] = [side("region_x")?, side("region_y")?];
    let [region_width, region_height] = [side("region_width")?, side("region_height")?];
    let [offset, length, phash] = [long("offset")?, long("length")?, long("phash")?];
    let [input_offset, input_length] = [long("input_offset")?, long("input_length")?];
    let [width, height] = [side("width")?, side("height")?];
    for row in 0..batch.num_rows() {
        let digest = |column: &StringArray, name: &str| -> Result<contract::Digest, String> {
            column.value(row).parse().map_err(|_| format!("row {row}: `{name}` is no digest"))
        };
        let input = if input_shard.is_null(row) {
            None
        } else {
            let shard = input_shard.value(row).to_owned();
            let place = Place { shard, offset: input_offset.value(row), length: input_length.value(row) };
            let sha256 = digest(input_sha256, "input_sha256")?;
            Some(Input { place, sha256, form: input_form.value(row).into() })
        };
        let rect = || Rect {
            x: x.value(row),
            y: y.value(row),
            width: region_width.value(row),
            height: region_height.value(row),
        };
        items.push(Item {
            id: id.value(row).into(),
            class: class.value(row),
            split: split.value(row).parse().map_err(|error: contract::dataset::UnknownSplit| error.to_string())?,
            group: group.value(row).into(),
            place: Place { shard: shard.value(row).into(), offset: offset.value(row), length: length.value(row) },
            region: (!x.is_null(row)).then(rect),
            sha256: digest(sha256, "sha256")?,
            media_type: media.value(row).into(),
            width: width.value(row),
            height: height.value(row),
            phash: phash.value(row),
            camera: (!camera.is_null(row)).then(|| camera.value(row).into()),
            captured_at: (!captured.is_null(row)).then(|| captured.value(row)),
            input,
        });
    }
    Ok(())
}
