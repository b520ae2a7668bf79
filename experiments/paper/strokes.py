"""Realism and faithfulness of edits of simulated strokes: Tables 1 and 2 of the paper.

python experiments/paper/strokes.py --workdir=FOLDER [--input=LSUN --prior=PRIOR]
"""

import evaluations as ev
from evaluations import Setting

NAME = "strokes"
RUNS = {
    "VE, dpmpp_2m_sde, 12 steps": {"t0": 0.5},
    "VP, dpmpp_2m_sde, 12 steps": {"t0": 0.5, "process": "vp"},
    "VP, the paper's solver, 50 steps": {
        "t0": 0.5,
        "preset": "paper-vp",
        "sampler.steps": 50,
    },
}


def main() -> None:
    """Evaluate, and write the table."""
    args = ev.arguments(__doc__)
    settings = [
        Setting(f"run_{k}", "evaluate_strokes", changes, {"edit": label})
        for k, (label, changes) in enumerate(RUNS.items())
    ]
    rows = ev.run(settings, args, NAME)
    columns = [
        ("edit", ev.fact("edit")),
        ("L2 to the guide", ev.measure("guide_l2", 2)),
        ("KID, hand", ev.distance("hand_edits")),
        ("KID, network", ev.distance("fruits64_edits")),
        ("PSNR to the photo (dB)", ev.measure("photo_psnr", 2)),
    ]
    first = rows[0]
    sets = {
        name.replace("guides", "edits"): v for name, v in first["sets"].items() if "gui" in name
    }
    guides = {"edit": "the guides themselves", "measures": {"guide_l2": [0, 0]}, "sets": sets}
    ev.show(ev.table([guides, *rows], columns), NAME)
    ev.points(rows, "edit", NAME)


if __name__ == "__main__":
    main()
