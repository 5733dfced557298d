"""A tiny model for tests and benchmarks: gray 64x64, five classes by brightness, weights by formula.

Its answer can be known without running it: the class whose centre is nearest to the picture's mean brightness (0,
1/4, 1/2, 3/4, 1 of full scale). Channel 0 of each convolution is the exact 2x2 mean of channel 0 before it; the other
channels cost what an ordinary small CNN costs, and move the answer by next to nothing.
"""

import array
import json

import package
import protobuf as onnx

SIDE = 64
CLASSES = ["very-dark", "dark", "medium", "bright", "very-bright"]
WIDTHS = [1, 16, 32, 64]
SHARPNESS = 60.0  # logits grow with this: about 0.98 at a class's centre


def _noise(count, state=0x2545F491):
    """Pseudo-random numbers in [-1, 1) by xorshift32; multiples of 2^-15, so exact in float32."""
    values = []
    for _ in range(count):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        values.append((state >> 16) / 32768 - 1)
    return values


def _kernel(inputs, outputs, scale):
    """[outputs, inputs, 3, 3]: channel 0 is the mean of the four pixels that this output stands for."""
    mean = [0, 0, 0, 0, 0.25, 0.25, 0, 0.25, 0.25]
    weights = [value * scale for value in mean] + [0.0] * (9 * (inputs - 1))
    noise = _noise(9 * inputs * (outputs - 1), 0x9E3779B9 ^ inputs)
    return array.array("f", weights + [value * scale / (3 * inputs) for value in noise])


def graph():
    """The ONNX model's bytes."""
    nodes = [onnx.node("Transpose", ["input"], "planes", perm=[0, 3, 1, 2]),
             onnx.node("Cast", ["planes"], "float", to=onnx.FLOAT)]
    tensors, x = [], "float"
    for layer, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:]), start=1):
        weights = _kernel(inputs, outputs, 1 / 255 if layer == 1 else 1.0)
        tensors.append(onnx.floats(f"conv{layer}.weight", [outputs, inputs, 3, 3], weights))
        tensors.append(onnx.floats(f"conv{layer}.bias", [outputs], [0.0] * outputs))
        nodes.append(onnx.node("Conv", [x, f"conv{layer}.weight", f"conv{layer}.bias"], f"conv{layer}",
                               kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(onnx.node("Relu", [f"conv{layer}"], f"relu{layer}"))
        x = f"relu{layer}"
    # -(b - c)^2 is, but for a term that all classes share, linear in the brightness b: 2cb - c^2.
    centres = [index / 4 for index in range(5)]
    rest = iter(_noise(5 * (WIDTHS[-1] - 1), 0x1234567))
    head = [v for c in centres for v in [2 * SHARPNESS * c] + [next(rest) / 1024 for _ in range(WIDTHS[-1] - 1)]]
    tensors.append(onnx.floats("head.weight", [5, WIDTHS[-1]], head))
    tensors.append(onnx.floats("head.bias", [5], [-SHARPNESS * c * c for c in centres]))
    nodes += [onnx.node("GlobalAveragePool", [x], "pooled"), onnx.node("Flatten", ["pooled"], "features", axis=1),
              onnx.node("Gemm", ["features", "head.weight", "head.bias"], "logits", transB=1)]
    return onnx.model("tiny-gray64", nodes, tensors, [onnx.value("input", onnx.UINT8, ["N", SIDE, SIDE, 1])],
                      [onnx.value("logits", onnx.FLOAT, ["N", 5])], {"classes": json.dumps(CLASSES)})


def golden_inputs():
    """Flat pictures at three brightnesses and one with a slope."""
    flat = {f"flat-{level}": bytes([level]) * SIDE * SIDE for level in (0, 96, 255)}
    return flat | {"slope": bytes((x * 3 + y) % 256 for y in range(SIDE) for x in range(SIDE))}


def build(golden):
    """The package's files: name -> bytes. `golden` is the committed golden.json."""
    files = {"model.onnx": graph(), "golden.json": golden}
    files |= {f"golden/{name}.u8": data for name, data in golden_inputs().items()}
    manifest = {
        "id": "tiny-gray64", "version": "1",
        "input": package.uint8_input("input", SIDE, SIDE, "gray"),
        "output": {"name": "logits", "form": "logits"},
        "classes": CLASSES, "golden": "golden.json", "licence": "MIT OR Apache-2.0",
        "source": "made by formula in deploy/setup/tiny.py",
    }
    return package.with_manifest(files, manifest)
