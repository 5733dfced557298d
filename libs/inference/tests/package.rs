//! Packages: what opens, and what each mistake says.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{fs, path::Path};

use inference::{Package, onnx};
use models::Copy;
use serde_json::{Value, json};

fn mistake(path: &Path) -> String {
    let error = Package::open(path).expect_err("must not open");
    models::full(&error)
}

#[test]
fn both_packages_of_the_set_up_open() {
    let tiny = Package::open(models::tiny()).unwrap();
    assert_eq!((tiny.tensor_len(), tiny.classes().len()), (64 * 64, 5));
    assert_eq!(tiny.model_ref().version.as_deref(), Some("1"));
    let real = Package::open(models::efficientnet()).unwrap();
    assert_eq!((real.tensor_len(), real.classes().len()), (224 * 224 * 3, 1000));
    // The network has 4 652 008 parameters; folding makes one number of two for each of 21 008 normalised channels,
    // and three constants (0, 6, 127) come in.
    assert_eq!(real.graph().parameters, 4_652_008 - 21_008 + 3);
    assert_eq!(real.golden().unwrap().rows.len(), 3);
}

#[test]
fn a_digest_is_that_of_the_manifest() {
    use sha2::Digest;
    let package = Package::open(models::tiny()).unwrap();
    let manifest = fs::read(models::tiny().join("manifest.json")).unwrap();
    assert_eq!(package.digest().hex(), models::hex(&sha2::Sha256::digest(manifest)));
}

#[test]
fn a_tar_is_the_same_package() {
    let folder = Copy::tiny();
    let expected = Package::open(folder.path()).unwrap();
    for prefix in ["", "tiny-gray64"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), folder.tar(prefix)).unwrap();
        let package = Package::open(file.path()).unwrap();
        assert_eq!(package.digest(), expected.digest());
        assert_eq!(package.model().unwrap(), expected.model().unwrap());
    }
}

#[test]
fn a_tar_that_leads_out_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_mut_bytes()[..11].copy_from_slice(b"../evil.txt");
    header.set_cksum();
    tar.append(&header, &b"x"[..]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), tar.into_inner().unwrap()).unwrap();
    assert!(mistake(file.path()).contains("`../evil.txt` is not a name inside the package"));
}

#[test]
fn what_is_no_package_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    assert!(mistake(file.path()).contains("is compressed; unpack it"));
    fs::write(file.path(), "not a tar ".repeat(200)).unwrap();
    assert!(mistake(file.path()).contains("neither a folder nor a readable tar"));
    fs::write(file.path(), "").unwrap();
    assert!(mistake(file.path()).contains("`manifest.json` is not in the package"));
    assert!(mistake(Path::new("/nonexistent/model")).contains("open model package `/nonexistent/model`: read"));
    let empty = tempfile::tempdir().unwrap();
    assert!(mistake(empty.path()).contains("`manifest.json` is not in the package; add it"));
}

#[test]
fn changed_and_missing_files_are_named() {
    let changed = Copy::tiny();
    let path = changed.path().join("model.onnx");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let text = mistake(changed.path());
    assert!(text.contains("`model.onnx` has digest sha256:") && text.contains("fetch it again"), "{text}");

    let missing = Copy::tiny();
    fs::remove_file(missing.path().join("golden/slope.u8")).unwrap();
    assert!(mistake(missing.path()).contains("`golden/slope.u8` is not in the package"));
}

#[test]
fn a_file_that_changes_later_is_noticed() {
    let copy = Copy::tiny();
    let package = Package::open(copy.path()).unwrap();
    fs::write(copy.path().join("model.onnx"), "other").unwrap();
    assert!(models::full(&package.model().unwrap_err()).contains("`model.onnx` has digest"));
}

#[test]
fn corrupt_onnx_is_said_at_load() {
    let whole = fs::read(models::tiny().join("model.onnx")).unwrap();
    for torn in [&whole[..whole.len() / 2], &b"\x00\x01garbage that is not a protobuf"[..], b""] {
        let text = mistake(Copy::tiny().file("model.onnx", torn).path());
        assert!(text.contains("`model.onnx`: it") && text.contains("torn or not ONNX at all"), "{text}");
    }
}

type Edit = fn(&mut Value);

#[test]
fn each_mistake_of_a_manifest_is_named() {
    let cases: &[(Edit, &str)] = &[
        (|m| m["schema"] = json!(99), "`schema` is 99, this program reads up to 1; upgrade it"),
        (|m| m["id"] = json!(" "), "`id` is empty; give it a value"),
        (|m| m["classes"] = json!([]), "`classes` is empty"),
        (|m| m["classes"][1] = json!("very-dark"), "class `very-dark` stands twice, the second time at 1"),
        (|m| m["classes"][4] = json!(""), "class 4 is empty; every class needs a name"),
        (|m| m["input"]["width"] = json!(0), "`input` is 0x64; both sides must be 1 to"),
        (
            |m| m["input"]["preprocess"]["version"] = json!(7),
            "`input.preprocess.version` is 7, this program computes version 1",
        ),
        (|m| m["input"]["dtype"] = json!("float32"), "`input.normalize` is absent; say how uint8 becomes float"),
        (|m| m["input"]["normalize"] = json!({"scale": 1, "mean": [0], "std": [1]}), "given for a uint8 model"),
        (|m| m["thresholds"] = json!({"night": 0.5}), "`thresholds` names `night`, which is not a class"),
        (|m| m["thresholds"] = json!({"dark": 1.5}), "`thresholds.dark` is 1.5; scores are 0 to 1"),
        (|m| m["golden"] = json!("absent.json"), "`files` does not name `absent.json`"),
        (|m| m["files"]["../x"] = m["files"]["model.onnx"].clone(), "`../x` is not a name inside the package"),
        (|m| m["files"] = json!({}), "`files` does not name `model.onnx`"),
        (|m| m["input"] = json!("wrong"), "`manifest.json` is not valid: invalid type"),
    ];
    for (edit, expected) in cases {
        let text = mistake(Copy::tiny().manifest(*edit).path());
        assert!(text.contains(expected), "expected `{expected}` in: {text}");
    }
}

#[test]
fn float32_needs_one_mean_and_deviation_a_channel() {
    let with = |normalize: Value| {
        mistake(
            Copy::tiny()
                .manifest(|m| {
                    m["input"]["dtype"] = json!("float32");
                    m["input"]["normalize"] = normalize;
                })
                .path(),
        )
    };
    assert!(
        with(json!({"scale": 1, "mean": [0, 0], "std": [1]}))
            .contains("`input.normalize.mean` has 2 values, the input has 1")
    );
    assert!(
        with(json!({"scale": 1, "mean": [0], "std": [0]}))
            .contains("`input.normalize.std` holds 0; it must be finite and not 0")
    );
}

#[test]
fn a_graph_that_differs_from_its_manifest_is_refused() {
    let cases: &[(Edit, &str)] = &[
        (
            |m| m["input"]["name"] = json!("image"),
            "the model has no input `image`, it has `input`; correct `input.name`",
        ),
        (|m| m["output"]["name"] = json!("scores"), "the model has no output `scores`, it has `logits`"),
        (
            |m| m["input"]["width"] = json!(32),
            "input `input` has shape [N, 64, 64, 1], the manifest says [N, 64, 32, 1]",
        ),
        (|m| m["input"]["layout"] = json!("NCHW"), "the manifest says [N, 1, 64, 64]"),
        (|m| m["input"]["color"] = json!("rgb"), "the manifest says [N, 64, 64, 3]"),
        (
            |m| m["classes"] = json!(["a", "b", "c"]),
            "output `logits` gives 5 classes, the manifest lists 3; list exactly one",
        ),
        (
            |m| {
                m["input"]["dtype"] = json!("float32");
                m["input"]["normalize"] = json!({"scale": 1, "mean": [0], "std": [1]});
            },
            "input `input` is uint8, the manifest says float32",
        ),
    ];
    for (edit, expected) in cases {
        let text = mistake(Copy::tiny().without_golden().manifest(*edit).path());
        assert!(text.contains("`model.onnx` does not match `manifest.json`") && text.contains(expected), "{text}");
    }
}

#[test]
fn golden_rows_are_checked_for_sense() {
    let cases: &[(Value, &str)] = &[
        (json!({"tolerance": 0, "rows": []}), "`tolerance` is 0; it must be above 0"),
        (json!({"tolerance": 0.1, "rows": []}), "there are none; add some"),
        (
            json!({"tolerance": 0.1, "rows": [{"input": "golden/slope.u8", "probabilities": {"5": 1}}]}),
            "names class 5, the last is 4",
        ),
        (json!({"tolerance": 0.1, "rows": [{"input": "x.u8", "probabilities": {"0": 1}}]}), "does not name `x.u8`"),
        (
            json!({"tolerance": 0.1, "rows": [{"input": "model.onnx", "probabilities": {"0": 1}}]}),
            "golden input `model.onnx` has 95558 bytes, the model's input has 4096",
        ),
    ];
    for (golden, expected) in cases {
        let text = mistake(Copy::tiny().file("golden.json", &serde_json::to_vec(golden).unwrap()).path());
        assert!(text.contains(expected), "expected `{expected}` in: {text}");
    }
}

#[test]
fn the_graph_is_described() {
    let bytes = fs::read(models::efficientnet().join("model.onnx")).unwrap();
    let model = onnx::Model::parse(&bytes).unwrap();
    assert_eq!(model.inputs[0].describe(), "uint8 [N, 224, 224, 3]");
    assert_eq!(model.outputs[0].describe(), "float32 [N, 1000]");
    assert_eq!((model.opsets["ai.onnx"], model.ir_version), (13, 8));
    assert_eq!(model.operators["Conv"], 49);
    assert!(model.metadata["classes"].starts_with("[\"tench\""));
}

proptest::proptest! {
    /// Whatever bytes come, reading ends with a model or an error, never with a panic.
    #[test]
    fn any_bytes_can_be_parsed(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = onnx::Model::parse(&bytes);
    }

    /// The same for a real model with a few bytes changed.
    #[test]
    fn damaged_models_can_be_parsed(at in 0usize..95_000, byte in 0u8.., cut in 0usize..95_000) {
        let mut bytes = fs::read(models::tiny().join("model.onnx")).unwrap();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        let _ = onnx::Model::parse(&bytes);
    }
}
