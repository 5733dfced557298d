"""The form of a model package: `manifest.json` names every other file by its SHA-256."""

import hashlib
import json

MANIFEST = "manifest.json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def uint8_input(name, width, height, color):
    """The manifest's `input` of a model that takes uint8 pixels, normalisation inside."""
    return {"name": name, "width": width, "height": height, "color": color, "layout": "NHWC", "dtype": "uint8",
            "preprocess": {"version": 1, "filter": "triangle"}}


def with_manifest(files, manifest):
    """The files and their manifest, as bytes that are the same each time."""
    listed = {name: digest(data) for name, data in sorted(files.items())}
    text = json.dumps({"schema": 1, **manifest, "files": listed}, indent=2, ensure_ascii=False) + "\n"
    return files | {MANIFEST: text.encode()}


def is_good(folder, expected):
    """Whether the package in the folder is the one with this manifest digest, every file included."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        if hashlib.sha256(manifest).hexdigest() != expected:
            return False
        return all(digest((folder / name).read_bytes()) == want for name, want in json.loads(manifest)["files"].items())
    except OSError:
        return False
