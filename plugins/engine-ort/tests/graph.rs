//! A graph pass changes how a model computes and not what: the same bits come out.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::fs;

use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package, graph};

#[test]
fn casting_first_gives_the_same_bits() {
    for path in [models::tiny(), models::efficientnet()] {
        let copy = models::Copy::of(&path);
        let file = copy.path().join("model.onnx");
        let changed = graph::cast_first(&fs::read(&file).unwrap()).unwrap().expect("the model begins with a Transpose");
        let copy = copy.file("model.onnx", &changed);
        let [before, after] = [path.as_path(), copy.path()].map(|path| {
            let package = Package::open(path).unwrap();
            let mut engine = OrtCpu::new(Some(models::run_time("lib/libonnxruntime.so"))).load(&package).unwrap();
            let input: Vec<u8> = (0..package.tensor_len()).map(|i| (i * 7919 % 251) as u8).collect();
            let mut out = vec![0.0; package.classes().len()];
            engine.run(Batch { input: &input, n: 1 }, &mut out, None).unwrap();
            out
        });
        assert!(before == after, "{}", path.display());
    }
}
