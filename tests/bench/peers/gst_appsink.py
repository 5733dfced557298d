"""The peer of sightlineclassify: the same files through GStreamer from Python, scaled and made gray by videoconvertscale, taken
from an appsink as numpy arrays, classified with onnxruntime. One decoder thread, one inference thread, no needless copies.
Arguments: model.onnx, files. Says {"frames": N} in the end."""

import json
import sys

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian has gi; everything else is the environment's own

import gi
import numpy as np
import onnxruntime

gi.require_version("Gst", "1.0")
from gi.repository import Gst

Gst.init(None)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
shape = [1] + session.get_inputs()[0].shape[1:]
height, width = (shape[1], shape[2]) if shape[3] == 1 else (shape[2], shape[3])

pipelines = []
for file in sys.argv[2:]:
    pipeline = Gst.parse_launch(
        f"filesrc location={file} ! qtdemux ! h264parse ! avdec_h264 max-threads=1 ! videoconvertscale "
        f"! video/x-raw,format=GRAY8,width={width},height={height} ! appsink name=end sync=false max-buffers=2"
    )
    pipeline.set_state(Gst.State.PLAYING)
    pipelines.append((pipeline, pipeline.get_by_name("end")))

frames, open_ones = 0, list(pipelines)
while open_ones:
    for pipeline, end in list(open_ones):
        sample = end.emit("pull-sample")
        if sample is None:
            open_ones.remove((pipeline, end))
            continue
        buffer = sample.get_buffer()
        mapped, info = buffer.map(Gst.MapFlags.READ)
        assert mapped
        tensor = np.frombuffer(info.data, np.uint8, count=width * height).reshape(shape)
        session.run(None, {name: tensor})
        buffer.unmap(info)
        frames += 1
for pipeline, _ in pipelines:
    pipeline.set_state(Gst.State.NULL)
print(json.dumps({"frames": frames}))
