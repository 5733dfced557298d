//! The engine against hubs that answer as they should, late, wrongly, or not at all. (That it agrees with the real hub is a
//! story: tests/stories/hub_engine.rs.)
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine_hub::{Hub, Options};
use inference::{Batch, Engine, EngineError, EngineFactory, Package, Refusal};
use oip::{Described, HEAD_LENGTH, Metadata, Parameters, Response, Tensor};

type Answer = dyn Fn(&str, &[u8]) -> Vec<u8> + Send;

/// A server that answers each request with what `answer` makes of its path and body; its address.
fn serve(answer: impl Fn(&str, &[u8]) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer: Arc<Mutex<Box<Answer>>> = Arc::new(Mutex::new(Box::new(answer)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            std::thread::spawn(move || one(stream.unwrap(), &answer));
        }
    });
    format!("http://{address}")
}

fn one(mut stream: TcpStream, answer: &Mutex<Box<Answer>>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 65536]);
    loop {
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        let length = head.map(|head| {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            (head, length.map_or(0, |length| length.trim().parse::<usize>().unwrap()))
        });
        if let Some((head, length)) = length.filter(|(head, length)| bytes.len() >= head + length) {
            let path = String::from_utf8_lossy(&bytes[..head]).split(' ').nth(1).unwrap().to_owned();
            let reply = answer.lock().unwrap()(&path, &bytes[head..head + length]);
            let _ = stream.write_all(&reply);
            return;
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A hub that knows the small model and says that everything is `class`; `infer` may answer otherwise.
fn hub(infer: impl Fn(u64) -> Option<Vec<u8>> + Send + 'static) -> String {
    let package = package();
    serve(move |path, body| match path {
        "/v2" => reply("200 OK", "", br#"{"name":"hub","version":"9.9","extensions":["binary_tensor_data"]}"#),
        "/v2/health/ready" => reply("200 OK", "", br#"{"ready":true}"#),
        path if path.ends_with("/infer") => {
            let head = body.iter().rposition(|byte| *byte == b'}').map_or(0, |at| at + 1);
            let (asked, _) = match oip::read(body, Some(head), |asked: &oip::Request| &asked.inputs) {
                Ok(read) => read,
                Err(error) => return reply("400 Bad Request", "", format!("{{\"error\":\"{error}\"}}").as_bytes()),
            };
            let n = asked.inputs[0].shape[0];
            infer(n).unwrap_or_else(|| says(n, [1.0, 0.0, 0.0, 0.0, 0.0]))
        }
        path if path == format!("/v2/models/{}", package.digest()) => {
            let described = |name: &str, datatype: &str, shape: &[i64]| Described {
                name: name.into(),
                datatype: datatype.into(),
                shape: shape.to_vec(),
            };
            let metadata = Metadata {
                name: package.digest().to_string(),
                versions: vec!["1".into()],
                platform: "ort-cpu".into(),
                inputs: vec![described("input", "UINT8", &[-1, 64, 64, 1])],
                outputs: vec![described("probabilities", "FP32", &[-1, 5])],
            };
            reply("200 OK", "", &serde_json::to_vec(&metadata).unwrap())
        }
        _ => reply("404 Not Found", "", br#"{"error":"this hub has not model X"}"#),
    })
}

fn says(n: u64, row: [f32; 5]) -> Vec<u8> {
    let bytes = oip::from_floats(&row.repeat(n as usize));
    let output = Tensor {
        name: "probabilities".into(),
        shape: vec![n, 5],
        datatype: "FP32".into(),
        parameters: Parameters { binary_data_size: Some(bytes.len() as u64) },
        data: None,
    };
    let response = Response { model_name: "m".into(), model_version: None, id: None, outputs: vec![output] };
    let (message, head) = oip::write(&response, &[&bytes]).unwrap();
    reply("200 OK", &format!("{HEAD_LENGTH}: {head}\r\n"), &message)
}

fn package() -> Package {
    Package::open(models::tiny()).unwrap()
}

fn options(url: &str) -> Options {
    Options {
        url: url.into(),
        deadline: Duration::from_millis(400),
        requests_per_second: 1000.0,
        bytes_per_second: 1 << 30,
        ca: None,
        cert: None,
        key: None,
    }
}

fn loaded(url: &str) -> Box<dyn Engine> {
    Hub::new(options(url)).load(&package()).unwrap()
}

fn run(engine: &mut dyn Engine, n: usize) -> Result<Vec<f32>, EngineError> {
    let mut out = vec![f32::NAN; n * 5];
    engine.run(Batch { input: &vec![7; n * 4096], n }, &mut out, Some(Duration::from_secs(3)))?;
    Ok(out)
}

fn refused(url: &str) -> Refusal {
    match Hub::new(options(url)).load(&package()) {
        Err(refusal) => refusal,
        Ok(_) => panic!("{url} was taken"),
    }
}

#[test]
fn batches_are_answered_and_the_hub_is_named() {
    let url = hub(|_| None);
    let probe = Hub::new(options(&url)).probe().unwrap();
    assert_eq!((&*probe.version, &*probe.device), ("9.9", &*url));
    let mut engine = loaded(&url);
    assert_eq!((engine.name(), engine.version(), engine.max_batch()), ("hub", "9.9", 8));
    for n in [1, 8] {
        assert_eq!(run(engine.as_mut(), n).unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0].repeat(n));
    }
    assert!(matches!(run(engine.as_mut(), 9), Err(EngineError::BatchSize { n: 9, max: 8 })));
}

#[test]
fn a_hub_without_the_model_or_with_another_shape_is_refused() {
    let without = serve(|path, _| match path {
        "/v2" => reply("200 OK", "", br#"{"version":"1"}"#),
        _ => reply("404 Not Found", "", br#"{"error":"this hub has not model X; it has none"}"#),
    });
    assert_eq!(refused(&without).full(), "this hub has not model X; it has none");
    let other = serve(|path, _| {
        match path {
        "/v2" => reply("200 OK", "", br#"{"version":"1"}"#),
        _ => reply(
            "200 OK",
            "",
            br#"{"name":"m","versions":[],"platform":"p","inputs":[{"name":"i","datatype":"FP32","shape":[-1,3]}],"outputs":[]}"#,
        ),
    }
    });
    assert!(refused(&other).full().contains("hub has other shapes for model sha256:"));
    let strange = serve(|_, _| reply("200 OK", "", b"<html>"));
    assert!(refused(&strange).full().contains("answers what is not Open Inference Protocol"));
}

#[test]
fn who_is_not_there_is_named_with_what_to_do() {
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let Err(refusal) = Hub::new(options(&nobody)).probe() else { panic!("nobody answers") };
    let text = refusal.full();
    assert!(text.contains(&format!("hub at {nobody} does not answer")) && text.contains("`engines.hub.url`"), "{text}");
    let mut with = options(&nobody);
    with.ca = Some("/nowhere/ca.pem".into());
    let Err(refusal) = Hub::new(with).probe() else { panic!("there is no such file") };
    assert!(refusal.full().contains("read /nowhere/ca.pem"), "{}", refusal.full());
}

#[test]
fn late_answers_are_given_up_at_the_deadline() {
    let url = hub(|_| {
        std::thread::sleep(Duration::from_secs(2));
        None
    });
    let mut engine = loaded(&url);
    let begun = Instant::now();
    assert!(matches!(run(engine.as_mut(), 1), Err(EngineError::Deadline { .. })));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn a_busy_hub_is_left_alone_for_as_long_as_it_asks() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let url = hub(move |_| {
        *count.lock().unwrap() += 1;
        Some(reply("503 Service Unavailable", "Retry-After: 1\r\n", br#"{"error":"8 requests wait"}"#))
    });
    let mut engine = loaded(&url);
    for _ in 0..10 {
        let error = run(engine.as_mut(), 1).unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("says 503: 8 requests wait"), "{why}");
    }
    assert_eq!(*asked.lock().unwrap(), 1, "it was asked once, and then held back");
    std::thread::sleep(Duration::from_millis(1100));
    let _ = run(engine.as_mut(), 1);
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[test]
fn answers_that_do_not_fit_are_no_answers() {
    for (answer, words) in [
        (reply("200 OK", "", b"{}"), "missing field"),
        (says(2, [0.2; 5]), "is FP32 [2, 5], not FP32 [1, 5]"),
        (reply("200 OK", &format!("{HEAD_LENGTH}: 99999\r\n"), b"{}"), "the head is said to have 99999 bytes"),
        (reply("302 Found", "Location: http://127.0.0.1:1/\r\n", b""), "says 302"),
    ] {
        let url = hub(move |_| Some(answer.clone()));
        let error = run(loaded(&url).as_mut(), 1).unwrap_err();
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(why.contains(words), "{words}: {why}");
    }
}

#[test]
fn what_the_budget_does_not_allow_is_skipped_and_no_failure() {
    let url = hub(|_| None);
    let mut few = options(&url);
    few.requests_per_second = 2.0;
    let mut engine = Hub::new(few).load(&package()).unwrap();
    let outcomes: Vec<_> = (0..5).map(|_| run(engine.as_mut(), 1)).collect();
    assert!(outcomes[..2].iter().all(Result::is_ok));
    let Err(EngineError::Skipped { why, .. }) = &outcomes[4] else { panic!("{:?}", outcomes[4]) };
    assert_eq!(why, "engines.hub.requests_per_second is spent");
    assert_eq!(engine.health(), inference::Health::Ready);
}
