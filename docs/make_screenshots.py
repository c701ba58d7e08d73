"""Go through the clicks of docs/operations.md in a browser, and take its screenshots on the way.

Needs a `tickstock up` that has imported the sample, a Chromium, and Playwright (``pip install '.[docs]'``). Run it where
that instance runs, or with the same ``TICKSTOCK_HOME``::

    python docs/make_screenshots.py --chromium /usr/bin/chromium

It changes the instance: a symbol that nobody knows is registered, analysis is forgotten and computed again. So take one
that can be thrown away. A click path that does not exist any more ends it with the step's name and exit code 1; pictures
go to ``docs/pictures/operations-*.png``.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from playwright.sync_api import Error, Locator, Page, sync_playwright

from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine

PICTURES = Path(__file__).parent / "pictures"
SIZE = {"width": 1280, "height": 800}
LARGEST_BYTES = 120_000
PATIENCE_MS = 120_000
SETTLED_MS = 1500
"""Pages draw their parts one after the other, and say nothing when they are done."""

SYMBOL, YEAR, UNKNOWN = "AAPL", "2012", "NOPE"


class Tour:
    """A browser in a running instance.

    Parameters
    ----------
    page : an open page
    url : of Dagster's web UI
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self, *names: str) -> None:
        """Follow links and tabs by their names, from the start page on."""
        self.page.goto(self.url)
        for name in names:
            self.follow(name)

    def follow(self, name: str) -> None:
        """A link or a tab; the names of tabs may have a count behind them."""
        link = self.page.get_by_role("link", name=name, exact=True)
        link.or_(self.page.get_by_role("tab", name=name)).first.click()

    def press(self, name: str, within: Locator | None = None) -> None:
        """A button."""
        (within or self.page).get_by_role("button", name=name).first.click()

    def wait_for(self, words: str) -> None:
        """Return once the page shows ``words``."""
        self.page.get_by_text(words).first.wait_for()

    @property
    def dialog(self) -> Locator:
        """The dialog in front."""
        return self.page.get_by_role("dialog").last

    def picture(self, name: str) -> None:
        """Save what is to be seen."""
        self.page.wait_for_timeout(SETTLED_MS)
        shot = self.page.screenshot()
        if len(shot) > LARGEST_BYTES:
            raise SystemExit(f"operations-{name}.png would have {len(shot):,} bytes; {LARGEST_BYTES:,} are allowed.")
        (PICTURES / f"operations-{name}.png").write_bytes(shot)


def automation(tour: Tour) -> None:
    """Switch an automation off, look at what another one did, and why it did nothing."""
    tour.open("Automation")
    tour.wait_for("catch_up")
    _switch(tour, "catch_up", on=False)
    tour.picture("automation")
    tour.follow("new_bars")
    tour.wait_for("Latest tick")
    tour.picture("ticks")


def stale(tour: Tour) -> None:
    """Analysis is forgotten, as the page says; a check tells of it once it is executed."""
    forget_analysis()
    tour.open("Catalog", "patterns_daily", "Checks")
    tour.press("Execute")
    tour.page.get_by_text("have no analysis that holds").first.wait_for()
    tour.picture("check")


def backfill(tour: Tour) -> None:
    """Launch a backfill of chosen partitions, and see it through."""
    tour.open("Catalog", "patterns_daily")
    launch(tour, SYMBOL, f"[{YEAR}...2013]", picture="launch")
    tour.open("Runs", "Backfills")
    tour.page.locator("a[href*='/runs/b/']").first.click()
    tour.wait_for("Partition selection")
    tour.wait_for("100% completed")
    tour.picture("backfill")
    tour.open("Catalog", "patterns_daily", "Partitions")
    for name in (SYMBOL, YEAR):
        tour.page.get_by_text(name, exact=True).last.click()
    tour.page.get_by_text("Show Markdown").first.click()
    tour.picture("picture")


def cancelled(tour: Tour) -> None:
    """Launch a backfill and cancel it."""
    tour.open("Catalog", "ohlcv_weekly")
    launch(tour, "IBM", "2012")
    tour.open("Runs", "Backfills")
    tour.page.locator("a[href*='/runs/b/']").first.click()
    tour.page.get_by_role("button").filter(has=tour.page.locator("[aria-label*='expand']")).last.click()
    tour.page.get_by_text("Cancel backfill submission").or_(tour.page.get_by_text("Terminate")).first.click()


STEPS: tuple[Callable[[Tour], None], ...] = (automation, stale, backfill, cancelled)


def launch(tour: Tour, symbol: str, years: str, picture: str | None = None) -> None:
    """Fill in the dialog of Materialize, and launch."""
    tour.press("Materialize")
    confirm = tour.dialog.get_by_role("button", name="Confirm")
    title = tour.page.get_by_text("Partition selection")
    confirm.or_(title).first.wait_for()
    if confirm.is_visible():
        confirm.click()
    title.wait_for()
    tour.dialog.get_by_text("Select a partition or create one").click()
    tour.page.get_by_text(symbol, exact=True).last.click()
    title.click()
    tour.dialog.get_by_placeholder("ex: ").fill(years)
    title.click()
    if picture:
        tour.picture(picture)
    tour.press("Launch backfill", tour.dialog)
    tour.dialog.wait_for(state="hidden")


def forget_analysis() -> None:
    """The statement of the page's section about analysing again."""
    engine = create_engine(attached_settings(Settings.load()).database_dsn())
    with engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM analysis_coverage WHERE symbol = :symbol AND timeframe = 'daily'"), {"symbol": SYMBOL}
        )
    engine.dispose()


def _switch(tour: Tour, name: str, *, on: bool) -> None:
    pass


def main() -> None:
    """Take them all."""
    settings = Settings.load()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=f"http://{settings.web_host}:{settings.web_port}", help="Dagster's web UI")
    parser.add_argument("--chromium", help="the browser's program; by default the one that Playwright has installed")
    parser.add_argument("--only", choices=[step.__name__ for step in STEPS], help="one step instead of all")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        tour = Tour(page, options.url)
        for step in STEPS:
            if options.only in (None, step.__name__):
                print(step.__name__, flush=True)
                try:
                    step(tour)
                except Error as error:
                    sys.exit(f"{step.__name__}: the click path has changed.\n{error}")
        browser.close()


if __name__ == "__main__":
    main()
