from __future__ import annotations

from pathlib import Path

import pytest

from analysis.claims import ClaimError, check_text, main

CLAIM = "A <!--= s/t; width == 2; gain; .1f -->{}<!--/--> components."


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "s" / "tables"
    folder.mkdir(parents=True)
    (folder / "t.csv").write_text("width,gain,name\n1,0.25,a\n2,9.14,b\n")
    (tmp_path / "results" / "s" / "cut.json").write_text('{"n_equal": ')
    return tmp_path / "results"


def test_a_number_is_that_of_the_table(results: Path) -> None:
    text, (claim,) = check_text(CLAIM.format("9.1"), name="x.md", results=results)
    assert claim.holds
    assert text == CLAIM.format("9.1")


def test_an_edited_number_is_found_and_put_right(results: Path) -> None:
    (results.parent / "README.md").write_text(CLAIM.format("9.9"))
    root = ["--root", str(results.parent)]
    assert main([*root, "--check"]) == 1
    assert main(root) == 0
    assert (results.parent / "README.md").read_text() == CLAIM.format("9.1")
    assert main([*root, "--check"]) == 0


def test_several_rows_are_put_together(results: Path) -> None:
    text = "<!--= s/t; ; max(gain); .2f -->?<!--/--> of <!--= s/t; ; count(gain); d -->?<!--/-->"
    _, claims = check_text(text, name="x.md", results=results)
    assert [claim.found for claim in claims] == ["9.14", "2"]


def test_a_figure_has_numbers_too(results: Path) -> None:
    folder = results / "s" / "figures"
    folder.mkdir()
    (folder / "f.csv").write_text("k\n7\n")
    _, (claim,) = check_text("<!--= s/f; ; k; d -->?<!--/-->", name="x.md", results=results)
    assert claim.found == "7"


def test_a_certificate_is_a_table_of_one_row(results: Path) -> None:
    (results / "s" / "verify.json").write_text('{"n_equal": 10, "trials": [{"result": "equal"}]}')
    text = "<!--= s/verify; ; n_equal; d -->?<!--/-->"
    _, (claim,) = check_text(text, name="x.md", results=results)
    assert claim.found == "10"


def test_texts_without_any_number_are_an_error(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results.parent / "README.md").write_text("Nothing is claimed here.")
    assert main(["--root", str(results.parent), "--check"]) == 1
    assert "no number to look up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("<!--= s/t; width == 3; gain; .1f -->1<!--/-->", "0 rows match"),
        ("<!--= s/t; width == 3; max(gain); .1f -->1<!--/-->", "0 rows match"),
        ("<!--= s/t; ; gain; .1f -->1<!--/-->", "2 rows match"),
        ("<!--= s/t; width == 2; loss; .1f -->1<!--/-->", "loss"),
        ("<!--= s/u; width == 2; gain; .1f -->1<!--/-->", "has none of tables/u.csv"),
        ("<!--= s/t; width = 2; gain; .1f -->1<!--/-->", "is no row"),
        ("<!--= s/t; width == 2; gain -->1<!--/-->", "must be table"),
        ("<!--= s/t; width == 2; name; .1f -->1<!--/-->", "name"),
        ("<!--= s/t; width == 2; std(gain); .1f -->1<!--/-->", "std"),
        ("<!--= s/t; width == 2; gain; .1f -->1", "have no"),
        ("<!--= s/cut; ; n_equal; d -->1<!--/-->", "cannot be read"),
    ],
)
def test_a_claim_that_cannot_be_looked_up_says_why(
    results: Path, claim: str, message: str
) -> None:
    with pytest.raises(ClaimError, match=message) as error:
        check_text(f"line one\n{claim}", name="x.md", results=results)
    assert str(error.value).startswith("x.md")
