"""The spread of the samples of an input, as a heat map beside its results."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.modes.files import Target
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.session import Input
from sdedit_jax.pipeline.outputs import on_background
from sdedit_jax.text.spelling import counted

END = "_uncertainty"
"""What the name of a heat map adds to that of its input."""


class Spread(NamedTuple):
    """The uncertainty of inputs, on one colour scale.

    Attributes:
        values: name of an input -> its uncertainty [H, W], see images.uncertainty.
        samples: name -> the number of its samples.
    """

    values: Mapping[str, np.ndarray]
    samples: Mapping[str, int]

    @property
    def top(self) -> float:
        """The value of the brightest colour: the largest of all inputs."""
        return max((float(own.max()) for own in self.values.values()), default=0.0)

    @property
    def column(self) -> str:
        """The label of a column of heat maps, with their scale."""
        return f"std 0 to {self.top:.3f}"

    def picture(self, name: str) -> np.ndarray | None:
        """The heat map of an input, uint8 [H, W, 3]; None where it has none."""
        return images.heat(self.values[name], self.top) if name in self.values else None


def spread(inputs: Sequence[Input], done: Sequence[Done]) -> Spread:
    """The uncertainty of each input with two or more results."""
    values, samples = {}, {}
    for one in inputs:
        own = [
            on_background(d.made.output.picture, d.job.input.item)
            for d in done
            if d.job.input.name == one.name
        ]
        if len(own) > 1:
            values[one.name], samples[one.name] = images.uncertainty(own), len(own)
    return Spread(values, samples)


def write(found: Spread, target: Target) -> list[dict[str, Any]]:
    """Write the heat maps, and print their scale; the entries of the record."""
    entries = []
    for name, values in found.values.items():
        picture = found.picture(name)
        scale = f"standard deviation, black 0 to {images.BRIGHTEST} {found.top:.4g}"
        text = {images.PART: END.removeprefix("_"), "scale": scale}
        path = target.png(f"{name}{END}.png", picture, text)
        mean = float(values.mean())
        samples = counted(found.samples[name], "sample")
        print(f"{path}  {scale} on [0, 1] values, mean {mean:.4g}, {samples}")
        entry = {"file": path.name, "samples": found.samples[name], "top": found.top}
        entries.append({**entry, "mean": mean, "max": float(values.max())})
    return entries
