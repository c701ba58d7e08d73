"""Go through the clicks of docs/operations.md in a browser, and take its screenshots on the way.

Needs a `tickstock up` that has imported the sample, a Chromium, Playwright and Pillow (``pip install '.[docs]'``). Run
it where that instance runs, or with the same ``TICKSTOCK_HOME``::

    python docs/make_screenshots.py --chromium /usr/bin/chromium

It changes the instance: a symbol that nobody knows is registered, analysis is forgotten and computed again. So take
one that can be thrown away. A click path that does not exist any more ends it with the step's name and exit code 1;
pictures go to ``docs/pictures/operations-*.png``.
"""

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Error, Locator, Page, sync_playwright

from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine

PICTURES = Path(__file__).parent / "pictures"
SIZE = {"width": 1280, "height": 800}
COLOURS = 128
"""More cost bytes and show nothing."""
LARGEST_BYTES = 120_000
PATIENCE_MS = 120_000
SETTLED_MS = 1500
"""Pages draw their parts one after the other, and say nothing when they are done."""

SYMBOL, YEAR, UNKNOWN = "AAPL", "2012", "NOPE"
LAUNCHED = re.compile(r"^Launched run\s+[0-9a-f]{8}$")
CLOCK = re.compile(r"\d:\d\d")
HEXADECIMAL = re.compile(r"^[0-9a-f]{8}$")


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
        """A link or a tab; behind a tab's name there may be a count."""
        words = re.compile(rf"^{name}( \(.*\))?$")
        link = self.page.get_by_role("link").filter(has=self.page.get_by_text(name, exact=True))
        link.or_(self.page.get_by_role("tab").or_(self.page.get_by_role("link")).filter(has_text=words)).first.click()

    def press(self, name: str, within: Locator | None = None) -> None:
        """A button; three dots behind its name say that it asks for more."""
        words = re.compile(rf"^{re.escape(name)}…?$")
        (within or self.page).get_by_role("button").filter(has_text=words).first.click()

    def wait_for(self, words: str) -> None:
        """Return once the page shows ``words``."""
        self.page.get_by_text(words).locator("visible=true").first.wait_for()

    @property
    def dialog(self) -> Locator:
        """The dialog in front."""
        return self.page.get_by_role("dialog").last

    def picture(self, name: str, *, height: int = SIZE["height"], above: Locator | None = None) -> None:
        """Save what is to be seen, down to ``height`` or to the lowest of ``above``: a trace has paths of a machine."""
        self.page.wait_for_timeout(SETTLED_MS)
        if above is not None:
            tops = [box["y"] for one in above.all() if (box := one.bounding_box()) is not None]
            height = int(max(top for top in tops if top < height))
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB").crop((0, 0, SIZE["width"], height))
        file = PICTURES / f"operations-{name}.png"
        shot.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size > LARGEST_BYTES:
            sys.exit(f"{file.name} has {file.stat().st_size:,} bytes; {LARGEST_BYTES:,} are allowed.")


def automation(tour: Tour) -> None:
    """Switch an automation off, so that it does not do what is shown here, and see what another one did."""
    tour.open("Automation")
    _switch(tour, "catch_up", on=False)
    tour.picture("automation")
    tour.page.get_by_role("link", name="new_bars").click()
    tour.wait_for("Latest tick")
    tour.wait_for("View logs")


def failed_import(tour: Tour) -> None:
    """Import a symbol that the provider does not know: its job's runs, and the reason."""
    words = ["import", SYMBOL, UNKNOWN, "--timeframe", "daily", "--from", f"{YEAR}-01-01", "--to", f"{YEAR}-12-31"]
    subprocess.run([sys.executable, "-m", "tickstock_pipeline", *words], check=False)
    tour.open("Runs", "Failed")
    tour.page.get_by_text("tickstock/job_id").first.wait_for()
    tour.picture("failed-runs", height=400)
    tour.page.locator("a[href^='/runs/']").filter(has_text=HEXADECIMAL).first.click()
    tour.wait_for("partitions failed")
    tour.picture("failed-run", above=tour.page.get_by_text("Stack Trace"))


def missing(tour: Tour) -> None:
    """Execute the check that tells which bars are missing, and why."""
    tour.open("Catalog", "ohlcv_daily", "Checks")
    tour.page.get_by_text("completeness", exact=True).first.click()
    execute_check(tour)
    tour.wait_for("gaps in 1 symbols")
    tour.picture("completeness")


def stale(tour: Tour) -> None:
    """Analysis is forgotten, as the page says; a check tells of it once it is executed."""
    forget_analysis()
    tour.open("Catalog", "patterns_daily", "Checks")
    execute_check(tour)
    tour.wait_for("have no analysis that holds")
    tour.picture("check")


def backfill(tour: Tour) -> None:
    """Launch a backfill of chosen partitions, and see it through."""
    tour.open("Catalog", "patterns_daily")
    launch(tour, SYMBOL, "[2000...2013]", picture="launch")
    open_newest_backfill(tour)
    tour.wait_for("100% completed")
    tour.picture("backfill", height=400)
    tour.page.goto(f"{tour.url}/assets/patterns_daily?view=partitions&partition={SYMBOL}%7C{YEAR}")
    tour.page.get_by_text("Show Markdown").first.click()
    tour.picture("picture")


def cancelled(tour: Tour) -> None:
    """Launch a backfill and cancel it."""
    tour.open("Catalog", "ohlcv_weekly")
    launch(tour, SYMBOL, "[2010...2012]")
    open_newest_backfill(tour)
    tour.page.locator("button:has([aria-label=expand_more])").last.click()
    tour.page.get_by_text("Cancel backfill").click()
    tour.press("Cancel backfill", tour.dialog)
    tour.page.get_by_text(re.compile("Cancel(ed|ing)")).first.wait_for()


def jobs(tour: Tour) -> None:
    """Launch a job that is no asset."""
    tour.open("Jobs")
    tour.page.get_by_role("link", name="universe_refresh").click()
    tour.follow("Launchpad")
    tour.press("Launch Run")
    tour.wait_for("RUN_SUCCESS")


def lineage(tour: Tour) -> None:
    """What a pattern is computed from."""
    tour.open("Catalog", "patterns_daily", "Checks")
    # the first of this name is the page of all assets
    tour.page.get_by_text("Lineage", exact=True).last.click()
    tour.press("All")
    tour.wait_for("ohlcv_1min")
    for _ in range(4):
        tour.page.locator("button:has([aria-label=zoom_out])").click()
    tour.picture("lineage")


def switched_on(tour: Tour) -> None:
    """As it was."""
    tour.open("Automation")
    _switch(tour, "catch_up", on=True)


STEPS: tuple[Callable[[Tour], None], ...] = (
    automation,
    failed_import,
    missing,
    stale,
    backfill,
    cancelled,
    jobs,
    lineage,
    switched_on,
)


def launch(tour: Tour, symbol: str, years: str, picture: str | None = None) -> None:
    """Fill in the dialog of Materialize, and launch."""
    tour.press("Materialize")
    confirm = tour.page.get_by_role("button", name="Confirm")
    title = tour.page.get_by_text("Partition selection").locator("visible=true").first
    confirm.or_(title).first.wait_for()
    if confirm.is_visible():
        confirm.click()
    title.wait_for()
    tour.page.get_by_text("Select a partition or create one").locator("visible=true").first.click()
    tour.page.get_by_text(symbol, exact=True).locator("visible=true").last.click()
    elsewhere = tour.page.get_by_text("Launch runs to materialize").locator("visible=true").first
    elsewhere.click()
    tour.page.get_by_placeholder("ex: ").fill(years)
    elsewhere.click()
    if picture:
        tour.picture(picture)
    tour.press("Launch backfill")
    title.wait_for(state="hidden")


def execute_check(tour: Tour) -> None:
    """Judge anew; what the page says until then is of an earlier run."""
    tour.press("Execute")
    launched = tour.page.get_by_text(LAUNCHED).last.inner_text()
    run = launched.split()[-1]
    # the time of the latest execution is a link to its run
    tour.page.locator(f"a[href*='{run}']").filter(has_text=CLOCK).first.wait_for()
    tour.page.get_by_text("Running", exact=True).first.wait_for(state="hidden")


def open_newest_backfill(tour: Tour) -> None:
    """The first of the list."""
    tour.open("Runs", "Backfills")
    tour.page.locator("a[href*='/runs/b/']").first.click()
    tour.wait_for("Partition selection")


def forget_analysis() -> None:
    """The statement of the page's section about analysing again."""
    engine = create_engine(attached_settings(Settings.load()).database_dsn())
    with engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM analysis_coverage WHERE symbol = :symbol AND timeframe = 'daily'"), {"symbol": SYMBOL}
        )
    engine.dispose()


def _switch(tour: Tour, name: str, *, on: bool) -> None:
    row = tour.page.locator("[data-index]").filter(has=tour.page.get_by_text(name, exact=True))
    # the first selects the row; the toggle can be used once its state is known
    switch = row.locator("input[type=checkbox]:not([disabled])").nth(1)
    switch.wait_for(state="attached")
    if switch.is_checked() is not on:
        switch.locator("xpath=..").click()
        tour.page.wait_for_timeout(SETTLED_MS)
    if switch.is_checked() is not on:
        raise Error(f"the toggle of {name} has no effect")


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
