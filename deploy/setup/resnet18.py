"""A network of ResNet-18's shape with seeded weights: its answers mean nothing, its work is that of the real one.

The layers are those of He et al. (arXiv 1512.03385), table 1, with batch norms folded away. Weights are uniform with He's
variance (arXiv 1502.01852), 2 / fan-in, from the bytes of SHAKE-256; the second convolution of each block is halved, so
that the sums of sixteen layers stay in range. For engines: a large, plain convolutional model whose bytes are the same on
every machine.
"""

import array
import hashlib
import json
import math

import package
import protobuf as onnx

SIDE = 224
CLASSES = [f"class-{index}" for index in range(10)]
STAGES = [(64, 1), (128, 2), (256, 2), (512, 2)]  # channels, stride of the first block; two blocks each


def _weights(name, size, scale=1.0):
    """float32 values in their order, from the tensor's name alone."""
    count = math.prod(size)
    bound = scale * math.sqrt(6 / math.prod(size[1:])) / 32768
    whole = array.array("h")
    whole.frombytes(hashlib.shake_256(name.encode()).digest(2 * count))
    return array.array("f", [value * bound for value in whole])


class _Network:
    def __init__(self):
        self.nodes, self.tensors = [], []

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append(onnx.node(operator, inputs, output, **attributes))
        return output

    def conv(self, x, name, inputs, outputs, kernel, stride, scale=1.0):
        size, pad = [outputs, inputs, kernel, kernel], kernel // 2
        self.tensors.append(onnx.floats(f"{name}.weight", size, _weights(f"{name}.weight", size, scale)))
        self.tensors.append(onnx.floats(f"{name}.bias", [outputs], [0.0] * outputs))
        return self.add("Conv", [x, f"{name}.weight", f"{name}.bias"], name, kernel_shape=[kernel, kernel],
                        strides=[stride, stride], pads=[pad] * 4)

    def block(self, x, name, inputs, outputs, stride):
        y = self.conv(x, f"{name}.conv1", inputs, outputs, 3, stride)
        y = self.add("Relu", [y], f"{name}.relu1")
        y = self.conv(y, f"{name}.conv2", outputs, outputs, 3, 1, scale=0.5)
        if stride != 1 or inputs != outputs:
            x = self.conv(x, f"{name}.shortcut", inputs, outputs, 1, stride, scale=0.7)
        return self.add("Relu", [self.add("Add", [y, x], f"{name}.add")], f"{name}.relu2")


def graph():
    """The ONNX model's bytes."""
    net = _Network()
    net.tensors += [onnx.floats("offset", [], [127.0]), onnx.floats("scale", [], [1 / 64])]
    x = net.add("Transpose", ["input"], "planes", perm=[0, 3, 1, 2])
    x = net.add("Cast", [x], "float", to=onnx.FLOAT)
    x = net.add("Mul", [net.add("Sub", [x, "offset"], "centred"), "scale"], "scaled")
    x = net.add("Relu", [net.conv(x, "stem", 3, 64, 7, 2)], "stem.relu")
    x = net.add("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inputs = 64
    for stage, (outputs, stride) in enumerate(STAGES, start=1):
        x = net.block(x, f"stage{stage}.block1", inputs, outputs, stride)
        x = net.block(x, f"stage{stage}.block2", outputs, outputs, 1)
        inputs = outputs
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "features", axis=1)
    size = [len(CLASSES), inputs]
    net.tensors += [onnx.floats("head.weight", size, _weights("head.weight", size)),
                    onnx.floats("head.bias", [len(CLASSES)], [0.0] * len(CLASSES))]
    net.add("Gemm", [x, "head.weight", "head.bias"], "logits", transB=1)
    return onnx.model("resnet18-seeded", net.nodes, net.tensors, [onnx.value("input", onnx.UINT8, ["N", SIDE, SIDE, 3])],
                      [onnx.value("logits", onnx.FLOAT, ["N", len(CLASSES)])], {"classes": json.dumps(CLASSES)})


def golden_inputs():
    """A slope of colours, and bytes without order."""
    slope = bytes(value % 256 for y in range(SIDE) for x in range(SIDE) for value in (x, y, x + y))
    return {"slope": slope, "noise": hashlib.shake_256(b"noise").digest(3 * SIDE * SIDE)}


def build(golden):
    """The package's files: name -> bytes. `golden` is the committed golden.json."""
    files = {"model.onnx": graph(), "golden.json": golden}
    files |= {f"golden/{name}.u8": data for name, data in golden_inputs().items()}
    manifest = {
        "id": "resnet18-seeded", "version": "1",
        "input": package.uint8_input("input", SIDE, SIDE, "rgb"),
        "output": {"name": "logits", "form": "logits"},
        "classes": CLASSES, "golden": "golden.json", "licence": "MIT OR Apache-2.0",
        "source": "made by formula in deploy/setup/resnet18.py",
    }
    return package.with_manifest(files, manifest)
