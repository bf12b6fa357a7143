"""What a column is made of decides its tolerance, and no column is forgotten."""

from __future__ import annotations

import pyarrow as pa
import pytest

from study.results.comparison import CIRCUMSTANCES, OPTIONAL
from study.results.materials import made_of
from study.results.precision import Made, Sizes
from study.results.spread import UNTRAINED
from study.results.tables import KEYS, SCHEMAS, config_fields

SIZES = Sizes(n_components=10, n_points=10_000)
TABLES = ("trials", "curves", "counts", "components", "recall", "outside", *OPTIONAL, *UNTRAINED)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_that_is_compared_says_what_it_is_made_of(table: str) -> None:
    settings = {name for name, _ in config_fields()} | CIRCUMSTANCES | set(KEYS[table])
    for field in SCHEMAS[table]:
        is_number = not pa.types.is_string(field.type)
        if is_number and field.name not in settings:
            assert made_of(table, field.name) is not Made.GIVEN, field.name


@pytest.mark.parametrize(
    ("column", "value", "allowed", "refused"),
    [
        ("k_samples_calibrated", 12, 1, 2),
        ("k_means_calibrated", 40, 3, 4),
        ("coverage_samples_calibrated", 1.2, 0.1, 0.2),
        ("coverage_means_calibrated", 4.0, 0.3, 0.4),
        ("mode_recall", 0.9, 0.1, 0.2),
        ("spurious_mass", 0.05, 2e-4, 3e-4),
        ("tv", 0.08, 1e-6, 1e-5),
        ("c2st", 0.66, 0.005, 0.006),
        ("recon", 2.8, 1e-6, 1e-5),
        ("entropy_nats", 4.0, 1e-10, 1e-7),
        ("bridge_sum", 4.0, 0.01, 0.05),
        ("latent_dim", 2, 0, 1),
        ("n_components", 10, 0, 1),
    ],
)
def test_a_tolerance_follows_from_what_a_column_is_made_of(
    column: str, value: float, allowed: float, refused: float
) -> None:
    assert allowed <= made_of("trials", column).value.tolerance(value, SIZES) < refused
