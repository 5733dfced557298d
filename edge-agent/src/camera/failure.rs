//! Why a camera gives no pictures, in words that say what to do. Credentials never stand in them.

use gstreamer::{self as gst, glib, prelude::*};

use super::{
    elements::{self, MissingElement},
    uri::CameraUri,
};

/// Why an attempt ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// An element is not installed.
    #[error(transparent)]
    Missing(#[from] MissingElement),
    /// Nothing decodes this.
    #[error("no decoder for {media}: install the Debian package {package}")]
    NoDecoder {
        /// The media type.
        media: String,
        /// What to install.
        package: &'static str,
    },
    /// The file is not there.
    #[error("{what} `{path}` cannot be opened: {why}; correct `uri` of the camera, or put it there{}", question_mark(.path))]
    Absent {
        /// File, folder or device.
        what: &'static str,
        /// Its path.
        path: String,
        /// What the system says.
        why: String,
    },
    /// There is nothing to show in it.
    #[error(
        "folder `{0}` holds no JPEG or PNG picture that can be read; put some there, or name another folder in `uri`"
    )]
    EmptyFolder(String),
    /// It is there and is no video.
    #[error(
        "`{0}` is not a video that GStreamer can read: {1}; see whether another player shows it, or name another file in `uri`"
    )]
    NotAVideo(String, String),
    /// There is no picture in it.
    #[error("`{0}` has no video stream; name a file with video in `uri`")]
    NoVideo(String),
    /// User name or password are wrong, or missing.
    #[error("camera at {0} refuses {1}: set `username` and `password` of the camera to what it expects")]
    Unauthorized(String, String),
    /// Cannot be reached.
    #[error(
        "camera at {0} cannot be reached: {1}; is it switched on, on this network, and its address in `uri` right?"
    )]
    Unreachable(String, String),
    /// The camera has closed the stream, or was switched off.
    #[error("camera at {0} has ended its stream")]
    Closed(String),
    /// Gives nothing any more.
    #[error("no frame came for {0} s")]
    Stalled(u64),
    /// What HTTP answers is no picture.
    #[error("camera at {0} does not send pictures: {1}")]
    NotPictures(String, String),
    /// The accelerator's decoder does not work for this stream.
    #[error("hardware decoder {decoder} fails: {message}; a software decoder is tried from now on")]
    Hardware {
        /// Its element.
        decoder: String,
        /// What it says.
        message: String,
    },
    /// Anything else that the pipeline says.
    #[error("{element}: {message}")]
    Pipeline {
        /// Which element.
        element: String,
        /// What it says.
        message: String,
    },
}

impl Failure {
    /// What an error on a pipeline's bus means for this camera.
    pub fn from_bus(uri: &CameraUri, credentials: bool, error: &gst::message::Error) -> Self {
        let inner = error.error();
        let message = inner.message().trim().trim_end_matches('.').to_owned();
        let factory = error.src().and_then(factory);
        if let Some(decoder) = factory.as_ref().filter(|factory| elements::is_hardware_decoder(factory)) {
            return Self::Hardware { decoder: decoder.name().into(), message };
        }
        let source = || error.src().map_or_else(|| "pipeline".into(), |source| source.name().into());
        let element = factory.map_or_else(source, |factory| factory.name().into());
        match uri {
            CameraUri::Rtsp(remote) => Self::rtsp(&remote.shown(), credentials, &inner, message),
            CameraUri::File(path) if has_no_video(error) => Self::NoVideo(path.display().to_string()),
            CameraUri::File(path) if is_not_a_video(&inner) => Self::NotAVideo(path.display().to_string(), message),
            CameraUri::V4l2(path) if inner.is::<gst::ResourceError>() => {
                Self::Absent { what: "device", path: path.display().to_string(), why: message }
            }
            _ => Self::Pipeline { element, message },
        }
    }

    fn rtsp(url: &str, credentials: bool, error: &glib::Error, message: String) -> Self {
        let unauthorized = error.matches(gst::ResourceError::NotAuthorized)
            || message.contains("Unauthorized")
            || message.contains("401");
        if unauthorized {
            return Self::Unauthorized(url.into(), presented(credentials));
        }
        if error.is::<gst::ResourceError>() {
            return Self::Unreachable(url.into(), message);
        }
        Self::Pipeline { element: "rtspsrc".into(), message }
    }
}

/// Some players take options behind a question mark.
fn question_mark(path: &str) -> &'static str {
    if path.contains('?') {
        "; `?` and what follows belong to its name: how it is played is the key `play`"
    } else {
        ""
    }
}

/// What we showed a camera that refused it.
pub fn presented(credentials: bool) -> String {
    if credentials { "the user name and password".into() } else { "to answer without a user name".into() }
}

/// Nobody took any of the file's streams.
fn has_no_video(error: &gst::message::Error) -> bool {
    error.debug().is_some_and(|debug| debug.contains("not-linked"))
}

fn is_not_a_video(error: &glib::Error) -> bool {
    error.is::<gst::StreamError>()
}

fn factory(source: &gst::Object) -> Option<gst::ElementFactory> {
    source.downcast_ref::<gst::Element>()?.factory()
}
