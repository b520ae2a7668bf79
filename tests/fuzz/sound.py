"""Sound input: what the other kinds damage is accepted when it is whole."""

import importlib.util

from fuzz.case import Case, edit, kind, program
from fuzz.evaluations import EVALUATION, WAYS, begun
from fuzz.folders import RESULTS, argv_for, copied
from fuzz.special import base_fields, configs, mode_of

TORCH_FILE = "tiny.pth" if importlib.util.find_spec("torch") else "tiny.msgpack"
"""The seeds mean the same runs without torch, but for this file."""
TOPS = ("exact", "grey", "tiny", "text", "text_source", "unet2d", "lpips", *RESULTS)


def runs(rng):
    """Every sound run on which kinds build."""
    for top in TOPS:
        yield lambda top=top: (copied(top), argv_for(rng, top))[1]
    for name in configs():
        if name not in NEED_MORE:
            workdir = "./out/prior" if mode_of(name) == "convert" else "out"
            yield lambda name=name, workdir=workdir: program(
                mode_of(name), name, workdir, **base_fields(name)
            )
    for name in (TORCH_FILE, "tiny.msgpack"):
        fields = {"source": f"stock/{name}", "architecture": "stock/arch.json", "check": False}
        yield lambda fields=fields: program("convert", "convert", "./out/prior", **fields, cache="")
    for mode in ("sweep", "search", "calibrate", "replay"):
        workdir = "" if mode == "calibrate" else "out"
        given = base_fields("strokes", mode) | ({"trust": True} if mode == "replay" else {})
        yield lambda mode=mode, workdir=workdir, given=given: program(
            mode, "strokes", workdir, **given
        )
    yield lambda: edit(options__strength_map="stock/mask.png")
    for top, fields in SETS.items():
        given = base_fields("evaluate_strokes") | {"input": f"stock/{top}"} | fields
        yield lambda given=given: program("evaluate", "evaluate_strokes", **given)
    for way in WAYS:
        yield lambda way=way: (
            begun(),
            program("evaluate", "evaluate_strokes", **EVALUATION | way),
        )[1]


SETS = {"lsun": {}, "tfds": {"data__split": "train"}, "imagenet": {"data__split": "train"}}
SETS |= {"celeba_hq": {"options__mask_suffix": "_hair"}, "pie": {"data__split": "0,1"}}
"""Data sets as published."""


NEED_MORE = ("train_text", "train_vae", "evaluate_church", "evaluate_composite", "composite")
NEED_MORE += ("recolor", "inpaint", "scribble", "outpaint", "classes", "evaluate_ledits")
"""Configs that need a file or prior of their own beside the base fields."""


@kind
def sound(rng):
    """The run of the seed's number."""
    made = list(runs(rng))
    return Case(made[rng.seed % len(made)](), (), "whole", sound=True)
