"""Measure the mode detector beside scikit-learn and mclust, on data whose truth is known.

Every row is one method on one data set. Rows are appended to benchmarks/detector_rows.csv as they
are measured, so that an interrupted run continues where it stopped; rows of the detector carry a
fingerprint of its code and are measured again when it changes. Times are of one thread.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from shutil import which

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture

from benchmarks.detector_table import print_tables
from study.config import MixtureConfig, ModelConfig, TrainingConfig
from study.data.mixture import draw_mixture, draw_training_points
from study.detection.cloud import Cloud, n_parameters, pseudo_count_of
from study.detection.modes import detect_modes, fit_from_truth
from study.detection.sight import inspect
from study.detection.starts import climb_supported, k_means

ROWS = Path(__file__).with_name("detector_rows.csv")
DETECTOR = Path(__file__).parents[1] / "study" / "detection"
N_SAMPLES = 10_000
CALIBRATION = {10: 100, 5: 40, 15: 40, 20: 40, 3: 40}  # K: data sets
NOISE_SEEDS = 10
NOISE_KS = range(5, 31)
K_MEANS_KS = (*range(4, 21, 2), 25, 30, 35, 40)

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

    group: str  # "calibration", "dims", "noise", "networks"
    methods: str  # "fast" (truth, search, scikit-learn), "n_init" or "mclust"
    n_components: int
    dim: int = 3
    n_samples: int = N_SAMPLES
    data_seed: int = 0
    # Of a network's; 0 where the points are the mixture's own.
    latent_dim: int = 0
    kl_weight: float = 0.0
    n_seeds: int = 1  # of the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one data set."""

    group: str
    methods: str
    n_components: int
    dim: int
    n_samples: int
    data_seed: int
    latent_dim: int
    kl_weight: float = 0.0
    source: str = "data"
    method: str
    detector_seed: int
    k: int
    bic: float
    wall_s: float
    cpu_s: float
    fingerprint: str


KEY = [
    *("group", "methods", "n_components", "dim", "n_samples", "data_seed"),
    *("latent_dim", "kl_weight"),
]
GROUPS = ["calibration", "dims", "noise", "networks"]
# (K, D, n, most data sets) beside the calibration's.
OTHERS = [
    (10, 2, N_SAMPLES, 10),
    (10, 5, N_SAMPLES, 10),
    (10, 8, N_SAMPLES, 10),
    (10, 16, N_SAMPLES, 5),
    (10, 32, N_SAMPLES, 5),
    (10, 64, N_SAMPLES, 3),
    (10, 3, 1000, 10),
    (10, 3, 30_000, 10),
    (50, 3, 50_000, 5),
    (100, 3, 100_000, 3),
]
NETWORK_WIDTHS = (2, 1, 3)
NETWORK_KL_WEIGHTS = (1.0, 0.1, 10.0, 0.03, 0.3, 3.0)


def _sources() -> list[Path]:
    """Return the modules that the calibrated search consists of: what its roots import."""
    found: set[Path] = set()
    left = [DETECTOR / "calibrated.py", DETECTOR / "sight.py"]
    while left:
        source = left.pop()
        if source in found:
            continue
        found.add(source)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [DETECTOR.parents[1] / f"{name.replace('.', '/')}.py" for name in names]
                left += [path for path in paths if DETECTOR in path.parents and path.exists()]
    return sorted(found)


def fingerprint() -> str:
    """Return a hash of the detector's code, comments and docstrings left out."""
    digest = hashlib.sha256()
    for source in _sources():
        tree = ast.parse(source.read_text())
        for node in ast.walk(tree):
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
            if isinstance(node, documented) and ast.get_docstring(node) is not None:
                node.body.pop(0)
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def plan(
    data_sets: int | None, components: list[int], groups: list[str], n_seeds: int
) -> Iterator[Job]:
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
        for k, dim, n_samples, most in OTHERS:
            for seed in range(min(data_sets or most, most)):
                yield Job(
                    group="dims",
                    methods="fast",
                    n_components=k,
                    dim=dim,
                    n_samples=n_samples,
                    data_seed=seed,
                )
    if "noise" in groups:
        yield Job(group="noise", methods="fast", n_components=10, n_seeds=NOISE_SEEDS)
    if "networks" in groups:
        for kl_weight in NETWORK_KL_WEIGHTS:
            for latent_dim in NETWORK_WIDTHS:
                yield Job(
                    group="networks",
                    methods="fast",
                    n_components=10,
                    latent_dim=latent_dim,
                    kl_weight=kl_weight,
                    n_seeds=n_seeds,
                )
    slow = ["n_init", "mclust"] if "calibration" in groups else []
    for k, seed in in_turn:
        for methods in slow:
            yield Job(group="calibration", methods=methods, n_components=k, data_seed=seed)


def run_job(job: Job) -> list[Row]:
    """Measure a job."""
    if job.group == "noise":
        return _measure_noise(job)
    if job.group == "networks":
        return _measure_network(job)
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
        fitted, log_likelihood = fit_from_truth(points, mixture)
        price = n_parameters(len(fitted.weights), job.dim) * np.log(job.n_samples)
        return len(fitted.weights), float(price - 2.0 * log_likelihood)

    return [
        _row(job, "truth", from_truth),
        _row(job, "search", lambda: _search(points, k_max=max(40, 6 * job.n_components // 5))),
        _row(job, "sklearn", lambda: _sklearn(points, ks)),
    ]


def candidate_range(n_components: int) -> range:
    """Return ten candidates around K, as 5..14 for K = 10 (fewer for small K)."""
    return range(max(1, n_components - 5), n_components + 5)


def _measure_noise(job: Job) -> list[Row]:
    points = _draw_network(replace(job, latent_dim=2, kl_weight=1.0))["samples"]
    rows = []
    for seed in range(job.n_seeds):
        rows.append(_row(job, "search", lambda s=seed: _search(points, seed=s), seed))
        rows.append(
            _row(job, "sklearn", lambda s=seed: _sklearn(points, NOISE_KS, random_state=s), seed)
        )
    return rows


def _draw_network(job: Job) -> dict[str, np.ndarray]:
    """Train the original's autoencoder; draw decoder means and samples."""
    # Imported here: only these jobs need the trainer.
    from study.training.fitted import Member
    from study.training.generate import draw_means, draw_samples
    from study.training.train import train

    config = MixtureConfig(n_samples=job.n_samples)
    points, _ = draw_training_points(config, draw_mixture(config, job.data_seed), job.data_seed)
    trained = train(
        points[None],
        [Member(data_seed=job.data_seed, init_seed=0, kl_weight=job.kl_weight)],
        model=ModelConfig(latent_dim=job.latent_dim),
        training=TrainingConfig(checkpoints=100),
    )
    means = draw_means(trained.fitted, 0, n_samples=job.n_samples, sample_seed=0)
    samples = draw_samples(trained.fitted, 0, means, sample_seed=0)
    return {"means": means, "samples": samples}


def _measure_network(job: Job) -> list[Row]:
    """Count what a network draws, by several seeds of the search and from k-means."""
    rows = []
    for source, points in _draw_network(job).items():
        found = [
            _row(job, "search", lambda p=points, s=seed: _search(p, seed=s), seed)
            for seed in range(job.n_seeds)
        ]
        found.append(_row(job, "k_means", lambda p=points: _from_k_means(p)))
        rows += [replace(row, source=source) for row in found]
    return rows


def _from_k_means(points: np.ndarray) -> tuple[int, float]:
    """Climb the search's own objective from one k-means start for each of some k."""
    sight = inspect(points)
    cloud = Cloud(sight.white, pseudo_count=pseudo_count_of(len(points)))
    best = (0, math.inf)
    for k in K_MEANS_KS:
        start = cloud.from_labels(k_means(cloud.points, k, np.random.default_rng(k)))
        end, _, _ = climb_supported(cloud, start, k_min=1, tol_nats=0.05, max_iter=500)
        log_likelihood = end.log_likelihood - cloud.n_samples * sight.whitening.log_volume
        size = len(end.mixture.weights)
        bic = n_parameters(size, sight.dim) * np.log(cloud.n_samples) - 2.0 * log_likelihood
        best = min(best, (size, float(bic)), key=lambda pair: pair[1])
    return best


def _search(points: np.ndarray, *, seed: int = 0, k_max: int = 40) -> tuple[int, float]:
    count = detect_modes(points, protocol="calibrated", seed=seed, k_max=k_max)
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
    values = {name: value for name, value in asdict(job).items() if name != "n_seeds"}
    return Row(
        **values,
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
    for name, value in (("latent_dim", 0), ("kl_weight", 0.0), ("source", "data")):
        if name not in rows:
            rows.insert(rows.columns.get_loc("method"), name, value)
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
        default=GROUPS,
        choices=GROUPS,
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["fast", "n_init", "mclust"],
        choices=["fast", "n_init", "mclust"],
    )
    parser.add_argument(
        "--network-seeds", type=int, default=4, help="seeds of the search on networks (default: 4)"
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
            for job in plan(
                options.data_sets, options.components, options.groups, options.network_seeds
            )
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
