"""Edits of cruder and of finer guides, 3 to 50 colours: the question of Table 4 of the paper.

python experiments/paper/colors.py --workdir=FOLDER
"""

import evaluations as ev
from evaluations import Setting

NAME = "colors"
COLORS = (3, 6, 12, 25, 50)
T0 = (0.3, 0.5)


def main() -> None:
    """Evaluate, write the table and the plot."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(
            f"colors_{colors}_{t0:g}",
            "evaluate_strokes",
            {"options.colors": colors, "t0": t0},
            {"colours": colors, "t0": t0},
        )
        for t0 in T0
        for colors in COLORS
    ]
    rows = ev.run(settings, args, NAME)
    columns = [
        ("colours", ev.fact("colours")),
        ("t0", ev.fact("t0")),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("KID, hand: guides", ev.distance("hand_guides")),
        ("edits", ev.distance("hand_edits")),
        ("KID, network: guides", ev.distance("fruits64_guides")),
        ("edits", ev.distance("fruits64_edits")),
    ]
    ev.show(ev.table(rows, columns), NAME)
    plot(rows)


def plot(rows: list[dict]) -> None:
    """KID of guides and edits against the number of colours."""
    made, axes = ev.figure(2)
    for one, features in zip(axes, ("hand", "fruits64"), strict=True):
        first = [row for row in rows if row["t0"] == T0[0]]
        ev.series(one, COLORS, [row["sets"][f"{features}_guides"] for row in first], "guides")
        for t0 in T0:
            own = [row["sets"][f"{features}_edits"] for row in rows if row["t0"] == t0]
            ev.series(one, COLORS, own, f"edits, t0 {t0:g}")
        one.set(
            xlabel="colours of the guide", ylabel=f"KID, {features}", xscale="log", yscale="log"
        )
        one.set_xticks(COLORS, COLORS)
        one.minorticks_off()
        one.grid(alpha=0.3)
        one.legend(fontsize="small")
    ev.save(made, NAME, "colors.png")


if __name__ == "__main__":
    main()
