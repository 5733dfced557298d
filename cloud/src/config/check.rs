//! Mistakes that no single value shows.

use std::{collections::BTreeSet, time::Duration};

use contract::topic::is_valid_prefix;
use daemon::{
    config::{Config, Problems},
    listen,
    tls::ServerTls,
};

use super::{HubConfig, MqttPlace, ObjectsPlace, Role};

impl Config for HubConfig {
    fn check(&self, problems: &mut Problems) {
        self.check_roles(problems);
        self.check_addresses(problems);
        self.check_bounds(problems);
        self.check_viewers(problems);
        if !is_valid_prefix(&self.mqtt_client.prefix) {
            let prefix = &self.mqtt_client.prefix;
            problems
                .add("mqtt_client.prefix", format!("{prefix:?} cannot begin a topic: no wildcards, no empty levels"));
        }
        if self.mqtt_client.cert.is_some() != self.mqtt_client.key.is_some() {
            problems.add("mqtt_client", "a client certificate needs both cert and key");
        }
        if let Some(tables) = &self.tables
            && !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| tables.starts_with(scheme))
        {
            // The scheme alone: what follows may hold a password.
            let scheme = tables.split(':').next().unwrap_or_default();
            let write = "write \"sqlite:/path/file.db\" or \"postgres://user:password@host/database\"";
            problems.add("tables", format!("tables of kind `{scheme}` are not known; {write}"));
        }
        self.telemetry.check("telemetry", problems);
    }
}

impl HubConfig {
    fn check_roles(&self, problems: &mut Problems) {
        if self.roles.is_empty() {
            problems.add("roles", "is empty; name at least one of broker, objects, ingest, api");
        }
        if self.roles.iter().collect::<BTreeSet<_>>().len() != self.roles.len() {
            problems.add("roles", "names a role twice");
        }
        let uses_bus = self.has(Role::Ingest) || self.has(Role::Api);
        if uses_bus && self.mqtt == MqttPlace::Embedded && !self.has(Role::Broker) {
            problems.add(
                "mqtt",
                "\"embedded\" is the role broker, which this process does not run; add broker to roles, or write \
                 mqtt = \"mqtt://host:1883\"",
            );
        }
        if uses_bus && self.objects == ObjectsPlace::Embedded && !self.has(Role::Objects) {
            problems.add(
                "objects",
                "\"embedded\" is the role objects, which this process does not run; add objects to roles, or write \
                 objects = \"s3://bucket/prefix\"",
            );
        }
    }

    fn check_addresses(&self, problems: &mut Problems) {
        let encrypted = self.broker.tls.as_ref().map(|tls| (tls.listen, tls.files()));
        let mut guard = |key: &str, address, section: &str, tls: Option<&ServerTls>| {
            if let Err(error) = listen::guard(address, key, Some(section), tls, self.insecure) {
                problems.add(key, error.to_string());
            }
        };
        guard("listen", self.listen, "tls", self.tls.as_ref());
        if self.has(Role::Broker) {
            guard("broker.listen", self.broker.listen, "broker.tls", None);
            if let Some((address, files)) = &encrypted {
                guard("broker.tls.listen", *address, "broker.tls", Some(files));
            }
        }
        if self.has(Role::Objects) {
            guard("s3.listen", self.s3.listen, "s3", None);
        }
    }

    fn check_viewers(&self, problems: &mut Problems) {
        let Some(tls) = &self.broker.tls else { return };
        if !tls.viewers.is_empty() && tls.client_ca.is_none() {
            problems.add("broker.tls.viewers", "are known by their certificates: broker.tls.client_ca is needed");
        }
        // a line of the access list each; a slash is a gateway's
        let wrong =
            |name: &&String| name.trim() != *name || name.is_empty() || name.contains(['/', '+', '#', '\n', '\r']);
        for name in tls.viewers.iter().filter(wrong) {
            let rule = "one line without `/`, `+`, `#` or spaces around it";
            problems.add("broker.tls.viewers", format!("{name:?} is not the common name of a viewer: {rule}"));
        }
    }

    fn check_bounds(&self, problems: &mut Problems) {
        let least = [
            ("broker.message_max", self.broker.message_max.0, 256 << 10, "256KiB, which gateways send"),
            ("ingest.flush_bytes", self.ingest.flush_bytes.0, 1 << 20, "1MiB"),
            ("ingest.fragment_bytes", self.ingest.fragment_bytes.0, 16 << 20, "16MiB, the longest record"),
        ];
        for (key, value, least, shown) in least {
            if value < least {
                problems.add(key, format!("must be at least {shown}"));
            }
        }
        if self.broker.message_max.0 > 256 << 20 {
            problems.add("broker.message_max", "must be at most 256MiB, which MQTT allows");
        }
        self.lake.check(problems);
        let interval = self.ingest.flush_interval.get();
        if !(Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&interval) {
            problems.add("ingest.flush_interval", "must lie between 50ms and 1h");
        }
    }
}
