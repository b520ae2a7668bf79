"""The architectures of a Stable Diffusion folder, with the field names of its config.json files."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.nets import foreign, layers

DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
UP = ("CrossAttnUpBlock2D", "UpBlock2D")

UNET_PLAIN: foreign.Plain = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None,),
    "addition_embed_type_num_heads": (64,),
    "addition_time_embed_dim": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "projection_class_embeddings_input_dim": (None,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
"""Fields of config.json that must have these values; other values are not supported."""

VAE_PLAIN: foreign.Plain = {
    "act_fn": ("silu", "swish"),
    "latents_mean": (None,),
    "latents_std": (None,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDUNetConfig:
    """UNet2DConditionModel of Stable Diffusion 1 and 2; names and defaults are config.json's.

    Attributes:
        attention_head_dim: the NUMBER of heads, of all levels or of each (an old misnomer).
            num_attention_heads has precedence.
        use_linear_projection: the transformers' ends are linear maps of tokens, else 1x1
            convolutions.
        upcast_attention: products of queries and keys are in float32 in every compute mode.
    """

    sample_size: int | tuple[int, ...] | None = None
    in_channels: int = 4
    out_channels: int = 4
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    down_block_types: tuple[str, ...] = (*DOWN[:1] * 3, DOWN[1])
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    up_block_types: tuple[str, ...] = (UP[1], *UP[:1] * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    dropout: float = 0.0
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int = 1280
    transformer_layers_per_block: int = 1
    attention_head_dim: int | tuple[int, ...] = 8
    num_attention_heads: int | tuple[int, ...] | None = None
    use_linear_projection: bool = False
    upcast_attention: bool | None = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SDUNetConfig":
        """The configuration from config.json's values.

        Raises:
            ValueError: an unknown field, or an unsupported value (of Stable Diffusion XL).
        """
        return layers.config_from(cls, foreign.known(values, cls, UNET_PLAIN))

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for field, allowed in (("down_block_types", DOWN), ("up_block_types", UP)):
            kinds = getattr(self, field)
            for kind in kinds:
                check(field, kind, allowed)
            if len(kinds) != levels or levels == 0:
                raise ValueError(f"{field} must name {levels} blocks, one per width, got {kinds}")
        check("mid_block_type", self.mid_block_type, ("UNetMidBlock2DCrossAttn", None))
        for field in ("layers_per_block", "transformer_layers_per_block", "cross_attention_dim"):
            if not isinstance(getattr(self, field), int):
                raise ValueError(f"{field} must be one whole number, got {getattr(self, field)!r}")
        for level, n in enumerate(self.block_out_channels):
            if n % self.heads(level):
                raise ValueError(f"attention_head_dim: {self.heads(level)} heads do not divide {n}")

    def heads(self, level: int) -> int:
        """Attention heads of a level, counted from the full resolution."""
        heads = self.num_attention_heads or self.attention_head_dim
        heads = (heads,) * len(self.block_out_channels) if isinstance(heads, int) else heads
        if len(heads) != len(self.block_out_channels):
            raise ValueError(f"attention_head_dim must have one number per width, got {heads}")
        return heads[level]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDVaeConfig:
    """AutoencoderKL; names and defaults are config.json's.

    Attributes:
        scaling_factor: the prior's latents are (latent - shift_factor) scaling_factor.
        force_upcast: unused; the compute mode decides.
    """

    sample_size: int | tuple[int, ...] | None = None
    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    force_upcast: bool | None = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SDVaeConfig":
        """The configuration from config.json's values; see SDUNetConfig.from_mapping."""
        return layers.config_from(cls, foreign.known(values, cls, VAE_PLAIN))

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for field, kind in (("down_block_types", "Down"), ("up_block_types", "Up")):
            allowed = (f"{kind}{'En' if kind == 'Down' else 'De'}coderBlock2D",)
            for name in getattr(self, field):
                check(field, name, allowed)
            if len(getattr(self, field)) != levels or levels == 0:
                raise ValueError(f"{field} must name {levels} blocks, one per width")

    @property
    def factor(self) -> int:
        """Pixels of a picture per pixel of its latent; height and width must be multiples of it."""
        return 2 ** (len(self.block_out_channels) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTextConfig:
    """CLIP's text encoder; names and defaults are config.json's.

    Attributes:
        eos_token_id: position of the pooled state; 2 (old files) is the largest id of a text.
        projection: pooled states go through `text_projection` (CLIPTextModelWithProjection).
    """

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407
    projection_dim: int = 512
    projection: bool = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "ClipTextConfig":
        """The configuration from config.json's values.

        Only fields that define the network are read; the files have many others.

        Raises:
            ValueError: another kind of model, or an unknown activation.
        """
        check("model_type", values.get("model_type"), (None, "clip_text_model"))
        known = {field.name for field in dataclasses.fields(cls)}
        own = {name: value for name, value in values.items() if name in known}
        if "CLIPTextModelWithProjection" in (values.get("architectures") or ()):
            own["projection"] = True
        return layers.config_from(cls, own)

    def __post_init__(self) -> None:
        check("hidden_act", self.hidden_act, ("quick_gelu", "gelu"))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads: {self.num_attention_heads} heads do not divide "
                f"hidden_size {self.hidden_size}"
            )


def check(field: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raises ValueError unless the value is allowed."""
    value = tuple(value) if isinstance(value, list) else value
    if value not in allowed:
        raise ValueError(f"{field} must be one of {list(allowed)}, got {brief(value)}")
