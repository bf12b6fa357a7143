"""The same with Hydra's joblib launcher: a multirun over the seeds."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from benchmarks.peers.train_and_count import (
    parse_arguments,
    print_counts,
    seed_pairs,
    train_and_count,
)


@hydra.main(version_base=None, config_path=None)
def trial(config: DictConfig) -> None:
    """Run one trial and write its count to its own folder."""
    data_seed, init_seed = seed_pairs(config.pair + 1)[-1]
    k = train_and_count(data_seed, init_seed, config.epochs)
    Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir, "k").write_text(str(k))


def main() -> None:
    """Run all trials, with the command line that a user would type."""
    options = parse_arguments()
    sys.argv[1:] = [
        "--multirun",
        "hydra/launcher=joblib",
        f"hydra.launcher.n_jobs={options.workers}",
        f"hydra.sweep.dir={options.scratch}",
        f"+epochs={options.epochs}",
        f"+pair={','.join(map(str, range(options.trials)))}",
    ]
    trial()
    print_counts(int(path.read_text()) for path in Path(options.scratch).glob("*/k"))


if __name__ == "__main__":
    main()
