//! Camera URIs: one string says where pictures come from. Credentials are cut out while parsing and never print.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use url::Url;

/// Where a camera's pictures come from.
#[derive(Clone, PartialEq, Eq)]
pub enum CameraUri {
    /// `rtsp://` or `rtsps://`.
    Rtsp(Remote),
    /// `file:` a video file.
    File(PathBuf),
    /// `v4l2:` a device of this machine.
    V4l2(PathBuf),
    /// `folder:` a folder of pictures.
    Folder(PathBuf),
    /// `http://` or `https://`: a JPEG, polled, or an MJPEG stream.
    Http(Remote),
    /// `test:` a generated picture.
    Test(TestPicture),
}

/// A camera on the network; the address never holds credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// The address without user name and password.
    pub url: Url,
    /// What stood before the `@`.
    pub userinfo: Option<Userinfo>,
}

/// User name and password; its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Userinfo {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// What `test:` generates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPicture {
    /// A pattern of GStreamer's `videotestsrc`.
    pub pattern: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Pixel format: I420, NV12, GRAY8 or RGB.
    pub format: String,
    /// How many frames; endless when absent.
    pub frames: Option<u32>,
}

/// Why a text is not a camera URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUri {
    /// There is no `scheme:` at all.
    #[error("camera URI `{0}` has no scheme: write one of {SCHEMES}")]
    NoScheme(String),
    /// The scheme is not one of ours.
    #[error("camera scheme `{0}:` is unknown: use one of {SCHEMES}")]
    UnknownScheme(String),
    /// The path is missing.
    #[error("camera URI `{0}:` names no path: write it as `{0}:/path/to/it`")]
    NoPath(&'static str),
    /// The address cannot be parsed.
    #[error("camera URI `{uri}` is not an address: {why}")]
    Address {
        /// The URI, without credentials.
        uri: String,
        /// What the parser says.
        why: String,
    },
    /// An option of `test:` is wrong.
    #[error("camera URI `test:`: {0}")]
    Test(String),
}

const SCHEMES: &str = "rtsp:// rtsps:// file: v4l2: folder: http:// https:// test:";

/// Patterns of `videotestsrc` in GStreamer 1.22; an unknown one would be a panic deep inside.
const PATTERNS: [&str; 26] = [
    "smpte",
    "snow",
    "black",
    "white",
    "red",
    "green",
    "blue",
    "checkers-1",
    "checkers-2",
    "checkers-4",
    "checkers-8",
    "circular",
    "blink",
    "smpte75",
    "zone-plate",
    "gamut",
    "chroma-zone-plate",
    "solid-color",
    "ball",
    "smpte100",
    "bar",
    "pinwheel",
    "spokes",
    "gradient",
    "colors",
    "smpte-rp-219",
];

impl FromStr for CameraUri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| InvalidUri::NoScheme(redacted(text)))?;
        match scheme {
            "rtsp" | "rtsps" => Ok(Self::Rtsp(remote(text)?)),
            "http" | "https" => Ok(Self::Http(remote(text)?)),
            "file" => path("file", rest).map(Self::File),
            "folder" => path("folder", rest).map(Self::Folder),
            "v4l2" => path("v4l2", rest).map(Self::V4l2),
            "test" => test_picture(rest).map(Self::Test),
            _ => Err(InvalidUri::UnknownScheme(scheme.to_owned())),
        }
    }
}

fn path(scheme: &'static str, rest: &str) -> Result<PathBuf, InvalidUri> {
    let path = match rest.strip_prefix("//") {
        Some(host_and_path) => host_and_path.strip_prefix("localhost").unwrap_or(host_and_path),
        None => rest,
    };
    if path.is_empty() { Err(InvalidUri::NoPath(scheme)) } else { Ok(PathBuf::from(path)) }
}

fn remote(text: &str) -> Result<Remote, InvalidUri> {
    let invalid = |why: String| InvalidUri::Address { uri: redacted(text), why };
    let mut url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host".into()));
    }
    let userinfo = (!url.username().is_empty() || url.password().is_some()).then(|| Userinfo {
        user: percent_decoded(url.username()),
        password: percent_decoded(url.password().unwrap_or_default()),
    });
    // Neither fails for an address with a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(Remote { url, userinfo })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn test_picture(rest: &str) -> Result<TestPicture, InvalidUri> {
    let (pattern, query) = rest.split_once('?').unwrap_or((rest, ""));
    let pattern = if pattern.is_empty() { "ball" } else { pattern };
    if !PATTERNS.contains(&pattern) {
        return Err(InvalidUri::Test(format!("pattern `{pattern}` is unknown: use one of {}", PATTERNS.join(" "))));
    }
    let mut picture =
        TestPicture { pattern: pattern.into(), width: 640, height: 480, fps: 10, format: "I420".into(), frames: None };
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let number = |max: u32| {
            value
                .parse()
                .ok()
                .filter(|n| (1..=max).contains(n))
                .ok_or_else(|| InvalidUri::Test(format!("`{key}={value}` is not a whole number from 1 to {max}")))
        };
        match key.as_ref() {
            "width" => picture.width = number(8192)?,
            "height" => picture.height = number(8192)?,
            "fps" => picture.fps = number(240)?,
            "frames" => picture.frames = Some(number(i32::MAX as u32)?),
            "format" if ["I420", "NV12", "GRAY8", "RGB"].contains(&value.as_ref()) => picture.format = value.into(),
            "format" => return Err(InvalidUri::Test(format!("format `{value}` is not I420, NV12, GRAY8 or RGB"))),
            _ => {
                let known = "width, height, fps, format and frames";
                return Err(InvalidUri::Test(format!("option `{key}` is unknown: use {known}")));
            }
        }
    }
    Ok(picture)
}

/// The text with whatever stands before an `@` left out: an error about a bad URI must not print its password.
fn redacted(text: &str) -> String {
    let text = &daemon::config::without_secrets(text);
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://***@{}", &text[..scheme], &text[at + 1..]),
        (_, Some(at)) => format!("***@{}", &text[at + 1..]),
        _ => text.to_owned(),
    }
}

impl Remote {
    /// The address as it may be shown: many cameras take a password behind the host as well.
    pub fn shown(&self) -> String {
        daemon::config::without_secrets(self.url.as_str())
    }
}

impl CameraUri {
    /// Whether the source never comes to an end of its own: when its stream ends, the camera is gone and may come back.
    pub fn is_endless(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Folder(_) | Self::Test(_))
    }
}

impl fmt::Display for CameraUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp(remote) | Self::Http(remote) => f.write_str(&remote.shown()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Test(t) => fmt::Display::fmt(t, f),
        }
    }
}

impl fmt::Display for TestPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, width, height, fps, format, frames } = self;
        write!(f, "test:{pattern}?width={width}&height={height}&fps={fps}")?;
        if format != "I420" {
            write!(f, "&format={format}")?;
        }
        frames.map_or(Ok(()), |frames| write!(f, "&frames={frames}"))
    }
}

impl fmt::Debug for CameraUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Userinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for CameraUri {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_parses() {
        for (text, shown) in [
            ("rtsp://10.0.0.1:8554/front", "rtsp://10.0.0.1:8554/front"),
            ("rtsps://cam/x", "rtsps://cam/x"),
            ("file:/a/b c.mp4", "file:/a/b c.mp4"),
            ("file:///a/b.mp4", "file:/a/b.mp4"),
            ("file:rel/b.mp4", "file:rel/b.mp4"),
            ("v4l2:/dev/video0", "v4l2:/dev/video0"),
            ("folder:/pictures", "folder:/pictures"),
            ("https://cam/snap.jpg?x=1", "https://cam/snap.jpg?x=1"),
            ("test:ball?fps=5", "test:ball?width=640&height=480&fps=5"),
            ("test:", "test:ball?width=640&height=480&fps=10"),
        ] {
            assert_eq!(text.parse::<CameraUri>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn mistakes_name_what_to_write_instead() {
        for (text, part) in [
            ("ftp://x/y", "`ftp:` is unknown: use one of rtsp://"),
            ("/dev/video0", "has no scheme"),
            ("file:", "names no path"),
            ("rtsp://", "is not an address"),
            ("test:cat", "pattern `cat` is unknown"),
            ("test:ball?width=0", "`width=0` is not a whole number"),
            ("test:ball?size=3", "option `size` is unknown"),
        ] {
            let error = text.parse::<CameraUri>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_never_print() {
        let uri: CameraUri = "rtsp://admin:p%40ss@cam:554/1".parse().unwrap();
        assert_eq!(format!("{uri} {uri:?}"), "rtsp://cam:554/1 rtsp://cam:554/1");
        let CameraUri::Rtsp(remote) = uri else { panic!("not rtsp") };
        let info = remote.userinfo.unwrap();
        assert_eq!(
            (info.user.as_str(), info.password.as_str(), format!("{info:?}").as_str()),
            ("admin", "p@ss", "***")
        );
        let behind: CameraUri = "http://cam/snap.jpg?usr=a&pwd=secret".parse().unwrap();
        assert_eq!(format!("{behind} {behind:?}").matches("pwd=***").count(), 2);
        for bad in ["rtsp://admin:p@ss@:99999/x", "rtsp://a:secret@cam:notaport/", "a:secret@b"] {
            let error = bad.parse::<CameraUri>().unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("p@ss"), "{error}");
        }
    }
}
