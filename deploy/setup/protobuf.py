"""Writes ONNX files: the few protobuf messages that our two models need, in one fixed order.

No library is used, so that the bytes depend on nothing but this file: the same on every machine, with every Python.
Field numbers are those of onnx.proto3.
"""

import struct

FLOAT, UINT8, INT64 = 1, 2, 7


def _varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _bytes(field, value):
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def tensor(name, element, dims, raw):
    """TensorProto; `raw` holds the little-endian values."""
    return b"".join(_number(1, dim) for dim in dims) + _number(2, element) + _bytes(8, name) + _bytes(9, raw)


def floats(name, dims, values):
    """A float32 TensorProto from an array('f') or a list."""
    raw = values.tobytes() if hasattr(values, "tobytes") else struct.pack(f"<{len(values)}f", *values)
    return tensor(name, FLOAT, dims, raw)


def _attribute(name, value):
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, 2)
    return _bytes(1, name) + b"".join(_number(8, item) for item in value) + _number(20, 7)


def node(operator, inputs, output, **attributes):
    """NodeProto with one output, named after it; attributes are ints or lists of ints."""
    body = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(3, output) + _bytes(4, operator)
    return body + b"".join(_bytes(5, _attribute(name, value)) for name, value in sorted(attributes.items()))


def value(name, element, dims):
    """ValueInfoProto; an axis is a number, or a name for any length."""
    shape = b"".join(_bytes(1, _bytes(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, shape)))


def model(name, nodes, initializers, inputs, outputs, metadata, opset=13, ir_version=8):
    """ModelProto as bytes. IR 8 with opset 13 is read by every runtime of the last years, TensorRT included."""
    graph = b"".join(_bytes(1, item) for item in nodes) + _bytes(2, name)
    for field, items in ((5, initializers), (11, inputs), (12, outputs)):
        graph += b"".join(_bytes(field, item) for item in items)
    props = b"".join(_bytes(14, _bytes(1, key) + _bytes(2, text)) for key, text in sorted(metadata.items()))
    head = _number(1, ir_version) + _bytes(2, "sightline-setup") + _bytes(3, "1")
    return head + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, opset)) + props
