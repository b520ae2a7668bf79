"""Edits of strokes without a class, with the photo's own class, and with guidance towards it.

python experiments/paper/class_conditional.py --workdir=FOLDER
"""

import evaluations as ev
from evaluations import Setting

NAME = "class_conditional"
RUNS = {
    "no class": {},
    "own class": {"data.labels": "captions"},
    "own class against no class, scale 2": {
        "data.labels": "captions",
        "cond": "daisy",  # of pictures without a label, of which there are none
        "guidance.against": "null",
        "guidance.scale": 2.0,
    },
}
T0 = (0.6,)


def main() -> None:
    """Evaluate, and write the table."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(f"run_{k}_{t0:g}", "evaluate_strokes", {**own, "t0": t0}, {"edit": name, "t0": t0})
        for t0 in T0
        for k, (name, own) in enumerate(RUNS.items())
    ]
    rows = ev.run(settings, args, NAME)
    columns = [
        ("edit", ev.fact("edit")),
        ("t0", ev.fact("t0")),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("KID, hand", ev.distance("hand_edits")),
        ("KID, network", ev.distance("fruits64_edits")),
        ("PSNR to the photo (dB)", ev.measure("photo_psnr", 2)),
    ]
    ev.show(ev.table(rows, columns), NAME)
    ev.points(rows, "edit", NAME)


if __name__ == "__main__":
    main()
