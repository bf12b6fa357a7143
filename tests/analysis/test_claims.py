from __future__ import annotations

from pathlib import Path

import pytest

from analysis.claims import TEXTS, ClaimError, main, render

SOURCE = 'A {{ table("s/t", width=2).gain | f1 }} components.\n'


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "s" / "tables"
    folder.mkdir(parents=True)
    (folder / "t.csv").write_text("width,gain,name,mean\n1,0.25,a,7\n2,9.14,b,8\n")
    (tmp_path / "results" / "s" / "cut.json").write_text('{"n_equal": ')
    return tmp_path / "results"


@pytest.fixture
def root(results: Path) -> Path:
    (results.parent / "docs").mkdir()
    (results.parent / "docs" / "README.md.j2").write_text(SOURCE)
    (results.parent / "README.md").write_text("A 9.1 components.\n")
    return results.parent


def rendered(source: str, results: Path) -> str:
    return render(source, name="x.md.j2", results=results)[0]


def test_a_number_is_that_of_the_table(results: Path) -> None:
    assert render(SOURCE, name="x", results=results) == ("A 9.1 components.\n", 1)


@pytest.mark.parametrize(
    "edited", ["A 9.2 components.\n", "A 9.1 component.\n", "A 9.1 components.\nMore.\n", ""]
)
def test_an_edited_text_is_found_and_put_right(
    root: Path, capsys: pytest.CaptureFixture[str], edited: str
) -> None:
    assert main(["--root", str(root), "--check"]) == 0
    (root / "README.md").write_text(edited)
    assert main(["--root", str(root), "--check"]) == 1
    assert "README.md:" in capsys.readouterr().out
    assert (root / "README.md").read_text() == edited
    assert main(["--root", str(root)]) == 0
    assert (root / "README.md").read_text() == "A 9.1 components.\n"
    assert main(["--root", str(root), "--check"]) == 0


def test_a_changed_table_is_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = root / "results" / "s" / "tables" / "t.csv"
    table.write_text(table.read_text().replace("9.14", "9.16"))
    assert main(["--root", str(root), "--check"]) == 1
    assert "README.md:1: says 'A 9.1 components.', docs/README.md.j2 gives" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{{ table("s/t").gain | max | f2 }} of {{ table("s/t").gain | count | d }}', "9.14 of 2"),
        ('{{ table("s/t", name="b").mean | d }}', "8"),
        ('{{ table("s/t", width=above(1)).mean | d }}', "8"),
        ('{{ table("s/t", width=at_least(1)).mean | count | d }}', "2"),
        ('{{ table("s/t", width=below(2)).mean | d }}', "7"),
        ('{{ table("s/t", width=at_most(1)).mean | d }}', "7"),
        (
            "{% for w in [1, 2] %}\n{{ w }}: {{ table('s/t', width=w).gain | f2 }}\n{% endfor %}\n"
            "{% macro m(row) %}{{ row.gain | percent }}{% endmacro %}\n"
            "{% set row = table('s/t', width=1) %}\n{{ m(row) }}\n",
            "1: 0.25\n2: 9.14\n25%\n",
        ),
    ],
)
def test_what_a_template_can_say(results: Path, source: str, text: str) -> None:
    assert rendered(source, results) == text


def test_numbers_are_counted_where_they_are_written(results: Path) -> None:
    source = "{% for w in [1, 2] %}{{ table('s/t', width=w).gain | f2 }} {% endfor %}"
    assert render(source, name="x", results=results)[1] == 2


def test_a_figure_has_numbers_too(results: Path) -> None:
    folder = results / "s" / "figures"
    folder.mkdir()
    (folder / "f.csv").write_text("k\n7\n")
    assert rendered('{{ table("s/f").k | d }}', results) == "7"


def test_a_certificate_is_a_table_of_one_row(results: Path) -> None:
    (results / "s" / "verify.json").write_text('{"n_equal": 10, "trials": [{"result": "equal"}]}')
    assert rendered('{{ table("s/verify").n_equal | d }}', results) == "10"


def test_texts_without_any_number_are_an_error(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "docs" / "README.md.j2").write_text("Nothing is claimed here.")
    assert main(["--root", str(root), "--check"]) == 1
    assert "no number to look up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ('{{ table("s/t", width=3).gain | f1 }}', "0 rows match"),
        ('{{ table("s/t", width=3).gain | max | f1 }}', "0 rows match"),
        ('{{ table("s/t").gain | f1 }}', "2 rows match"),
        ('{{ table("s/t", width=2).loss | f1 }}', "no column 'loss'; its columns are width"),
        ('{{ table("s/t", height=2).gain | f1 }}', "no column 'height'"),
        ('{{ table("s/t", name=above(2)).gain | f1 }}', "t.csv: name: Invalid comparison"),
        ('{{ table("s/u", width=2).gain | f1 }}', "has none of tables/u.csv"),
        ('{{ table("s/../s/t").gain | f1 }}', "named SWEEP/NAME"),
        ('{{ table("/etc/passwd").gain | f1 }}', "named SWEEP/NAME"),
        ('{{ table("s/t", width=2).gain }}', "needs a format"),
        ('{{ table("s/t", width=2) }}', "needs a format"),
        ('{{ table("s/t", width=2).name | f1 }}', "name"),
        ('{{ table("s/t", width=2).gain | std | f1 }}', "std"),
        ('{{ table("s/t", width=2).gain | f9 }}', "f9"),
        ('{{ table("s/t").name | mean | f1 }}', "mean"),
        ('{{ table("s/cut").n_equal | d }}', "cannot be read"),
        ('{{ table("s/t", width=2).gain | f1', "unexpected|expected"),
        ("{{ 9.1 | f1 }}", "takes a column of a table; found 9.1"),
        ("{{ gain }}", "'gain' is undefined"),
    ],
)
def test_a_claim_that_cannot_be_looked_up_says_why(
    results: Path, claim: str, message: str
) -> None:
    with pytest.raises(ClaimError, match=message) as error:
        rendered(f"line one\n{claim}", results)
    assert str(error.value).startswith("x.md.j2:2: ")


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ table.__globals__ }}",
        "{{ table.func }}",
        "{{ table('s/t').frame.eval('1') }}",
        "{{ table('s/t').gain.values }}",
        "{{ above.func }}",
        "{{ above(1).holds }}",
        "{{ 'x'.format(1) }}",
        "{{ '%s' % 1 }}",
        "{{ [1].append(2) }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'a' * 9999999 }}",
        "{{ -table('s/t', width=2).gain | f1 }}",
        "{{ 1 + 1 }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ range(3) }}",
        "{{ lipsum() }}",
        "{{ cycler.__init__ }}",
        "{{ 1 | attr('real') }}",
        "{{ [1] | map('abs') }}",
        "{% include 'x.md.j2' %}",
        "{% import 'x.md.j2' as x %}",
        "{% for row in table('s/t') %}{{ row }}{% endfor %}",
        "{% macro m() %}{% endmacro %}{{ m.name.__class__ }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
    ],
)
def test_a_template_reaches_nothing_but_tables(results: Path, attack: str) -> None:
    with pytest.raises(ClaimError):
        rendered(attack, results)


def test_every_text_of_the_project_has_a_template() -> None:
    root = Path(__file__).parents[2]
    for source, target in TEXTS.items():
        assert (root / source).is_file()
        assert "<!--" not in (root / target).read_text(encoding="utf-8")
