"""The statistics for anybody's table: the same numbers as a report's, and clear refusals.

Two public tables are written in by hand: the runs of README and examples/walker2.csv of AdaStop,
and the scores of rliable's own tests. docs/statistics.md says how the answers differ from theirs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.compare import TableError, compare, main
from analysis.comparison.page import sentences, to_html, to_markdown
from analysis.frames import summary
from analysis.load import Results
from analysis.statistics.hypotheses import sign_flip_test
from analysis.statistics.intervals import mean_interval

WALKER = {
    "PPO": [3683.5, 1576.5, 3908.1, 1451.9, 5177.0, 3384.1, 2358.7, 1624.7, 4151.2, 1699.5],
    "DDPG": [420.3, 640.1, 2338.0, 879.1, 736.5, 962.3, 1771.1, 545.9, 906.0, 1553.9],
    "SAC": [4291.0, 4551.0, 4669.8, 4697.4, 4074.5, 5453.4, 4988.5, 4617.7, 3955.2, 4135.5],
    "TRPO": [446.1, 1918.9, 1015.7, 757.0, 1769.3, 1031.3, 961.7, 695.7, 1817.8, 939.6],
}  # fmt: skip
RLIABLE = {"x": [[1, 2], [2, 2], [1, 1], [2, 1]], "y": [[1, 1], [2, 2], [3, 3]]}


@pytest.fixture(scope="module")
def walker() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"agent": agent, "run": run, "score": score}
            for agent, scores in WALKER.items()
            for run, score in enumerate(scores)
        ]
    )


@pytest.fixture(scope="module")
def rliable() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"algorithm": name, "run": run, "task": task, "score": score}
            for name, runs in RLIABLE.items()
            for run, row in enumerate(runs)
            for task, score in enumerate(row)
        ]
    )


ASKED = {"cluster": "run", "factors": "agent", "endpoint": "score"}


def test_adastops_agents(walker: pd.DataFrame) -> None:
    """AdaStop ranks SAC > PPO > DDPG = TRPO after 10 runs (beta 0.01); so does the family."""
    found = compare(walker, **ASKED, reference="agent=PPO", unit="points", margin=500)
    judged = found.differences.set_index("cell")
    assert judged.loc["agent=SAC", "estimate"] == pytest.approx(1641.9, abs=1)
    assert (judged["p_adjusted"] <= 0.05).all()
    assert (judged["p_adjusted"] >= judged["p_value"]).all()
    # Not that two agents are equal, which is another claim than that no difference was found.
    pairs = found.equivalence.set_index(["cell", "other"])
    assert pairs.loc[("agent=TRPO", "agent=DDPG"), "difference"] == pytest.approx(60, abs=1)
    five = compare(walker[walker["run"] < 5], **ASKED)
    assert five.differences["least_p"].unique().tolist() == [0.0625]
    assert any("can only be described" in line for line in sentences(five))


def test_rliables_scores(rliable: pd.DataFrame) -> None:
    asked = {"cluster": "run", "pair": "task", "factors": "algorithm", "endpoint": "score"}
    found = compare(rliable, **asked)
    assert found.means["estimate"].tolist() == [1.5, 2.0]
    assert found.means["n_clusters"].tolist() == [4, 3]
    # Runs that both have: 3, of which no test can be significant.
    row = found.differences.iloc[0]
    assert (row["n_clusters"], row["least_p"]) == (3, 0.25)
    with pytest.raises(TableError, match="occur twice"):
        compare(rliable.assign(task=0), **asked)


def test_its_numbers_are_those_of_the_report(results: Results, tmp_path: Path) -> None:
    trials = summary.done_trials(results.trials)
    path = tmp_path / "trials.parquet"
    trials[["latent_dim", "data_seed", "init_seed", "fkl_nats"]].to_parquet(path)
    found = compare(
        path, cluster="data_seed", pair="init_seed", factors="latent_dim", endpoint="fkl_nats",
        reference="latent_dim=2",
    )  # fmt: skip
    theirs = summary.endpoints_by_cell(results, ["fkl_nats"]).set_index("latent_dim")
    mine = found.means.assign(q=found.means["cell"].str[-1].astype(int)).set_index("q")
    for name in ("estimate", "low", "high"):
        np.testing.assert_allclose(mine[name].sort_index(), theirs[name].sort_index())
    contrasts = summary.cell_contrasts(results, ["fkl_nats"]).set_index("cell")
    judged = found.differences.set_index("cell")
    for name in ("estimate", "low", "high", "p_value", "p_sign"):
        np.testing.assert_allclose(judged[name], contrasts.loc[judged.index, name])
    variance = summary.variance_components(results, ["fkl_nats"])
    np.testing.assert_allclose(found.variance["variance"], variance["variance"])
    assert found.clusters_needed is not None
    assert (found.power["power"].diff().dropna() >= 0).all()


def test_values_at_a_ceiling_are_censored(walker: pd.DataFrame) -> None:
    capped = walker.assign(score=walker["score"].clip(upper=4000), most=4000.0)
    found = compare(capped, **ASKED, ceiling="most")
    sac = found.censored.set_index("cell").loc["agent=SAC"]
    assert (sac["n_at_ceiling"], sac["median"]) == (9, np.inf)
    assert "above the ceiling" in to_markdown(found)
    with pytest.raises(TableError, match="above its ceiling 3999; are both of the same unit"):
        compare(capped, **ASKED, ceiling=3999)


def test_what_is_wrong_with_a_table_is_one_clear_line(
    walker: pd.DataFrame, tmp_path: Path
) -> None:
    def refused(message: str, table: object = walker, **changes: object) -> None:
        with pytest.raises(TableError, match=message):
            compare(table, **{**ASKED, **changes})  # type: ignore[arg-type]

    refused("no column 'sore'; did you mean 'score'", endpoint="sore")
    refused("score: must be numbers; found 'a'", walker.assign(score="a"))
    refused(
        "row 3 is infinite", walker.assign(score=walker["score"].where(walker.index != 3, np.inf))
    )
    refused("run: row 2 has no value", walker.assign(run=walker["run"].where(walker.index != 2)))
    refused("found one cluster", walker.assign(run=1))
    refused("no row has a value", walker.assign(score=np.nan))
    refused("there is no cell 'agent=PP'; did you mean 'agent=PPO'", reference="agent=PP")
    refused("margin must be above 0, in points", margin=-1, unit="points")
    refused("named twice", pair="run")
    refused("level must be", level=5)
    refused("factors must name", factors=[])
    refused("no such file", tmp_path / "x.csv")
    refused("must be a .csv or .parquet file, not .txt", tmp_path / "x.txt")
    (tmp_path / "torn.parquet").write_bytes(b"torn")
    refused("cannot be read", tmp_path / "torn.parquet")


def test_the_command_writes_one_page(
    walker: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, page = tmp_path / "walker.csv", tmp_path / "page.html"
    walker.assign(agent=walker["agent"].replace("PPO", "<b>PPO")).to_csv(table)
    asked = [str(table), "--cluster", "run", "--factors", "agent", "--endpoint", "score"]
    assert main([*asked, "--margin", "500", "--unit", "points", "--out", str(page)]) == 0
    text = page.read_text()
    assert "&lt;b&gt;PPO" in text
    assert "<b>PPO" not in text
    assert text.count("<h2>") == 4
    assert "http" not in text
    assert main(asked) == 0
    assert "points" not in capsys.readouterr().out
    assert main([*asked, "--ceiling", "x"]) == 2
    assert capsys.readouterr().err.startswith("analysis.compare: the table has no column 'x'")


def test_simulated_tables_give_what_docs_statistics_says(walker: pd.DataFrame) -> None:
    """What benchmarks.simulated measures of arrays is what the command says of tables."""
    rng = np.random.default_rng(1)
    for n_data in (5, 10):
        data, init = rng.normal(0, 0.078, (n_data, 1)), rng.normal(0, 0.041, (2, n_data, 3))
        values = data + init
        places = [(c, d, i) for c in range(2) for d in range(n_data) for i in range(3)]
        table = pd.DataFrame(places, columns=["cell", "data", "init"])
        found = compare(
            table.assign(y=values.ravel()), cluster="data", pair="init", factors="cell",
            endpoint="y", margin=0.05,
        )  # fmt: skip
        seeds = np.repeat(np.arange(n_data), 3)
        theirs = mean_interval(values[0].ravel(), seeds)
        mine = found.means.iloc[0]
        assert (mine["low"], mine["high"]) == (theirs.low, theirs.high)
        p = sign_flip_test((values[1] - values[0]).mean(axis=1))
        assert found.differences["p_value"].iloc[0] == p
    assert to_html(found).count("<table") == 5
