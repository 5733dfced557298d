//! Mistakes that no single value shows: each is reported with the key that is at fault and what to write instead.

use contract::{CameraId, RegionId};
use daemon::config::Problems;

use super::{Camera, Config, Region};
use crate::camera::{CameraUri, Play};

impl daemon::config::Config for Config {
    const STAND_INS: &'static [(&'static str, &'static str)] = &[("uri", "test:")];

    fn check(&self, problems: &mut Problems) {
        self.check_mqtt(problems);
        self.telemetry.check("telemetry", problems);
        if !(1..=100).contains(&self.samples.jpeg_quality) {
            problems.add("samples.jpeg_quality", "must lie between 1 and 100");
        }
        if !(0.0..=1.0).contains(&self.engines.loss_max) {
            problems.add("engines.loss_max", "must lie between 0 and 1: it is a share of inputs");
        }
        self.check_hub(problems);
        self.check_outbox(problems);
        if self.health.interval.get().is_zero() {
            problems.add("health.interval", "must be longer than 0s");
        }
        if let Err(error) = daemon::listen::guard(self.admin.listen, "admin.listen", None, None, self.admin.insecure) {
            problems.add("admin.listen", error.to_string());
        }
        for (id, camera) in &self.cameras {
            self.check_camera(id, camera, problems);
        }
    }
}

impl Config {
    fn check_mqtt(&self, problems: &mut Problems) {
        match link::Options::new(&self.mqtt.url, "") {
            Err(error) => problems.add("mqtt.url", error.to_string()),
            Ok(options) if options.credentials.is_some() => {
                let instead = "set mqtt.username and mqtt.password, best as \"env:NAME\" or \"file:/path\"";
                problems.add("mqtt.url", format!("user name and password do not stand in the address: {instead}"));
            }
            Ok(_) => {}
        }
        if !contract::topic::is_valid_prefix(&self.mqtt.prefix) {
            let why = "is not a topic prefix: levels of text divided by `/`, without `+`, `#` or a leading `$`";
            problems.add("mqtt.prefix", format!("`{}` {why}", self.mqtt.prefix));
        }
        if !(1 << 10..=8 << 20).contains(&self.mqtt.archive_message_max.get()) {
            problems.add("mqtt.archive_message_max", "must lie between 1KiB and 8MiB");
        }
    }

    fn check_hub(&self, problems: &mut Problems) {
        let Some(hub) = &self.engines.hub else {
            if self.engines.preference.iter().any(|name| name == engines::HUB) {
                problems.add("engines.preference", "`hub` needs [engines.hub] url = \"http://host:port\"");
            }
            return;
        };
        match url::Url::parse(&hub.url) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                problems.add("engines.hub.url", "user name and password do not stand in the address; use cert and key");
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => problems
                .add("engines.hub.url", "is not the address of a hub: write http://host:port or https://host:port"),
        }
        if !(1..=2000).contains(&hub.deadline.get().as_millis()) {
            problems.add("engines.hub.deadline", "must lie between 1ms and 2s: the engine's thread waits so long");
        }
        if !(hub.requests_per_second > 0.0 && hub.requests_per_second <= 10_000.0) {
            problems.add("engines.hub.requests_per_second", "must lie above 0, and at most 10000");
        }
        if hub.bytes_per_second.get() == 0 {
            problems.add("engines.hub.bytes_per_second", "must be above 0");
        }
        if hub.cert.is_some() != hub.key.is_some() {
            problems.add("engines.hub.cert", "cert and key come together");
        }
    }

    fn check_outbox(&self, problems: &mut Problems) {
        let outbox = &self.outbox;
        if outbox.max_bytes.get() < 1 << 20 {
            problems.add("outbox.max_bytes", "must be at least 1MiB");
        }
        if outbox.max_age.get().as_secs() < 60 {
            problems.add("outbox.max_age", "must be at least 1m");
        }
        if !(64 << 10..=256 << 20).contains(&outbox.segment.get()) {
            problems.add("outbox.segment", "must lie between 64KiB and 256MiB");
        }
        if !(10..=10_000).contains(&outbox.sync.get().as_millis()) {
            problems.add("outbox.sync", "must lie between 10ms and 10s");
        }
        if outbox.window.get() < self.mqtt.archive_message_max.get() {
            problems.add("outbox.window", "must be at least mqtt.archive_message_max");
        }
        if !(0.0..=1.0).contains(&outbox.newest_share) {
            problems.add("outbox.newest_share", "must lie between 0 and 1");
        }
    }

    fn check_camera(&self, id: &CameraId, camera: &Camera, problems: &mut Problems) {
        let key = format!("cameras.{id}");
        let fits = match (&camera.uri, camera.play) {
            (_, None) => None,
            (CameraUri::File(_), Some(Play::Watch)) => Some("a file is played loop, once or fast"),
            (CameraUri::File(_) | CameraUri::Folder(_) | CameraUri::Test(_), Some(_)) => None,
            (_, Some(_)) => Some("only file:, folder: and test: can be played; a live camera sets its own pace"),
        };
        if let Some(why) = fits {
            problems.add(format!("{key}.play"), why);
        }
        if camera.stall.get().is_zero() {
            problems.add(format!("{key}.stall"), "must be longer than 0s");
        }
        let network = matches!(camera.uri, CameraUri::Rtsp(_) | CameraUri::Http(_));
        if !network && (camera.username.is_some() || camera.password.is_some()) {
            problems.add(format!("{key}.username"), "only rtsp and http cameras take a user name and password");
        }
        if camera.ca.is_some() && !camera.uri.to_string().starts_with("https://") {
            problems.add(format!("{key}.ca"), "only https cameras take certificates of their own");
        }
        for (region_id, region) in camera.regions() {
            self.check_region(&key, &region_id, &region, problems);
        }
    }

    fn check_region(&self, camera: &str, id: &RegionId, region: &Region, problems: &mut Problems) {
        let key = format!("{camera}.regions.{id}");
        if let Err(error) = region.rect().check() {
            problems.add(format!("{key}.rect"), error.to_string());
        }
        let model = region.model();
        if !self.models.contains_key(model) {
            let (key, why) = match &region.model {
                Some(_) => {
                    (format!("{key}.model"), format!("[models] has no `{model}`: add {model} = \"/path/to/package\""))
                }
                None => (
                    camera.to_owned(),
                    format!("region `{id}` has no model: set [models] default = \"/path/to/package\""),
                ),
            };
            problems.add(key, why);
        }
        let events = region.events;
        if !(0.0..=1.0).contains(&events.min_score) {
            problems.add(format!("{key}.events.min_score"), "must lie between 0 and 1");
        }
        if events.votes == 0 || events.votes > events.of || events.of > 1000 {
            problems.add(format!("{key}.events.votes"), "must be at least 1 and at most `of`, and `of` at most 1000");
        }
        if !(0.0..=1.0).contains(&region.samples.uncertain) {
            problems.add(format!("{key}.samples.uncertain"), "must lie between 0 and 1");
        }
        if !(1..=1000).contains(&region.top_k()) {
            problems.add(format!("{key}.top_k"), "must lie between 1 and 1000");
        }
    }
}
