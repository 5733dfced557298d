//! GStreamer elements by name, and the Debian package to install where one is missing.

use gstreamer::{self as gst, prelude::*};

/// An element is not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "GStreamer element `{element}` is missing: install the Debian package {package} (if it is installed already, a library \
     of it was missing when GStreamer first looked: remove ~/.cache/gstreamer-1.0)"
)]
pub struct MissingElement {
    /// Its factory's name.
    pub element: String,
    /// The package that holds it on Debian 12.
    pub package: &'static str,
}

/// Elements that we name ourselves, with their packages.
const PACKAGES: [(&str, &str); 17] = [
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("filesrc", "libgstreamer1.0-0"),
    ("capsfilter", "libgstreamer1.0-0"),
    ("fakesink", "libgstreamer1.0-0"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("matroskademux", "gstreamer1.0-plugins-good"),
    ("avidemux", "gstreamer1.0-plugins-good"),
    ("tsdemux", "gstreamer1.0-plugins-bad"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("h265parse", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_h265", "gstreamer1.0-libav"),
];

/// What takes a stream out of RTP, by its encoding.
const DEPAYLOADERS: [(&str, &str); 6] = [
    ("H264", "rtph264depay"),
    ("H265", "rtph265depay"),
    ("JPEG", "rtpjpegdepay"),
    ("MP4V-ES", "rtpmp4vdepay"),
    ("VP8", "rtpvp8depay"),
    ("VP9", "rtpvp9depay"),
];

/// What a stream passes on its way to its decoder, by its media type.
const STEPS: [(&str, &str); 7] = [
    ("video/quicktime", "qtdemux"),
    ("video/x-matroska", "matroskademux"),
    ("video/webm", "matroskademux"),
    ("video/x-msvideo", "avidemux"),
    ("video/mpegts", "tsdemux"),
    ("video/x-h264", "h264parse"),
    ("video/x-h265", "h265parse"),
];

/// The software decoders that we name; a hardware decoder in its place will do.
const DECODERS: [(&str, &str); 2] = [("video/x-h264", "avdec_h264"), ("video/x-h265", "avdec_h265")];

fn package_of(element: &str) -> &'static str {
    if element.starts_with("rtp") {
        return "gstreamer1.0-plugins-good";
    }
    let known = PACKAGES.iter().find(|(name, _)| *name == element);
    known.map_or("gstreamer1.0-plugins-good, -bad or gstreamer1.0-libav", |(_, package)| package)
}

/// Makes an element.
///
/// # Errors
/// Names the element and its package.
pub fn make(element: &str) -> Result<gst::Element, MissingElement> {
    let missing = |_| MissingElement { element: element.into(), package: package_of(element) };
    gst::ElementFactory::make(element).build().map_err(missing)
}

/// Which of these elements are missing.
pub fn missing(elements: &[&str]) -> Vec<MissingElement> {
    let absent = elements.iter().filter(|name| gst::ElementFactory::find(name).is_none());
    absent.map(|name| MissingElement { element: (*name).into(), package: package_of(name) }).collect()
}

/// The element that a stream of these caps needs before its decoder and that is not installed.
pub fn missing_step(caps: &gst::CapsRef) -> Option<MissingElement> {
    let stream = caps.structure(0)?;
    let encoding = stream.get::<String>("encoding-name").unwrap_or_default();
    let (table, name) = match stream.name().as_str() {
        "application/x-rtp" => (&DEPAYLOADERS[..], encoding.as_str()),
        media => (&STEPS[..], media),
    };
    let (_, element) = table.iter().find(|(known, _)| *known == name)?;
    missing(&[*element]).pop()
}

/// The decoder to install where none is there for a media type, when it has a name of its own.
pub fn missing_decoder(media_type: &str) -> Option<MissingElement> {
    let (_, decoder) = DECODERS.iter().find(|(known, _)| *known == media_type)?;
    missing(&[*decoder]).pop()
}

/// A decoder's factory for these caps: hardware first where it is wanted, then by GStreamer's own ranks.
pub fn decoder_for(caps: &gst::CapsRef, hardware: bool) -> Option<gst::ElementFactory> {
    let kind = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    let mut factories: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(caps))
        // Bins among them would plug elements of their own choice.
        .filter(|factory| !factory.klass().contains("Bin"))
        .filter(|factory| hardware || !is_hardware(factory))
        .collect();
    factories.sort_by_key(|factory| std::cmp::Reverse((is_hardware(factory), factory.rank())));
    factories.into_iter().next()
}

/// Whether a decoder runs on an accelerator.
pub fn is_hardware(factory: &gst::ElementFactory) -> bool {
    factory.klass().contains("Hardware")
}

/// Whether an element decodes video on an accelerator.
pub fn is_hardware_decoder(factory: &gst::ElementFactory) -> bool {
    factory.klass().contains("Decoder") && is_hardware(factory)
}

/// The package to name when no decoder is there for a media type.
pub fn decoder_package(media_type: &str) -> &'static str {
    match media_type {
        "video/x-av1" => "gstreamer1.0-plugins-bad",
        "video/x-vp8" | "video/x-vp9" => "gstreamer1.0-plugins-good",
        _ => "gstreamer1.0-libav",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_names_its_package() {
        gst::init().unwrap();
        let error = make("avdec_h264_of_tomorrow").unwrap_err().to_string();
        assert!(error.contains("`avdec_h264_of_tomorrow` is missing: install the Debian package"), "{error}");
        assert_eq!(missing(&["filesrc", "nothing"]).len(), 1);
        assert_eq!(package_of("avdec_h264"), "gstreamer1.0-libav");
    }

    #[test]
    fn the_software_decoder_of_h264_is_libav() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-h264").field("stream-format", "avc").field("alignment", "au").build();
        assert_eq!(decoder_for(&caps, false).map(|f| f.name().to_string()).as_deref(), Some("avdec_h264"));
    }
}
