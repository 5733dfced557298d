//! The elements as pipelines use them: through a harness, and as the lines of docs/elements.md.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{
    path::PathBuf,
    sync::Once,
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_check::Harness;
use gstreamer_video::{self as gst_video, VideoFrameExt, VideoRegionOfInterestMeta};

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: before any other thread of this process reads the environment.
        unsafe { std::env::set_var("ORT_DYLIB_PATH", models::run_time("lib/libonnxruntime.so")) };
        gst::init().unwrap();
        gstsightline::register(None).unwrap();
    });
}

fn classify(properties: &str) -> Harness {
    init();
    Harness::new_parse(&format!("sightlineclassify model={} {properties}", models::tiny().display()))
}

fn caps(format: &str, width: i32, height: i32) -> String {
    format!("video/x-raw,format={format},width={width},height={height},framerate=30/1")
}

/// An even picture: white is 235 where video has it so.
fn picture(caps: &str, level: u8) -> gst::Buffer {
    let info = gst_video::VideoInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
    let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
    let bytes = buffer.get_mut().unwrap();
    bytes.set_pts(gst::ClockTime::ZERO);
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(bytes, &info).unwrap();
    for plane in 0..frame.n_planes() {
        let chroma = plane > 0;
        frame.plane_data_mut(plane).unwrap().fill(if chroma { 128 } else { level });
    }
    drop(frame);
    buffer
}

/// Name, rectangle and best label of a region.
type Found = (String, (u32, u32, u32, u32), String);

fn found(buffer: &gst::BufferRef) -> Vec<Found> {
    buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        .map(|meta| {
            let best = meta.params().next().unwrap();
            assert_eq!(best.name(), "classification");
            for field in ["model_name", "model_version", "model_digest", "engine"] {
                assert!(!best.get::<String>(field).unwrap().is_empty(), "{field}");
            }
            assert!(
                (0.0..=1.0).contains(&best.get::<f64>("confidence").unwrap())
                    && best.get::<i32>("label_id").unwrap() >= 0
            );
            (meta.roi_type().to_owned(), meta.rect(), best.get::<String>("label").unwrap())
        })
        .collect()
}

#[test]
fn every_format_is_classified_and_left_as_it_is() {
    for format in ["I420", "NV12", "GRAY8", "RGB", "BGR", "RGBx", "BGRx"] {
        let caps = caps(format, 161, 91);
        let mut harness = classify("");
        harness.set_src_caps_str(&caps);
        for (level, label) in [(250, "very-bright"), (20, "very-dark")] {
            let sent = picture(&caps, level);
            let bytes = sent.map_readable().unwrap().to_vec();
            let got = harness.push_and_pull(sent).unwrap();
            assert_eq!(got.map_readable().unwrap().as_slice(), bytes, "{format}");
            assert_eq!(found(&got), [("full".to_owned(), (0, 0, 161, 91), label.to_owned())], "{format}");
        }
    }
}

#[test]
fn memory_is_passed_on_and_not_copied() {
    let caps = caps("I420", 640, 480);
    let mut harness = classify("");
    harness.set_src_caps_str(&caps);
    let sent = picture(&caps, 200);
    let address = sent.peek_memory(0).as_ptr();
    // Also where somebody else still holds the buffer: then only the description is copied.
    let held = sent.clone();
    let got = harness.push_and_pull(sent).unwrap();
    assert_eq!(got.peek_memory(0).as_ptr(), address);
    assert!(found(&held).is_empty() && found(&got).len() == 1);
}

#[test]
fn regions_interval_and_top_k_are_as_asked() {
    let caps = caps("GRAY8", 640, 480);
    let mut harness = classify("region=\"door=0.5,0.0,0.5,1.0;16,32,64,48\" interval=2 top-k=3");
    harness.set_src_caps_str(&caps);
    let got: Vec<_> = (0..4).map(|_| harness.push_and_pull(picture(&caps, 250)).unwrap()).collect();
    let counts: Vec<_> = got.iter().map(|buffer| found(buffer).len()).collect();
    assert_eq!(counts, [2, 0, 2, 0]);
    let places: Vec<_> = found(&got[0]).into_iter().map(|(name, rect, _)| (name, rect)).collect();
    assert_eq!(places, [("door".into(), (320, 0, 320, 480)), ("region-2".into(), (16, 32, 64, 48))]);
    assert_eq!(got[0].iter_meta::<VideoRegionOfInterestMeta>().next().unwrap().params().count(), 3);
}

#[test]
fn caps_may_change_and_a_rectangle_that_no_longer_fits_is_named() {
    let (large, small) = (caps("I420", 640, 480), caps("NV12", 320, 240));
    let mut harness = classify("region=0.5,0.5,0.5,0.5");
    for (caps, rect) in [(&large, (320, 240, 320, 240)), (&small, (160, 120, 160, 120))] {
        harness.set_src_caps_str(caps);
        assert_eq!(found(&harness.push_and_pull(picture(caps, 99)).unwrap())[0].1, rect);
    }
    let mut harness = classify("region=600,0,40,40");
    harness.set_src_caps_str(&large);
    harness.push_and_pull(picture(&large, 99)).unwrap();
    harness.set_src_caps_str(&small);
    assert!(harness.push(picture(&small, 99)).is_err());
}

#[test]
fn flush_seek_and_end_pass() {
    let caps = caps("I420", 320, 240);
    let mut harness = classify("");
    harness.set_src_caps_str(&caps);
    harness.push_and_pull(picture(&caps, 99)).unwrap();
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(found(&harness.push_and_pull(picture(&caps, 99)).unwrap()).len(), 1);
    assert!(harness.push_event(gst::event::Eos::new()));
    while let Ok(event) = harness.pull_event() {
        if event.type_() == gst::EventType::Eos {
            return;
        }
    }
    panic!("no end of stream came");
}

#[test]
fn after_a_seek_pictures_of_the_new_place_are_classified() {
    init();
    let video = models::run_time("media/vtest.mp4");
    let line = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! sightlineclassify model={} ! fakesink name=end sync=false",
        video.display(),
        models::tiny().display()
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let pad = pipeline.by_name("end").unwrap().static_pad("sink").unwrap();
    let note = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        note.lock().unwrap().push((buffer.pts().unwrap().seconds(), found(buffer).len()));
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    for second in [30, 5, 60] {
        pipeline.state(gst::ClockTime::from_seconds(10)).0.unwrap();
        seen.lock().unwrap().clear();
        let to = gst::ClockTime::from_seconds(second);
        pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT, to).unwrap();
        pipeline.state(gst::ClockTime::from_seconds(10)).0.unwrap();
        assert_eq!(seen.lock().unwrap().last(), Some(&(second, 1)));
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn what_comes_too_late_passes_unclassified() {
    let caps = caps("I420", 320, 240);
    let mut harness = classify("");
    harness.set_src_caps_str(&caps);
    let late = gst::event::Qos::new(gst::QOSType::Underflow, 2.0, 0, Some(gst::ClockTime::from_seconds(10)));
    harness.push_upstream_event(late);
    let at = |seconds: u64| {
        let mut buffer = picture(&caps, 99);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(seconds));
        buffer
    };
    assert!(found(&harness.push_and_pull(at(9)).unwrap()).is_empty());
    assert_eq!(found(&harness.push_and_pull(at(11)).unwrap()).len(), 1);
}

/// Starts a line that must not start; what the bus says.
fn refused(line: &str) -> String {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Error]);
    let text = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => "no error came".into(),
    };
    pipeline.set_state(gst::State::Null).unwrap();
    text
}

#[test]
fn properties_that_make_no_sense_are_named() {
    let tiny = models::tiny().display().to_string();
    for (line, words) in [
        ("sightlineclassify".to_owned(), "property model is not set"),
        ("sightlineclassify model=/nowhere".to_owned(), "/nowhere"),
        (format!("sightlineclassify model={tiny} region=1,2,3"), "property region, `1,2,3`"),
        (format!("sightlineclassify model={tiny} region=\"Front Door=0,0,9,9\""), "`Front Door`"),
        (format!("sightlineclassify model={tiny} region=a=0,0,9,9;a=9,9,9,9"), "two regions are called `a`"),
        (format!("sightlineclassify model={tiny} engine=abacus"), "no engine of this name is built in"),
        ("sightlinepublish".to_owned(), "set location (a file) or mqtt-url"),
        ("sightlinepublish location=/nowhere/file".to_owned(), "property location: /nowhere/file"),
        ("sightlinepublish location=/dev/null camera=Front/Door".to_owned(), "property camera"),
        ("sightlinepublish mqtt-url=ftp://x".to_owned(), "property mqtt-url"),
    ] {
        let text = refused(&format!("videotestsrc num-buffers=1 ! {line} ! fakesink"));
        assert!(text.contains(words), "{line}: {text}");
    }
    let (a, b) = (format!("model={tiny} model-instance-id=clash"), "batch-size=2");
    let line =
        format!("videotestsrc ! sightlineclassify {a} ! fakesink videotestsrc ! sightlineclassify {a} {b} ! fakesink");
    assert!(refused(&line).contains("model-instance-id `clash` runs"), "{}", refused(&line));
}

#[test]
fn the_overlay_is_readable_on_any_ground_and_touches_nothing_else() {
    for (format, level) in [("I420", 16), ("NV12", 235), ("GRAY8", 128), ("RGB", 255), ("BGRx", 0)] {
        let caps = caps(format, 640, 480);
        init();
        let line =
            format!("sightlineclassify model={} region=100,100,200,150 ! sightlineoverlay", models::tiny().display());
        let mut harness = Harness::new_parse(&line);
        harness.set_src_caps_str(&caps);
        let plain = picture(&caps, level).map_readable().unwrap().to_vec();
        let got = harness.push_and_pull(picture(&caps, level)).unwrap();
        let drawn = got.map_readable().unwrap();
        let pixel = match format {
            "RGB" => 3,
            "BGRx" => 4,
            _ => 1,
        };
        let row = |y: usize| &drawn[y * 640 * pixel..(y + 1) * 640 * pixel];
        let label = &row(90)[100 * pixel..200 * pixel];
        assert!(label.contains(&235) && label.contains(&16), "{format}: no text, or no ground below it");
        assert_eq!(row(300), &plain[300 * 640 * pixel..301 * 640 * pixel], "{format}: outside");
        assert_eq!(row(180)[200 * pixel], level, "{format}: inside");
    }
}

#[test]
fn nobody_waits_for_others_once_all_have_asked() {
    let caps = caps("I420", 320, 240);
    let mut harness = classify("batch-timeout=9000 region=a=0,0,64,64;b=64,64,64,64");
    harness.set_src_caps_str(&caps);
    let begun = Instant::now();
    assert_eq!(found(&harness.push_and_pull(picture(&caps, 99)).unwrap()).len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(harness.query_latency(), Some(gst::ClockTime::from_mseconds(9000)), "the longest that it may be");
    let element = harness.find_element("sightlineclassify").unwrap();
    assert_eq!(element.property::<Option<String>>("engine-in-use").as_deref(), Some("ort-cpu"));
}

#[test]
fn a_picture_that_waits_for_its_batch_is_given_up_when_the_pipeline_stops() {
    init();
    let shared =
        format!("sightlineclassify model={} model-instance-id=stops batch-timeout=10000", models::tiny().display());
    // Somebody else who shares the model, and never asks.
    let idle = gst::parse::launch(&format!("appsrc ! {shared} ! fakesink")).unwrap();
    idle.set_state(gst::State::Paused).unwrap();
    let asks = gst::parse::launch(&format!("videotestsrc ! {shared} ! fakesink")).unwrap();
    asks.set_state(gst::State::Playing).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    asks.set_state(gst::State::Null).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    idle.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_region_that_does_not_fit_is_said_once() {
    init();
    let line = format!(
        "videotestsrc num-buffers=5 ! video/x-raw,format=I420,width=320,height=240 ! sightlineclassify name=c model={} \
         region=600,0,40,40 ! fakesink",
        models::tiny().display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let ours = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error]))
        .filter(|message| message.src().is_some_and(|source| source.name() == "c"))
        .count();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(ours, 1);
}

#[test]
fn the_overlay_draws_within_the_picture_whatever_metadata_says() {
    init();
    let caps = caps("I420", 640, 480);
    let mut harness = Harness::new_parse("sightlineoverlay");
    harness.set_src_caps_str(&caps);
    for rect in [(100, 100, u32::MAX, u32::MAX), (u32::MAX, 5, 7, u32::MAX), (600, 0, 0, 0)] {
        let mut buffer = picture(&caps, 128);
        VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "Grösse, die nicht passt", rect);
        let begun = Instant::now();
        harness.push_and_pull(buffer).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{rect:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_publisher_logs_in_and_two_of_one_camera_do_not_throw_each_other_out() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["cam", "s3cret"])
        .status();
    assert!(made.unwrap().success());
    let broker =
        Broker::with(folder.path(), &format!("allow_anonymous false\npassword_file {}\n", passwords.display()));
    let port = broker.1.to_string();
    let listener = std::process::Command::new("mosquitto_sub")
        .args(["-p", &port, "-u", "cam", "-P", "s3cret", "-t", "sightline/live/#", "-C", "40", "-W", "60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let one = format!(
        "videotestsrc num-buffers=60 is-live=true ! sightlineclassify model={} ! sightlinepublish \
         mqtt-url=mqtt://127.0.0.1:{port} username=cam password=env:CAM_PASSWORD ! fakesink",
        models::tiny().display()
    );
    let ran = shell(folder.path(), &format!("CAM_PASSWORD=s3cret gst-launch-1.0 {one} {one}"));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && !said.contains("WARNING") && !said.contains("s3cret"), "{said}");
    assert!(listener.wait_with_output().unwrap().status.success(), "fewer than 40 records came");
    let refused = refused(&format!(
        "videotestsrc num-buffers=1 ! sightlinepublish mqtt-url=mqtt://127.0.0.1:{port} username=cam password=env:NO_SUCH_THING ! fakesink"
    ));
    assert!(refused.contains("property password") && refused.contains("NO_SUCH_THING"), "{refused}");
}

/// The lines of docs/elements.md that begin with `gst-launch-1.0`.
fn lines() -> Vec<String> {
    let document = std::fs::read_to_string(root().join("docs/elements.md")).unwrap();
    let lines = document.lines().filter(|line| line.starts_with("gst-launch-1.0 "));
    lines.map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A folder with only the plugin in it, where `gst-launch-1.0` finds it.
fn shell(folder: &std::path::Path, line: &str) -> std::process::Output {
    // The plugin lies beside the tests, or one folder above them.
    let here = std::env::current_exe().unwrap();
    let built =
        here.ancestors().skip(1).map(|folder| folder.join("libgstsightline.so")).find(|path| path.exists()).unwrap();
    let plugins = folder.join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = plugins.join("libgstsightline.so");
    if !plugin.exists() {
        std::os::unix::fs::symlink(built, &plugin).unwrap();
    }
    std::process::Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("GST_PLUGIN_PATH", &plugins)
        .env("GST_REGISTRY", folder.join("registry.bin"))
        .env("ORT_DYLIB_PATH", models::run_time("lib/libonnxruntime.so"))
        .output()
        .unwrap()
}

struct Broker(std::process::Child, u16);

impl Broker {
    fn start(folder: &std::path::Path) -> Self {
        Self::with(folder, "allow_anonymous true\n")
    }

    fn with(folder: &std::path::Path, access: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("mosquitto.conf");
        std::fs::write(&config, format!("user root\nlistener {port} 127.0.0.1\n{access}")).unwrap();
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|p| std::path::Path::new(p).exists());
        let child = std::process::Command::new(program.unwrap_or("mosquitto")).arg("-c").arg(&config).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self(child, port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_lines_of_the_document_run() {
    let folder = tempfile::tempdir().unwrap();
    let sightline = models::run_time("").canonicalize().unwrap();
    std::os::unix::fs::symlink(sightline, folder.path().join(".sightline")).unwrap();
    let broker = Broker::start(folder.path());
    let listener = std::process::Command::new("mosquitto_sub")
        .args([
            "-p",
            &broker.1.to_string(),
            "-t",
            "sightline/live/home/desk/test/full/prediction",
            "-C",
            "10",
            "-W",
            "60",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let lines = lines();
    assert!(lines.len() >= 4, "{lines:?}");
    for line in lines {
        let ran = shell(
            folder.path(),
            &line.replace(" -q ", " ").replace("127.0.0.1:1883", &format!("127.0.0.1:{}", broker.1)),
        );
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && !said.contains("ERROR") && !said.contains("WARNING"), "{line}\n{said}");
    }
    let text = std::fs::read_to_string(folder.path().join("predictions.jsonl")).unwrap();
    let records: Vec<contract::live::Live<contract::Prediction>> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() >= 30, "{}", records.len());
    assert!(records.iter().all(|r| r.header.camera.as_ref().unwrap().as_str() == "street" && r.header.model.is_some()));
    assert!(records.iter().zip(0..).all(|(record, seq)| record.header.seq == seq));
    assert!(
        std::fs::read_dir(folder.path())
            .unwrap()
            .any(|file| { file.unwrap().file_name().to_string_lossy().starts_with("drawn-") })
    );
    let heard = listener.wait_with_output().unwrap();
    assert!(heard.status.success(), "nothing came over MQTT");
    let heard = String::from_utf8(heard.stdout).unwrap();
    assert_eq!(heard.lines().count(), 10);
    serde_json::from_str::<contract::live::Live<contract::Prediction>>(heard.lines().next().unwrap()).unwrap();
}

#[test]
fn gst_inspect_documents_every_property() {
    let folder = tempfile::tempdir().unwrap();
    for (element, properties) in [
        ("sightlineclassify", &["model ", "engine ", "region ", "interval ", "batch-size ", "model-instance-id "][..]),
        ("sightlineoverlay", &[]),
        ("sightlinepublish", &["location ", "mqtt-url ", "camera "]),
    ] {
        let ran = shell(folder.path(), &format!("gst-inspect-1.0 {element}"));
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{element}: {}", String::from_utf8_lossy(&ran.stderr));
        for words in properties.iter().chain(&["video/x-raw", "I420", "BGRx", "MIT/X11"]) {
            assert!(said.contains(words), "{element} does not say `{words}`:\n{said}");
        }
    }
}

#[test]
fn python_reads_the_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("plugins/gst-sightline/tests/read_meta.py");
    let line = format!("/usr/bin/python3 {} {}", script.display(), models::tiny().display());
    let ran = shell(folder.path(), &line);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("10 pictures, 10 regions, all very-bright"), "{said}");
}
