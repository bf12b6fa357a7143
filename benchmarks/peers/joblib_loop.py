"""The same with joblib: a process for each worker."""

from __future__ import annotations

from joblib import Parallel, delayed

from benchmarks.peers.train_and_count import (
    parse_arguments,
    print_counts,
    seed_pairs,
    train_and_count,
)


def main() -> None:
    """Run all trials."""
    options = parse_arguments()
    calls = (
        delayed(train_and_count)(*seeds, options.epochs) for seeds in seed_pairs(options.trials)
    )
    print_counts(Parallel(n_jobs=options.workers)(calls))


if __name__ == "__main__":
    main()
