"""Peer: one ffmpeg a file decodes, scales and pipes gray pictures; numpy and onnxruntime classify them.

What an engineer would write with the usual parts: ffmpeg does the resize (bilinear, over the area) so that only
64x64 bytes a frame cross the pipe, each process uses one thread, and no picture is copied in Python.

    ffmpeg_pipe.py MODEL FILE...   prints {"frames": N} at the end
"""

import json
import selectors
import subprocess
import sys

import numpy as np
import onnxruntime as ort

SIDE = 64


def main(model, files):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    shape = session.get_inputs()[0].shape
    layout = (SIDE, SIDE, 1) if shape[-1] == 1 else (1, SIDE, SIDE)
    ready = selectors.DefaultSelector()
    children = []
    for file in files:
        child = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-threads", "1", "-i", file, "-an", "-filter_threads", "1",
             "-vf", f"scale={SIDE}:{SIDE}:flags=bilinear", "-pix_fmt", "gray", "-fps_mode", "passthrough",
             "-f", "rawvideo", "-"],
            stdout=subprocess.PIPE, bufsize=0)
        buffer = np.empty((SIDE, SIDE), np.uint8)
        ready.register(child.stdout, selectors.EVENT_READ, (buffer, memoryview(buffer.reshape(-1)), [0]))
        children.append(child)
    frames = 0
    while ready.get_map():
        batch = []
        for key, _ in ready.select():
            buffer, view, filled = key.data
            n = key.fileobj.readinto(view[filled[0]:])
            if not n:
                ready.unregister(key.fileobj)
                continue
            filled[0] += n
            if filled[0] == len(view):
                filled[0] = 0
                batch.append(buffer)
        if batch:
            tensor = np.stack(batch).reshape(len(batch), *layout)
            scores = session.run(None, {name: tensor})[0]
            scores.argmax(axis=1)
            frames += len(batch)
    for child in children:
        if child.wait():
            sys.exit(f"ffmpeg failed with {child.returncode}")
    print(json.dumps({"frames": frames}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
