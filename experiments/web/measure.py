"""How fast the page answers: strokes drawn in headless Chromium, server on the same machine.

python experiments/web/measure.py [--prior=fruits64] [--strokes=20]
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DRAWN = 1.5
"""Seconds of a stroke."""
EVERY = 0.016
"""Seconds between two movements of the pointer."""
WATCH = """
() => {
  window.seen = [];
  document.querySelector("#result").addEventListener("sdedit-shown", (event) =>
    window.seen.push([event.detail.number, performance.now(), event.detail.seconds]));
}
"""


@contextlib.contextmanager
def server(prior: str, port: int) -> Iterator[str]:
    """The page of a prior, until the block ends."""
    command = [sys.executable, "main.py", "--mode=web", f"--config.prior={prior}"]
    command.append(f"--config.web.port={port}")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in running.stdout:
            if line.startswith("web"):
                yield line.split()[1]
                return
        raise RuntimeError("the server ended before it was ready")
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


def stroke(page: Page, number: int) -> dict[str, float]:
    """Draw one stroke; the time to its picture, and the new pictures while it was drawn."""
    box = page.locator("#canvas .sd-stage").bounding_box()
    colours = page.locator("#canvas .sd-colour")
    colours.nth(number % colours.count()).click()
    page.evaluate("window.seen = []")
    place = lambda share: (  # noqa: E731
        box["x"] + box["width"] * (0.2 + 0.6 * share),
        box["y"] + box["height"] * (0.2 + 0.6 * ((number * 0.37 + share * share) % 1)),
    )
    page.mouse.move(*place(0))
    page.mouse.down()
    begun = time.perf_counter()
    while (now := time.perf_counter() - begun) < DRAWN:
        page.mouse.move(*place(now / DRAWN))
        time.sleep(EVERY)
    during = page.evaluate("window.seen.length")
    drawn = time.perf_counter() - begun
    page.mouse.up()
    page.wait_for_function("window.seen.some((one) => one[0] >= window.sdedit.number)")
    split = page.evaluate(
        """() => {
          const own = window.seen.find((one) => one[0] >= window.sdedit.number);
          return {sent: window.sdedit.sent, encoded: window.sdedit.encoded, shown: own[1],
            edit: own[2]};
        }"""
    )
    total = (split["shown"] - split["sent"]) / 1000
    encode = (split["encoded"] - split["sent"]) / 1000
    rest = total - encode - split["edit"]
    return {"total": total, "encode": encode, "edit": split["edit"], "rest": rest,
            "rate": during / drawn}  # fmt: skip


def main() -> None:
    """Print the medians, and each stroke as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prior", default="fruits64")
    parser.add_argument("--strokes", type=int, default=20)
    parser.add_argument("--port", type=int, default=7911)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with server(args.prior, args.port) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("#canvas .sd-colour")
        page.wait_for_timeout(1000)
        page.evaluate(WATCH)
        stroke(page, 0)
        found = [stroke(page, i) for i in range(args.strokes)]
        browser.close()
    for one in found:
        print(json.dumps({name: round(value, 3) for name, value in one.items()}))
    for name in found[0]:
        values = [one[name] for one in found]
        print(f"{name:7s} median {statistics.median(values):.3f}, worst {max(values):.3f}")
    print(f"{args.prior}: {args.strokes} strokes, load {load:.1f} before, {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
