"""What a sweep file says: the public face of this package.

Other packages import from here; within it, names are imported from where they are defined.
"""

from study.config.catalogue import all_fields, field_columns
from study.config.cells import Cell, Sweep, default_columns
from study.config.loader import load_sweep, read_resolved
from study.config.resolved import resolve, sweep_hash
from study.config.search_space import SearchConfig
from study.config.sections import (
    ORIGINAL_RANGE,
    Activation,
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    Protocol,
    Replicates,
    ResourcesConfig,
    Source,
    TrainingConfig,
    checkpoint_epochs,
)
from study.config.smoke import shrink
from study.config.yaml_source import SweepError

__all__ = [
    "ORIGINAL_RANGE",
    "Activation",
    "Cell",
    "DetectionConfig",
    "MixtureConfig",
    "ModelConfig",
    "Protocol",
    "Replicates",
    "ResourcesConfig",
    "SearchConfig",
    "Source",
    "Sweep",
    "SweepError",
    "TrainingConfig",
    "all_fields",
    "checkpoint_epochs",
    "default_columns",
    "field_columns",
    "load_sweep",
    "read_resolved",
    "resolve",
    "shrink",
    "sweep_hash",
]
