"""The architecture of diffusers' UNet2DModel, with the field names of its config.json."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.nets import foreign, layers

DOWN = (
    "DownBlock2D",
    "AttnDownBlock2D",
    "ResnetDownsampleBlock2D",
    "SkipDownBlock2D",
    "AttnSkipDownBlock2D",
)
UP = (
    "UpBlock2D",
    "AttnUpBlock2D",
    "ResnetUpsampleBlock2D",
    "SkipUpBlock2D",
    "AttnSkipUpBlock2D",
)

CHOICES: dict[str, tuple[Any, ...]] = {
    "time_embedding_type": ("positional", "fourier", "learned"),
    "mid_block_type": ("UNetMidBlock2D", None),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
    "downsample_padding": (0, 1),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None, "timestep", "identity"),
    "act_fn": ("silu", "swish", "mish", "gelu", "relu"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNet2DConfig:
    """The architecture; names and defaults are those of config.json.

    Attributes:
        attention_head_dim: channels of one head; None is one head of all channels.
        norm_num_groups: of the plain blocks; the Skip blocks derive theirs from the width.
        center_input_sample: the input is in [0, 1], and the network centres it.
        num_class_embeds: size of the table of labels (class_embed_type None).
        num_train_timesteps: size of the table of times (time_embedding_type "learned").
    """

    sample_size: int | tuple[int, ...] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = (DOWN[0], *DOWN[1:2] * 3)
    mid_block_type: str | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = (*UP[1:2] * 3, UP[0])
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int | None = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "UNet2DConfig":
        """The configuration from the values of config.json; names that start with "_" are ignored.

        Raises:
            ValueError: an unknown field, or an unsupported value.
        """
        own = foreign.known(values, cls)
        for field in ("down_block_types", "up_block_types"):
            if field in own:  # the first releases wrote UNetResDownBlock2D
                own[field] = tuple(str(name).removeprefix("UNetRes") for name in own[field])
        return layers.config_from(cls, own)

    def __post_init__(self) -> None:
        for field, allowed in CHOICES.items():
            _check(field, getattr(self, field), allowed)
        levels = len(self.block_out_channels)
        for field, allowed in (("down_block_types", DOWN), ("up_block_types", UP)):
            kinds = getattr(self, field)
            for kind in kinds:
                _check(field, kind, allowed)
            if len(kinds) != levels or levels == 0:
                raise ValueError(f"{field} must name {levels} blocks, one per width, got {kinds}")
        self._check_skips()
        if self.time_embedding_type == "learned" and not self.num_train_timesteps:
            raise ValueError('num_train_timesteps is needed for time_embedding_type "learned"')

    def _check_skips(self) -> None:
        kinds = (*self.down_block_types, *self.up_block_types)
        skips = ["Skip" in kind for kind in kinds]
        if any(skips) and not all(skips):
            raise ValueError(f"the Skip blocks do not mix with others, got {list(kinds)}")
        if any(skips) and (self.in_channels, self.out_channels) != (3, 3):
            raise ValueError("the Skip blocks need in_channels = out_channels = 3")
        if self.norm_num_groups is None and not any(skips):
            raise ValueError("norm_num_groups must be a number for blocks without Skip, got None")

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of it."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def temb(self) -> int:
        """Channels of the time embedding."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def features(self) -> int:
        """Channels of the features that are embedded."""
        return self.block_out_channels[0] * (1 + (self.time_embedding_type == "fourier"))

    def head(self, channels: int) -> int:
        """Channels of one attention head in a block of `channels`."""
        return channels if self.attention_head_dim is None else self.attention_head_dim


def _check(field: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} must be one of {list(allowed)}, got {brief(value)}")
