"""Composes pictures for a transfer: cut-outs of ten kinds of things on frames of a surveillance camera.

    cutouts.py CUT-OUTS FRAMES OUT [--each N] [--seed S]

CUT-OUTS is the folder of the set-up's datasets/cut-outs, FRAMES a folder of pictures. 96 x 96 pixels, the object's longer side 45 to
90 % of that, turned by up to 30 degrees; light, blur, noise and JPEG quality vary; all of it drawn from the seed. Writes
OUT/pictures, and for each of five folds a list OUT/fold-K.csv with path, label, split and group: the group is the cut-out, so
that none is in two splits.
"""

import argparse
import csv
import io
import pathlib
import random

import numpy
from PIL import Image, ImageFilter

KINDS = {
    "mammal": "animals/mammals",
    "bird": "animals/birds",
    "insect": "animals/insects",
    "fruit": "food/fruit",
    "letter": "symbols/alphabets",
    "vehicle": "vehicles",
    "building": "town",
    "plant": "plants",
    "coin": "symbols/money",
    "clothes": "clothes",
}
SIDE, FOLDS = 96, 5


def compose(cutout, frame, dice):
    """One picture."""
    left, top = dice.randrange(frame.width - 160), dice.randrange(frame.height - 160)
    span = dice.randrange(96, 160)
    ground = frame.crop((left, top, left + span, top + span)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    longer = dice.uniform(0.45, 0.9) * SIDE
    thing = cutout.rotate(dice.uniform(-30, 30), Image.Resampling.BICUBIC, expand=True)
    thing = thing.crop(thing.getchannel("A").getbbox() or (0, 0, thing.width, thing.height))
    factor = longer / max(thing.size)
    size = tuple(max(1, round(side * factor)) for side in thing.size)
    thing = thing.resize(size, Image.Resampling.LANCZOS)
    at = tuple(dice.randrange(SIDE - side + 1) for side in size)
    ground.paste(thing, at, thing)
    picture = ground.filter(ImageFilter.GaussianBlur(dice.uniform(0, 1)))
    pixels = numpy.asarray(picture, dtype=numpy.float32) * dice.uniform(0.6, 1.3) + dice.uniform(-20, 20)
    noise = numpy.random.default_rng(dice.randrange(2**32)).normal(0, dice.uniform(0, 8), pixels.shape)
    out = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(numpy.uint8)).save(out, "JPEG", quality=dice.randrange(40, 96))
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", type=pathlib.Path)
    parser.add_argument("frames", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    frames = [Image.open(path).convert("RGB") for path in sorted(options.frames.iterdir())]
    pictures = options.out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, folder in KINDS.items():
        paths = sorted((options.cutouts / folder).rglob("*.png"))
        cutouts = [(path, image) for path in paths if (image := Image.open(path).convert("RGBA")).getchannel("A").getbbox()]
        order = list(range(len(cutouts)))
        dice.shuffle(order)
        for number in range(options.each):
            path, image = cutouts[order[number % len(cutouts)]]
            name = f"{label}-{number:04}.jpg"
            (pictures / name).write_bytes(compose(image, dice.choice(frames), dice))
            # Cut-outs of a class are dealt out one after the other, so that each fold has a fifth of each class.
            rows.append((name, label, str(path.relative_to(options.cutouts)), number % len(cutouts) % FOLDS))
    for fold in range(FOLDS):
        split = lambda of: "test" if of == fold else "validation" if of == (fold + 1) % FOLDS else "train"
        with open(options.out / f"fold-{fold}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "split", "group"])
            writer.writerows((name, label, split(of), group) for name, label, group, of in rows)
    print(f"{len(rows)} pictures of {len(KINDS)} kinds, {len({row[2] for row in rows})} cut-outs")


if __name__ == "__main__":
    main()
