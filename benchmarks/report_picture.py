"""The README's picture of a report: how it opens, and beside it how the search is shown.

    tlsearch run studies/quickstart.yaml
    uv run python benchmarks/report_picture.py mlruns/studies/quickstart/report.html \\
        -o docs/report.png

Needs Chromium on the path.
"""

import argparse
import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

WIDTH, HEIGHT, GAP = 1000, 1400, 24
SECTIONS = ("answer", "search")


def drawn(page: Page) -> None:
    """Wait for all figures."""
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every((h) => h.querySelector('.main-svg'))"
    )


def column(page: Page, section: str) -> Image.Image:
    """What a reader sees from a section's heading on; of the first from the page's top."""
    place = f"document.getElementById('{section}').getBoundingClientRect().top + scrollY"
    top = 0.0 if section == SECTIONS[0] else float(page.evaluate(place))
    shot = page.screenshot(full_page=True, clip=FloatRect(x=0, y=top, width=WIDTH, height=HEIGHT))
    return Image.open(BytesIO(shot)).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/report.png"))
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(asked.report.resolve().as_uri())
        drawn(page)
        columns = [column(page, section) for section in SECTIONS]
        browser.close()
    picture = Image.new("RGB", (len(columns) * (WIDTH + GAP) - GAP, HEIGHT), "#d0d7de")
    for place, image in enumerate(columns):
        picture.paste(image, (place * (WIDTH + GAP), 0))
    picture.save(asked.output, optimize=True)
    print(f"{asked.output}: {asked.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
