"""The spread of the samples of an input, as a heat map beside its results."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.modes.files import Target
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.jobs import Done
from sdedit_jax.pipeline.outputs import Stored, on_background
from sdedit_jax.text.spelling import counted

END = "_uncertainty"
"""What the name of a heat map adds to that of its input."""


class Spread(NamedTuple):
    """The uncertainty of inputs, as heat maps on one colour scale.

    Attributes:
        top: the value of the brightest colour: the largest of all inputs.
        maps: name of an input -> its heat map.
    """

    top: float
    maps: Mapping[str, Stored]

    @property
    def column(self) -> str:
        """The label of a column of heat maps, with their scale."""
        return f"std 0 to {self.top:.3f}"

    def picture(self, name: str) -> np.ndarray | None:
        """The heat map of an input, uint8 [H, W, 3]; None where it has none."""
        return self.maps[name].picture if name in self.maps else None


def write(
    inputs: Sequence[Input], done: Sequence[Done], target: Target
) -> tuple[Spread, list[dict[str, Any]]]:
    """Write the heat map of each input with two or more results, and print their scale.

    Returns:
        the heat maps, and the entries of the record.
    """
    results = {one.name: [d for d in done if d.job.input.name == one.name] for one in inputs}
    results = {name: own for name, own in results.items() if len(own) > 1}
    top = max((float(values(own).max()) for own in results.values()), default=0.0)
    scale = f"standard deviation, black 0 to {images.BRIGHTEST} {top:.4g}"
    maps, entries = {}, []
    for name, own in results.items():
        found = values(own)
        text = {images.PART: END.removeprefix("_"), "scale": scale}
        path = target.png(f"{name}{END}.png", images.heat(found, top), text)
        mean = float(found.mean())
        print(f"{path}  {scale} on [0, 1] values, mean {mean:.4g}, {counted(len(own), 'sample')}")
        entry = {"file": path.name, "samples": len(own), "top": top}
        entries.append({**entry, "mean": mean, "max": float(found.max())})
        maps[name] = Stored(path)
    return Spread(top, maps), entries


def values(results: Sequence[Done]) -> np.ndarray:
    """The uncertainty [H, W] of an input by its results, see images.uncertainty."""
    return images.uncertainty(
        [on_background(d.made.output.picture, d.job.input.background) for d in results]
    )
