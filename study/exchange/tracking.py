"""Results into other tools' stores, on this machine and offline: `study.export`.

Each writer takes the runs and a new folder. The tools are extras; a writer imports its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from study.exchange.runs import Run, runs_of
from study.results import SCHEMAS, ResultsError, ResultsFolder, open_folder, read_table

# Rows of these are for machines alone.
NO_CSV = ("weights", "points", "gallery")
# Of one call of mlflow.
MOST_METRICS = 1_000


def export(location: str, kind: str, target: str | Path) -> int:
    """Write the trials of a results folder for another tool.

    Parameters
    ----------
    location : str
        The results folder, a path or URI.
    kind : str
        One of `KINDS`.
    target : path
        A folder that does not exist yet, or is empty.

    Returns
    -------
    int
        Runs written.

    Raises
    ------
    ResultsError
        The results cannot be read, or the target holds something.
    ModuleNotFoundError
        The tool is not installed.
    OSError
        The target cannot be written.
    """
    folder = open_folder(location)
    manifest = folder.read_manifest()
    runs = runs_of(folder, str(manifest.get("name") or folder.path.rpartition("/")[2]))
    place = Path(target)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ResultsError(f"{target}: holds something already; an export goes to a new folder")
    place.mkdir(parents=True, exist_ok=True)
    KINDS[kind](runs, folder, place)
    return len(runs)


def _to_csv(runs: Sequence[Run], folder: ResultsFolder, place: Path) -> None:
    """Write each table as it is read, lists as JSON; floats come back to the bit."""
    for table in SCHEMAS:
        if table in NO_CSV:
            continue
        frame = read_table(folder, table)
        if len(frame):
            lists = [name for name in frame if _is_listed(frame[name])]
            texts = {str(name): frame[name].map(_as_json) for name in lists}
            frame.assign(**texts).to_csv(place / f"{table}.csv", index=False)


def _is_listed(column: Any) -> bool:
    known = column.dropna()
    return column.dtype == object and len(known) > 0 and hasattr(known.iloc[0], "tolist")


def _as_json(value: Any) -> Any:
    return json.dumps(value.tolist()) if hasattr(value, "tolist") else value


def _to_tensorboard(runs: Sequence[Run], folder: ResultsFolder, place: Path) -> None:
    """Write an event file for each run: curves by epoch, endpoints, and hyperparameters."""
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    for run in runs:
        # One event file takes a thread, so it is closed before the next is opened.
        with SummaryWriter(str(place / run.sweep / run.id)) as writer:
            names = dict.fromkeys((f"endpoints/{name}" for name in run.endpoints), 0.0)
            for summary in hparams({**_plain(run.config), **run.tags}, names):
                writer.file_writer.add_summary(summary)
            epoch = 0
            for epoch, row in run.points():
                for name, value in row.items():
                    writer.add_scalar(f"curves/{name}", value, epoch)
            for name, value in run.endpoints.items():
                writer.add_scalar(f"endpoints/{name}", value, epoch)


def _plain(values: Any) -> dict[str, Any]:
    """Return values as the types that every tool has: text, numbers, flags."""
    return {
        name: value if isinstance(value, str | bool | int | float) else str(value)
        for name, value in values.items()
    }


def _to_mlflow(runs: Sequence[Run], folder: ResultsFolder, place: Path) -> None:
    """Write an mlflow store (sqlite): one experiment, one run per trial."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{(place / 'mlflow.db').absolute()}")
    experiment = client.create_experiment(
        runs[0].sweep, artifact_location=(place / "artifacts").absolute().as_uri()
    )
    for run in runs:
        time_ms = int(datetime.fromisoformat(run.finished_at).timestamp() * 1000)
        made = client.create_run(experiment, start_time=time_ms, run_name=run.id)
        key = made.info.run_id
        metrics = [
            Metric(f"curves/{name}", value, time_ms, epoch)
            for epoch, row in run.points()
            for name, value in row.items()
        ]
        metrics += [
            Metric(f"endpoints/{name}", value, time_ms, 0) for name, value in run.endpoints.items()
        ]
        client.log_batch(
            key,
            params=[Param(name, str(value)) for name, value in run.config.items()],
            tags=[RunTag(name, value) for name, value in run.tags.items()],
        )
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(key, metrics=metrics[start : start + MOST_METRICS])
        done = run.tags.get("status") in ("done", "stopped")
        client.set_terminated(key, "FINISHED" if done else "FAILED", end_time=time_ms)


def _to_wandb(runs: Sequence[Run], folder: ResultsFolder, place: Path) -> None:
    """Write offline runs of Weights & Biases; `wandb sync` sends them if one wants to."""
    import wandb

    for run in runs:
        started = wandb.init(
            project=run.sweep,
            id=run.id,
            name=run.id,
            group=run.tags["cell"],
            config={**_plain(run.config), **run.tags},
            tags=[f"{name}={value}"[:64] for name, value in run.tags.items()],
            mode="offline",
            dir=str(place),
        )
        for epoch, row in run.points():
            started.log({f"curves/{name}": value for name, value in row.items()}, step=epoch)
        started.summary.update({f"endpoints/{k}": value for k, value in run.endpoints.items()})
        started.finish()


def _to_trackio(runs: Sequence[Run], folder: ResultsFolder, place: Path) -> None:
    """Write a trackio store, a local database."""
    # It reads this when it is imported.
    os.environ["TRACKIO_DIR"] = str(place.absolute())
    import trackio

    for run in runs:
        trackio.init(
            project=run.sweep,
            name=run.id,
            group=run.tags["cell"],
            config={**_plain(run.config), **run.tags},
        )
        for epoch, row in run.points():
            trackio.log({f"curves/{name}": value for name, value in row.items()}, step=epoch)
        trackio.log({f"endpoints/{name}": value for name, value in run.endpoints.items()})
        trackio.finish()


KINDS: dict[str, Callable[[Sequence[Run], ResultsFolder, Path], None]] = {
    "csv": _to_csv,
    "mlflow": _to_mlflow,
    "wandb": _to_wandb,
    "trackio": _to_trackio,
    "tensorboard": _to_tensorboard,
}
