"""What every column of the tables holds: a sentence, a unit, and the bounds of its values.

What is known of an endpoint or of a count stands in its record (`endpoints`), and what is known of
a field of the sweep file with that field; here are the columns that are neither.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from study.plugins import COLUMN_SETS, PROTOCOLS
from study.results.endpoints import NOT_NEGATIVE, SHARE, SOURCES, Endpoint, endpoint
from study.results.tables import SCHEMAS

ANY = (-math.inf, math.inf)
SOURCE_TEXTS = {
    "data": "a fresh draw of the true mixture (the control)",
    "means": "decoder means of prior draws",
    "samples": "samples of the model",
    "codes": "encoder means of the data",
}
_BETTER = {"high": "higher is better", "low": "lower is better", "neither": ""}


@dataclass(frozen=True, slots=True)
class Described:
    """What a column holds.

    Parameters
    ----------
    text : str
        A phrase without a full stop.
    unit : str
        Of one unit of it; empty for text, flags and plain numbers.
    bounds : (float, float)
        Between which its values lie; infinite where they have no end.
    better : "high", "low" or "neither"
        The direction in which it is better, if there is one.
    """

    text: str
    unit: str = ""
    bounds: tuple[float, float] = ANY
    better: str = "neither"

    def sentence(self, column: str) -> str:
        """Return one sentence: the column, what it holds, its unit and its bounds."""
        parts = [f"{column}: {self.text}", f"in {self.unit}" if self.unit else ""]
        parts += [bounds_text(self.bounds), _BETTER[self.better]]
        return ", ".join(part for part in parts if part) + "."


def bounds_text(bounds: tuple[float, float]) -> str:
    """Return bounds in words; empty where there are none.

    Examples
    --------
    >>> bounds_text((0.0, 1.0)), bounds_text((0.0, math.inf)), bounds_text(ANY)
    ('from 0 to 1', 'at least 0', '')
    """
    low, high = bounds
    if math.isinf(low):
        return "" if math.isinf(high) else f"at most {high:g}"
    return f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"


_COUNT = (1.0, math.inf)
_SECONDS = ("seconds", NOT_NEGATIVE)
# Columns of every table in which they occur.
_COMMON = {
    "trial_id": Described("identity of a trial: a hash of all that its numbers depend on"),
    "training_id": Described("identity of a training; trials that differ in scoring share it"),
    "data_id": Described("identity of a truth and its training points"),
    "control_id": Described("identity of the control: truth, data seed and way of counting"),
    "owner_id": Described("the trial_id or control_id whose points were counted"),
    "stack_id": Described("the stack in which a trial was trained; no number depends on it"),
    "cell": Described("the combination of swept factors, in words"),
    "status": Described("how it ended: done, stopped, failed, diverged or timeout"),
    "message": Described("why it did not finish"),
    "data_seed": Described("seed of the truth, its points and the control", "", NOT_NEGATIVE),
    "init_seed": Described("seed of initial weights, shuffling and noise", "", NOT_NEGATIVE),
    "sample_seed": Described("seed of prior draws and decoder noise", "", NOT_NEGATIVE),
    "n_components": Described("number K of true components", "components", _COUNT),
    "control_gap": Described(
        "BIC of the detector's best fit to the control less that of EM started at the truth; "
        "above 10 the search ended worse, and the count is to be doubted",
        "BIC units",
    ),
    "sample_gap": Described(
        "BIC of the search of the samples above the best of those with other detector seeds",
        "BIC units",
        NOT_NEGATIVE,
    ),
    "k_best_samples": Described(
        "k* of the samples at the lowest BIC of all detector seeds", "components", _COUNT
    ),
    "eigenvalues": Described(
        "eigenvalues of the truth's covariance, largest first", "squared data units", NOT_NEGATIVE
    ),
    "active_units": Described("latent coordinates that carry information", "units", NOT_NEGATIVE),
    "decoder_variance": Described(
        "variance of the decoder's noise", "squared data units", NOT_NEGATIVE
    ),
    "train_s": Described("time of the training", *_SECONDS),
    "count_s": Described("time of counting modes", *_SECONDS),
    "endpoints_s": Described("time of the endpoints", *_SECONDS),
    "measure_s": Described("time of one measurement", *_SECONDS),
    "n_repairs": Described("fits of the search that were repaired", "fits", NOT_NEGATIVE),
    "commit": Described("commit of the code that made the row"),
    "dirty": Described("whether that code was changed after the commit"),
    "python": Described("version of Python"),
    "torch": Described("version of PyTorch"),
    "sklearn": Described("version of scikit-learn"),
    "numpy": Described("version of numpy"),
    "cpu": Described("processor, and in brackets the one that compilers use"),
    "device": Described("device of the training: cpu or cuda"),
    "finished_at": Described("when the row was made, ISO 8601 in UTC"),
    "schema_version": Described("version of the tables' schema", "", _COUNT),
    "epoch": Described("epochs trained", "epochs", NOT_NEGATIVE),
    "source": Described("the points that are meant: data, means, samples or codes"),
    "protocol": Described("how modes were counted: original, calibrated or a plug-in's"),
    "kl_per_latent": Described("KL divergence of each latent coordinate", "nats", NOT_NEGATIVE),
    "family": Described("covariances of the fit: full, diagonal, spherical or tied"),
    "k": Described("number of components fitted", "components", _COUNT),
    "log_likelihood": Described("log likelihood of the fit over all points", "nats"),
    "bic": Described("Bayesian information criterion of the fit", "BIC units", better="low"),
    "icl": Described("integrated completed likelihood of the fit", "BIC units", better="low"),
    "contrast_error": Described(
        "sampling error of the log likelihood less the one at k*", "nats", NOT_NEGATIVE
    ),
    "converged": Described("whether the fit converged"),
    "selected": Described("whether this k is k*"),
    "at_ceiling": Described("whether k* is the largest k tried, so that it is a lower bound"),
    "component": Described("index of a true component", "", (-1.0, math.inf)),
    "weight": Described("weight of the true component", "share of mass", SHARE),
    "mass": Described("share of the samples that it received", "share of points", SHARE),
    "fragments": Described("fitted components that lie in it", "components", NOT_NEGATIVE),
    "recalled": Described("whether the samples have the component"),
    "eligible": Described("whether enough points are expected of it to say so"),
    "threshold": Described("share of its expected mass from which a component counts", "", SHARE),
    "recall": Described("share of eligible components recalled", "share of modes", SHARE),
    "level": Described("probability inside the ellipsoids of true components", "", SHARE),
    "outside": Described("share of points outside all ellipsoids", "share of points", SHARE),
    "index": Described("number of the point in the gallery", "", NOT_NEGATIVE),
    **{f"x{axis}": Described(f"coordinate {axis}", "data units") for axis in range(4)},
    "null": Described("model without a network: truth, gaussian, ppca or kde"),
    "work": Described("number of a request of an adaptive sweep, in order", "", NOT_NEGATIVE),
    "suggestion": Described("number of a suggested cell", "", NOT_NEGATIVE),
    "purpose": Described("why the search asked for it"),
    "point": Described("the searched fields and their values, JSON"),
    "seeds": Described("data, init and sample seed of each trial asked for"),
    "trial_ids": Described("the trials asked for"),
    "asked_at": Described("when it was asked, ISO 8601 in UTC"),
    "rungs": Described("epoch and limit of each early stop, JSON"),
    "objective": Described("what the search optimises"),
    "direction": Described("minimize or maximize"),
    "value": Described("mean of the objective, in its own unit"),
    "se": Described("standard error of the mean objective, in its unit", "", NOT_NEGATIVE),
    "n": Described("data seeds behind the mean", "data seeds", NOT_NEGATIVE),
    "fresh_value": Described("mean objective on seeds that the search did not use"),
    "fresh_se": Described("standard error of that mean", "", NOT_NEGATIVE),
    "fresh_n": Described("data seeds behind that mean", "data seeds", NOT_NEGATIVE),
    "is_best": Described("whether the search chose the cell"),
    "stopped_epoch": Described("epoch at which the cell was stopped", "epochs", NOT_NEGATIVE),
    "stopped_value": Described("mean objective of the cell there"),
    "name": Described("name of a weight tensor"),
    "shape": Described("shape of a weight tensor"),
    "dtype": Described("number type of a weight tensor"),
    "values": Described("bytes of a weight tensor, row by row"),
}
# Of one source's calibrated search.
_READINGS = {
    "k_set_low": ("smallest k whose BIC is not significantly above the lowest", "components"),
    "k_set_high": ("largest k whose BIC is not significantly above the lowest", "components"),
    "sbic_k": ("k by the singular BIC", "components"),
    "ebic_k": ("k by the epsilon-BIC", "components"),
    "modal_modes": ("maxima of the fitted density", "modes"),
    "icl_k": ("k by ICL", "components"),
    "stopped": ("whether the search gave up below its limits", ""),
    "has_ties": ("whether points coincide", ""),
}


def describe_column(column: str) -> Described:
    """Return what a column of any table holds.

    Parameters
    ----------
    column : str

    Raises
    ------
    KeyError
        No table has such a column; the message names the nearest one.

    Examples
    --------
    >>> describe_column("mode_recall").sentence("mode_recall")
    'mode_recall: mode recall, in share of modes, from 0 to 1, higher is better.'
    """
    found = _COMMON.get(column) or _of_field(column) or _of_count(column) or _of_endpoint(column)
    if found is None:
        near = difflib.get_close_matches(column, known_columns(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise KeyError(f"no table has a column {column!r}{hint}")
    return found


def known_columns() -> list[str]:
    """List the columns of all tables, each once."""
    return list(dict.fromkeys(name for schema in SCHEMAS.values() for name in schema.names))


def _of_field(column: str) -> Described | None:
    found = COLUMN_SETS["descriptions"]().get(column)
    return None if found is None else Described(found[0], "", found[1])


def _of_count(column: str) -> Described | None:
    """Describe a count's flag, what else a search says, and the counts of null models."""
    head, _, tail = column.partition("at_ceiling_")
    if tail and not head:
        source, _, protocol = tail.partition("_")
        if source not in SOURCES:
            return Described(f"{_COMMON['at_ceiling'].text}; {tail} protocol")
        text = f"{_COMMON['at_ceiling'].text}; {SOURCE_TEXTS[source]}, {protocol} protocol"
        return Described(text)
    head, _, source = column.rpartition("_")
    if source in SOURCES and head in _READINGS:
        text, unit = _READINGS[head]
        bounds = NOT_NEGATIVE if unit else ANY
        return Described(f"{text}; {SOURCE_TEXTS[source]}, calibrated protocol", unit, bounds)
    if head == "k" and source in PROTOCOLS:
        return Described(f"detected components k*, {source} protocol", "components", _COUNT)
    return None


def _of_endpoint(column: str) -> Described | None:
    record = endpoint(column)
    if record is None:
        return None
    return Described(_title(record), record.unit, record.bounds, record.better)


def _title(record: Endpoint) -> str:
    kind, _, tail = record.name.partition("_")
    source, _, protocol = tail.partition("_")
    if kind not in ("k", "coverage") or source not in SOURCES:
        return record.title
    what = "detected components k*" if kind == "k" else "coverage, k* per true component"
    return f"{what} of {SOURCE_TEXTS[source]}, {protocol} protocol"
