"""Measure the mode detector beside scikit-learn and mclust, on data whose truth is known.

Every row is one method on one data set. Rows are appended to benchmarks/detector_rows.csv as they
are measured, so that an interrupted run continues where it stopped; rows of the detector carry a
fingerprint of its code and are measured again when it changes. Times are of one thread.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from shutil import which

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture

from benchmarks.detector_table import print_tables
from study.config import MixtureConfig, ModelConfig, TrainingConfig
from study.data.mixture import draw_mixture, draw_training_points
from study.detection.cloud import n_parameters
from study.detection.modes import detect_modes, fit_from_truth

ROWS = Path(__file__).with_name("detector_rows.csv")
DETECTOR = Path(__file__).parents[1] / "study" / "detection"
N_SAMPLES = 10_000
CALIBRATION = {10: 100, 5: 40, 15: 40, 20: 40, 3: 40}  # K: data sets
NOISE_SEEDS = 10
NOISE_KS = range(5, 31)

MCLUST = """
suppressMessages(library(mclust))
arguments <- commandArgs(TRUE)
points <- as.matrix(read.csv(arguments[1], header = FALSE))
range <- as.integer(arguments[2]):as.integer(arguments[3])
time <- system.time(fit <- mclustBIC(points, G = range, modelNames = "VVV", verbose = FALSE))
bic <- -as.numeric(fit[, "VVV"])
best <- which.min(bic)
cat(time[["elapsed"]], time[["user.self"]], range[best], sprintf("%.6f", bic[best]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Some methods on one data set."""

    group: str  # "calibration", "dims", "noise"
    methods: str  # "fast" (truth, search, scikit-learn), "n_init" or "mclust"
    n_components: int
    dim: int = 3
    n_samples: int = N_SAMPLES
    data_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one data set."""

    group: str
    methods: str
    n_components: int
    dim: int
    n_samples: int
    data_seed: int
    method: str
    detector_seed: int
    k: int
    bic: float
    wall_s: float
    cpu_s: float
    fingerprint: str


KEY = ["group", "methods", "n_components", "dim", "n_samples", "data_seed"]


def fingerprint() -> str:
    """Return a hash of the detector's code, comments and docstrings left out."""
    digest = hashlib.sha256()
    for source in sorted(DETECTOR.rglob("*.py")):
        tree = ast.parse(source.read_text())
        for node in ast.walk(tree):
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
            if isinstance(node, documented) and ast.get_docstring(node) is not None:
                node.body.pop(0)
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def plan(data_sets: int | None, components: list[int], groups: list[str]) -> Iterator[Job]:
    """Yield the jobs, the cheap and important ones first."""
    sizes = {k: min(data_sets or CALIBRATION[k], CALIBRATION[k]) for k in components}
    in_turn = [  # every K has rows early on
        (k, seed)
        for seed in range(max(sizes.values(), default=0))
        for k, size in sizes.items()
        if seed < size
    ]
    if "calibration" in groups:
        for k, seed in in_turn:
            yield Job(group="calibration", methods="fast", n_components=k, data_seed=seed)
    if "dims" in groups:
        for dim, n_samples in (
            (2, N_SAMPLES),
            (5, N_SAMPLES),
            (8, N_SAMPLES),
            (3, 1000),
            (3, 30_000),
        ):
            for seed in range(min(data_sets or 10, 10)):
                yield Job(
                    group="dims",
                    methods="fast",
                    n_components=10,
                    dim=dim,
                    n_samples=n_samples,
                    data_seed=seed,
                )
    if "noise" in groups:
        yield Job(group="noise", methods="fast", n_components=10)
    slow = ["n_init", "mclust"] if "calibration" in groups else []
    for k, seed in in_turn:
        for methods in slow:
            yield Job(group="calibration", methods=methods, n_components=k, data_seed=seed)


def run_job(job: Job) -> list[Row]:
    """Measure a job."""
    if job.group == "noise":
        return _measure_noise(job)
    config = MixtureConfig(n_components=job.n_components, dim=job.dim, n_samples=job.n_samples)
    mixture = draw_mixture(config, job.data_seed)
    points, _ = draw_training_points(config, mixture, job.data_seed)
    ks = candidate_range(job.n_components)
    if job.methods == "n_init":
        return [_row(job, "sklearn_n_init", lambda: _sklearn(points, ks, n_init=10))]
    if job.methods == "mclust":
        k, bic, wall_s, cpu_s = _mclust(points, ks)
        return [_finished(job, "mclust", k, bic, wall_s, cpu_s)]

    def from_truth() -> tuple[int, float]:
        _, log_likelihood = fit_from_truth(points, mixture)
        price = n_parameters(job.n_components, job.dim) * np.log(job.n_samples)
        return job.n_components, float(price - 2.0 * log_likelihood)

    return [
        _row(job, "truth", from_truth),
        _row(job, "search", lambda: _search(points)),
        _row(job, "sklearn", lambda: _sklearn(points, ks)),
    ]


def candidate_range(n_components: int) -> range:
    """Return ten candidates around K, as 5..14 for K = 10 (fewer for small K)."""
    return range(max(1, n_components - 5), n_components + 5)


def _measure_noise(job: Job) -> list[Row]:
    points = _vae_samples(job)
    rows = []
    for seed in range(NOISE_SEEDS):
        rows.append(_row(job, "search", lambda s=seed: _search(points, seed=s), seed))
        rows.append(
            _row(job, "sklearn", lambda s=seed: _sklearn(points, NOISE_KS, random_state=s), seed)
        )
    return rows


def _vae_samples(job: Job) -> np.ndarray:
    """Train the original's autoencoder and draw from the density it defines."""
    # Imported here: only this job needs the trainer.
    from study.training.fitted import Member
    from study.training.generate import draw_means, draw_samples
    from study.training.train import train

    config = MixtureConfig(n_samples=job.n_samples)
    points, _ = draw_training_points(config, draw_mixture(config, job.data_seed), job.data_seed)
    trained = train(
        points[None],
        [Member(data_seed=job.data_seed, init_seed=0)],
        model=ModelConfig(),
        training=TrainingConfig(checkpoints=100),
    )
    means = draw_means(trained.fitted, 0, n_samples=job.n_samples, sample_seed=0)
    return draw_samples(trained.fitted, 0, means, sample_seed=0)


def _search(points: np.ndarray, *, seed: int = 0) -> tuple[int, float]:
    count = detect_modes(points, protocol="calibrated", seed=seed)
    return count.k, float(count.bic.min())


def _sklearn(
    points: np.ndarray, ks: range, *, n_init: int = 1, random_state: int = 42
) -> tuple[int, float]:
    models = [GaussianMixture(k, n_init=n_init, random_state=random_state).fit(points) for k in ks]
    bic = [model.bic(points) for model in models]
    best = int(np.argmin(bic))
    return ks[best], float(bic[best])


def _mclust(points: np.ndarray, ks: range) -> tuple[int, float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        table, script = Path(folder) / "points.csv", Path(folder) / "fit.R"
        np.savetxt(table, points, delimiter=",", fmt="%.17g")
        script.write_text(MCLUST)
        command = ["Rscript", str(script), str(table), str(ks[0]), str(ks[-1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall_s, cpu_s, k, bic = done.stdout.split()[-4:]
    return int(k), float(bic), float(wall_s), float(cpu_s)


def has_mclust() -> bool:
    """Tell whether Rscript can load mclust."""
    if which("Rscript") is None:
        return False
    command = ["Rscript", "-e", "library(mclust)"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _row(
    job: Job, method: str, measure: Callable[[], tuple[int, float]], detector_seed: int = 0
) -> Row:
    wall, cpu = time.perf_counter(), time.process_time()
    k, bic = measure()
    return _finished(
        job, method, k, bic, time.perf_counter() - wall, time.process_time() - cpu, detector_seed
    )


def _finished(
    job: Job, method: str, k: int, bic: float, wall_s: float, cpu_s: float, detector_seed: int = 0
) -> Row:
    return Row(
        **asdict(job),
        method=method,
        detector_seed=detector_seed,
        k=k,
        bic=round(bic, 4),
        wall_s=round(wall_s, 4),
        cpu_s=round(cpu_s, 4),
        fingerprint=fingerprint() if job.methods == "fast" else "",
    )


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows measured so far, without those of an older detector."""
    if not path.exists():
        return pd.DataFrame(columns=list(Row.__dataclass_fields__))
    rows = pd.read_csv(path, dtype={"fingerprint": str}, keep_default_na=False)
    return rows[(rows.fingerprint == "") | (rows.fingerprint == fingerprint())]


def _append(path: Path, rows: list[Row]) -> None:
    frame = pd.DataFrame([asdict(row) for row in rows])
    frame.to_csv(path, mode="a", header=not path.exists(), index=False)


def _set_up_worker() -> None:
    import torch

    torch.set_num_threads(1)


def measure(jobs: list[Job], *, workers: int, path: Path) -> None:
    """Run jobs, each in one thread, and append their rows as they finish."""
    # Children read this before their BLAS starts.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_set_up_worker) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            _append(path, future.result())
            if done % 10 == 0 or done == len(jobs):
                print(f"{done} of {len(jobs)} jobs", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-sets", type=int, help="at most so many of each K (default: all)")
    parser.add_argument(
        "--components",
        type=int,
        nargs="+",
        default=list(CALIBRATION),
        choices=list(CALIBRATION),
        metavar="K",
    )
    parser.add_argument(
        "--groups",
        nargs="+",
        default=["calibration", "dims", "noise"],
        choices=["calibration", "dims", "noise"],
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["fast", "n_init", "mclust"],
        choices=["fast", "n_init", "mclust"],
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where rows are kept")
    parser.add_argument("--table-only", action="store_true", help="measure nothing")
    options = parser.parse_args(argv)
    rows = read_rows(options.rows)
    if not options.table_only:
        methods = [m for m in options.methods if m != "mclust" or has_mclust()]
        jobs = [
            job
            for job in plan(options.data_sets, options.components, options.groups)
            if job.methods in methods
        ]
        known = set(rows[KEY].itertuples(index=False, name=None))
        missing = [job for job in jobs if tuple(asdict(job)[name] for name in KEY) not in known]
        rows.to_csv(options.rows, index=False)
        measure(missing, workers=options.workers, path=options.rows)
        rows = read_rows(options.rows)
    print_tables(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
