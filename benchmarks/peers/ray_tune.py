"""The naive Ray Tune script: one function trainable a trial."""

from __future__ import annotations

from typing import Any

import ray
from ray import tune

from benchmarks.peers.train_and_count import (
    parse_arguments,
    print_counts,
    seed_pairs,
    train_and_count,
)


def trial(config: dict[str, Any]) -> None:
    """Run one trial and report its count."""
    data_seed, init_seed = config["seeds"]
    tune.report({"k": train_and_count(data_seed, init_seed, config["epochs"])})


def main() -> None:
    """Run all trials."""
    options = parse_arguments()
    ray.init(address="local", num_cpus=options.workers, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={
            "seeds": tune.grid_search(seed_pairs(options.trials)),
            "epochs": options.epochs,
        },
        run_config=tune.RunConfig(name="naive", storage_path=options.scratch, verbose=0),
    )
    print_counts(result.metrics["k"] for result in tuner.fit())
    ray.shutdown()


if __name__ == "__main__":
    main()
