//! The element itself: pictures pass, and are not touched.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use contract::Timestamp;
use gstreamer::{self as gst, glib, prelude::*, subclass::prelude::*};
use gstreamer_base::{BaseTransform, subclass::prelude::*};

use super::{
    record::Writer,
    sink::{Access, Sink},
};
use crate::meta;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("sightlinepublish", gst::DebugColorFlags::empty(), Some("Publishes what was found"))
});

/// The properties.
#[derive(Clone, Debug)]
struct Settings {
    location: Option<String>,
    mqtt_url: Option<String>,
    access: Access,
    prefix: String,
    site: String,
    gateway: String,
    camera: String,
}

impl Default for Settings {
    fn default() -> Self {
        let prefix = contract::topic::DEFAULT_PREFIX.to_owned();
        let (site, gateway, camera) = ("home".into(), "gstreamer".into(), "camera".into());
        Self { location: None, mqtt_url: None, access: Access::default(), prefix, site, gateway, camera }
    }
}

/// While it is not stopped.
struct State {
    writer: Writer,
    sink: Sink,
    prefix: String,
    pictures: u64,
    lost: u64,
    /// People were told that records are dropped.
    away: bool,
}

/// The element.
#[derive(Default)]
pub struct Publish {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for Publish {
    const NAME: &'static str = "GstSightlinePublish";
    type Type = super::Publish;
    type ParentType = BaseTransform;
}

impl ObjectImpl for Publish {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let usual = Settings::default();
            let text = |name: &str, blurb: &str, default: Option<&str>| {
                glib::ParamSpecString::builder(name).blurb(blurb).default_value(default).mutable_ready().build()
            };
            vec![
                text("location", "A file to whose end records are written, one JSON document a line", None),
                text("mqtt-url", "A broker, as in mqtt://127.0.0.1:1883; records go to the live topics", None),
                text("username", "The user name that the broker asks for", None),
                text("password", "Its password; env:NAME takes it from the environment, file:PATH from a file", None),
                text(
                    "ca",
                    "PEM file of the authority that signed the broker's certificate, for mqtts; else the system's",
                    None,
                ),
                text("cert", "PEM file of the client certificate, where the broker asks for one", None),
                text("key", "PEM file of the client certificate's key", None),
                text("prefix", "What the topics begin with", Some(&usual.prefix)),
                text("site", "The site that records name", Some(&usual.site)),
                text("gateway", "The gateway that records name", Some(&usual.gateway)),
                text("camera", "The camera that records name", Some(&usual.camera)),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        let text = value.get::<Option<String>>().ok().flatten().filter(|text| !text.is_empty());
        let mut settings = lock(&self.settings);
        let usual = Settings::default();
        match spec.name() {
            "location" => settings.location = text,
            "mqtt-url" => settings.mqtt_url = text,
            "username" => settings.access.username = text,
            "password" => settings.access.password = text,
            "ca" => settings.access.ca = text,
            "cert" => settings.access.cert = text,
            "key" => settings.access.key = text,
            "prefix" => settings.prefix = text.unwrap_or(usual.prefix),
            "site" => settings.site = text.unwrap_or(usual.site),
            "gateway" => settings.gateway = text.unwrap_or(usual.gateway),
            _ => settings.camera = text.unwrap_or(usual.camera),
        }
    }

    fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match spec.name() {
            "location" => settings.location.to_value(),
            "mqtt-url" => settings.mqtt_url.to_value(),
            "username" => settings.access.username.to_value(),
            // Whoever set it knows it; nobody else is told.
            "password" => settings.access.password.as_ref().map(|_| "***").to_value(),
            "ca" => settings.access.ca.to_value(),
            "cert" => settings.access.cert.to_value(),
            "key" => settings.access.key.to_value(),
            "prefix" => settings.prefix.to_value(),
            "site" => settings.site.to_value(),
            "gateway" => settings.gateway.to_value(),
            _ => settings.camera.to_value(),
        }
    }
}

impl GstObjectImpl for Publish {}

impl ElementImpl for Publish {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Sightline publisher",
                "Filter/Analyzer/Video",
                "Sends what was found in pictures to a file or an MQTT broker, as prediction records",
                "Sightline",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(crate::pads);
        &TEMPLATES
    }
}

impl BaseTransformImpl for Publish {
    const MODE: gstreamer_base::subclass::BaseTransformMode =
        gstreamer_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let refused = |why: String| gst::error_msg!(gst::ResourceError::OpenWrite, ("{why}"));
        let sink = match (&settings.location, &settings.mqtt_url) {
            (Some(path), None) => Sink::file(path),
            (None, Some(url)) => Sink::mqtt(url, &client_id(&settings.camera), &settings.access),
            _ => Err("set location (a file) or mqtt-url (a broker), one of them".into()),
        };
        let writer = Writer::new(&settings.site, &settings.gateway, &settings.camera).map_err(refused)?;
        let (sink, prefix) = (sink.map_err(refused)?, settings.prefix);
        *lock(&self.state) = Some(State { writer, sink, prefix, pictures: 0, lost: 0, away: false });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(state) = lock(&self.state).take() {
            if state.lost > 0 {
                gst::warning!(CAT, imp = self, "{} records were not taken", state.lost);
            }
            state.sink.close();
        }
        Ok(())
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut state = lock(&self.state);
        let Some(State { writer, sink, prefix, pictures, lost, away }) = &mut *state else {
            return Err(gst::FlowError::Flushing);
        };
        let counter = *pictures;
        *pictures += 1;
        for region in meta::regions(buffer) {
            let Some(written) = writer.write(prefix, &region, counter, captured_at(buffer)) else { continue };
            match (sink.put(written), &*sink) {
                (Ok(()), _) => *away = false,
                (Err(why), Sink::File(_)) => {
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("{why}"));
                    return Err(gst::FlowError::Error);
                }
                // A broker that is away is no reason to stop the pictures.
                (Err(why), Sink::Mqtt(..)) => {
                    if !std::mem::replace(away, true) {
                        let before = format!("{lost} were dropped before");
                        gst::element_imp_warning!(
                            self,
                            gst::ResourceError::Write,
                            ("records are dropped: {why}; {before}")
                        );
                    }
                    *lost += 1;
                }
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

/// Two sessions of one name would throw each other out: each start has its own.
fn client_id(camera: &str) -> String {
    let mut random = [0; 8];
    // Without random numbers the process still tells most apart.
    let number = getrandom::fill(&mut random).map_or(std::process::id().into(), |()| u64::from_be_bytes(random));
    format!("sightlinepublish-{camera}-{number:016x}")
}

/// By the camera's own clock, where a source has written that down.
fn captured_at(buffer: &gst::BufferRef) -> Option<Timestamp> {
    /// From the beginning of NTP's time to that of Unix.
    const NTP_TO_UNIX_S: u64 = 2_208_988_800;
    let metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    metas
        .filter_map(|meta| {
            let name = meta.reference().structure(0)?.name().to_string();
            let seconds_before = match name.as_str() {
                "timestamp/x-ntp" => NTP_TO_UNIX_S,
                "timestamp/x-unix" => 0,
                _ => return None,
            };
            let unix = meta.timestamp().checked_sub(gst::ClockTime::from_seconds(seconds_before))?;
            Some(Timestamp(i64::try_from(unix.useconds()).ok()?))
        })
        .next()
}
