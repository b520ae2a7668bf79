"""Folders of the stock that a case changes, and the runs that read them."""

import shutil
from pathlib import Path

from fuzz.case import edit, program

RESULTS = ("edited", "inpainted", "ledits", "swept", "swept_ledits")
"""Folders of results with recipes."""


def config_of(top):
    """The config of a folder of results."""
    return "ledits" if top.endswith("ledits") else "strokes"


def copied(name):
    """A copy of a folder or file of the stock in the case's own folder; its path."""
    source = Path("stock", name)
    if source.is_dir():
        shutil.copytree(source, name)
    else:
        shutil.copy(source, Path(name).name)
    return Path(Path(name).name) if not source.is_dir() else Path(name)


def argv_for(rng, top):
    """Arguments of a run that reads the folder `top`, which lies in the case's folder."""
    from fuzz.special import base_fields

    if top in ("exact", "tiny", "grey"):
        return edit(prior=top)
    if top in RESULTS:
        return program("replay", config_of(top), input=f"{top}/record.json", trust=True)
    if top == "text":
        name = rng.choice(("img2img", "ledits"))
        return program("edit", name, **(base_fields(name) | {"prior": top}))
    if top in ("text_source", "unet2d"):
        if top == "text_source" and rng.chance(0.3):
            return program("edit", "img2img", **(base_fields("img2img") | {"prior": top}))
        return program("convert", "convert", "./out/prior", source=top, cache="", check=False)
    if top == "lpips":
        files = {"features__lpips_alex": "lpips/backbone.safetensors", "features__lpips_heads": top}
        return edit(target_lpips=0.1, **files)
    return program(
        "train",
        "train",
        **(
            base_fields("train")
            | {
                "data__source": top,
                "data__labels": "captions",
                "data__split": "",
                "data__held_out": "",
            }
        ),
    )
