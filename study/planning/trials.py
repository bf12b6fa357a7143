"""Trials of a sweep: what each one is configured by, its ids, and its columns in the tables.

Ids go by stage, so that a change redoes only what follows from it. An id is the first 16 hex
digits of the SHA-256 of canonical JSON: keys sorted, whole floats as integers, and fields at their
defaults left out, so that a new field with a default leaves old ids alone. A stage's version
is raised when its code starts to give other numbers, or when a default changes.

    data_id      mixture, data seed
    training_id  data_id, model, training, init seed
    trial_id     training_id, detection, checkpoints, sample seed
    control_id   data_id, detection settings that touch the count of the data

What is the same in other words has one id: a box given as a number or by the rule that makes it,
a batch larger than the data, an activation where there are no hidden layers, noise as the model
implies it.

`training.checkpoints` only says when to record, and `training.timeout_min` when to give up:
neither changes a training that finishes, so `training_id` holds neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, product
from typing import Any, Literal, get_args

from study.config import (
    Cell,
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    Sweep,
    TrainingConfig,
)
from study.config.catalogue import field_columns
from study.config.cells import make_cell
from study.config.sections import SEED_KINDS, Family, box_half_width
from study.plugins import (
    ENDPOINTS,
    GENERATORS,
    MIXTURES,
    PROTOCOLS,
    Registry,
    until_plugins_change,
)

DATA_VERSION = 1
TRAINING_VERSION = 2
SCORING_VERSION = 5
ID_DIGITS = 16
# Whole floats below this are exact integers, and are hashed as such.
_MAX_WHOLE = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One VAE to be trained and measured.

    Parameters
    ----------
    mixture, model, training, detection : config objects
    data_seed, init_seed, sample_seed : int
    cell : str
        Such as "latent_dim=2, kl_weight=0.5"; "all" if nothing is swept.
    factors : tuple of (str, value)
        The swept columns of the trials table and this trial's values.
    gallery : bool
        Whether a sample of its points is kept for pictures: the first replicate of each cell.
    """

    mixture: MixtureConfig
    model: ModelConfig
    training: TrainingConfig
    detection: DetectionConfig
    data_seed: int = 0
    init_seed: int = 0
    sample_seed: int = 0
    cell: str = "all"
    factors: tuple[tuple[str, Any], ...] = ()
    gallery: bool = False
    # A plan asks each id several times, and hashing the sections is most of its cost.
    _ids: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def data_id(self) -> str:
        """Identity of the mixture and its points."""
        return self._ids.get("data") or self._name(
            "data",
            DATA_VERSION,
            _mixture_json(self.mixture) + _source(MIXTURES, self.mixture.kind),
            self.data_seed,
        )

    @property
    def training_id(self) -> str:
        """Identity of the trained weights."""
        return self._ids.get("training") or self._name(
            "training",
            TRAINING_VERSION,
            f'"{self.data_id}"',
            _model_json(self.model) + _source(GENERATORS, self.model.kind),
            _training_json(self.training, self.mixture.n_samples),
            self.init_seed,
        )

    @property
    def trial_id(self) -> str:
        """Identity of everything that is measured."""
        return self._ids.get("trial") or self._name(
            "trial",
            SCORING_VERSION,
            f'"{self.training_id}"',
            _detection_json(_plain_noise(self))
            + _source(PROTOCOLS, *self.detection.protocols)
            + _source(ENDPOINTS, *ENDPOINTS),
            _recording_json(self.training),
            self.sample_seed,
        )

    @property
    def control_id(self) -> str:
        """Identity of the control: the counts of a fresh draw of the mixture."""
        return self._ids.get("control") or self._name(
            "control",
            SCORING_VERSION,
            f'"{self.data_id}"',
            _control_json(self.detection)
            + _source(PROTOCOLS, *self.detection.protocols)
            + _source(ENDPOINTS, *_of_baselines()),
        )

    def _name(self, kind: str, version: int, *parts: str | int) -> str:
        found = self._ids[kind] = _digest(kind, version, *parts)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTraining:
    """A training that results hold: what it said of itself, and where its weights are.

    Parameters
    ----------
    training_id : str
    trial_id : str
        A recorded trial of this training: its curves are those of the training.
    status, message : str, str or None
        How the training ended: "done", "diverged" or "timeout"; a message of how it ended alone,
        not of what was measured of it.
    train_recon, train_kl_nats : float or None
        None if the model is not an autoencoder, like `active_units`.
    train_s : float
    active_units : int or None
    location : str
        The results folder, as workers open it.
    shard : str
        Its file of weights in that folder; empty if the training is not done.
    copied : bool
        Whether the weights are of another folder, and go into this one too.
    """

    training_id: str
    trial_id: str
    status: str
    message: str | None
    train_recon: float | None
    train_kl_nats: float | None
    train_s: float
    active_units: int | None
    location: str
    shard: str
    copied: bool = False

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of the trials table that the training decides."""
        message = {} if self.message is None else {"message": self.message}
        return message | {
            "train_recon": self.train_recon,
            "train_kl_nats": self.train_kl_nats,
            "active_units": self.active_units,
            "train_s": self.train_s,
            "status": self.status,
        }


@lru_cache(maxsize=200_000)
def _digest(kind: str, version: int, *parts: str | int) -> str:
    # Parts are JSON texts, ids and seeds, so this is one JSON list.
    text = f'["{kind}",{version},{",".join(map(str, parts))}]'
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


@until_plugins_change
def _of_baselines() -> tuple[str, ...]:
    return tuple(name for name in ENDPOINTS if ENDPOINTS[name].of_baselines)


def _source(registry: Registry, *names: str) -> str:
    """Return the digests of the plug-ins that these names are from, as more JSON of a list."""
    # A plan of ten thousand trials asks this forty thousand times.
    if not registry.has_added:
        return ""
    found = {name: registry.digest(name) for name in sorted(names) if registry.digest(name)}
    return f",{json.dumps(found)}" if found else ""


def _canonical(config: Any, *, skip: Iterable[str] = ()) -> str:
    left_out = set(skip)
    values = {
        item.name: _plain(getattr(config, item.name))
        for item in dataclasses.fields(config)
        if item.name not in left_out and getattr(config, item.name) != item.default
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_WHOLE:
        return int(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


@lru_cache(maxsize=100_000)
def _mixture_json(mixture: MixtureConfig) -> str:
    # A given mixture says its own shape; the recipe's fields say nothing about it.
    if mixture.means is not None:
        return _canonical(mixture, skip=("n_components", "dim", "box", "variance", "alpha"))
    return _canonical(dataclasses.replace(mixture, box=_box_name(mixture)))


def _box_name(mixture: MixtureConfig) -> float | Literal["density"]:
    """Name a box that two names fit: the default number first, then the rule."""
    default = MixtureConfig().box
    half_width = box_half_width(mixture)
    if half_width == default:
        return default
    by_rule = box_half_width(dataclasses.replace(mixture, box="density"))
    return "density" if half_width == by_rule else mixture.box


@lru_cache(maxsize=100_000)
def _model_json(model: ModelConfig) -> str:
    return _canonical(model, skip=() if model.hidden else ("activation",))


@lru_cache(maxsize=100_000)
def _training_json(training: TrainingConfig, n_samples: int) -> str:
    whole = dataclasses.replace(training, batch_size=min(training.batch_size, n_samples))
    return _canonical(whole, skip=("checkpoints", "timeout_min"))


@lru_cache(maxsize=100_000)
def _recording_json(training: TrainingConfig) -> str:
    return json.dumps(_plain(training.checkpoints))


def _plain_noise(trial: Trial) -> DetectionConfig:
    """Name noise that two names fit: as the model implies it, before its number."""
    detection = trial.detection
    implied = trial.model.decoder_variance == "implied"
    if implied and detection.noise_variance == trial.training.kl_weight / 2:
        return dataclasses.replace(detection, noise_variance="implied")
    return detection


@lru_cache(maxsize=100_000)
def _detection_json(detection: DetectionConfig) -> str:
    unused = ("sampler_components",) if detection.sampler == "prior" else ()
    return _canonical(_in_order(detection), skip=unused)


@lru_cache(maxsize=100_000)
def _control_json(detection: DetectionConfig) -> str:
    of_samples = (
        "sources",
        "at_checkpoints",
        "noise_variance",
        "gap_restarts",
        "sampler",
        "sampler_components",
    )
    return _canonical(_in_order(detection), skip=of_samples)


def _in_order(detection: DetectionConfig) -> DetectionConfig:
    """Name lists whose order makes no difference in one order, each name once."""
    default = DetectionConfig()
    return dataclasses.replace(
        detection,
        sources=tuple(source for source in default.sources if source in detection.sources),
        protocols=tuple(name for name in PROTOCOLS if name in detection.protocols),
        families=tuple(name for name in get_args(Family) if name in detection.families),
    )


def _cell_of(trial: Trial) -> Cell:
    return Cell(
        mixture=trial.mixture,
        model=trial.model,
        training=trial.training,
        detection=trial.detection,
    )


def config_columns(trial: Trial) -> dict[str, Any]:
    """Return a trial's configuration columns of the trials table; None where none applies."""
    return {
        **_cell_of(trial).columns,
        "data_seed": trial.data_seed,
        "init_seed": trial.init_seed,
        "sample_seed": trial.sample_seed,
    }


def factors(sweep: Sweep) -> tuple[str, ...]:
    """List the columns that the sweep varies, in the file's order.

    A field of an axis always counts; what blocks fix differently counts if its column varies.
    """
    if sweep.search is not None:
        searched = (dimension.name for dimension in sweep.search.space)
        return tuple(dict.fromkeys(name for field in searched for name in field_columns()[field]))
    return _factors(sweep, [cell.columns for cell in sweep.cells()])


def point_trials(
    sweep: Sweep,
    point: Mapping[str, Any],
    seeds: Sequence[tuple[int, int, int]],
    *,
    gallery: bool,
) -> tuple[Trial, ...]:
    """Make the trials of one cell of an adaptive sweep.

    Parameters
    ----------
    sweep : Sweep
    point : mapping
        What the search sets, by dotted field name.
    seeds : sequence of (data seed, init seed, sample seed)
    gallery : bool
        Whether the first one keeps a sample of its points.
    """
    cell = make_cell({**dict(sweep.blocks[0].fixed), **point})
    row = cell.columns
    pairs = tuple((name, row.get(name)) for name in factors(sweep))
    label = _label(pairs)
    return tuple(
        Trial(
            mixture=cell.mixture,
            model=cell.model,
            training=cell.training,
            detection=cell.detection,
            data_seed=data_seed,
            init_seed=init_seed,
            sample_seed=sample_seed,
            cell=label,
            factors=pairs,
            gallery=gallery and i == 0,
        )
        for i, (data_seed, init_seed, sample_seed) in enumerate(seeds)
    )


def _factors(sweep: Sweep, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    columns_of = field_columns()
    varied = {name for name in dict.fromkeys(chain.from_iterable(rows)) if _varies(name, rows)}
    names: list[str] = []
    for block in sweep.blocks:
        for name in block.swept:
            columns = columns_of[name]
            names += [column for column in columns if column in varied] or columns[:1]
    if len(sweep.blocks) > 1:
        names += [name for columns in columns_of.values() for name in columns if name in varied]
    return tuple(dict.fromkeys(names))


def _varies(name: str, rows: Sequence[dict[str, Any]]) -> bool:
    if name == "box_half_width":
        # Under the density rule the width follows from n_components: no factor of its own.
        rows = [row for row in rows if row["box_rule"] == "fixed"]
    if name == "noise_variance":
        # Implied noise follows from kl_weight.
        rows = [row for row in rows if row["noise_rule"] == "given"]
    return len({row.get(name) for row in rows} - {None}) > 1


def expand(sweep: Sweep) -> tuple[Trial, ...]:
    """List the trials of a sweep, cell by cell; one that has several names comes once.

    Parameters
    ----------
    sweep : Sweep

    Returns
    -------
    tuple of Trial
        In the order of blocks, axes (the first one slowest), data, init, sample and detector
        seeds.
    """
    cells = list(dict.fromkeys(sweep.cells()))
    rows = [cell.columns for cell in cells]
    names = _factors(sweep, rows)
    values = [tuple((name, row.get(name)) for name in names) for row in rows]
    labels = _labels(values)
    kept: dict[str, Trial] = {}
    for cell, pairs, label in zip(cells, values, labels, strict=True):
        for trial in _replicates(sweep, cell, label, pairs):
            kept.setdefault(trial.trial_id, trial)
    return tuple(kept.values())


def _replicates(
    sweep: Sweep, cell: Cell, label: str, pairs: tuple[tuple[str, Any], ...]
) -> Iterator[Trial]:
    kinds = [sweep.replicates.seeds(kind) for kind in SEED_KINDS]
    for i, (data_seed, init_seed, sample_seed, search_seed) in enumerate(product(*kinds)):
        detection = dataclasses.replace(cell.detection, seed=cell.detection.seed + search_seed)
        yield Trial(
            mixture=cell.mixture,
            model=cell.model,
            training=cell.training,
            detection=detection,
            data_seed=data_seed,
            init_seed=init_seed,
            sample_seed=sample_seed,
            cell=label,
            factors=pairs,
            gallery=i == 0,
        )


def _labels(values: Sequence[tuple[tuple[str, Any], ...]]) -> list[str]:
    """Return names of cells; those that differ in no column (two given mixtures) are numbered."""
    labels = [_label(row) for row in values]
    counts = Counter(labels)
    seen: dict[str, int] = {}
    named = []
    for label in labels:
        if counts[label] > 1:
            seen[label] = seen.get(label, 0) + 1
            label = f"{label}, variant={seen[label]}".removeprefix(", ")
        named.append(label or "all")
    return named


def _label(row: Sequence[tuple[str, Any]]) -> str:
    """Write a cell's values; where kinds differ, without what does not apply to its own."""
    kinds_differ = any(name in ("model_kind", "mixture_kind") for name, _ in row)
    shown = [(name, value) for name, value in row if value is not None or not kinds_differ]
    return ", ".join(f"{name}={show_value(value)}" for name, value in shown)


def show_value(value: Any) -> str:
    """Write a factor's value for a label: 1 for 1.0, false for False."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(_plain(value))
