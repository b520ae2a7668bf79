"""LEDITS and LEDITS++ of --mode=edit: photos in, edited pictures and the way back beside them out.

A config with the method "ledits" comes here.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, record, words
from sdedit_jax.run.edit import report_bad, small
from sdedit_jax.run.ledits_jobs import Done, batches
from sdedit_jax.run.ledits_session import (
    Opened,
    Photo,
    evaluations,
    introduce,
    open_prior,
    read_inputs,
    warn,
)
from sdedit_jax.run.session import (
    free_name,
    needs,
    plain,
    process_name,
    refuse_existing,
    refuse_own_folder,
)

ENDS = ("edit", "reconstruction", "photo")
"""What the output names end in."""


def edit(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Edit every input.

    Writes <name>_edit.png, <name>_reconstruction.png and <name>_photo.png for each, the masks of
    its concepts (<name>_mask_1.png ...), sheet.png and record.json. Returns 1 if an input could not
    be read or a result not be made; the others are done all the same.
    """
    refuse_own_folder(config, workdir)
    opened = open_prior(config)
    photos, bad = read_inputs(opened)
    targets = [workdir / f"{photo.name}_{end}.png" for photo in photos for end in ends(photo)]
    refuse_existing(targets, overwrite, needs(config))
    introduce(opened, photos)
    warn(opened, photos)
    done = []
    for result in batches(opened, photos) if photos else ():
        if isinstance(result, str):
            bad.append(result)
            continue
        if result.compile_seconds:
            print(f"compile   {result.compile_seconds:.1f} s")
        write(workdir, result, overwrite)
        done.append(result)
    if done:
        summarise(opened, workdir, done, overwrite)
    return report_bad(bad)


def ends(photo: Photo) -> list[str]:
    """What the output names of a photo end in."""
    masks = [f"mask_{k}" for k, mask in enumerate(photo.masks, 1) if mask is not None]
    return [*ENDS, *masks]


def write(workdir: Path, done: Done, overwrite: bool) -> None:
    """The pictures of one photo, and a line about them."""
    name, chunks = done.photo.name, record.chunks(done.recipe)
    images.write_png(workdir / f"{name}_edit.png", done.edited, chunks, overwrite)
    beside = {"reconstruction": done.back, "photo": done.photo.item.fitted}
    for k, mask in enumerate(done.photo.masks, 1):
        if mask is not None:
            beside[f"mask_{k}"] = np.round(mask[..., 0] * 255).astype(np.uint8)
    for end, picture in beside.items():
        images.write_png(workdir / f"{name}_{end}.png", picture, overwrite=overwrite)
    e = done.entry
    back = e["reconstruction"]
    print(
        f"{workdir / name}_edit.png  RMS {e['rms']:.4f}, reconstruction {back['rms']:.4f}"
        f" (latent {back['latent_error']:.1e} of {back['latent_largest']:.2f})"
        f"  {e['seconds']:.2f} s"
    )


def summarise(opened: Opened, workdir: Path, done: Sequence[Done], overwrite: bool) -> None:
    """The contact sheet and the record of a run."""
    rows = [[small(p) for p in (d.photo.item.fitted, d.back, d.edited)] for d in done]
    names = [d.photo.name for d in done]
    scale = opened.config.sheet_scale or max(1, 128 // opened.prior.shape[0])
    picture = images.contact_sheet(rows, names, ["photo", "reconstruction", "edit"], scale)
    sheet = free_name(workdir / "sheet.png", overwrite)
    images.write_png(sheet, picture, overwrite=overwrite)
    slots = done[0].recipe["place"]["slots"]
    body = {
        "config": plain(opened.config),
        "prior": opened.prior.card,
        "process": process_name(opened.prior),
        "preset": opened.config.preset,
        "numbers": words.told(opened.made),
        "evaluations": evaluations(opened, slots),
        "compile_seconds": round(sum(d.compile_seconds for d in done), 3),
        "environment": done[0].recipe["environment"],
        "pictures": [d.entry for d in done],
    }
    file = free_name(workdir / "record.json", overwrite)
    images.write_bytes(file, record.dumps(body, indent=1).encode() + b"\n", overwrite)
    print(f"sheet {sheet}, record {file}")
