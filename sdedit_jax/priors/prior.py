"""The prior: a process with a predictor of the noise in x_t, and a codec between pictures and x0.

Adapters of networks are in adapters.py, exact priors without a network in analytic.py, priors in
the latents of an autoencoder in latent.py.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax import images
from sdedit_jax.diffusion.sde import SDE, Tabulated
from sdedit_jax.priors.adapters import PredictFn, ThroughProcess


class Codec(Protocol):
    """Between pictures and the space of the prior. Instances are frozen and hashable."""

    def encode(self, params: Any, image: Array, z: Array | None = None) -> Array:
        """x0 of an image [H, W, C]; z is standard normal noise; None takes the mode."""

    def decode(self, params: Any, x0: Array) -> Array:
        """The image [H, W, C] of x0."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Identity:
    """The codec of pixel space: x0 is the picture."""

    def encode(self, params: Any, image: Array, z: Array | None = None) -> Array:
        return image

    def decode(self, params: Any, x0: Array) -> Array:
        return x0


IDENTITY = Identity()


@dataclass(frozen=True)
class Text:
    """How a prior reads texts.

    Attributes:
        tokenize: text -> text.tokenizer.Tokens, on the host: `ids` [M], `count` of the tokens of
            the text, `cut` (the rest of a text that is too long).
        encode: (params, ids [M]) -> the embedding [M, K], the cond of the prior; a hashable value.
    """

    tokenize: Callable[[str], Any]
    encode: Callable[..., Array]


@dataclass(frozen=True, repr=False)
class Prior:
    """A process and a predictor of its noise.

    Equality and hash leave out params, metadata and text: two loads of one folder are equal, and a
    function compiled for one of them serves the other. Pass `static` as a static argument and
    `params` as an ordinary one.

    Attributes:
        process: gives alpha(t) and sigma(t); x_t = alpha x0 + sigma z.
        predict: (params, x [H, W, C], t, cond=None, key=None) -> Prediction.
        params: nested dict of arrays.
        shape: (H, W, C) of the pictures on which it was trained. x has this shape too, unless a
            codec maps pictures to latents.
        codec: between pictures and x0.
        metadata: the content of prior.json.
        text: how it reads texts; None: it does not read texts.
        prepare_cond: (params, image [H, W, C], mask [H, W, 1], cond) -> cond, for networks that
            take the guide as input (inpainting); None: the network does not take it.
        stride: height and width of an edit are multiples of it; 0: only `shape` is possible.
    """

    process: SDE
    predict: PredictFn
    params: Any = field(compare=False)
    shape: tuple[int, int, int]
    codec: Codec = IDENTITY
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    text: Text | None = field(default=None, compare=False)
    prepare_cond: Callable[..., Any] | None = None
    stride: int = 1

    @property
    def latent(self) -> bool:
        """Whether x is a latent, not a picture."""
        return self.codec != IDENTITY

    @property
    def static(self) -> "Prior":
        """The prior without params, metadata and text: what a compiled function depends on."""
        return self.replace(params=None, metadata={}, text=None)

    def replace(self, **fields: Any) -> "Prior":
        """The prior with other values of some fields."""
        return dataclasses.replace(self, **fields)

    def eps(self, params: Any, x: Array, t: Array | float, cond: Any = None) -> Array:
        """Predicted noise [H, W, C] of x [H, W, C] at t in (0, 1]; for VE this is -sigma score."""
        return self.predict(params, x, jnp.asarray(t, jnp.float32), cond).eps

    def predictor(self, cond: Any = None) -> jax.tree_util.Partial:
        """(x [H, W, C], t) -> Prediction, for `sampler.reverse`: a pytree of the parameters."""
        return jax.tree_util.Partial(self.predict, self.params, cond=cond)

    def with_process(self, process: SDE) -> "Prior":
        """The same prior on another process, by equal noise-to-signal ratio.

        Noise outside the range of the prior's own process is replaced by the end of that range.
        """
        if process == self.process:
            return self
        predict, own = self.predict, self.process
        if isinstance(predict, ThroughProcess):  # from the process of the network itself
            predict, own = predict.predict, predict.own
        if process != own:
            predict = ThroughProcess(predict, own, process)
        return self.replace(process=process, predict=predict)

    def edit_size(self, size: Sequence[int] | None = None) -> images.Size:
        """(H, W) of an edit; None: the prior's own.

        Raises:
            ValueError: no two multiples of the stride.
        """
        if size is None:
            return self.shape[:2]
        height, width = images.check_size(size, max(self.stride, 1))
        if not self.stride and (height, width) != self.shape[:2]:
            raise ValueError(
                f"size must be {images.size_text(self.shape[:2])} (height x width) with this prior,"
                f" got {images.size_text(size)}"
            )
        return height, width

    def __repr__(self) -> str:
        about, space = self.metadata, "latents" if self.latent else "pixels"
        network = about.get("network", type(self.predict).__name__)
        title = f"Prior {about.get('name', 'unnamed')} ({network})"
        title += f", sha256 {about['sha256'][:16]}" if about.get("sha256") else ""
        sides = " x ".join(map(str, self.shape))
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.params))
        return f"{title}\n  {sides}, in {space}, {count:,} parameters\n  {describe(self.process)}"


def describe(process: SDE) -> str:
    """A process in one short line."""
    if not isinstance(process, Tabulated):
        return repr(process)
    kind, levels = "VE" if process.exploding else "VP", process.log_snrs
    return f"{kind} table, {len(levels)} levels, log-SNR {levels[0]:.3g} to {levels[-1]:.3g}"


def mask_of_state(mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask [H, W, C] of pixels as a mask [h, w, 1] of a state [h, w, c]; unchanged where H = h.

    A latent takes the largest value of its block of pixels, so that thin masks keep their effect.
    Kept pixels of the block are pasted over the result afterwards.
    """
    if mask.shape[:2] == tuple(shape[:2]):
        return mask
    (big, wide, _), (h, w) = mask.shape, shape[:2]
    if big % h or wide % w:
        raise ValueError(f"mask must be whole blocks of {(h, w)}, got {(big, wide)}")
    most = jnp.max(mask, axis=-1)
    return most.reshape(h, big // h, w, wide // w).max(axis=(1, 3))[..., None]
