"""KID and L2 against t0, for VE and VP: Figure 3 of the paper, and Proposition 1.

python experiments/paper/tradeoff.py --workdir=FOLDER
"""

import evaluations as ev
from evaluations import Setting

NAME = "tradeoff"
T0 = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def main() -> None:
    """Evaluate, write the table and the plot."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(f"{process}_{t0:g}", "evaluate_strokes", changes(process, t0), facts(process, t0))
        for process in ("ve", "vp")
        for t0 in T0
    ]
    rows = ev.run(settings, args, NAME)
    columns = [
        ("process", ev.fact("process")),
        ("t0", ev.fact("t0")),
        ("sigma", lambda row: f"{row['sigma']:.3g}"),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("KID, hand", ev.distance("hand_edits")),
        ("KID, network", ev.distance("fruits64_edits")),
    ]
    ev.show(ev.table(rows, columns), NAME)
    plot(rows)


def changes(process: str, t0: float) -> dict:
    """The fields of a run."""
    return {"process": process, "t0": t0}


def facts(process: str, t0: float) -> dict:
    """The process, the strength, and the ratio of noise to signal there."""
    from sdedit_jax.diffusion import strength
    from sdedit_jax.diffusion.sde import VE, VP

    own = VE(0.01, 80.0) if process == "ve" else VP(0.1, 20.0)
    return {"process": process.upper(), "t0": t0, "sigma": strength.describe(own, t0).sigma}


def plot(rows: list[dict]) -> None:
    """KID and L2 against t0, L2 against KID, and the bound of Proposition 1."""
    made, axes = ev.figure(4)
    for process in ("VE", "VP"):
        own = [row for row in rows if row["process"] == process]
        t0 = [row["t0"] for row in own]
        l2 = [row["measures"]["guide_l2"] for row in own]
        kid = [row["sets"]["hand_edits"] for row in own]
        ev.series(axes[0], t0, l2, process)
        ev.series(axes[1], t0, kid, process)
        means = [value for value, _ in l2], [value for value, _ in kid]
        axes[2].plot(*means, marker="o", ms=3.5, lw=1.4, label=process)
    guides = rows[0]["sets"]["hand_guides"][0]
    axes[1].axhline(guides, color="0.4", ls="--", lw=1, label="the guides")
    bound = [row for row in rows if "proposition_1_bound" in row["measures"] and row["t0"] > 0.05]
    t0 = [row["t0"] for row in bound]
    for name, label in (("bound", "bound"), ("distance", "measured")):
        values = [row["measures"][f"proposition_1_{name}"][0] for row in bound]
        axes[3].plot(t0, values, marker="o", ms=3.5, lw=1.4, label=label)
    for one in axes[1:]:
        one.set_yscale("log")
    titles = [("t0", "L2 to the guide"), ("t0", "KID, hand-made features")]
    titles += [("L2 to the guide", "KID, hand-made features")]
    titles += [("t0 (VE)", "squared distance, [-1, 1]")]
    for one, (x, y) in zip(axes, titles, strict=True):
        one.set(xlabel=x, ylabel=y)
        one.grid(alpha=0.3)
        one.legend(fontsize="small")
    ev.save(made, NAME, "tradeoff.png")


if __name__ == "__main__":
    main()
