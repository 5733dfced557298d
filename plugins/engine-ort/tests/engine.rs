//! The engine against the real runtime and the real packages that the set-up fetched.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{fs, time::Duration};

use engine_ort::OrtCpu;
use inference::{Accuracy, Batch, Engine, EngineError, EngineFactory, Health, Package, choose};
use models::Copy;
use serde_json::json;
use vision::{Limits, Preprocessor, decode_picture, top_k};

fn factory() -> OrtCpu {
    OrtCpu::new(Some(models::run_time("lib/libonnxruntime.so")))
}

fn load(path: &std::path::Path) -> (Package, Box<dyn Engine>) {
    let package = Package::open(path).unwrap();
    let engine = factory().load(&package).unwrap();
    (package, engine)
}

fn run(engine: &mut dyn Engine, input: &[u8], n: usize, classes: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * classes];
    engine.run(Batch { input, n }, &mut out, None).unwrap();
    out
}

#[test]
fn both_packages_pass_their_golden_rows() {
    for path in [models::tiny(), models::efficientnet()] {
        let package = Package::open(path).unwrap();
        let chosen = choose(&[&factory()], &["ort-cpu".into()], Accuracy::Exact, &package).unwrap();
        assert_eq!((chosen.engine.name(), chosen.engine.version()), ("ort-cpu", "1.31.1"));
        assert!(chosen.reason.contains("ort-cpu 1.31.1 on CPU"), "{}", chosen.reason);
        assert!(chosen.reason.contains("golden rows agree within"), "{}", chosen.reason);
        println!("{}: {}", package.manifest().id, chosen.reason);
    }
}

#[test]
fn photographs_are_what_they_are() {
    let (package, mut engine) = load(&models::efficientnet());
    let mut preprocessor = Preprocessor::new(package.spec());
    let mut tensor = vec![0; package.tensor_len()];
    let cases = [
        ("baboon.jpg", "baboon"),
        ("apple.jpg", "Granny Smith"),
        ("orange.jpg", "orange"),
        ("butterfly.jpg", "monarch"),
        ("squirrel_cls.jpg", "fox squirrel"),
        ("fruits.jpg", "lemon"),
    ];
    for (file, expected) in cases {
        let jpeg = fs::read(models::run_time("media/pictures").join(file)).unwrap();
        let picture = decode_picture(&jpeg, &Limits::default()).unwrap();
        let view = picture.view();
        preprocessor.run(&view, view.rect(), &mut tensor).unwrap();
        let scores = run(engine.as_mut(), &tensor, 1, 1000);
        let best: Vec<_> = top_k(&scores, 3).into_iter().map(|(i, p)| (&*package.classes()[i], p)).collect();
        println!("{file}: {best:?}");
        assert_eq!(best[0].0, expected, "{file}");
        assert!(best[0].1 > 0.5, "{file}: {best:?}");
    }
}

#[test]
fn the_tiny_model_tells_brightness() {
    let (package, mut engine) = load(&models::tiny());
    for (level, expected) in [(0, "very-dark"), (64, "dark"), (128, "medium"), (191, "bright"), (255, "very-bright")] {
        let scores = run(engine.as_mut(), &[level; 4096], 1, 5);
        let (index, score) = top_k(&scores, 1)[0];
        assert_eq!(&*package.classes()[index], expected);
        assert!(score > 0.9, "{expected}: {score}");
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5, "logits became probabilities");
    }
}

#[test]
fn a_batch_gives_what_its_rows_give_alone() {
    let (package, mut engine) = load(&models::tiny());
    let inputs: Vec<u8> = (0..16 * 4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for n in [1, 2, 7, 16, 3] {
        let together = run(engine.as_mut(), &inputs[..n * 4096], n, 5);
        for (row, input) in together.chunks(5).zip(inputs.chunks(4096)) {
            for (a, b) in row.iter().zip(run(engine.as_mut(), input, 1, 5)) {
                assert!((a - b).abs() < 1e-5);
            }
        }
    }
    assert_eq!(package.classes().len(), 5);
}

/// The tiny model with its `Cast` made to nothing and a float input: the same picture must give the same answer.
#[test]
fn a_float32_model_gets_its_table_applied() {
    let bytes = fs::read(models::tiny().join("model.onnx")).unwrap();
    // The input's element type stands right after its name: field 2 (type) { field 1 (tensor) { field 1: 2 = uint8 ...
    // Nodes stand before the inputs, and begin alike: the last one is it.
    let at = bytes.windows(8).rposition(|window| window == b"\x0a\x05input\x12").expect("the graph's input");
    let kind = at + find(&bytes[at..], b"\x08\x02").expect("its element type") + 1;
    let mut float = bytes.clone();
    float[kind] = 1;
    let scaled = Copy::tiny().file("model.onnx", &float).manifest(|m| {
        m["input"]["dtype"] = json!("float32");
        m["input"]["normalize"] = json!({"scale": 0.5, "mean": [-10.0], "std": [2.0]});
    });
    let (_, mut engine) = load(scaled.without_golden().path());
    let (_, mut plain) = load(&models::tiny());
    // (v * 0.5 + 10) / 2 is a whole number for these, so the uint8 model can be asked the same question.
    for v in [0u8, 80, 200] {
        let expected = run(plain.as_mut(), &[(f32::from(v) * 0.5 + 10.0) as u8 / 2; 2 * 4096], 2, 5);
        assert_eq!(run(engine.as_mut(), &[v; 2 * 4096], 2, 5), expected);
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

#[test]
fn wrong_buffers_are_refused_and_the_engine_goes_on() {
    let (_, mut engine) = load(&models::tiny());
    let mut out = [0.0; 5];
    let error = engine.run(Batch { input: &[0; 100], n: 1 }, &mut out, None).unwrap_err();
    assert_eq!(error.to_string(), "batch of 1 does not fit the model: input has 100 elements, 4096 are needed");
    let error = engine.run(Batch { input: &[0; 4096], n: 1 }, &mut out[..4], None).unwrap_err();
    assert_eq!(error.to_string(), "batch of 1 does not fit the model: out has 4 elements, 5 are needed");
    for n in [0, 17] {
        let error = engine.run(Batch { input: &vec![0; n * 4096], n }, &mut vec![0.0; n * 5], None).unwrap_err();
        assert_eq!(error.to_string(), format!("batch of {n} is out of range: this engine takes 1 to 16"));
    }
    run(engine.as_mut(), &[0; 4096], 1, 5);
    assert_eq!(engine.health(), Health::Ready);
}

#[test]
fn a_deadline_ends_a_run_and_the_next_one_is_whole() {
    let package = Package::open(models::efficientnet()).unwrap();
    let mut engine = factory().with_max_batch(16).load(&package).unwrap();
    let input = vec![7; 16 * package.tensor_len()];
    let mut out = vec![0.0; 16 * 1000];
    let batch = Batch { input: &input, n: 16 };
    engine.run(batch, &mut out, None).unwrap();
    let whole = out.clone();
    let error = engine.run(batch, &mut out, Some(Duration::from_millis(3))).unwrap_err();
    assert!(matches!(error, EngineError::Deadline { n: 16, .. }), "{error:?}");
    assert_eq!(error.to_string(), "batch of 16 did not end within 3 ms");
    assert!(matches!(engine.health(), Health::Failing(_)));
    engine.run(batch, &mut out, Some(Duration::from_secs(60))).unwrap();
    assert_eq!(out, whole);
    engine.run(batch, &mut out, None).unwrap();
    assert_eq!((out, engine.health()), (whole, Health::Ready));
}

#[test]
fn a_graph_that_the_runtime_refuses_is_said_at_load() {
    // Valid protobuf with the right inputs and outputs, but an operator that does not exist.
    let bytes = fs::read(models::tiny().join("model.onnx")).unwrap();
    let at = find(&bytes, b"GlobalAveragePool").unwrap();
    let mut broken = bytes.clone();
    broken[at..at + 6].copy_from_slice(b"Gl0bal");
    let copy = Copy::tiny().file("model.onnx", &broken);
    let package = Package::open(copy.path()).unwrap();
    let refusal = factory().load(&package).err().unwrap();
    let text = refusal.full();
    assert!(text.starts_with("ONNX Runtime 1.31.1 cannot load the model of `"), "{text}");
    assert!(text.contains("Gl0balAveragePool"), "{text}");
}

#[test]
fn batches_are_as_large_as_pays() {
    assert_eq!(load(&models::tiny()).1.max_batch(), 16);
    assert_eq!(load(&models::efficientnet()).1.max_batch(), 1);
    let package = Package::open(models::efficientnet()).unwrap();
    assert_eq!(factory().with_max_batch(4).load(&package).unwrap().max_batch(), 4);
}

#[test]
fn engines_may_move_to_another_thread_and_be_many() {
    let engines: Vec<_> = (0..3).map(|_| load(&models::tiny()).1).collect();
    let threads: Vec<_> = engines
        .into_iter()
        .map(|mut engine| std::thread::spawn(move || run(engine.as_mut(), &[128; 4096], 1, 5)))
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}
