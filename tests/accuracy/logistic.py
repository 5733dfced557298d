"""scikit-learn's logistic regression on the features that `sightline-train transfer` keeps beside its tensors.

    logistic.py TENSORS

Trains on train and validation for each C, chooses by validation, and prints one JSON document with the accuracy on the test split.
"""

import json
import pathlib
import sys
import warnings

import numpy
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def main():
    folder = pathlib.Path(sys.argv[1])
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = [row for shard in json.loads((folder / "index.json").read_text())["shards"] for row in shard["rows"]]
    features = numpy.fromfile(next(folder.glob("features-*.f32")), dtype="<f4").reshape(len(rows), -1)
    labels = numpy.array([row["class"] for row in rows])
    split = numpy.array([row["split"] for row in rows])
    train, validation, test = (split == name for name in ("train", "validation", "test"))
    scaled = StandardScaler().fit(features[train]).transform(features)

    def fitted(c):
        return LogisticRegression(C=c, max_iter=300).fit(scaled[train], labels[train])

    models = {c: fitted(c) for c in (0.0003, 0.001, 0.003, 0.01, 0.1)}
    best = max(models, key=lambda c: models[c].score(scaled[validation], labels[validation]))
    print(json.dumps({"C": best, "accuracy": models[best].score(scaled[test], labels[test])}))


if __name__ == "__main__":
    main()
