"""Peer: OpenCV's VideoCapture, gray conversion, area resize, onnxruntime; the script that most people begin with.

    opencv_capture.py MODEL FILE...   prints {"frames": N} at the end
"""

import json
import os
import sys

os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")

import cv2
import numpy as np
import onnxruntime as ort

SIDE = 64


def main(model, files):
    cv2.setNumThreads(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    shape = session.get_inputs()[0].shape
    layout = (SIDE, SIDE, 1) if shape[-1] == 1 else (1, SIDE, SIDE)
    captures = [cv2.VideoCapture(file, cv2.CAP_FFMPEG) for file in files]
    if not all(capture.isOpened() for capture in captures):
        sys.exit("a file cannot be opened")
    batch = np.empty((len(files), SIDE, SIDE), np.uint8)
    frames, picture, gray = 0, None, None
    while captures:
        n, alive = 0, []
        for capture in captures:
            ok, picture = capture.read(picture)
            if not ok:
                continue
            alive.append(capture)
            gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY, dst=gray)
            cv2.resize(gray, (SIDE, SIDE), dst=batch[n], interpolation=cv2.INTER_AREA)
            n += 1
        captures = alive
        if n:
            scores = session.run(None, {name: batch[:n].reshape(n, *layout)})[0]
            scores.argmax(axis=1)
            frames += n
    print(json.dumps({"frames": frames}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
