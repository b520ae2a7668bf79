"""The values that define an NCSN++; all of score_sde's architecture switches."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.nets import layers

CHOICES = {
    "resblock_type": ("biggan", "ddpm"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "embedding_type": ("fourier", "positional"),
    "nonlinearity": tuple(layers.ACTIVATIONS),
}

# what turns NCSN++ into score_sde's model 'ddpm'
DDPM_VALUES = {
    "resblock_type": "ddpm",
    "progressive": "none",
    "progressive_input": "none",
    "embedding_type": "positional",
    "skip_rescale": False,
    "fir": False,
    "groups": 32,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCSNppConfig:
    """The architecture; field names and meanings are those of score_sde's configs.

    Attributes:
        image_size: side of the training pictures. The network takes other sizes too: see `stride`.
        centered: the input is in [-1, 1]; if False it is in [0, 1] and the network maps 2x - 1.
        attn_resolutions: sides of the feature maps that attend, for pictures of `image_size`. They
            define `attention_levels`; at other picture sizes the same levels attend.
        conditional: the blocks see the label (the noise level).
        scale_by_sigma: divide the output by sigma: by the label itself (fourier), or by entry
            `label` of the falling table of `num_scales` levels (positional).
        groups: groups of every norm; None means min(channels // 4, 32).
        num_classes: class labels 0..num_classes-1, and num_classes for "no class"; None: no labels.
        patch: the network works on squares of patch x patch pixels, each one pixel of patch^2 times
            as many channels (pixel unshuffle), at 1 / patch of the size; its output is put back.
    """

    image_size: int
    num_channels: int = 3
    centered: bool = False
    nf: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    resamp_with_conv: bool = True
    conditional: bool = True
    fir: bool = True
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    resblock_type: str = "biggan"
    progressive: str = "none"
    progressive_input: str = "residual"
    progressive_combine: str = "sum"
    embedding_type: str = "fourier"
    fourier_scale: float = 16.0
    init_scale: float = 0.0
    scale_by_sigma: bool = True
    sigma_min: float = 0.01
    sigma_max: float = 50.0
    num_scales: int = 1000
    dropout: float = 0.0
    nonlinearity: str = "swish"
    groups: int | None = None
    num_classes: int | None = None
    patch: int = 1

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {allowed}, got {brief(getattr(self, name))}"
                )
        if self.num_classes is not None and not self.conditional:
            raise ValueError("num_classes needs conditional=True, got conditional=False")
        if self.patch < 1:
            raise ValueError(f"patch must be at least 1, got {self.patch}")

    @property
    def channels(self) -> int:
        """Of the picture as the network works on it."""
        return self.num_channels * self.patch**2

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of it."""
        return self.patch * 2 ** (len(self.ch_mult) - 1)

    @property
    def attention_levels(self) -> frozenset[int]:
        """The levels that attend, counted from the full resolution."""
        side = self.image_size // self.patch
        return layers.attention_levels(side, self.attn_resolutions, len(self.ch_mult))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "NCSNppConfig":
        """The configuration from plain values (lists become tuples).

        Raises:
            ValueError: an unknown field, or a value that its field does not allow.
        """
        return layers.config_from(cls, values)

    @classmethod
    def ddpm(cls, values: Mapping[str, Any]) -> "NCSNppConfig":
        """score_sde's model 'ddpm': the same network with the switches of DDPM_VALUES."""
        return cls.from_mapping({**values, **DDPM_VALUES})
