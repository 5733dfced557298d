//! What operators look at: health addresses, metrics that promtool accepts, and one trace from capture to object.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use axum::{Router, body::Bytes, extract::State, routing::post};
use contract::Kind;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use world::{Config, Edge, Hub, Process, Rest, rest::block_on, story, wait};

use crate::common::tiny;

#[test]
fn both_programs_are_live_ready_and_measured() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        hub.lake()?.wait_rows(Kind::Prediction, 3)?;
        for (name, rest, version) in [("hub", hub.rest()?, "/api/v1/version"), ("edge", edge.admin()?, "/version")] {
            assert_eq!(rest.get("/live")?.status, 200, "{name}");
            wait::until(&format!("{name} to be ready"), || Ok((rest.get("/ready")?.status == 200).then_some(())))?;
            let said = rest.json(version)?;
            assert!(said.to_string().contains(env!("CARGO_PKG_VERSION")), "{name}: {said}");
            // `make test` says which commit it builds; who builds otherwise may say none.
            let built_from = std::env::var("SIGHTLINE_COMMIT").unwrap_or("unknown".into());
            assert!(said["commit"] == *built_from || built_from == "unknown", "{name}: {said}, not {built_from}");
            check_metrics(name, &rest)?;
        }
        Ok(())
    });
}

#[test]
fn the_trainer_finds_the_lake_by_the_hubs_state_folder() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let mut edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        hub.lake()?.wait_rows(Kind::Sample, 1)?;
        let summary = edge.stop()?;
        let state = hub.state.display().to_string();
        let ended = Process::run("sightline-train", &["lake", "--state", &state, "--json"])?;
        ensure!(ended.code == Some(0), "{}", ended.text());
        let report: serde_json::Value = serde_json::from_str(&ended.stdout)?;
        assert_eq!(report["kinds"]["prediction"]["rows"], summary.published, "{report}");
        assert!(report["kinds"]["sample"]["rows"].as_u64() >= Some(1), "{report}");
        let text = Process::run("sightline-train", &["lake", "--state", &state])?.stdout;
        assert!(text.contains("s3://sightline") && text.contains("prediction "), "{text}");
        for told in [&ended.stdout, &text] {
            let secret = hub.endpoints()?["s3"]["secret_key"].as_str().context("secret")?.to_owned();
            assert!(!told.contains(&secret), "{told}");
        }

        let nothing = folder.join("nothing").display().to_string();
        let ended = Process::run("sightline-train", &["lake", "--state", &nothing])?;
        assert!(ended.code == Some(1) && ended.text().contains("endpoints.json"), "{}", ended.text());
        let state = hub.stop()?.display().to_string();
        let ended = Process::run("sightline-train", &["lake", "--state", &state])?;
        assert!(ended.code == Some(1) && ended.text().contains("is the hub running?"), "{}", ended.text());
        Ok(())
    });
}

/// Two of each on one machine, with nothing between them but their folders: each lake has its own gateway's records alone.
#[test]
fn several_instances_run_side_by_side() {
    story(|folder| {
        let mut pairs = Vec::new();
        for name in ["east", "west"] {
            let folder = folder.join(name);
            std::fs::create_dir(&folder)?;
            let hub = Hub::start(&folder, Config::new())?;
            let config = tiny()?.set("site", name).set("cameras.cam.uri", "test:");
            let edge = Edge::start(&folder, &hub, config)?;
            pairs.push((name, edge, hub)); // the agent goes first, while its hub is there
        }
        for (name, _, hub) in &pairs {
            let rows = hub.lake()?.wait_rows(Kind::Prediction, 5)?;
            assert!(rows.iter().all(|row| row["site"] == *name), "{name}: {:?}", rows[0]);
        }
        let mut addresses: Vec<_> = Vec::new();
        for (_, edge, hub) in &pairs {
            addresses.extend(["http", "mqtt", "s3"].map(|of| hub.ready[of].to_string()));
            addresses.push(edge.ready["admin"].to_string());
        }
        let all = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert_eq!((addresses.len(), all), (8, 8), "{addresses:?}");
        Ok(())
    });
}

fn check_metrics(name: &str, rest: &Rest) -> Result<()> {
    let metrics = rest.get("/metrics")?;
    ensure!(metrics.status == 200 && metrics.text().contains("sightline_"), "{name}: {}", metrics.text());
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run promtool; `make setup` installs it")?;
    promtool.stdin.take().context("stdin")?.write_all(&metrics.body)?;
    let said = promtool.wait_with_output()?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    ensure!(said.status.success(), "promtool on the metrics of {name}:\n{text}\n{}", metrics.text());
    Ok(())
}

type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// An OTLP collector that keeps what it gets; gives its address.
fn collector() -> Result<(String, Spans)> {
    let spans = Spans::default();
    let take = async |State(spans): State<Spans>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap_or_default();
        let mut kept = spans.lock().unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = attributes.iter().find(|a| a.key == "service.name").map(|a| format!("{:?}", a.value));
            let service = if service.is_some_and(|s| s.contains("hub")) { "hub" } else { "edge" };
            kept.extend(resource.scope_spans.into_iter().flat_map(|s| s.spans).map(|span| (service.to_owned(), span)));
        }
    };
    let app = Router::new()
        .route("/v1/traces", post(take))
        .route("/v1/metrics", post(async || ()))
        .with_state(Arc::clone(&spans));
    let address = block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        anyhow::Ok(address)
    })?;
    Ok((format!("http://{address}"), spans))
}

#[test]
fn one_trace_leads_from_the_frame_to_the_object() {
    story(|folder| {
        let (address, spans) = collector()?;
        let telemetry =
            |config: Config| config.set("telemetry.otlp", address.clone()).set("telemetry.sample_ratio", 1.0);
        let hub = Hub::start(folder, telemetry(Config::new()))?;
        let config = telemetry(tiny()?).set("cameras.cam.uri", "test:ball?fps=5");
        let _edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 3)?;
        let trace = wait::until("a trace with spans of both programs", || {
            let mut traces: BTreeMap<Vec<u8>, Vec<(String, Span)>> = BTreeMap::new();
            for (service, span) in spans.lock().unwrap().iter() {
                traces.entry(span.trace_id.clone()).or_default().push((service.clone(), span.clone()));
            }
            Ok(traces
                .into_values()
                .find(|spans| ["edge", "hub"].iter().all(|wanted| spans.iter().any(|(service, _)| service == wanted))))
        })?;
        let tree = tree(&trace);
        println!("{tree}");
        let row = hub.lake()?.rows(Kind::Prediction)?.into_iter().find(|row| {
            let id: String = trace[0].1.trace_id.iter().map(|b| format!("{b:02x}")).collect();
            row["traceparent"].as_str().is_some_and(|parent| parent.contains(&id))
        });
        let object = row.context("no row carries the trace's id")?["object"].as_str().context("object")?.to_owned();
        assert!(tree.contains(&object), "the trace does not name the object {object}:\n{tree}");
        let roots = trace.iter().filter(|(_, s)| s.parent_span_id.iter().all(|b| *b == 0)).count();
        assert_eq!(roots, 1, "one root:\n{tree}");
        Ok(())
    });
}

/// The spans as an indented tree with their times and texts.
fn tree(spans: &[(String, Span)]) -> String {
    fn add(out: &mut String, spans: &[(String, Span)], parent: &[u8], depth: usize) {
        let known = |id: &[u8]| spans.iter().any(|(_, s)| s.span_id == id);
        let mut children: Vec<_> = spans
            .iter()
            .filter(|(_, s)| if depth == 0 { !known(&s.parent_span_id) } else { s.parent_span_id == parent })
            .collect();
        children.sort_by_key(|(_, s)| s.start_time_unix_nano);
        for (service, span) in children {
            let us = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1000;
            let attributes: Vec<_> =
                span.attributes.iter().map(|a| format!("{}={}", a.key, text(a.value.as_ref()))).collect();
            *out += &format!("{}{service}: {} {us} us {}\n", "  ".repeat(depth), span.name, attributes.join(" "));
            add(out, spans, &span.span_id, depth + 1);
        }
    }
    let mut out = String::new();
    add(&mut out, spans, &[], 0);
    out
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value.and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(s)) => s.clone(),
        Some(Value::IntValue(n)) => n.to_string(),
        other => format!("{other:?}"),
    }
}
