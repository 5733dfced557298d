//! What threads tell each other about cameras and regions: counters, and the last known state of each.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use contract::{CameraId, ModelRef, RegionId, Timestamp, live::Presence};
use tokio::sync::Notify;

use crate::clock::{self, Mono};

/// Everything about one camera that more than one thread reads.
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// Its regions.
    pub regions: Vec<Arc<Region>>,
    /// Counters since the start.
    pub counts: CameraCounts,
    size: AtomicU64,
    state: Mutex<CameraState>,
    changed: Arc<Notify>,
}

/// Counters of a camera.
#[derive(Default)]
pub struct CameraCounts {
    /// Frames that came; the frame counter of the next frame.
    pub frames: AtomicU64,
    /// Frames that could not be looked at.
    pub unreadable: AtomicU64,
    /// Attempts that failed or broke off.
    pub failures: AtomicU64,
    /// Prediction records made.
    pub classified: AtomicU64,
    /// Distinct prediction records sent on the archive lane.
    pub published: AtomicU64,
}

/// How a camera is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraState {
    /// Whether frames come.
    pub presence: Presence,
    /// Why not, or what is wrong with a region.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Its source has ended and will give no more frames.
    pub ended: bool,
}

/// Everything about one region that more than one thread reads.
pub struct Region {
    /// Its camera.
    pub camera: CameraId,
    /// Its id.
    pub id: RegionId,
    /// Somebody asked for a sample.
    pub requested: AtomicBool,
    /// When it was last classified, [`Mono`]; 0 for never.
    pub classified_at: AtomicU64,
    /// Prediction records made.
    pub predictions: AtomicU64,
    /// Requests that a newer one replaced before their turn.
    pub replaced: AtomicU64,
    /// Batches that the engine did not answer.
    pub failed: AtomicU64,
    /// What is known now.
    pub now: Mutex<RegionNow>,
}

/// What is known of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionNow {
    /// The stable label.
    pub label: Option<Arc<str>>,
    /// Its latest score.
    pub score: f32,
    /// Since when it is stable.
    pub since: Timestamp,
    /// The model that says so.
    pub model: ModelRef,
    /// Why the region cannot be classified.
    pub error: Option<String>,
}

impl Camera {
    /// A camera that has not begun. `changed` is told of every change of state.
    pub fn new(id: CameraId, regions: Vec<Arc<Region>>, changed: Arc<Notify>) -> Self {
        let state = CameraState {
            presence: Presence::Offline,
            reason: Some("starting".into()),
            since: clock::wall(),
            ended: false,
        };
        Self {
            id,
            regions,
            counts: CameraCounts::default(),
            size: AtomicU64::new(0),
            state: Mutex::new(state),
            changed,
        }
    }

    /// How it is now.
    pub fn state(&self) -> CameraState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Width and height of the latest picture.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self.size.load(Ordering::Relaxed) {
            0 => None,
            size => Some(((size >> 32) as u32, size as u32)),
        }
    }

    /// Pictures have this size from now on.
    pub fn set_size(&self, width: u32, height: u32) {
        self.size.store(u64::from(width) << 32 | u64::from(height), Ordering::Relaxed);
    }

    /// Frames come.
    pub fn online(&self) {
        self.set(Presence::Online, None, false);
    }

    /// Frames come, but something is wrong with them.
    pub fn online_but(&self, reason: impl Into<String>) {
        self.set(Presence::Online, Some(reason.into()), false);
    }

    /// Frames do not come.
    pub fn offline(&self, reason: impl Into<String>) {
        self.set(Presence::Offline, Some(reason.into()), false);
    }

    /// The source has come to its end.
    pub fn ended(&self, reason: impl Into<String>) {
        self.set(Presence::Offline, Some(reason.into()), true);
    }

    fn set(&self, presence: Presence, reason: Option<String>, ended: bool) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if (state.presence, &state.reason, state.ended) == (presence, &reason, ended) {
                return;
            }
            let since = if state.presence == presence { state.since } else { clock::wall() };
            *state = CameraState { presence, reason, since, ended };
        }
        self.changed.notify_one();
    }
}

impl Region {
    /// A region that has not been classified.
    pub fn new(camera: CameraId, id: RegionId, model: ModelRef, stable: Option<(Arc<str>, Timestamp)>) -> Self {
        let (label, since) = stable.unzip();
        let now = RegionNow { label, score: 0.0, since: since.unwrap_or_else(clock::wall), model, error: None };
        Self {
            camera,
            id,
            requested: AtomicBool::new(false),
            classified_at: AtomicU64::new(0),
            predictions: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            now: Mutex::new(now),
        }
    }

    /// What is known now.
    pub fn now(&self) -> RegionNow {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known.
    pub fn update(&self, change: impl FnOnce(&mut RegionNow)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// When it was last classified.
    pub fn classified_at(&self) -> Option<Mono> {
        match self.classified_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Mono(at)),
        }
    }
}
