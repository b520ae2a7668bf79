"""The modes by name, and what each does with its workdir."""

MODES = ["edit", "sweep", "search", "replay", "evaluate", "measure", "autotune", "calibrate"]
MODES += ["train", "convert", "web", "doctor"]
EDITING = ("edit", "sweep", "search", "replay", "measure", "autotune")
"""Modes whose existing results stop a run, unless `overwrite` or `keep` is given."""
RESUMING = ("edit", "sweep", "search", "convert")
"""Modes that finish an interrupted run with `resume`."""
CONTINUING = ("train", "evaluate")
"""Modes that always do."""
SHARED = ("evaluate",)
"""Modes in whose workdir several processes write, which finish what an earlier run left."""
WITHOUT = {
    "calibrate": "writes to the prior",
    "web": "writes no files",
    "doctor": "writes no files",
}
"""Modes that take no workdir, and why."""
LOCKING = (*SHARED, "convert")
"""Modes that lock what they write by themselves."""
OPTIONAL = ("replay", "measure")
"""Modes that write files only with a workdir."""
