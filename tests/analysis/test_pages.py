"""The page in a real browser, at a phone's and a desk's width."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import report
from analysis.figures import theme

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (400, 1400)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # In a container Chromium cannot make its own sandbox; 3-D needs software rendering.
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with points in every cell, failures and more cells than the filter needs."""
    folder = build(
        tmp_path_factory.mktemp("browser") / "widths",
        cells=[{"latent_dim": q} for q in range(1, 10)],
        seeds=(2, 2),
        n_points=80,
        failed={3: "diverged"}.get,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(theme._SETTINGS, "savefig.dpi", 50)
        # Few figures: what a page does with one, it does with all.
        kept = {name: report.FIGURES[name] for name in ("coverage", "survival", "composition")}
        patch.setattr(report, "FIGURES", kept)
        # The table of coverage has more rows: they are unpacked by the script.
        patch.setattr("analysis.page.render.PLAIN_ROWS", 40)
        assert report.main([str(folder)]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module", params=WIDTHS)
def page(browser: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened; everything it says or asks for is recorded."""
    tab = browser.new_page(viewport={"width": request.param, "height": 900})
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(page_file.as_uri())
    tab.wait_for_selector("html[data-state=ready]", timeout=120_000)
    yield tab
    tab.close()


def _open_cell(page: Any, number: int) -> Any:
    cell = page.locator(f"#cell-{number}")
    if not cell.evaluate("cell => cell.open"):
        page.locator("table.cells tbody tr").nth(number - 1).locator("th").click()
    page.wait_for_selector(f"#cell-{number}[data-state=drawn]", timeout=120_000)
    return cell


def _open_fold(page: Any, name: str) -> None:
    page.locator(f"#{name} > summary").click()
    page.locator(f"#{name} .dt-container").wait_for()


def _first_cells(table: Any) -> list[str]:
    first = "rows => rows.map(row => row.cells[0].textContent)"
    return table.locator("tbody tr").evaluate_all(first)


def _wait_for_rows(page: Any, table: Any, wanted: list[str]) -> None:
    """Wait for an order of the rows: they are sorted after a click has been answered."""
    for _ in range(50):
        if _first_cells(table) == wanted:
            return
        page.wait_for_timeout(200)
    assert _first_cells(table) == wanted


def test_tables_sort_and_filter(page: Any) -> None:
    _open_fold(page, "table-headline")
    table = page.locator("#table-headline .scroll table")
    widths = [str(q) for q in range(1, 10)]
    assert _first_cells(table) == widths
    head = table.locator("thead th").first
    head.click()
    table.locator("thead th[aria-sort=ascending]").wait_for()
    head.click()
    _wait_for_rows(page, table, widths[::-1])
    # By keyboard too.
    head.locator("[role=button], span.dt-column-order").first.focus()
    page.keyboard.press("Enter")
    _wait_for_rows(page, table, widths)
    # A cell is found by the name that it has everywhere.
    box = page.locator("#table-headline .scroll input[type=search]")
    box.fill("q = 3")
    _wait_for_rows(page, table, ["3"])
    box.fill("")
    _open_fold(page, "table-coverage")
    box = page.locator("#table-coverage .scroll input[type=search]")
    box.fill("decoder")
    found = page.locator("#table-coverage .scroll tbody tr").all_inner_texts()
    assert found
    assert all("decoder means" in text for text in found)
    box.fill("")
    assert "of 72 entries" in page.locator("#table-coverage .scroll").inner_text()


def test_cells_open_filter_and_show_their_seeds(page: Any) -> None:
    cell = _open_cell(page, 1)
    seeds = cell.locator("table.seeds tbody tr")
    assert seeds.count() == 4
    assert "diverged: loss is not finite" in " ".join(seeds.all_inner_texts())
    assert cell.locator(".curves .scatterlayer .trace").count() > 4
    assert page.url.endswith("#cell=q%3D1")
    assert page.locator("table.cells tr.chosen").count() == 1
    # Three stand beside each other; the oldest gives way to a fourth.
    for number in (2, 3, 4):
        _open_cell(page, number)
    opened = page.locator("details.cell[open] > summary").all_inner_texts()
    assert opened == ["q = 2", "q = 3", "q = 4"]
    page.locator("#cells > .scroll input[type=search]").fill("q = 7")
    _wait_for_rows(page, page.locator("table.cells"), ["q = 7"])
    page.locator("#cells > .scroll input[type=search]").fill("")


def test_a_cell_opens_by_its_address(browser: Any, page_file: Path) -> None:
    tab = browser.new_page(viewport={"width": 800, "height": 900})
    for address, number in (("#cell-4", 4), ("#cell=q%3D6", 6)):
        tab.goto("about:blank")
        tab.goto(page_file.as_uri() + address)
        tab.wait_for_selector(f"#cell-{number}[data-state=drawn]", timeout=120_000)
    tab.close()


def test_the_first_screen_answers(page: Any) -> None:
    """Question, verdict, number, chart and flags are seen at a desk without scrolling."""
    for what in ("h1", ".verdict", ".number b", "svg.hero-chart .pt", ".chips .chip"):
        assert page.locator(what).first.is_visible()
    assert len(page.locator(".verdict").inner_text().split()) <= 30
    assert page.locator(".rail a").count() == 7
    if page.viewport_size["width"] == 1400:
        bottom = "() => document.querySelector('.chips').getBoundingClientRect().bottom + scrollY"
        assert page.evaluate(bottom) < 900
        height = "() => document.documentElement.scrollHeight"
        folded = "() => document.querySelectorAll('details[open]').forEach(d => d.open = false)"
        page.evaluate(folded)
        assert page.evaluate(height) <= 6 * 900
    else:
        # The name and the estimate of a cell are seen without scrolling sideways.
        row = page.locator("table.cells tbody tr").first
        box = row.locator("td").first.bounding_box()
        assert box["x"] + box["width"] <= 400


def test_hovering_says_what_the_csv_says(page: Any, page_file: Path) -> None:
    page.locator(".explore-chart").scroll_into_view_if_needed()
    page.wait_for_selector(".explore-chart[data-state=drawn]", timeout=120_000)
    frame = pd.read_csv(page_file.parent / "explore.csv", keep_default_na=False)

    def drawn() -> dict[str, str]:
        script = (
            "place => Object.fromEntries(place.data.flatMap(trace => trace.customdata.map("
            "(cell, i) => [cell, trace.hovertext[i]])))"
        )
        found: dict[str, str] = page.locator(".explore-chart").evaluate(script)
        return found

    def told(quantity: str, source: str = "", protocol: str = "") -> dict[str, str]:
        rows = frame[(frame["quantity"] == quantity) & (frame["source"] == source)]
        rows = rows[rows["protocol"] == protocol]
        return {row.cell: f"{float(row.estimate):.4g}" for row in rows.itertuples()}

    def check(numbers: dict[str, str]) -> None:
        texts = drawn()
        assert texts.keys() == numbers.keys()
        assert all(f"<br>{numbers[cell]}" in text for cell, text in texts.items())

    check(told("extra", "samples", "calibrated"))
    form = page.locator("form.choices")
    form.locator("[name=y]").select_option("fkl_nats")
    page.wait_for_function("location.hash.includes('y=fkl_nats')")
    page.wait_for_timeout(300)
    check(told("fkl_nats"))
    # What is chosen is in the address, and comes back with it.
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".explore-chart[data-state=drawn]", timeout=120_000)
    check(told("fkl_nats"))


def test_a_point_leads_to_its_cell(page: Any) -> None:
    page.wait_for_selector("html[data-state=ready]", timeout=120_000)
    page.locator("svg.hero-chart [data-cell='latent_dim=5'] circle").click()
    page.wait_for_selector("#cell-5[data-state=drawn]", timeout=120_000)
    assert "q = 5" in page.locator("tr.chosen th").all_inner_texts()


def _wait_for_turn(
    page: Any, look: Callable[[], dict[str, float]], before: dict[str, float]
) -> dict[str, float]:
    """Wait until the eye has moved; drawing in software takes its time."""
    for _ in range(50):
        page.wait_for_timeout(200)
        now = look()
        if max(abs(now[axis] - before[axis]) for axis in "xyz") > 0.05:
            return now
    raise AssertionError(f"the picture does not turn: {before} to {now}")


def test_points_turn_by_mouse_and_by_buttons(page: Any) -> None:
    cell = _open_cell(page, 2)
    eye = "place => ({...place._fullLayout.scene.camera.eye})"
    place = cell.locator(".clouds")
    place.scroll_into_view_if_needed()
    before = place.evaluate(eye)
    box = place.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 30, steps=8)
    page.mouse.up()
    seen = "place => ({...place._fullLayout.scene._scene.getCamera().eye})"
    turned = _wait_for_turn(page, lambda: place.evaluate(seen), before)
    button = cell.get_by_role("button", name="turn left")
    button.focus()
    page.keyboard.press("Enter")
    _wait_for_turn(page, lambda: place.evaluate(eye), turned)
    cell.get_by_role("button", name="samples", exact=True).click()
    visible = place.evaluate("place => place.data.map(trace => trace.visible)")
    assert visible == [False, False, True]
    assert cell.locator(".plane .scatterlayer .trace").count() == 1


def test_nothing_runs_over_the_edge(page: Any) -> None:
    _open_cell(page, 1)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]


def test_contrast_names_and_alternatives(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    _open_cell(page, 1)
    for theme_name in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme_name}'")
        found = axe.run(page).response["violations"]
        told = [
            f"{theme_name}: {v['id']}: {v['nodes'][0]['html'][:120]} "
            f"{v['nodes'][0].get('failureSummary', '')[:200]}"
            for v in found
        ]
        assert not told


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(page: Any, page_file: Path) -> None:
    _open_cell(page, 2)
    outside = [url for url in page.asked if not url.startswith(("data:", "blob:", "about:"))]
    assert {url.partition("#")[0] for url in outside} == {page_file.as_uri()}
    assert [text for text in page.said if text.startswith("error")] == []
