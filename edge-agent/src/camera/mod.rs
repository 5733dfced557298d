//! Cameras: where pictures come from, and the thread that keeps each one going.

pub mod arrival;
pub mod elements;
pub mod multipart;
pub mod picture;
pub mod pool;
pub mod uri;

mod door;
mod failure;
mod folder;
mod gst_source;
mod http;
mod pipeline;
mod stop;
pub mod supervisor;

use std::time::Duration;

use contract::CameraId;

pub use failure::Failure;
pub use gst_source::needs as needed_elements;
pub use stop::Stop;
pub use uri::CameraUri;

use crate::intake::Pace;

/// How a file or folder is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Play {
    /// Over and over, at its own frame rate (a folder: one picture an interval).
    Loop,
    /// Once, at its own frame rate; every frame counts.
    Once,
    /// Once, as fast as it goes; every frame counts.
    Fast,
    /// A folder: what is there, then what comes.
    Watch,
}

/// Transport of RTSP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved in the RTSP connection: passes firewalls, loses nothing.
    #[default]
    Tcp,
    /// Packets.
    Udp,
}

/// All that a camera's thread needs to know of its source.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its id.
    pub id: CameraId,
    /// Where pictures come from.
    pub uri: CameraUri,
    /// User name and password.
    pub credentials: Option<uri::Userinfo>,
    /// A file with certificates, PEM, that an https camera may show besides those that the system trusts.
    pub ca: Option<std::path::PathBuf>,
    /// The jitter buffer of RTSP.
    pub latency: Duration,
    /// Transport of RTSP.
    pub transport: Transport,
    /// How a file or folder is played; `test:` only knows [`Play::Fast`].
    pub play: Play,
    /// A polled snapshot's or a looped folder's interval.
    pub interval: Duration,
    /// A source that gives nothing for so long has failed.
    pub stall: Duration,
    /// Whether hardware decoders are tried first.
    pub hardware: bool,
}

impl Plan {
    /// Whether every frame counts.
    pub fn pace(&self) -> Pace {
        match (&self.uri, self.play) {
            (CameraUri::File(_), Play::Once | Play::Fast) | (CameraUri::Test(_), Play::Fast) => Pace::Lossless,
            (CameraUri::Folder(_), Play::Once | Play::Fast | Play::Watch) => Pace::Lossless,
            _ => Pace::Live,
        }
    }
}
