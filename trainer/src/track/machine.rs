//! On what was computed, as far as Linux says.

use std::fs;

use serde::{Deserialize, Serialize};

/// On what was computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// The processor's model.
    pub cpu: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The system.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            host: read("/proc/sys/kernel/hostname").trim().into(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            memory_mib: kib >> 10,
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

/// Joules that the processors have used since some time, by RAPL's counters; `None` where they cannot be read.
pub fn joules() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/powercap").ok()?;
    let packages = zones.flatten().filter(|zone| {
        let name = zone.file_name().to_string_lossy().into_owned();
        name.starts_with("intel-rapl:") && name.matches(':').count() == 1
    });
    let read = packages.map(|zone| {
        let text = fs::read_to_string(zone.path().join("energy_uj")).ok()?;
        text.trim().parse::<f64>().ok().map(|microjoules| microjoules / 1e6)
    });
    let each: Vec<f64> = read.collect::<Option<_>>()?;
    (!each.is_empty()).then(|| each.iter().sum())
}
