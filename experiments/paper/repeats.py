"""One, two and three repeats of the whole edit: the paper's K.

python experiments/paper/repeats.py --workdir=FOLDER
"""

import evaluations as ev
from evaluations import Setting

NAME = "repeats"
T0 = (0.5,)


def main() -> None:
    """Evaluate, and write the table."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(
            f"repeats_{k}_{t0:g}",
            "evaluate_strokes",
            {"sampler.repeats": k, "t0": t0},
            {"K": k, "t0": t0, "evaluations": 12 * k},
        )
        for t0 in T0
        for k in (1, 2, 3)
    ]
    rows = ev.run(settings, args, NAME)
    columns = [
        ("t0", ev.fact("t0")),
        ("K", ev.fact("K")),
        ("evaluations", ev.fact("evaluations")),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("KID, hand", ev.distance("hand_edits")),
        ("KID, network", ev.distance("fruits64_edits")),
    ]
    ev.show(ev.table(rows, columns), NAME)
    ev.points([{**row, "name": f"K = {row['K']}"} for row in rows], "name", NAME)


if __name__ == "__main__":
    main()
