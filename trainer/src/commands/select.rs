//! Options that select samples of a hub's lake.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use contract::{CameraId, GatewayId, RegionId, SiteId, Timestamp};
use tokio::runtime::Runtime;
use trainer::lake::{Hub, Selection};

/// Which samples of which lake.
#[derive(Args)]
pub struct Select {
    /// The state folder of a hub on this machine
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Captured at or after this time, as in 2026-11-27T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Captured before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Of this site
    #[arg(long)]
    site: Option<SiteId>,
    /// Of this gateway
    #[arg(long)]
    gateway: Option<GatewayId>,
    /// Of this camera; repeat for more
    #[arg(long = "camera", value_name = "CAMERA")]
    cameras: Vec<CameraId>,
    /// Of this region; repeat for more
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<RegionId>,
    /// Kept for this reason; repeat for more
    #[arg(long = "reason", value_name = "REASON", value_parser = ["periodic", "uncertain", "changed", "requested"])]
    reasons: Vec<String>,
}

impl Select {
    /// As the lake takes it.
    pub fn selection(&self) -> Selection {
        Selection {
            from: self.from,
            to: self.to,
            site: self.site.clone(),
            gateway: self.gateway.clone(),
            cameras: self.cameras.clone(),
            regions: self.regions.clone(),
            reasons: self.reasons.clone(),
        }
    }
}

/// What awaits the lake's answers.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start the runtime")
}

/// The lake of a state folder.
pub fn open(runtime: &Runtime, state: &Path) -> Result<Hub> {
    runtime.block_on(Hub::open(state)).with_context(|| format!("open the lake of {}", state.display()))
}
