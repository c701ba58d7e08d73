"""Pages of Dagster's UI over a large grid, in a real browser.

``python -m benchmarks.pages --chromium /usr/bin/chromium`` shows 1,000 symbols and 10 years with every partition of
every asset materialised. Needs a Chromium, and Playwright (``pip install '.[docs]'``).
"""

import argparse
import time

from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from rich.table import Table

from benchmarks.backfill import PAGE_SYMBOLS, PAGE_YEARS, SETTINGS, engine_of, fill_dagster
from benchmarks.database import show
from benchmarks.instance import running_instance
from tickstock_pipeline.runtime.orchestrator import Orchestrator

_ASSET = "indicators_daily"
_PAGES = {
    "catalogue": ("/assets", _ASSET),
    "an asset's partitions": (f"/assets/{_ASSET}?view=partitions", f"Materialized ({PAGE_SYMBOLS * PAGE_YEARS})"),
    "an asset's overview": (f"/assets/{_ASSET}?view=overview", _ASSET),
    "lineage": ("/asset-groups", "Lineage"),
}
_ROUNDS = ("first time", "again")
_LONGEST_MS = 120_000


def measure(chromium: str) -> Table:
    """Seconds from the address to the page's own words, and to the last answer of the webserver."""
    table = Table(
        title=f"Pages in Chromium, {PAGE_SYMBOLS:,} symbols x {PAGE_YEARS} years x all assets, s; the aim is 3 s"
    )
    for column in ("page", *(f"{when}: {what}" for when in _ROUNDS for what in ("shown", "complete"))):
        table.add_column(column, justify="left" if column == "page" else "right")
    with (
        running_instance(SETTINGS) as instance,
        engine_of(instance) as engine,
        Orchestrator(instance.web_url, timeout_seconds=300) as orchestrator,
    ):
        fill_dagster(instance, engine, orchestrator)
        with sync_playwright() as playwright, _launched(playwright, chromium) as browser:
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            rounds = [
                {name: _seconds(page, instance.web_url + path, words) for name, (path, words) in _PAGES.items()}
                for _ in _ROUNDS
            ]
    for name in _PAGES:
        table.add_row(name, *(f"{seconds:.2f}" for one in rounds for seconds in one[name]))
    return table


def _launched(playwright: Playwright, chromium: str) -> Browser:
    # what is opened is our own, and without it no Chromium starts for root
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


def _seconds(page: Page, url: str, words: str) -> tuple[float, float]:
    begin = time.monotonic()
    page.goto(url, wait_until="commit")
    page.get_by_text(words, exact=False).first.wait_for(timeout=_LONGEST_MS)
    shown = time.monotonic() - begin
    # half a second without a request
    page.wait_for_load_state("networkidle", timeout=_LONGEST_MS)
    return shown, max(time.monotonic() - begin - 0.5, shown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--chromium", required=True, help="path of the browser")
    show([measure(parser.parse_args().chromium)])
