"""Results folders with known truths: the variance components of the planning experiments.

`build_results` writes through `study.results`, so a change of schema fails here first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import Results, load_results
from study.config import default_columns
from study.endpoints.traits import recipe_traits
from study.results import ENDPOINTS, open_folder, to_table, write_tables
from study.results.tables import frame_to_table

DEFAULTS: dict[str, Any] = {**default_columns(), "sample_seed": 0}
PROVENANCE: dict[str, Any] = {
    "commit": "0123456789abcdef", "dirty": False, "python": "3.11.2", "torch": "2.13.0",
    "sklearn": "1.9.1", "numpy": "2.4.0", "cpu": "a processor", "device": "cpu",
    "finished_at": "2026-01-01T00:00:00+00:00", "schema_version": 1,
}  # fmt: skip
# mean, sd over data seeds, sd over init seeds
COMPONENTS = {
    "fkl_nats": (0.558, 0.078, 0.041),
    "hq_samples": (0.82, 0.043, 0.014),
    "tv": (0.075, 0.004, 0.015),
    "recon": (1.99, 0.08, 0.05),
    "kl_nats": (3.68, 0.15, 0.05),
}


def _noise(stream: int, data_seed: int, init_seed: int = -1) -> np.random.Generator:
    return np.random.default_rng([stream, data_seed, init_seed + 1])


def _width(config: Mapping[str, Any]) -> float:
    """Give how much worse than the reference a cell is, in arbitrary units."""
    narrow = {1: 1.3}.get(config["latent_dim"], 0.05 * max(0, config["latent_dim"] - 3))
    return float(narrow + 0.35 * abs(np.log(config["kl_weight"])))


def _control(config: Mapping[str, Any], data_seed: int) -> dict[str, Any]:
    rng, k_true = _noise(11, data_seed), config["n_components"]
    k_calibrated = int(k_true - rng.choice(3, p=[0.76, 0.17, 0.07]))
    k_original = int(np.clip(round(rng.normal(1.1 * k_true, 1.9)), 5, 14))
    return {
        "k_data_original": k_original,
        "coverage_data_original": k_original / k_true,
        "at_ceiling_data_original": k_original == 14,
        "k_data_calibrated": max(k_calibrated, 1),
        "coverage_data_calibrated": max(k_calibrated, 1) / k_true,
        "at_ceiling_data_calibrated": False,
        "control_gap": float(rng.exponential(2.0)),
        "modal_modes_data": max(k_calibrated, 1),
        "icl_k_data": max(k_calibrated - 1, 1),
    } | _readings("data", max(k_calibrated, 1))


def _readings(source: str, k: int) -> dict[str, Any]:
    """Give what else a search says: a set that is wider for what is no mixture."""
    width = 0 if source == "data" else 2
    return {
        f"k_set_low_{source}": max(k - width, 1), f"k_set_high_{source}": k + width,
        f"sbic_k_{source}": k + 3, f"ebic_k_{source}": max(k - 1, 1),
        f"stopped_{source}": False, f"has_ties_{source}": False,
    }  # fmt: skip


def _counts(config: Mapping[str, Any], data_seed: int, init_seed: int) -> dict[str, Any]:
    data, init = _noise(2, data_seed), _noise(3, data_seed, init_seed)
    k_true, row = config["n_components"], {}
    centre = {"samples": 1.82 * k_true, "means": 4.2 * k_true, "codes": 1.1 * k_true}
    grown = 5 * np.log10(config["detection_n_samples"] / 10_000)
    for source, mean in centre.items():
        wide = mean + grown - 4 * _width(config) + data.normal(0, 0.49) + init.normal(0, 2.0)
        for protocol, low, high in (("original", 5, 14), ("calibrated", 1, config["k_max"])):
            k = int(np.clip(round(wide), low, high))
            row[f"k_{source}_{protocol}"] = k
            row[f"coverage_{source}_{protocol}"] = k / k_true
            row[f"at_ceiling_{source}_{protocol}"] = k == high
        row |= _readings(source, row[f"k_{source}_calibrated"])
    return row | {
        "modal_modes_samples": int(12 + init.normal(0, 1)), "icl_k_samples": 8,
        "sample_gap": float(abs(init.normal(0, 8))),
        "k_best_samples": row["k_samples_calibrated"],
    }  # fmt: skip


def _endpoints(config: Mapping[str, Any], data_seed: int, init_seed: int) -> dict[str, Any]:
    data, init, width = _noise(4, data_seed), _noise(5, data_seed, init_seed), _width(config)
    row: dict[str, Any] = dict.fromkeys(ENDPOINTS, 0.5)
    for name, (mean, sd_data, sd_init) in COMPONENTS.items():
        row[name] = mean * (1 + 0.6 * width) + data.normal(0, sd_data) + init.normal(0, sd_init)
    row["hq_samples"] = min(0.98, 0.82 - 0.1 * width + init.normal(0, 0.03))
    row |= {
        "mode_recall": float(np.clip(round(10 - 2 * width + init.normal(0, 0.5)) / 10, 0, 1)),
        "mode_recall_means": float(np.clip(round(9.7 - 2 * width + init.normal()) / 10, 0, 1)),
        "spurious_mass": float(0.99 - row["hq_samples"]),
        "spurious_mass_means": float(0.12 + 0.05 * width + abs(init.normal(0, 0.02))),
        **{"hq_control": 0.99, "modes_captured": 10, "modes_captured_control": 10},
        **{"fkl_se": 0.02, "fkl_mc_se": 0.001, "fkl_unmet_share": 0.0, "fkl_ess_min": 70.0},
        "entropy_nats": float(6.34 + _noise(7, data_seed).normal(0, 0.25)),
    }
    return row | _theory_columns(row, config, data_seed)


def _theory_columns(
    row: Mapping[str, Any], config: Mapping[str, Any], data_seed: int
) -> dict[str, Any]:
    """Losses that respect the Shannon bound, and a collapse at beta = 2 lambda_1."""
    dim, beta = config["dim"], config["kl_weight"]
    lambda_1 = float(np.clip(_noise(8, data_seed).normal(55, 16), 20, None))
    recon = min(row["recon"] * beta**0.6, 128.0)
    bound = row["entropy_nats"] - 0.5 * dim * np.log(2 * np.pi * np.e * recon / dim)
    alive = beta < 2 * lambda_1
    kl = max(bound, 0.0) + 0.4 * (row["kl_nats"] / 3.68) if alive else 3e-4
    return {
        "recon": recon,
        "kl_nats": kl,
        "loss": recon + beta * kl,
        "rate_bound_nats": bound,
        "lambda_1": lambda_1,
        "eigenvalues": [lambda_1, 0.7 * lambda_1, *([0.2 * lambda_1] * (dim - 2))][:dim],
        "active_units": min(config["latent_dim"], 3) if alive else 0,
        "decoder_variance": beta / 2,
    }


def _component_rows(
    trial_id: str, config: Mapping[str, Any], row: Mapping[str, Any], data_seed: int
) -> list:
    """Parts of k* that add up to it; the smallest components are the ones not recalled."""
    n, k = config["n_components"], row["k_samples_calibrated"]
    weights = _weights(config, data_seed)
    rank = np.argsort(np.argsort(-weights))
    fragments = np.full(n, 1) if k >= n else (np.arange(n) < k).astype(int)
    fragments[: max(0, min(n, (k - n) // 2))] += 1
    lost = n - round(row["mode_recall"] * n)
    return [
        {"trial_id": trial_id, "component": j, "weight": weights[j], "mass": weights[j],
         "fragments": int(fragments[rank[j]]), "recalled": rank[j] < n - lost,
         "eligible": True}
        for j in range(n)
    ]  # fmt: skip


def _outside_rows(trial_id: str, spurious_mass: float) -> list[dict[str, Any]]:
    """A curve that halves from level to level, less than the control's nowhere."""
    return [
        {"trial_id": trial_id, "source": source, "level": level}
        | {"outside": 1 - level + (source != "data") * spurious_mass * 2.0 ** (1 - step)}
        for source in ("data", "samples", "means")
        for step, level in enumerate((0.9, 0.99, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9))
    ]


def _weights(config: Mapping[str, Any], data_seed: int) -> np.ndarray:
    """Draw the weights that the recipe draws, where the configuration is a recipe."""
    if config["box_half_width"] is None:
        return np.sort(_noise(9, 0).dirichlet(np.ones(config["n_components"])))[::-1]
    return recipe_traits(
        n_components=config["n_components"], dim=config["dim"],
        half_width=config["box_half_width"],
        variance=(config["variance_low"], config["variance_high"]),
        alpha=config["alpha"], data_seed=data_seed,
    ).weight  # fmt: skip


def _curve_rows(trial_id: str, config: Mapping[str, Any], end: Mapping[str, Any]) -> list[Any]:
    rows = []
    for epoch in range(1, config["epochs"] + 1):
        recon = end["recon"] * (1 + 9 * epoch**-1.3)
        kl = end["kl_nats"] * (1 + 0.9 * epoch**-0.7)
        checkpoint = epoch % 10 == 0
        rows.append(
            {"trial_id": trial_id, "epoch": epoch, "recon": recon, "kl_nats": kl,
             "loss": recon + kl, "active_units": end["active_units"] if checkpoint else None,
             "kl_per_latent": [kl * 0.6**j for j in range(config["latent_dim"])]
             if checkpoint else None}
        )  # fmt: skip
    return rows


def _bic_rows(owner_id: str, row: Mapping[str, Any], sources: Sequence[str], k_max: int) -> list:
    rows = []
    for source in sources:
        for protocol, ks in (("original", range(5, 15)), ("calibrated", range(1, k_max + 1))):
            best = row[f"k_{source}_{protocol}"]
            for k in ks:
                bic = 1e5 + (4000 * (best - k) ** 1.6 / best if k < best else 45.0 * (k - best))
                rows.append(
                    {"owner_id": owner_id, "source": source, "protocol": protocol,
                     "epoch": None if source == "data" else 100, "k": k,
                     "log_likelihood": -bic / 2, "bic": bic, "icl": bic + 500,
                     "contrast_error": 20.0 * (k != best), "converged": True,
                     "selected": k == best,
                     "at_ceiling": row[f"at_ceiling_{source}_{protocol}"]}
                )  # fmt: skip
    return rows


def _null_rows(control_id: str, data_seed: int) -> list[Any]:
    rows = []
    for index, (null, k) in enumerate([("truth", 10), ("gaussian", 1), ("ppca", 1), ("kde", 22)]):
        rng = _noise(20 + index, data_seed)
        scores = {"mode_recall": 1.0 if null in ("truth", "kde") else 0.6, "tv": 0.1 * index,
                  "spurious_mass": 0.2 * index + float(rng.normal(0, 0.01)),
                  "fkl_nats": 0.4 * index + abs(float(rng.normal(0, 0.02)))}  # fmt: skip
        scores |= {"modes_captured": 10.0 - index, "hq_3sd": 0.97 - 0.2 * index, "emc": 0.9,
                   "rkl_captured": 0.1 * index, "rkl_nearest": 0.0, "rke_modes": 8.0}  # fmt: skip
        rows.append({"control_id": control_id, "null": null, "k_original": min(k, 14),
                     "k_calibrated": k, "at_ceiling_original": k >= 14,
                     "at_ceiling_calibrated": False} | scores)  # fmt: skip
    return rows


def _point_rows(trial_id: str, config: Mapping[str, Any], data_seed: int, n: int) -> list[Any]:
    rng, dim, q = _noise(6, data_seed), config["dim"], config["latent_dim"]
    centres = rng.uniform(-10, 10, (config["n_components"], dim))
    weights = rng.dirichlet(np.ones(config["n_components"]))
    labels = rng.choice(config["n_components"], size=n, p=weights)
    data = centres[labels] + rng.normal(0, 1.1, (n, dim))
    means = 0.93 * centres[labels] + 0.55 * (data - centres[labels])
    spread = rng.normal(0, 0.7, (n, dim))
    codes = np.tanh(data @ rng.normal(0, 0.07, (dim, q))) * 2.2 + rng.normal(0, 0.05, (n, q))
    rows = []
    for source, x in {"data": data, "means": means, "samples": means + spread,
                      "codes": codes}.items():  # fmt: skip
        for index, point in enumerate(x):
            axes = {f"x{axis}": float(value) for axis, value in enumerate(point[:4])}
            rows.append({"trial_id": trial_id, "source": source, "index": index,
                         "component": int(labels[index])} | axes)  # fmt: skip
    return rows


def build_results(
    folder: Path,
    *,
    factors: Sequence[str] = ("latent_dim",),
    cells: Sequence[Mapping[str, Any]] = tuple({"latent_dim": q} for q in (1, 2, 3, 4, 8)),
    seeds: tuple[int, ...] = (10, 3),
    fixed: Mapping[str, Any] | None = None,
    n_points: int = 400,
    failed: Callable[[int], str | None] = lambda index: None,
) -> Path:
    """Write a results folder.

    Parameters
    ----------
    folder : Path
    factors, cells : names of the swept columns, and each cell's values
    seeds : (data seeds, init seeds), or (data seeds, init seeds, sample seeds)
    fixed : columns that differ from the original everywhere
    n_points : size of the point galleries (one data seed's); 0 keeps none
    failed : gives the status of the trial with this index when it is not done
    """
    tables: dict[str, list[Any]] = {name: [] for name in (
        "trials", "controls", "curves", "counts", "components", "recall", "outside", "points",
        "nulls",
    )}  # fmt: skip
    plan: list[dict[str, Any]] = []
    known: set[str] = set()
    n_sample = seeds[2] if len(seeds) > 2 else 1
    for cell in cells:
        config = DEFAULTS | dict(fixed or {}) | dict(cell)
        label = ", ".join(f"{name}={cell[name]}" for name in factors) or "all"
        for data_seed in range(seeds[0]):
            recipe = [config[n] for n in ("n_components", "alpha", "box_rule", "dim")]
            control_id = "-".join(
                map(str, ["c", *recipe, config["detection_n_samples"], data_seed])
            )
            control = _control(config, data_seed)
            if control_id not in known:
                known.add(control_id)
                tables["controls"].append(
                    {"control_id": control_id, "data_id": control_id, "status": "done",
                     "n_components": config["n_components"], "data_seed": data_seed,
                     "count_s": 3.0} | control | PROVENANCE
                )  # fmt: skip
                tables["counts"] += _bic_rows(control_id, control, ["data"], config["k_max"])
                tables["nulls"] += _null_rows(control_id, data_seed)
            for init_seed, sample_seed in itertools.product(range(seeds[1]), range(n_sample)):
                trial_id = f"t{len(plan):05d}"
                plan.append({"trial_id": trial_id, "control_id": control_id, "cell": label})
                status = failed(len(plan) - 1)
                row = config | {
                    "trial_id": trial_id, "training_id": trial_id, "data_id": control_id,
                    "control_id": control_id, "stack_id": "s", "cell": label,
                    "data_seed": data_seed, "init_seed": init_seed,
                    "sample_seed": sample_seed, "train_s": 5.1,
                    "count_s": 6.0, "endpoints_s": 1.2,
                } | PROVENANCE  # fmt: skip
                if status is not None:
                    row |= {"status": status, "message": "loss is not finite at epoch 7"}
                else:
                    end = _endpoints(config, data_seed, init_seed)
                    row |= {"status": "done", "message": ""} | end
                    row |= _counts(config, data_seed, init_seed + 1000 * sample_seed)
                    matched = _component_rows(trial_id, config, row, data_seed)
                    row["bridges"] = float(
                        row["k_samples_calibrated"] - sum(m["fragments"] for m in matched)
                    )
                    total = sum(m["fragments"] for m in matched)
                    found = sum(m["fragments"] > 0 for m in matched)
                    row |= {
                        "fragment_sum": total - found - 0.25,
                        "bridge_sum": row["bridges"] + 0.5,
                    }
                    tables["components"] += matched
                    tables["outside"] += _outside_rows(trial_id, end["spurious_mass"])
                    row |= {"train_recon": end["recon"], "train_kl_nats": end["kl_nats"]}
                    tables["curves"] += _curve_rows(trial_id, config, end)
                    tables["counts"] += _bic_rows(
                        trial_id, row, ["means", "samples", "codes"], config["k_max"]
                    )
                    if n_points and data_seed == init_seed == sample_seed == 0:
                        tables["points"] += _point_rows(trial_id, config, data_seed, n_points)
                tables["trials"].append(row)
    results = open_folder(folder)
    results.write_table("plan.parquet", to_table("plan", plan))
    write_tables(results, "part", tables)
    results.write_manifest(
        {"name": folder.name, "question": "Does a wider latent space change how many modes are "
         "detected?", "factors": list(factors), "sweep": {"name": folder.name},
         "sweep_hash": "feedc0de", "n_trials": len(plan), "commit": "0123456789abcdef"}
    )  # fmt: skip
    return folder


def multiply(folder: Path, out: Path, *, cells: Sequence[Mapping[str, Any]]) -> Path:
    """Copy a folder of one cell to many cells, the endpoints of each with noise of its own."""
    one, rng = load_results(folder), np.random.default_rng(0)
    source, target = open_folder(folder), open_folder(out)
    factors = list(cells[0])
    tables: dict[str, list[pd.DataFrame]] = {}
    for index, cell in enumerate(cells):
        label = ", ".join(f"{name}={value}" for name, value in cell.items())
        endpoints = one.trials[["fkl_nats", "spurious_mass", "tv"]].astype(float)
        noise = endpoints + rng.normal(0, 0.05, endpoints.shape) + 0.3 * rng.normal()
        frames = {
            "plan": one.plan.assign(cell=label),
            "trials": one.trials.drop(columns="k_id").assign(cell=label, **cell, **noise),
            "curves": one.curves,
            "counts": one.counts[one.counts["source"] != "data"],
            "components": one.components,
        }
        for name, frame in frames.items():
            key = "owner_id" if name == "counts" else "trial_id"
            named = frame.assign(**{key: frame[key] + f"-{index}"})
            tables.setdefault(name, []).append(named)
    tables["counts"].append(one.counts[one.counts["source"] == "data"])
    tables |= {"controls": [one.controls], "nulls": [one.nulls]}
    for name, parts in tables.items():
        whole = pd.concat(parts, ignore_index=True)
        target.write_table(f"{name}.parquet", frame_to_table(name, whole))
    n_trials = len(cells) * len(one.trials)
    manifest = source.read_manifest() | {"factors": factors, "n_trials": n_trials}
    target.write_manifest(manifest)
    return out


def jittered(results: Results, column: str, *, sd: float = 0.05) -> Results:
    """Add noise of its own to each trial: the builder's is shared by all cells."""
    noise = np.random.default_rng(0).normal(0, sd, len(results.trials))
    return replace(
        results, trials=results.trials.assign(**{column: results.trials[column] + noise})
    )


def build_many(folder: Path) -> Path:
    """Write 9,900 trials with their curves: 330 cells of 10 data seeds x 3 init seeds."""
    one = build_results(
        folder / "one", factors=("kl_weight",), cells=[{"kl_weight": 1.0}], n_points=0
    )
    cells = [
        {"latent_dim": q, "kl_weight": beta, "n_components": k}
        for q in (1, 2, 3, 4, 8)
        for beta in np.geomspace(0.1, 100, 11).round(3)
        for k in (5, 10, 15, 20, 25, 30)
    ]
    return multiply(one, folder / "many", cells=cells)
