"""Reads what sightlineclassify adds, from Python: a region's place and its best class. Argument: a model package."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstVideo

Gst.init(None)
pictures, found = 0, []


def look(_pad, info):
    global pictures
    pictures += 1
    meta = GstVideo.buffer_get_video_region_of_interest_meta_id(info.get_buffer(), 0)
    if meta:
        best = meta.get_param("classification")
        assert (meta.x, meta.y, meta.w, meta.h) == (80, 60, 160, 120), (meta.x, meta.y, meta.w, meta.h)
        assert best.get_double("confidence")[1] > 0.5 and best.get_int("label_id")[0]
        found.append(best.get_string("label"))
    return Gst.PadProbeReturn.OK


pipeline = Gst.parse_launch(
    "videotestsrc pattern=white num-buffers=10 ! video/x-raw,format=I420,width=320,height=240 "
    f"! sightlineclassify model={sys.argv[1]} region=0.25,0.25,0.5,0.5 ! fakesink name=end"
)
pipeline.get_by_name("end").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, look)
pipeline.set_state(Gst.State.PLAYING)
message = pipeline.get_bus().timed_pop_filtered(30 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
assert message and message.type == Gst.MessageType.EOS, message and message.parse_error()
pipeline.set_state(Gst.State.NULL)
assert set(found) == {"very-bright"}, found
print(f"{pictures} pictures, {len(found)} regions, all very-bright")
