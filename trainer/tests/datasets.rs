//! Datasets: each form that is imported, how items are shared out, and what is refused.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use contract::dataset::{MANIFEST, Split, SplitRule};
use made::{CLASSES, dataset, order, png, stripes};
use trainer::dataset::{
    Bytes, Dataset, Error, Found, Order,
    diff::diff,
    export,
    import::{self, Format, Options},
};

mod made;

fn found(format: Format, path: &Path) -> Vec<Found> {
    import::find(format, path, &Options::default()).unwrap()
}

fn error(format: Format, path: &Path) -> String {
    import::find(format, path, &Options::default()).unwrap_err().to_string()
}

/// Pictures in memory: name, class, split, group.
fn pictures(of: &[(&str, usize, Option<Split>, Option<&str>)]) -> Vec<Found> {
    let mut dice = fastrand::Rng::with_seed(9);
    let one = |(name, class, split, group): &(&str, usize, Option<Split>, Option<&str>)| Found {
        name: (*name).into(),
        class: Some(CLASSES[*class].into()),
        split: *split,
        group: group.map(str::to_owned),
        bytes: Bytes::Here(Arc::new(png(&stripes(*class, 16, &mut dice), 16))),
        taken: None,
        region: None,
        archived: None,
    };
    of.iter().map(one).collect()
}

fn splits(dataset: &Dataset) -> BTreeMap<Split, u64> {
    Split::ALL.into_iter().map(|split| (split, dataset.manifest.items(split))).collect()
}

#[test]
fn the_same_pictures_give_the_same_bytes_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let made = ["here", "there"].map(|place| {
        let pictures = folder.path().join(place);
        made::folder(&pictures, 16, 10, 3);
        dataset(found(Format::Folder, &pictures), &order(), &folder.path().join(format!("{place}-datasets"))).unwrap()
    });
    assert_eq!(made[0].digest, made[1].digest);
    assert_eq!(made[0].items, made[1].items);
    made[1].verify().unwrap();
    for item in &made[0].items {
        let picture = made[0].picture(item).unwrap();
        let picture = vision::decode_picture(&picture, &vision::Limits::default()).unwrap();
        assert_eq!((picture.width(), picture.height()), (item.width, item.height));
    }
    assert_eq!(splits(&made[0]), BTreeMap::from([(Split::Train, 18), (Split::Validation, 6), (Split::Test, 6)]));
    let other = Order { seed: 2, ..order() };
    let other = dataset(found(Format::Folder, &folder.path().join("here")), &other, folder.path()).unwrap();
    assert_ne!(other.digest, made[0].digest, "another seed is another dataset");
    let difference = diff(&made[0], &other);
    assert!(difference.added.is_empty() && difference.removed.is_empty() && difference.relabelled.is_empty());
    assert!(!difference.moved.is_empty());
}

#[test]
fn a_dataset_that_was_touched_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    made::folder(&folder.path().join("pictures"), 16, 6, 3);
    let dataset = dataset(found(Format::Folder, &folder.path().join("pictures")), &order(), folder.path()).unwrap();
    let touch = |name: &str, at: usize| {
        let path = dataset.folder.join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    let item = dataset.items[3].clone();
    touch(&item.place.shard, item.place.offset as usize + 40);
    let Error::Changed { why, .. } = Dataset::open(&dataset.folder).unwrap().picture(&item).unwrap_err() else {
        panic!()
    };
    assert!(why.contains(&item.id), "{why}");
    assert!(dataset.verify().unwrap_err().to_string().contains("pictures-00000.tar"));
    touch("items.parquet", 100);
    let refused = |folder: &Path| Dataset::open(folder).err().unwrap().to_string();
    assert!(refused(&dataset.folder).contains("items.parquet` is not what the dataset's hash names"));
    touch("items.parquet", 100);
    touch(MANIFEST, 30);
    assert!(refused(&dataset.folder).contains("manifest.json` is not what the dataset's hash names"));
}

#[test]
fn folders_may_say_the_split() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "test"] {
        made::folder(&folder.path().join("p").join(split), 16, 10, split.len() as u64);
    }
    let found = found(Format::Folder, &folder.path().join("p"));
    let dataset = dataset(found, &order(), folder.path()).unwrap();
    assert_eq!(splits(&dataset), BTreeMap::from([(Split::Train, 27), (Split::Validation, 3), (Split::Test, 30)]));
    assert_eq!(dataset.manifest.split, SplitRule::Given { validation: 0.1, seed: 1 });
}

#[test]
fn csv_names_pictures_splits_and_groups() {
    let folder = tempfile::tempdir().unwrap();
    made::folder(folder.path(), 16, 8, 3);
    let rows =
        CLASSES.iter().flat_map(|class| (0..8).map(move |n| format!("{class}/{n:04}.png,{class},cam{}\n", n / 2)));
    let list = folder.path().join("labels.csv");
    fs::write(&list, format!("path,label,group\n{}", rows.collect::<String>())).unwrap();
    let dataset = dataset(found(Format::Csv, &list), &order(), folder.path()).unwrap();
    let mut of: BTreeMap<&str, Split> = BTreeMap::new();
    for item in &dataset.items {
        assert_eq!(*of.entry(&item.group).or_insert(item.split), item.split, "a group lies in one split");
    }
    assert_eq!(of.len(), 4);

    fs::write(&list, "path,label\nacross/0001.png,across\nnowhere.png,down\nnor/here.png,down\n").unwrap();
    let said = error(Format::Csv, &list);
    assert!(said.contains("names 2 pictures that are not there, as nowhere.png, nor/here.png"), "{said}");
    fs::write(&list, "picture,label\na.png,x\n").unwrap();
    let said = error(Format::Csv, &list);
    assert!(
        said.contains("it needs a column named path or file or image or filename; it has picture, label"),
        "{said}"
    );
    fs::write(&list, "path,label,split\nacross/0001.png,across,tomorrow\n").unwrap();
    assert!(error(Format::Csv, &list).contains("row 2: `tomorrow` is no split"));
}

#[test]
fn idx_files_are_read_plain_and_gzipped_and_torn_ones_refused() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let mut dice = fastrand::Rng::with_seed(4);
    let idx = |axes: &[u32], bytes: &[u8]| {
        let head = [0, 0, 8, axes.len() as u8].into_iter().chain(axes.iter().flat_map(|axis| axis.to_be_bytes()));
        head.chain(bytes.iter().copied()).collect::<Vec<u8>>()
    };
    let mut put = |begin: &str, count: usize, gzip: bool| {
        let labels: Vec<u8> = (0..count).map(|n| (n % 3) as u8).collect();
        let pixels: Vec<u8> = labels.iter().flat_map(|class| stripes(usize::from(*class), 12, &mut dice)).collect();
        let files =
            [("images-idx3", idx(&[count as u32, 12, 12], &pixels)), ("labels-idx1", idx(&[count as u32], &labels))];
        for (name, bytes) in files {
            let path = folder.path().join(format!("{begin}-{name}-ubyte{}", if gzip { ".gz" } else { "" }));
            if gzip {
                let mut encoder = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), Default::default());
                encoder.write_all(&bytes).unwrap();
                encoder.finish().unwrap();
            } else {
                fs::write(path, bytes).unwrap();
            }
        }
    };
    put("train", 60, true);
    put("t10k", 15, false);
    let options = Options { classes: Some(CLASSES.map(Arc::from).to_vec()), ..Options::default() };
    let found = import::find(Format::Idx, folder.path(), &options).unwrap();
    assert_eq!(found[1].class.as_deref(), Some("down"));
    let made = dataset(found, &Order { classes: options.classes, ..order() }, &folder.path().join("datasets")).unwrap();
    assert_eq!(splits(&made), BTreeMap::from([(Split::Train, 54), (Split::Validation, 6), (Split::Test, 15)]));
    assert_eq!((made.items[0].width, made.items[0].height, &*made.items[0].media_type), (12, 12, "image/png"));

    let path = folder.path().join("t10k-images-idx3-ubyte");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(error(Format::Idx, folder.path()).contains("2159 bytes behind its head, 2160 are right"));
    fs::write(&path, b"GIF89a").unwrap();
    assert!(error(Format::Idx, folder.path()).contains("does not begin as bytes in 3 axes do"));
    assert!(error(Format::Idx, &folder.path().join("datasets")).contains("neither `train-images-idx3-ubyte` nor"));
}

#[test]
fn webdataset_goes_out_and_comes_in_again() {
    let folder = tempfile::tempdir().unwrap();
    made::folder(&folder.path().join("pictures"), 16, 10, 3);
    let first = dataset(found(Format::Folder, &folder.path().join("pictures")), &order(), folder.path()).unwrap();
    export::webdataset(&first, &folder.path().join("tars"), &|_| {}).unwrap();
    let again = found(Format::Webdataset, &folder.path().join("tars"));
    // Numbers stand in `cls`; the order of the classes names them.
    let classes = ["0", "1", "2"].map(Arc::from).to_vec();
    let second = dataset(again, &Order { classes: Some(classes), ..order() }, folder.path()).unwrap();
    let facts = |dataset: &Dataset| -> Vec<_> {
        dataset.items.iter().map(|item| (item.sha256, item.class, item.split)).collect()
    };
    assert_eq!(facts(&first), facts(&second));
    export::folders(&first, &folder.path().join("folders"), &|_| {}).unwrap();
    let third = dataset(found(Format::Folder, &folder.path().join("folders")), &order(), folder.path()).unwrap();
    assert_eq!(facts(&first), facts(&third));
    fs::create_dir(folder.path().join("none")).unwrap();
    assert!(error(Format::Webdataset, &folder.path().join("none")).contains("no tar in it holds a picture"));
}

#[test]
fn label_studio_and_coco_are_read() {
    let folder = tempfile::tempdir().unwrap();
    made::folder(folder.path(), 16, 4, 3);
    let list = folder.path().join("export.json");
    let answer = |at: &str, choices: &[&str], cancelled: bool| serde_json::json!({ "created_at": at, "was_cancelled": cancelled, "result": [{ "value": { "choices": choices } }] });
    let tasks = serde_json::json!([
        { "data": { "image": "/data/upload/1/across/0000.png" }, "annotations": [answer("2026-01-01", &["down"], false), answer("2026-01-02", &["across"], false)] },
        { "data": { "image": "across/0001.png" }, "annotations": [answer("2026-01-01", &["across"], false), answer("2026-01-03", &["down"], true)] },
        { "data": { "image": "down/0001.png" }, "annotations": [answer("2026-01-01", &["down", "across"], false)] },
        { "data": { "image": "down/0002.png" }, "annotations": [] },
    ]);
    fs::write(&list, tasks.to_string()).unwrap();
    let elsewhere = Options { pictures: Some(folder.path().join("across")), ..Options::default() };
    let said = import::find(Format::LabelStudio, &list, &elsewhere).unwrap_err().to_string();
    // The path that the server made is found by its end; a name of the user's own is what it says, and nothing else.
    let expected = "names 3 pictures that are not there, as across/0001.png, down/0001.png, down/0002.png";
    assert!(said.contains(expected), "{said}");
    let classes: Vec<_> = self::found(Format::LabelStudio, &list).into_iter().map(|one| one.class).collect();
    let text = |class: &str| Some(class.to_owned());
    assert_eq!(classes, [text("across"), text("across"), None, None], "newest; not cancelled; not of two choices");

    let coco = folder.path().join("coco.json");
    let document = serde_json::json!({
        "images": [{ "id": 1, "file_name": "across/0000.png" }, { "id": 2, "file_name": "down/0000.png" }],
        "annotations": [
            { "image_id": 1, "category_id": 5 }, { "image_id": 1, "category_id": 5 },
            { "image_id": 2, "category_id": 5 }, { "image_id": 2, "category_id": 6 },
        ],
        "categories": [{ "id": 5, "name": "across" }, { "id": 6, "name": "down" }],
    });
    fs::write(&coco, document.to_string()).unwrap();
    let classes: Vec<_> = self::found(Format::Coco, &coco).into_iter().map(|one| one.class).collect();
    assert_eq!(classes, [text("across"), None], "an image of two categories has no class");
}

#[test]
fn near_identical_pictures_are_dropped_from_what_is_learnt_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = pictures(&[
        ("a", 0, Some(Split::Train), None),
        ("b", 0, Some(Split::Train), None),
        ("c", 1, Some(Split::Train), None),
        ("d", 1, Some(Split::Train), None),
        ("e", 0, Some(Split::Test), None),
        ("f", 1, Some(Split::Test), None),
    ]);
    all[4].bytes = all[0].bytes.clone();
    let rule = Order { validation: 0.0, ..order() };
    let made = trainer::dataset::make(all.clone(), &rule, folder.path(), &|_| {}).unwrap();
    assert_eq!(made.leaks.1, 1);
    assert_eq!(made.leaks.0, [("e (test)".to_owned(), "a (train)".to_owned())]);
    let made = trainer::dataset::make(all, &Order { threshold: Some(0), ..rule }, folder.path(), &|_| {}).unwrap();
    assert_eq!((made.leaks.1, made.manifest.left_out.get("duplicate")), (0, Some(&1)));
    assert_eq!((made.manifest.items(Split::Train), made.manifest.items(Split::Test)), (3, 2), "the training one went");
}

#[test]
fn bad_pictures_are_listed_and_stop_nothing_unless_strict() {
    let folder = tempfile::tempdir().unwrap();
    made::folder(&folder.path().join("p"), 16, 12, 3);
    fs::write(folder.path().join("p/down/0003.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    fs::write(folder.path().join("p/down/0005.jpg"), b"hello").unwrap();
    let made =
        trainer::dataset::make(found(Format::Folder, &folder.path().join("p")), &order(), folder.path(), &|_| {});
    let made = made.unwrap();
    assert_eq!(made.manifest.left_out, BTreeMap::from([("corrupt".to_owned(), 2)]));
    let names: Vec<&str> = made.corrupt.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["down/0003.png", "down/0005.jpg"]);
    let strict = Order { strict: true, ..order() };
    let said =
        dataset(found(Format::Folder, &folder.path().join("p")), &strict, folder.path()).err().unwrap().to_string();
    assert!(said.contains("2 pictures cannot be used, as `down/0003.png`"), "{said}");
}

#[test]
fn classes_that_make_no_dataset_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let train = Some(Split::Train);
    type Case = (Vec<Found>, Option<Vec<&'static str>>, &'static str);
    let cases: [Case; 6] = [
        (pictures(&[("a", 0, None, None), ("b", 0, None, None)]), None, "there is one class alone, `across`"),
        (
            pictures(&[("a", 0, train, None), ("b", 1, train, None), ("c", 2, Some(Split::Test), None)]),
            None,
            "class `slanted` is in test and not in train",
        ),
        (
            pictures(&[("a", 0, None, None), ("b", 1, None, None)]),
            Some(vec!["across", "down", "gone"]),
            "class `gone` has no picture",
        ),
        (
            pictures(&[("a", 0, None, None), ("b", 1, None, None)]),
            Some(vec!["across", "up"]),
            "class `down` is not among the names",
        ),
        (vec![], None, "no picture with a class is left"),
        (
            {
                let mut both = pictures(&[("a", 0, None, None), ("b", 1, None, None)]);
                both[1].bytes = both[0].bytes.clone();
                both
            },
            None,
            "no picture with a class is left",
        ),
    ];
    for (found, classes, expected) in cases {
        let classes = classes.map(|names| names.into_iter().map(Arc::from).collect());
        let made = dataset(found, &Order { classes, validation: 0.0, ..order() }, folder.path());
        let said = made.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(expected), "{said}\nshould say {expected}");
    }
}
