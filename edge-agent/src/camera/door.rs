//! The streaming thread's way from the sink into the intake: a picture with the moment it was taken.

use std::sync::{Arc, Mutex, PoisonError};

use contract::Timestamp;
use frames::Form;
use gstreamer::{self as gst, prelude::*};
use gstreamer_app as gst_app;

use super::{arrival::DecodeTimes, picture::Picture, pipeline::Tail};
use crate::{
    clock::Mono,
    intake::{Arrival, Flow},
};

/// The streaming thread's way into the intake.
pub struct Door {
    tail: Tail,
    place: Place,
    times: DecodeTimes,
    caps: Option<(gst::Caps, Arc<Form>)>,
    decoder: Option<vision::jpeg::Decoder>,
    jpeg: bool,
}

impl Door {
    /// For one stream of the pipeline.
    pub fn new(tail: Tail, place: Place, times: DecodeTimes, jpeg: bool) -> Self {
        Self { tail, place, times, caps: None, decoder: None, jpeg }
    }

    /// Takes the sink's newest picture through.
    pub fn sample(&mut self, sink: &gst_app::AppSink) -> Result<gst::FlowSuccess, gst::FlowError> {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let Some(buffer) = self.place.take().or_else(|| sample.buffer_owned()) else { return Ok(gst::FlowSuccess::Ok) };
        let arrival = self.arrival(sink, &sample, &buffer);
        let picture = match self.picture(&sample, buffer) {
            Ok(picture) => picture,
            Err(error) => {
                // A torn picture is no reason to give the camera up; one that stays torn is noticed as a stall.
                tracing::debug!(error, "picture cannot be read");
                return Ok(gst::FlowSuccess::Ok);
            }
        };
        let flow = self.tail.picture(&picture, arrival);
        if flow == Flow::Stop { Err(gst::FlowError::Eos) } else { Ok(gst::FlowSuccess::Ok) }
    }

    fn picture(&mut self, sample: &gst::Sample, buffer: gst::Buffer) -> Result<Picture, String> {
        if self.jpeg {
            return self.jpeg(&buffer);
        }
        let caps = sample.caps().ok_or("picture has no caps")?;
        let known = self.caps.as_ref().filter(|(known, _)| known.as_ptr() == caps.as_ptr());
        let form = match known {
            Some((_, form)) => form.clone(),
            None => {
                let form = Arc::new(Form::new(caps).map_err(|error| error.to_string())?);
                self.caps = Some((sample.caps_owned().ok_or("picture has no caps")?, form.clone()));
                form
            }
        };
        Ok(Picture::Buffer { buffer, form })
    }

    fn jpeg(&mut self, buffer: &gst::Buffer) -> Result<Picture, String> {
        if self.decoder.is_none() {
            self.decoder = Some(vision::jpeg::Decoder::new().map_err(|error| error.to_string())?);
        }
        let decoder = self.decoder.as_mut().ok_or("no JPEG decoder")?;
        let map = buffer.map_readable().map_err(|error| error.to_string())?;
        let picture = decoder.decode(&map, &vision::Limits::default()).map_err(|error| error.to_string())?;
        Ok(Picture::Decoded(Arc::new(picture)))
    }

    fn arrival(&self, sink: &gst_app::AppSink, sample: &gst::Sample, buffer: &gst::Buffer) -> Arrival {
        let running = || sample.segment()?.downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?);
        let timing = self.tail.timing();
        let mut arrival = Arrival::now(match timing.live {
            true => since_arrival(sink, running()).unwrap_or(0),
            false => self.times.decode_us(buffer.pts()),
        });
        arrival.reference = reference_time(buffer);
        if timing.media_paced
            && let Some(media) = running()
        {
            arrival.pacing = Mono(media.useconds());
        }
        arrival
    }
}

/// Where the picture waits that is on its way through the sink.
///
/// An appsink keeps the last sample that it gave out until the next one, which would hold a decoder's frame (3 MB at 1080p)
/// between pictures. So the sink gets a stand-in with the times alone, and the picture goes past it.
#[derive(Clone, Default)]
pub struct Place(Arc<Mutex<Option<gst::Buffer>>>);

impl Place {
    /// Takes each buffer that comes to the sink's pad, and gives the sink its stand-in.
    pub fn watch(&self, pad: &gst::Pad) {
        let place = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                let mut times = gst::Buffer::new();
                if let Some(times) = times.get_mut() {
                    times.set_flags(buffer.flags());
                    times.set_pts(buffer.pts());
                    times.set_dts(buffer.dts());
                    times.set_duration(buffer.duration());
                }
                *place.lock() = Some(std::mem::replace(buffer, times));
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn take(&self) -> Option<gst::Buffer> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<gst::Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago a live source stamped this buffer, in microseconds: jitter buffer and decoder included.
fn since_arrival(sink: &gst_app::AppSink, running: Option<gst::ClockTime>) -> Option<u64> {
    let now = sink.clock()?.time().checked_sub(sink.base_time()?)?;
    Some(now.checked_sub(running?)?.useconds())
}

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// The camera's own clock, from RTCP sender reports.
fn reference_time(buffer: &gst::Buffer) -> Option<Timestamp> {
    buffer.iter_meta::<gst::ReferenceTimestampMeta>().find_map(|meta| {
        let us = meta.timestamp().useconds();
        let unix = match meta.reference().structure(0)?.name().as_str() {
            "timestamp/x-ntp" => us.checked_sub(NTP_TO_UNIX_S * 1_000_000)?,
            "timestamp/x-unix" => us,
            _ => return None,
        };
        i64::try_from(unix).ok().map(Timestamp)
    })
}
