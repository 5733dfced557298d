//! The Open Inference Protocol: both forms of tensors, batches, and every way in which a request does not fit.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use oip::{HEAD_LENGTH, Metadata, Parameters, Request, Response, Tensor, Wanted, WantedParameters};
use serde_json::{Value, json};

use crate::bed::{Bed, Reply, request};

/// 16 rows of 24 pixels of three colours.
const LEN: usize = 16 * 24 * 3;

fn model() -> String {
    format!("/v2/models/{}", contract::Digest([7; 32]))
}

/// A request for inputs that are each of one brightness.
fn message(of: &[u8], edit: impl FnOnce(&mut Request)) -> (Vec<u8>, usize) {
    let pixels: Vec<u8> = of.iter().flat_map(|level| vec![*level; LEN]).collect();
    let mut asked = Request {
        id: Some("42".into()),
        inputs: vec![Tensor {
            name: "input".into(),
            shape: vec![of.len() as u64, 16, 24, 3],
            datatype: "UINT8".into(),
            parameters: Parameters { binary_data_size: Some(pixels.len() as u64) },
            data: None,
        }],
        outputs: vec![Wanted { name: "probabilities".into(), parameters: WantedParameters { binary_data: true } }],
    };
    edit(&mut asked);
    oip::write(&asked, &[&pixels]).unwrap()
}

async fn ask(bed: &Bed, (message, head): (Vec<u8>, usize)) -> Reply {
    let headers = [(HEAD_LENGTH, head.to_string())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    bed.send(request(Method::POST, &format!("{}/infer", model()), &headers, Body::from(message))).await
}

fn error(reply: &Reply) -> String {
    let document = reply.json();
    assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
    document["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_batch_of_bytes_is_answered_in_bytes() {
    let bed = Bed::new();
    let reply = ask(&bed, message(&[255, 51], |_| ())).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "application/octet-stream"));
    let head = reply.header(HEAD_LENGTH).parse().unwrap();
    let (answer, bytes) = oip::read(&reply.body, Some(head), |answer: &Response| &answer.outputs).unwrap();
    assert_eq!((answer.model_name, answer.id.as_deref()), (contract::Digest([7; 32]).to_string(), Some("42")));
    assert_eq!((&answer.outputs[0].shape[..], &*answer.outputs[0].datatype), (&[2, 3][..], "FP32"));
    let mut out = [0.0; 6];
    assert!(oip::to_floats(bytes[0].unwrap(), &mut out));
    assert_eq!(out, [0.0, 1.0, 0.0, 0.8, 0.2, 0.0]);
}

#[tokio::test]
async fn a_request_larger_than_the_engines_batch_is_answered_in_parts() {
    let bed = Bed::new();
    let levels = [255, 204, 153, 102, 51, 255];
    let reply = ask(&bed, message(&levels, |_| ())).await;
    let head = reply.header(HEAD_LENGTH).parse().unwrap();
    let (_, bytes) = oip::read(&reply.body, Some(head), |answer: &Response| &answer.outputs).unwrap();
    let mut out = [0.0; 18];
    assert!(oip::to_floats(bytes[0].unwrap(), &mut out));
    let bright: Vec<u8> = out.chunks(3).map(|row| (row[1] * 255.0).round() as u8).collect();
    assert_eq!(bright, levels);
}

#[tokio::test]
async fn plain_json_is_answered_in_json() {
    let bed = Bed::new();
    let asked =
        json!({"inputs": [{"name": "input", "shape": [1, 16, 24, 3], "datatype": "UINT8", "data": vec![51; LEN]}]});
    let uri = format!("{}/infer", model());
    let headers = [("content-type", "application/json")];
    let reply = bed.send(request(Method::POST, &uri, &headers, Body::from(asked.to_string()))).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "application/json"));
    let answer = reply.json();
    let scores: Vec<f64> = answer["outputs"][0]["data"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!((scores[0] - 0.8).abs() < 1e-6 && (scores[1] - 0.2).abs() < 1e-6, "{answer}");
}

#[tokio::test]
async fn the_server_says_what_it_has() {
    let bed = Bed::new();
    assert_eq!(bed.get("/v2").await.json()["extensions"], json!(["binary_tensor_data"]));
    for uri in ["/v2/health/live", "/v2/health/ready", &format!("{}/ready", model())] {
        assert_eq!(bed.get(uri).await.status, StatusCode::OK, "{uri}");
    }
    let described: Metadata = serde_json::from_slice(&bed.get(&model()).await.body).unwrap();
    assert_eq!(
        (described.inputs[0].shape.clone(), described.outputs[0].shape.clone()),
        (vec![-1, 16, 24, 3], vec![-1, 3])
    );
    assert_eq!((&*described.platform, &*described.versions[0]), ("brightness", "1.0.0"));

    let none = Bed::built(Default::default(), false, true);
    let reply = none.get("/v2/health/ready").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error(&reply).contains("[inference] model"));
}

#[tokio::test]
async fn another_model_is_no_substitute() {
    let bed = Bed::new();
    let other = contract::Digest([8; 32]);
    for uri in [format!("/v2/models/{other}"), format!("/v2/models/{other}/ready")] {
        let reply = bed.get(&uri).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        let why = error(&reply);
        assert!(why.contains(&format!("has not model {other}")) && why.contains("[inference] models"), "{why}");
    }
    let reply = bed.get("/v2/models/brightness").await;
    assert!(reply.status == StatusCode::NOT_FOUND && error(&reply).contains("the digest of its package"));
}

type Edit = fn(&mut Request);

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let bed = Bed::new();
    let edits: [(Edit, &str); 7] = [
        (|r| r.inputs[0].shape = vec![2, 16, 24], "UINT8 [2, 16, 24]; this model takes `input`, UINT8 [n, 16, 24, 3]"),
        (|r| r.inputs[0].datatype = "FP32".into(), "input `input` is FP32"),
        (|r| r.inputs[0].name = "x".into(), "input `x` is"),
        (|r| r.inputs[0].shape[0] = 1, "has 2304 elements; its shape needs 1152"),
        (|r| r.inputs[0].shape[0] = 65, "with n from 1 to 64"),
        (
            |r| r.inputs[0].parameters.binary_data_size = Some(7),
            "the head names 7 bytes of tensors, 2304 are behind it",
        ),
        (|r| r.outputs[0].name = "logits".into(), "output `logits` is not there; this model gives `probabilities`"),
    ];
    for (edit, words) in edits {
        let reply = ask(&bed, message(&[1, 2], edit)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(error(&reply).contains(words), "{}", error(&reply));
    }
    let (bytes, head) = message(&[1], |_| ());
    for head in [head - 1, bytes.len() + 1] {
        assert_eq!(ask(&bed, (bytes.clone(), head)).await.status, StatusCode::BAD_REQUEST);
    }
    let reply = ask(&bed, message(&[1], |r| r.inputs[0].data = Some(vec![1.0]))).await;
    assert!(error(&reply).contains("either `data` or"));
    let uri = format!("{}/infer", model());
    let asked =
        json!({"inputs": [{"name": "input", "shape": [1, 16, 24, 3], "datatype": "UINT8", "data": vec![256; LEN]}]});
    let reply = bed.send(request(Method::POST, &uri, &[], Body::from(asked.to_string()))).await;
    assert!(error(&reply).contains("none from 0 to 255"));
    let reply = bed.send(request(Method::POST, &uri, &[], Body::from(vec![b' '; 500_000]))).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(error(&reply).contains("batches of up to 64"));
    let reply = bed.send(request(Method::POST, &uri, &[(HEAD_LENGTH, "many")], Body::empty())).await;
    assert!(error(&reply).contains("is not a number of bytes"));
}

#[tokio::test]
async fn a_failing_engine_and_a_full_queue_are_told_apart() {
    let bed = Bed::with(cloud::api::Limits { engine_queue_max: 1, ..Default::default() });
    let reply = ask(&bed, message(&[0], |_| ())).await;
    assert!(reply.status == StatusCode::INTERNAL_SERVER_ERROR && error(&reply).contains("the tensor is all zero"));
    bed.gate.close();
    let (first, second) = tokio::join!(ask(&bed, message(&[9], |_| ())), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let second = ask(&bed, message(&[9], |_| ())).await;
        bed.gate.open();
        second
    });
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(second.header("retry-after"), "1");
}
