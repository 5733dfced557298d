//! The graph passes on small graphs written by hand; that the values stay the same on real models is shown where there is
//! an engine to run them (`plugins/engine-ort/tests/graph.rs`).
#![allow(clippy::unwrap_used, missing_docs)]

use inference::graph::{GraphError, Quantization, cast_first, not_a_number, quantization};

/// A protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128 && number < 16);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
    bytes.extend(field(2, output.as_bytes()));
    bytes.extend(field(4, operator.as_bytes()));
    // A field that this program does not know must stay.
    bytes.extend(field(15, b"unknown"));
    field(1, &bytes)
}

fn tensor(name: &str, data_type: u8, raw: &[u8]) -> Vec<u8> {
    field(5, &[number(2, data_type), field(8, name.as_bytes()), field(9, raw)].concat())
}

fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let graph = [parts.concat(), field(12, &field(1, b"out"))].concat();
    let mut model = vec![7 << 3 | 2];
    prost::encoding::encode_varint(graph.len() as u64, &mut model);
    [model, graph].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_cast_comes_first() {
    let before = model(&[
        node("Transpose", &["in"], "planes"),
        node("Cast", &["planes"], "float"),
        node("Relu", &["float"], "out"),
        field(13, &field(1, b"planes")),
    ]);
    let after = cast_first(&before).unwrap().unwrap();
    let wanted = model(&[
        node("Cast", &["in"], "planes"),
        node("Transpose", &["planes"], "float"),
        node("Relu", &["float"], "out"),
    ]);
    assert_eq!(text(&after), text(&wanted));
    assert_eq!(cast_first(&after).unwrap(), None, "once is enough");
}

#[test]
fn a_transpose_that_others_read_stays() {
    let read_twice =
        [node("Transpose", &["in"], "planes"), node("Cast", &["planes"], "float"), node("Shape", &["planes"], "out")];
    let given = [node("Transpose", &["in"], "out"), node("Cast", &["out"], "float")];
    let no_cast = [node("Transpose", &["in"], "planes"), node("Relu", &["planes"], "out")];
    let no_transpose = [node("Cast", &["in"], "float"), node("Relu", &["float"], "out")];
    for parts in [&read_twice[..], &given, &no_cast, &no_transpose] {
        assert_eq!(cast_first(&model(parts)).unwrap(), None);
    }
}

#[test]
fn what_is_no_graph_is_refused() {
    assert!(matches!(cast_first(b""), Err(GraphError::NoGraph)));
    assert!(matches!(cast_first(&[0xFF; 40]), Err(GraphError::Decode(_))));
    let whole = model(&[node("Transpose", &["in"], "planes"), node("Cast", &["planes"], "float")]);
    for cut in 1..whole.len() {
        // Never a panic; a cut file is refused or, where the cut falls between fields, has nothing to change.
        let _ = (cast_first(&whole[..cut]), not_a_number(&whole[..cut]), quantization(&whole[..cut]));
    }
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let good = tensor("good", 1, &1.5f32.to_le_bytes());
    assert_eq!(not_a_number(&model(std::slice::from_ref(&good))).unwrap(), None);
    let cases = [
        (tensor("bad", 1, &f32::NAN.to_le_bytes()), "NaN"),
        (tensor("bad", 1, &f32::NEG_INFINITY.to_le_bytes()), "infinity"),
        (tensor("bad", 10, &0x7E00u16.to_le_bytes()), "NaN"),
        (tensor("bad", 10, &0xFC00u16.to_le_bytes()), "infinity"),
    ];
    for (bad, what) in cases {
        assert_eq!(not_a_number(&model(&[good.clone(), bad])).unwrap(), Some(("bad".into(), what)));
    }
    // The same bits in whole numbers are numbers.
    assert_eq!(not_a_number(&model(&[tensor("ints", 6, &f32::NAN.to_le_bytes())])).unwrap(), None);
}

#[test]
fn the_style_of_quantisation_is_told() {
    let quantised = |point: Vec<u8>| model(&[node("QuantizeLinear", &["in", "scale", "zero"], "out"), point]);
    assert_eq!(quantization(&model(&[node("Relu", &["in"], "out")])).unwrap(), None);
    let cpu = Some(Quantization::Cpu { tensor: "zero".into() });
    assert_eq!(quantization(&quantised(tensor("zero", 2, &[0]))).unwrap(), cpu, "unsigned");
    assert_eq!(quantization(&quantised(tensor("zero", 3, &[7]))).unwrap(), cpu, "not symmetric");
    assert_eq!(quantization(&quantised(tensor("zero", 3, &[0]))).unwrap(), Some(Quantization::Symmetric));
}
