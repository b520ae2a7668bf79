"""Puts the tables of results.jsonl into README.md, and draws curves.png.

python experiments/auto_t0/report.py
"""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

FOLDER = Path(__file__).parent
Row = dict


def main() -> None:
    """Rewrite what stands between <!-- NAME --> and <!-- end --> of the README, and the plot."""
    rows = [json.loads(line) for line in (FOLDER / "results.jsonl").read_text().splitlines()]
    path = FOLDER / "README.md"
    text = path.read_text()
    for name, made in {"strengths": strengths(rows), "curves": curves(rows)}.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    path.write_text(text)
    draw(rows, FOLDER / "curves.png")


def strengths(rows: list[Row]) -> str:
    """A table: medians and quartiles of each set."""
    lines = ["| prior | guides | number | median t0 | median sigma | quartiles of sigma |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in (row for row in rows if "sigma" in row):
        low, middle, high = np.quantile(row["sigma"], [0.25, 0.5, 0.75])
        t0 = np.array(row["t0"])
        own = f"{row['prior']} | {row['set']} | {len(t0)} | {np.median(t0):.2f}"
        note = f"{np.mean(t0 < 0.15):.0%} below t0 0.15" if row["set"] == "photos" else ""
        lines.append(f"| {own} | {middle:.2f} | {note or f'{low:.2f}, {high:.2f}'} |")
    lines += ["", "| prior | scribbles | IoU: median | quartiles |", "|---|---|---|---|"]
    for row in (row for row in rows if "iou" in row):
        low, middle, high = np.quantile(row["iou"], [0.25, 0.5, 0.75])
        number = len(row["iou"])
        lines.append(f"| {row['prior']} | {number} | {middle:.2f} | {low:.2f}, {high:.2f} |")
    return "\n".join(lines)


def curves(rows: list[Row]) -> str:
    """A table of KID: the guides, the automatic strengths, the best fixed t0, and 0.5."""
    head = "| prior | guides | features | guides' own | automatic | best fixed t0 | t0 0.5 |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for prior, name in sets(rows):
        found = {row["at"]: row["kid"] for row in of(rows, "edits", prior, name)}
        own = of(rows, "guides", prior, name)[0]["kid"]
        for features in own:
            fixed = {t0: kid[features] for t0, kid in found.items() if t0 != "auto"}
            best = min(fixed, key=lambda t0: fixed[t0]["value"])
            cells = [own[features], found["auto"][features], fixed[best], fixed[0.5]]
            texts = [quoted(cell) for cell in cells]
            texts[2] = f"{best:g}: {texts[2]}"
            lines.append(f"| {prior} | {name} | {features} | {' | '.join(texts)} |")
    return "\n".join(lines)


def quoted(kid: dict) -> str:
    """A KID with its standard error."""
    return f"{kid['value']:.3f} ({kid['error']:.3f})"


def sets(rows: list[Row]) -> list[tuple[str, str]]:
    """(prior, set of guides) of all curves."""
    return list(dict.fromkeys((r["prior"], r["set"]) for r in rows if r.get("kid_of") == "edits"))


def of(rows: list[Row], kind: str, prior: str, name: str) -> list[Row]:
    """The KIDs of a set."""
    wanted = {"kid_of": kind, "prior": prior, "set": name}
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def draw(rows: list[Row], path: Path) -> None:
    """KID against t0, a row of panels for each kind of features, a panel for each prior."""
    priors = list(dict.fromkeys(prior for prior, _ in sets(rows)))
    figure, axes = plt.subplots(
        2, len(priors), figsize=(4.5 * len(priors), 6), layout="constrained", squeeze=False
    )
    for column, prior in enumerate(priors):
        names = [name for own, name in sets(rows) if own == prior]
        for line, panel in enumerate(axes[:, column]):
            features = list(of(rows, "edits", prior, names[0])[0]["kid"])
            if line >= len(features):
                panel.set_visible(False)
                continue
            for name in names:
                curve(panel, of(rows, "edits", prior, name), features[line], name)
            panel.set(title=f"{prior}, features {features[line]}", xlabel="t0", ylabel="KID")
            panel.grid(alpha=0.3)
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=72)
    plt.close(figure)


def curve(panel: Axes, rows: list[Row], features: str, name: str) -> None:
    """The KID by fixed t0 with standard errors, and as a band that of the automatic strengths."""
    kids = {row["at"]: row["kid"][features] for row in rows}
    auto = kids.pop("auto")
    values, errors = ([kid[key] for kid in kids.values()] for key in ("value", "error"))
    line = panel.errorbar(list(kids), values, errors, marker="o", label=f"{name}, one t0")
    color, ends = line[0].get_color(), (min(kids), max(kids))
    panel.plot(ends, [auto["value"]] * 2, "--", color=color, label=f"{name}, automatic")
    low, high = (auto["value"] + sign * auto["error"] for sign in (-1, 1))
    panel.fill_between(ends, low, high, color=color, alpha=0.12)


if __name__ == "__main__":
    main()
