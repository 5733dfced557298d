"""Our samplers beside Optuna's: the same functions, trials and seeds; who is better, and what a trial costs.

    cargo build --release --workspace --examples
    python3 -m venv v && v/bin/pip install optuna==5.0.0 scipy==1.17.1
    v/bin/python tests/peers/tune_optuna.py target/release/examples/tune_functions

Prints a table and exits with 1 where a bar is missed: on none of the six functions significantly worse than Optuna's TPE
(one-sided Mann-Whitney, p < 0.01), on four at least significantly better than random, a tenth of Optuna's CPU a trial.
"""

import json
import math
import subprocess
import sys
import time
from statistics import median

import optuna
from scipy.stats import mannwhitneyu

TRIALS, SEEDS = 100, 50


def xs(trial, n, low, high):
    return [trial.suggest_float(f"x{i}", low, high) for i in range(n)]


def branin(trial):
    x, y = trial.suggest_float("x0", -5, 10), trial.suggest_float("x1", 0, 15)
    t = 1 / (8 * math.pi)
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10


def ackley5(trial):
    v = xs(trial, 5, -32.768, 32.768)
    squares = sum(x * x for x in v) / 5
    waves = sum(math.cos(math.tau * x) for x in v) / 5
    return -20 * math.exp(-0.2 * math.sqrt(squares)) - math.exp(waves) + 20 + math.e


def rosenbrock4(trial):
    v = xs(trial, 4, -5, 10)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(v, v[1:]))


def rastrigin5(trial):
    return sum(x * x - 10 * math.cos(math.tau * x) + 10 for x in xs(trial, 5, -5.12, 5.12))


def hartmann6(trial):
    alpha = [1.0, 1.2, 3.0, 3.2]
    a = [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
    p = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ]
    v = xs(trial, 6, 0, 1)
    return -sum(w * math.exp(-sum(a_ * (x - p_) ** 2 for a_, x, p_ in zip(ar, v, pr))) for w, ar, pr in zip(alpha, a, p))


def mixed(trial):
    kind, z = trial.suggest_categorical("kind", ["a", "b"]), trial.suggest_float("z", -3, 3)
    if kind == "a":
        return (trial.suggest_float("x", -5, 5) - 2) ** 2 + 0.5 * abs(trial.suggest_int("n", 1, 10) - 7) + z * z
    return (math.log(trial.suggest_float("y", 1e-3, 1e3, log=True)) - 1) ** 2 + 0.5 + (z - 1) ** 2


FUNCTIONS = [branin, ackley5, rosenbrock4, rastrigin5, hartmann6, mixed]


def theirs(function):
    best, begun = [], time.process_time()
    for seed in range(SEEDS):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(function, n_trials=TRIALS)
        best.append(study.best_value)
    return best, (time.process_time() - begun) * 1e6 / (SEEDS * TRIALS)


def ours(program, sampler):
    ended = subprocess.run([program, sampler, str(TRIALS), str(SEEDS)], capture_output=True, text=True, check=True)
    return json.loads(ended.stderr)


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    program = sys.argv[1]
    tpe, rand = ours(program, "tpe"), ours(program, "random")
    print(f"Optuna {optuna.__version__}, {TRIALS} trials, {SEEDS} seeds; medians of the best value\n")
    print("| function | random | Optuna's TPE | ours | p (ours worse) | p (ours better than random) | CPU a trial, us: Optuna | ours |")
    print("|---|---|---|---|---|---|---|---|")
    worse = better = 0
    slow = []
    for function in FUNCTIONS:
        name = function.__name__
        other, cpu = theirs(function)
        mine, anything = tpe[name]["best"], rand[name]["best"]
        p_worse = mannwhitneyu(mine, other, alternative="greater").pvalue
        p_better = mannwhitneyu(mine, anything, alternative="less").pvalue
        worse += p_worse < 0.01
        better += p_better < 0.01
        slow.append(tpe[name]["cpu_us"] / cpu)
        print(
            f"| {name} | {median(anything):.4f} | {median(other):.4f} | {median(mine):.4f} | {p_worse:.4f} "
            f"| {p_better:.2e} | {cpu:.0f} | {tpe[name]['cpu_us']:.0f} |"
        )
    print(f"\nworse on {worse} (bar 0), better than random on {better} (bar 4), CPU at most {max(slow):.3f} of Optuna's (bar 0.1)")
    sys.exit(worse > 0 or better < 4 or max(slow) >= 0.1)


if __name__ == "__main__":
    main()
