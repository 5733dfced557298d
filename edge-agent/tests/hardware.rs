//! A hardware decoder that fails is replaced by a software one. A file of its own: the decoder that it makes up would be
//! the first choice of every other test of the process.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use edge_agent::{camera::Play, region::rate::Rate};
use frames::RectSpec;
use gstreamer::{self as gst, glib, prelude::*};
use support::{plan, start, video, wait_for};

/// How many were made.
static MADE: AtomicU32 = AtomicU32::new(0);

glib::wrapper! {
    /// An accelerator's decoder that takes H.264 and fails at the first picture.
    pub struct Broken(ObjectSubclass<imp::Broken>) @extends gst::Element, gst::Object;
}

mod imp {
    use std::sync::LazyLock;

    use super::{MADE, Ordering, glib, gst};
    use gst::{prelude::*, subclass::prelude::*};

    pub struct Broken {
        pads: [gst::Pad; 2],
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Broken {
        const NAME: &'static str = "BrokenHardwareDecoder";
        type Type = super::Broken;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            MADE.fetch_add(1, Ordering::Relaxed);
            let sink = gst::Pad::builder_from_template(&class.pad_template("sink").unwrap())
                .event_function(|_, _, _| true)
                .chain_function(|_, parent, _| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| {
                            gst::element_imp_error!(this, gst::StreamError::Decode, ("the chip is gone"));
                            Err(gst::FlowError::Error)
                        },
                    )
                })
                .build();
            let src = gst::Pad::from_template(&class.pad_template("src").unwrap());
            Self { pads: [sink, src] }
        }
    }

    impl ObjectImpl for Broken {
        fn constructed(&self) {
            self.parent_constructed();
            self.pads.iter().for_each(|pad| self.obj().add_pad(pad).unwrap());
        }
    }

    impl GstObjectImpl for Broken {}

    impl ElementImpl for Broken {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new("Broken", "Codec/Decoder/Video/Hardware", "Fails", "A test")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static PADS: LazyLock<[gst::PadTemplate; 2]> = LazyLock::new(|| {
                let template = |name, direction, caps: gst::Caps| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).unwrap()
                };
                [
                    template("sink", gst::PadDirection::Sink, gst::Caps::new_empty_simple("video/x-h264")),
                    template("src", gst::PadDirection::Src, gst::Caps::new_empty_simple("video/x-raw")),
                ]
            });
            &*PADS
        }
    }
}

#[test]
fn a_hardware_decoder_is_given_up_when_it_fails_and_only_then() {
    gst::init().unwrap();
    gst::Element::register(None, "brokenhwdec", gst::Rank::PRIMARY + 100, Broken::static_type()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later.mp4");
    let mut wanted = plan(&format!("file:{}", path.display()), Play::Loop);
    wanted.hardware = true;
    let camera = start(wanted, RectSpec::FULL, Rate::Every);
    wait_for("two failures that are not the decoder's", || camera.camera.counts.failures.load(Ordering::Relaxed) >= 2);
    assert_eq!(MADE.load(Ordering::Relaxed), 0);
    let made = video(dir.path(), "made.mp4", 20, 160, 120);
    std::fs::rename(made, &path).unwrap();
    wait_for("the hardware decoder's failure", || camera.reason().contains("hardware decoder brokenhwdec fails"));
    assert!(camera.reason().contains("the chip is gone"), "{}", camera.reason());
    assert_eq!(camera.next().size, (160, 120));
    assert_eq!(MADE.load(Ordering::Relaxed), 1, "it is asked once, even after other failures");
}
