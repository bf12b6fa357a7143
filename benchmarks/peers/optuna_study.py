"""The same with Optuna: a grid study with `n_jobs`, which are threads of one process."""

from __future__ import annotations

import optuna

from benchmarks.peers.train_and_count import (
    parse_arguments,
    print_counts,
    seed_pairs,
    train_and_count,
)


def main() -> None:
    """Run all trials."""
    options = parse_arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pairs = seed_pairs(options.trials)

    def objective(trial: optuna.Trial) -> float:
        data_seed, init_seed = pairs[trial.suggest_int("pair", 0, len(pairs) - 1)]
        return train_and_count(data_seed, init_seed, options.epochs)

    sampler = optuna.samplers.GridSampler({"pair": list(range(len(pairs)))}, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=len(pairs), n_jobs=options.workers)
    print_counts(int(trial.value) for trial in study.planning.trials if trial.value is not None)


if __name__ == "__main__":
    main()
