"""Writes pillow.bin: what Pillow makes of the pictures that tests/pillow.rs makes too. Run once with Pillow 13.0.0.

    python -m venv v && v/bin/pip install pillow==13.0.0 numpy && v/bin/python tests/golden/pillow.py tests/golden/pillow.bin
"""
import sys

import numpy
from PIL import Image

# Picture, region (left, top, width, height), target; the same list stands in tests/pillow.rs.
CASES = [
    ((1920, 1080), (0, 0, 1920, 1080), (64, 64)),
    ((640, 480), (0, 0, 640, 480), (96, 72)),
    ((333, 217), (11, 7, 301, 199), (50, 41)),
    ((120, 90), (0, 0, 120, 90), (97, 89)),
    ((40, 30), (3, 2, 31, 21), (90, 70)),
    ((2000, 3), (0, 0, 2000, 3), (3, 5)),
]


def picture(width, height, seed):
    """Mixed slopes, noise and hard edges from a linear congruential generator."""
    state = seed
    out = numpy.empty(width * height * 3, numpy.uint8)
    for at in range(out.size):
        state = (state * 1664525 + 1013904223) % 2**32
        x, y = at // 3 % width, at // 3 // width
        kind = (x // 8 + y // 8) % 3
        out[at] = (state >> 24, (x * 3 + y * 5) % 256, 255 * (state >> 31))[kind]
    return out.reshape(height, width, 3)


with open(sys.argv[1], "wb") as file:
    for seed, ((width, height), (x, y, w, h), target) in enumerate(CASES, 1):
        image = Image.fromarray(picture(width, height, seed)).crop((x, y, x + w, y + h))
        file.write(image.resize(target, Image.Resampling.BILINEAR).tobytes())
