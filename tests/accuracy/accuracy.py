"""Whether trainings reach the accuracy that they are to reach, on real pictures. See `accuracy.py --help`.

Each bar is a whole way of `sightline-train`: import, preprocess, train or transfer, export, evaluate. The test split is read once, at
the end: the choice of a pass, of a decay and of a temperature looks at a part of the training pictures.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/accuracy"
SETUP = ROOT / ".sightline"


class Missed(Exception):
    """A bar was not reached."""


class Work:
    def __init__(self, program, folder, seed):
        self.program, self.folder, self.seed = program, folder, seed

    def train(self, *arguments):
        """Runs a command of sightline-train; gives the JSON document that it prints last."""
        command = [self.program, *map(str, arguments), "--json"]
        print("  $ sightline-train", *arguments, file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return json.loads(done.stdout.strip().splitlines()[-1])

    def fresh(self, name):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def test_accuracy(self, model, dataset):
        said = self.train("evaluate", model, "--dataset", dataset, "--split", "test", "--draws", 200)
        return said["models"][0]["metrics"]["accuracy"]

    def classifier(self, name, source, epochs, most, settings, size="medium"):
        """Trains mini-resnet on idx files; gives its accuracy and parameters."""
        folder = self.fresh(name)
        dataset = self.train("dataset", "import", "idx", source, "--name", name, "--out", folder / "datasets")["folder"]
        tensors, run, model = folder / "tensors", folder / "run", folder / "model"
        self.train("preprocess", dataset, "--size", "28x28", "--color", "gray", "--out", tensors)
        settings = [f"--set={key}={value}" for key, value in settings.items()]
        begun = time.monotonic()
        trained = self.train("train", tensors, "--run", run, "--size", size, "--epochs", epochs, "--seed", self.seed, *settings)
        minutes = (time.monotonic() - begun) / 60
        self.train("export", run, "--tensors", tensors, "--out", model)
        parameters = trained["parameters"]
        if parameters > most:
            raise Missed(f"{parameters} parameters, {most} are allowed")
        return self.test_accuracy(model, dataset), f"{parameters} parameters, {epochs} passes in {minutes:.0f} min"


def fashion(work):
    settings = {"augment.flip": "true", "augment.shift": 1.0}
    return work.classifier("fashion-mnist", SETUP / "datasets/fashion-mnist", 20, 300_000, settings) + (0.935,)


def mnist(work):
    settings = {"augment.rotate": 10.0, "augment.scale": 0.1, "augment.shift": 2.0}
    return work.classifier("mnist", SETUP / "datasets/mnist", 8, 100_000, settings, "small") + (0.995,)


def cutouts(work):
    folder = work.fresh("cut-outs")
    frames = folder / "frames"
    frames.mkdir()
    subprocess.run(["gst-launch-1.0", "-q", "filesrc", f"location={SETUP}/media/vtest.mp4", "!", "decodebin", "!", "videorate", "!",
                    "video/x-raw,framerate=1/2", "!", "videoconvert", "!", "pngenc", "!", "multifilesink",
                    f"location={frames}/%03d.png"], check=True)
    python = SETUP / "venv/bin/python"
    subprocess.run([python, HERE / "cutouts.py", SETUP / "datasets/cut-outs", frames, folder, "--seed", str(work.seed)], check=True)
    ours, theirs = [], []
    earlier = []
    for fold in range(5):
        dataset = work.train("dataset", "import", "csv", folder / f"fold-{fold}.csv", "--pictures", folder / "pictures",
                             "--name", f"cut-outs-{fold}", "--out", folder / "datasets")["folder"]
        tensors, model = folder / f"tensors-{fold}", folder / f"model-{fold}"
        work.train("preprocess", dataset, "--size", "224x224", "--color", "rgb", "--out", tensors, *earlier)
        earlier = ["--from", tensors]
        work.train("transfer", tensors, "--backbone", SETUP / "models/efficientnet-lite0", "--out", model, "--seed", work.seed)
        ours.append(work.test_accuracy(model, dataset))
        peer = subprocess.run([python, HERE / "logistic.py", tensors], stdout=subprocess.PIPE, text=True, check=True)
        theirs.append(json.loads(peer.stdout)["accuracy"])
        if fold > 0:
            shutil.rmtree(folder / f"tensors-{fold - 1}")
    mean, peer = sum(ours) / 5, sum(theirs) / 5
    return mean, f"scikit-learn's logistic regression {peer:.4f}; by fold {', '.join(f'{x:.3f}' for x in ours)}", max(0.65, peer)


def asha(work):
    """The same trials with and without an early end: what share of the epochs is saved. The bar counts only within a point of accuracy."""
    folder = work.fresh("asha")
    source = SETUP / "datasets/fashion-mnist"
    dataset = work.train("dataset", "import", "idx", source, "--name", "asha", "--out", folder / "datasets")["folder"]
    tensors, space = folder / "tensors", folder / "space.toml"
    work.train("preprocess", dataset, "--size", "28x28", "--color", "gray", "--out", tensors)
    space.write_text("[rate]\nfloat = [0.001, 0.5]\nlog = true\n[weight_decay]\nfloat = [1e-5, 1e-2]\nlog = true\n"
                     "[batch]\nint = [64, 256]\nlog = true\n")
    best, epochs = {}, {}
    for name, more in [("whole", []), ("early", ["--asha"])]:
        said = work.train("tune", tensors, "--study", name, "--tables", f"sqlite:{folder}/studies.db", "--space", space,
                          "--sampler", "random", "--seed", work.seed, "--trials", 16, "--set", "architecture=small-cnn",
                          "--set", "size=small", "--set", "epochs=9", *more)
        best[name] = 1 - said["best"][0]["outcome"]["values"][0]
        epochs[name] = sum(trial["epochs"] for trial in said["trials"])
    saved = 1 - epochs["early"] / epochs["whole"]
    about = f"of {epochs['whole']} epochs; best in validation {best['whole']:.4f} whole, {best['early']:.4f} early"
    if best["whole"] - best["early"] > 0.01:
        raise Missed(f"{saved:.2f} saved {about}: more than a point is lost")
    return saved, about, 0.5


BARS = {"fashion-mnist": fashion, "mnist": mnist, "cut-outs": cutouts, "asha": asha}


def main():
    parser = argparse.ArgumentParser(prog="make accuracy", description=__doc__)
    parser.add_argument("bar", nargs="*", choices=[*BARS, []], help="only these; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default=ROOT / "target/release/sightline-train")
    parser.add_argument("--work", type=pathlib.Path, default=SETUP / "accuracy", help="the folder for everything that is made")
    options = parser.parse_args()
    work = Work(options.program, options.work, options.seed)
    results = []
    for name in options.bar or BARS:
        print(f"== {name}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        try:
            accuracy, about, bar = BARS[name](work)
        except (Missed, subprocess.CalledProcessError) as error:
            accuracy, about, bar = 0.0, str(error), 1.0
        minutes = (time.monotonic() - begun) / 60
        verdict = "pass" if accuracy >= bar else "FAIL"
        print(f"{name}: {accuracy:.4f}, bar {bar:.4f}; {about}; {minutes:.0f} min in all", flush=True)
        results.append((name, verdict))
    print("; ".join(f"{name} {verdict}" for name, verdict in results))
    sys.exit(any(verdict == "FAIL" for _, verdict in results))


if __name__ == "__main__":
    main()
