"""The peer of our ONNX Runtime session: the same model and batch, one thread, run again and again.
Arguments: model.onnx, runs. Says {"us": CPU microseconds a run, "version": ...}."""

import json
import sys
import time

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
inputs = session.get_inputs()[0]
rng = np.random.default_rng(7)
feed = {inputs.name: rng.integers(0, 256, [1] + inputs.shape[1:], np.uint8)}
runs = int(sys.argv[2])
for _ in range(max(3, runs // 20)):
    session.run(None, feed)
before = time.process_time()
for _ in range(runs):
    session.run(None, feed)
print(json.dumps({"us": (time.process_time() - before) / runs * 1e6, "version": onnxruntime.__version__}))
