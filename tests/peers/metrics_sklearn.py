"""Scores by scikit-learn, SciPy and statsmodels' formulas: what trainer/tests/golden/metrics.json holds.

    python3 -m venv v && v/bin/pip install scikit-learn==1.9.1 && v/bin/python tests/peers/metrics_sklearn.py

prints the document anew. Not part of `make test`, whose Rust test reads the document.
"""

import json

import numpy as np
from scipy import stats
from sklearn import metrics


def answers(rng, rows, classes, ties):
    truth = rng.integers(0, classes, rows)
    scores = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    # Few digits make equal scores.
    probabilities = np.round(probabilities, 1 if ties else 6)
    probabilities[:, -1] = 1 - probabilities[:, :-1].sum(axis=1)
    return truth, np.clip(np.round(probabilities, 6), 0, 1)


def judged(truth, probabilities):
    classes = probabilities.shape[1]
    answer = probabilities.argmax(axis=1)
    labels = list(range(classes))
    areas = [metrics.roc_auc_score(truth == c, probabilities[:, c]) for c in labels]
    hot = np.eye(classes)[truth]
    sure = probabilities.max(axis=1)
    bins = np.clip(np.ceil(sure * 15).astype(int), 1, 15)
    ece = sum(
        (bins == b).mean() * abs(sure[bins == b].mean() - (answer == truth)[bins == b].mean()) for b in set(bins)
    )
    return {
        "accuracy": metrics.accuracy_score(truth, answer),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, answer),
        "f1_macro": metrics.f1_score(truth, answer, average="macro"),
        "auroc_macro": float(np.mean(areas)),
        "log_loss": float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-15)).mean()),
        "brier": float(((probabilities - hot) ** 2).sum(axis=1).mean()),
        "calibration_error": float(ece),
        "precision": metrics.precision_score(truth, answer, average=None, zero_division=0).tolist(),
        "recall": metrics.recall_score(truth, answer, average=None, zero_division=0).tolist(),
        "confusion": metrics.confusion_matrix(truth, answer, labels=labels).tolist(),
    }


def main():
    rng = np.random.default_rng(11)
    cases = []
    for rows, classes, ties in [(60, 3, False), (80, 4, True), (40, 2, True)]:
        truth, probabilities = answers(rng, rows, classes, ties)
        cases.append(
            {"truth": truth.tolist(), "probabilities": probabilities.tolist(), "expected": judged(truth, probabilities)}
        )
    pairs = [(0, 0), (3, 9), (10, 11), (40, 90), (700, 800), (2, 1500)]
    exact = [
        {"first": a, "second": b, "p": stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0} for a, b in pairs[:4]
    ]
    chi = [
        {"first": a, "second": b, "p": float(stats.chi2.sf((abs(a - b) - 1) ** 2 / (a + b), 1))} for a, b in pairs[4:]
    ]
    print(json.dumps({"cases": cases, "mcnemar": exact + chi}))


if __name__ == "__main__":
    main()
