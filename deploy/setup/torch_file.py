"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without running anything that it holds.

The file is in the form that PyTorch wrote until 1.5: five pickles (magic number, protocol, system, the dictionary,
the storages' keys), then the storages' raw values. The unpickler knows only the three names that such a dictionary
needs, and refuses every other.
"""

import array
import collections
import io
import pickle
import struct
import sys

_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage:
    def __init__(self, key):
        self.key = key


def _tensor(storage, offset, size, stride, *_):
    return (storage.key, offset, tuple(size), tuple(stride))


class _Unpickler(pickle.Unpickler):
    _known = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch", "FloatStorage"): "float",
        ("torch", "LongStorage"): "long",
    }

    def find_class(self, module, name):
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is not allowed") from None

    def persistent_load(self, saved):
        return _Storage((saved[1], saved[2]))


def read(data):
    """The checkpoint's tensors: name -> (shape, array of float32); tensors of integers are left out."""
    file = io.BytesIO(data)
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("not a PyTorch checkpoint of the old form")
    _Unpickler(file).load()  # protocol
    _Unpickler(file).load()  # system: sizes and byte order
    tensors = _Unpickler(file).load()
    kinds = {key: kind for (kind, key), *_ in tensors.values()}
    storages = {key: _storage(file, kinds[key]) for key in _Unpickler(file).load()}
    return {name: (size, _values(storages[key], offset, size, stride))
            for name, ((kind, key), offset, size, stride) in tensors.items() if kind == "float"}


def _storage(file, kind):
    (count,) = struct.unpack("<q", file.read(8))
    values = array.array("f" if kind == "float" else "q")
    values.frombytes(file.read(count * values.itemsize))
    if len(values) != count:
        raise ValueError("the checkpoint is torn")
    if sys.byteorder != "little":
        values.byteswap()
    return values


def _values(storage, offset, size, stride):
    """The tensor's values in row-major order; many are stored transposed, as TensorFlow had them."""
    places = [offset]
    for count, step in zip(size, stride):
        places = [place + index * step for place in places for index in range(count)]
    return array.array("f", map(storage.__getitem__, places))
