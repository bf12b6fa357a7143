from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.load import Results, load_results
from analysis.page import answer
from analysis.tables import tables
from analysis.wording import notes as captions


def test_headline_has_one_row_a_cell(results: Results) -> None:
    table = tables.headline(results)
    assert len(table.shown) == len(table.data) == 5
    row = table.shown.iloc[1]
    assert row["done / planned"] == "29 / 30"
    assert row["at ceiling: decoder means, original"] == "100%"
    assert row["coverage: decoder means, original"] == "1.40"
    names = list(table.shown)
    at = names.index("at ceiling: decoder means, original")
    assert names[at : at + 3] == [
        "at ceiling: decoder means, original",
        "coverage: decoder means, original",
        "coverage: control, original",
    ]
    assert table.data["fkl_nats_estimate"].between(0.4, 1.2).all()


def test_markdown_and_latex_hold_every_row(results: Results) -> None:
    table = tables.coverage(results)
    assert table.to_markdown().count("\n| ") >= len(table.shown)
    latex = table.to_latex("coverage")
    assert latex.count(r" \\") == len(table.shown) + 1
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:coverage}", r"100\%"):
        assert rule in latex
    assert "% needs the packages" in latex.splitlines()[0]


def test_latex_escapes() -> None:
    assert tables.latex_text(r"a_b & 5% \ <x>") == (
        r"a\_b \& 5\% \textbackslash{} \textless{}x\textgreater{}"
    )


def test_failures_are_listed_with_their_reason(results: Results) -> None:
    table = tables.failures(results)
    assert table.data["trials"].sum() == 3
    assert set(table.data["status"]) == {"diverged", "timeout"}
    assert table.data["message"].str.contains("not finite").all()


def test_tracebacks_are_cut_to_their_last_line() -> None:
    text = "Traceback (most recent call last):\n  File x\nValueError: no such thing\n"
    assert captions.last_line(text) == "ValueError: no such thing"
    assert captions.last_line("") == ""


def test_replication_only_for_the_original(results: Results) -> None:
    with pytest.raises(tables.NotTabulated, match="own points"):
        tables.replication(results)


def test_all_failed_has_no_headline(build: Callable[..., Path], tmp_path: Path) -> None:
    results = load_results(build(tmp_path / "bad", seeds=(1, 1), failed=lambda index: "diverged"))
    with pytest.raises(tables.NotTabulated, match="no trial finished"):
        tables.headline(results)
    assert answer.sentences(results) == [
        "0 of 5 planned trials finished; 5 failed.",
        "No trial finished, so nothing was measured.",
    ]


def test_answer_puts_denominators_and_ceiling_first(results: Results) -> None:
    sentences = answer.sentences(results)
    assert sentences[0] == "147 of 150 planned trials finished; 3 failed."
    assert "147 of 147 trials (100%) stop at the largest k tried, 14" in sentences[1]
    assert sentences[2].startswith("On true data themselves, mean coverage is")
    assert any("adjusted p = 0.002" in sentence for sentence in sentences)
    assert "nan" not in " ".join(sentences)


def test_one_trial_claims_no_interval(build: Callable[..., Path], tmp_path: Path) -> None:
    results = load_results(build(tmp_path / "one", factors=(), cells=[{}], seeds=(1, 1)))
    text = " ".join(answer.sentences(results))
    assert "single value, no interval" in text
    assert "nan" not in text
    assert "95%" not in text


def test_captions_name_kind_and_level(results: Results) -> None:
    frame = tables.coverage(results).data
    assert captions.intervals(frame).startswith(
        "Bars: 95% BCa bootstrap interval of the mean over 10 data seeds"
    )
    constant = frame[frame["interval"] == "constant"]
    assert captions.intervals(constant) == "No bars: every data seed gives the same value."
    assert "decoder means 147 of 147 (original)" in captions.ceiling_shares(frame)


def test_mass_outside_stands_beside_a_wider_truth(results: Results) -> None:
    table = tables.outside(results)
    assert list(table.shown)[1:] == ["90 %", "99 %", "99.9 %", "99.99 %", "1 - 1e-6", "1 - 1e-9"]
    assert len(table.shown) == 5 + 3
    wider = table.shown.set_index("model").loc["the truth, standard deviations x 1.5"]
    assert wider["99 %"] == "0.159"
    means = table.data.dropna(subset=["cell"]).groupby("ellipsoid")["estimate"].mean()
    spurious = results.trials["spurious_mass"].mean()
    assert means[0.99] == pytest.approx(spurious, abs=0.01)
    assert means.is_monotonic_decreasing
    older = replace(results, outside=results.outside.iloc[:0])
    with pytest.raises(tables.NotTabulated, match="version 5"):
        tables.outside(older)


def test_forward_kl_says_where_it_is_not_reliable(results: Results) -> None:
    plain = tables.headline(results)
    assert not plain.shown["forward KL"].str.contains("[?†]").any()
    assert "did not meet" not in plain.caption
    first = results.trials["cell"] == results.trials["cell"].iloc[0]
    unmet = results.trials["fkl_unmet_share"].mask(first, 0.02)
    some = tables.headline(replace(results, trials=results.trials.assign(fkl_unmet_share=unmet)))
    assert some.shown["forward KL"].str.endswith("†").tolist() == [True, *[False] * 4]
    assert "† Forward KL with more than 0.5 %" in some.caption
    none = results.trials.assign(fkl_unmet_share=float("nan"))
    old = tables.headline(replace(results, trials=none))
    assert old.shown["forward KL"].str.endswith("?").all()
    assert "without diagnostics" in old.caption
    assert "without diagnostics" in tables.differences(replace(results, trials=none)).caption
