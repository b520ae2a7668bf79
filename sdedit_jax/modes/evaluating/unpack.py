"""The pictures in the shards of an evaluation as PNGs with recipes, which can be replayed."""

import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.evaluation import shards
from sdedit_jax.modes.evaluating.batches import Reader, Run, file_name
from sdedit_jax.modes.files import Target
from sdedit_jax.pipeline.outputs import given_out
from sdedit_jax.text.spelling import counted, hint
from sdedit_jax.weights import lock

FOLDER = "pictures"


def unpack(run: Run, target: Target) -> int:
    """Write the edits of the id `config.unpack`, or "all", with their guides and masks.

    Raises:
        ValueError: an id that the data set lacks, or whose edits are not finished.
    """
    wanted, ids = run.config.unpack, run.data.ids
    if wanted != "all" and wanted not in ids:
        raise ValueError(f"unpack: the data set has no id {wanted!r}{hint(wanted, ids)}")
    rows = (
        {id: row for row, id in enumerate(ids)} if wanted == "all" else {wanted: ids.index(wanted)}
    )
    out = Target(target.folder / FOLDER, True)
    with lock.locked(lock.file_of(out.folder, inside=True)):
        made = _unpack(run, out, wanted, rows)
    print(f"unpacked  {counted(made, 'picture')} in {out.folder}")
    return 0


def _unpack(run: Run, out: Target, wanted: str, rows: dict[str, int]) -> int:
    """Write the edits of rows by their ids; their number.

    Raises:
        ValueError: there is none.
    """
    made, seen = 0, {}
    for shard in _shards(run, None if wanted == "all" else rows[wanted]):
        own = run.shard(shard)
        for line, found in run.store.pictures(shard, own):
            if line["id"] in rows:
                made += _write(run, out, line, own.header, found, rows[line["id"]], seen)
    if not made:
        raise ValueError(f"unpack: no edit of {wanted!r} is finished")
    return made


def _shards(run: Run, row: int | None) -> list[int]:
    """The finished shards, or those with the edits of a row."""
    there = run.store.finished
    if row is None:
        return there
    first = int(np.flatnonzero(run.plan.order == row)[0]) * run.plan.samples
    last = first + run.plan.samples - 1
    return [k for k in there if first // run.plan.shard <= k <= last // run.plan.shard]


def _write(
    run: Run, out: Target, line: dict, header: dict, found: np.ndarray, row: int, seen: dict
) -> int:
    """Write an edit, and with the first one of an id what a replay reads beside it."""
    name = file_name(line["id"])
    if name not in seen:
        seen.clear()  # the edits of a row stand together
        seen[name] = Reader(run).one(row)
    if isinstance(seen[name], str):
        raise ValueError(seen[name])
    one = seen[name].input
    picture = given_out(found, one.item)
    text = provenance.chunks(shards.recipe_of(header, line))
    out.png(f"{name}_{line['sample']}.png", picture, text, one.item.photo.source)
    if line["sample"] == 0:
        for end, part in run.kind.inputs_beside(one).items():
            shown = given_out(part, one.item)
            out.png(f"{name}{end}.png", shown, {images.PART: end.removeprefix("_")})
    return 1
