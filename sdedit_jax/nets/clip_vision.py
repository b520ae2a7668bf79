"""The picture encoder of CLIP with its projection, a vision transformer.

Attribute names are those of transformers' CLIPVisionModelWithProjection and CLIPModel.

References:
    Radford et al., Learning transferable visual models from natural language supervision
    (2103.00020).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers
from sdedit_jax.nets.clip_blocks import Stack
from sdedit_jax.nets.diffusers_blocks import LayerNorm, Linear
from sdedit_jax.nets.layers import Draws
from sdedit_jax.nets.recognition_blocks import Kernel
from sdedit_jax.nets.sd_config import check

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""Mean and spread of the colours in [0, 1]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipVisionConfig:
    """CLIP's picture encoder; names and defaults are config.json's (ViT-B/32).

    Attributes:
        image_size: side of the pictures. patch_size: side of a patch, which becomes a token.
        projection_dim: length of the result.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "ClipVisionConfig":
        """The configuration from config.json's values; only fields of the network are read.

        Raises:
            ValueError: another kind of model, an unknown activation, sides that do not fit.
        """
        check("model_type", values.get("model_type"), (None, "clip_vision_model"))
        known = {field.name for field in dataclasses.fields(cls)}
        return layers.config_from(cls, {n: v for n, v in values.items() if n in known})

    def __post_init__(self) -> None:
        check("hidden_act", self.hidden_act, ("quick_gelu", "gelu"))
        check("num_channels", self.num_channels, (3,))
        for field, n in (
            ("patch_size", self.image_size),
            ("num_attention_heads", self.hidden_size),
        ):
            part = getattr(self, field)
            if not isinstance(n, int) or not isinstance(part, int) or part < 1 or n % part:
                raise ValueError(f"{field} must be a whole number that divides {n}, got {part!r}")

    @property
    def tokens(self) -> int:
        """Tokens of a picture: its patches and one for the class."""
        return (self.image_size // self.patch_size) ** 2 + 1


class Embeddings(nnx.Module):
    """Patches as tokens after the class token, plus position embeddings."""

    def __init__(self, c: ClipVisionConfig, *, rngs: Draws) -> None:
        self.patch = c.patch_size
        side = (c.patch_size, c.patch_size)
        self.class_embedding = nnx.Param(rngs.normal((c.hidden_size,), 0.02))
        self.patch_embedding = Kernel(c.num_channels, c.hidden_size, side, rngs=rngs)
        self.position_embedding = layers.Embedding(c.tokens, c.hidden_size, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,S,S,3] -> [B,tokens,C]."""
        patches = self.patch_embedding(x, self.patch, "VALID")
        patches = patches.reshape(len(x), -1, patches.shape[-1])
        first = self.class_embedding[...].astype(x.dtype)
        first = jnp.broadcast_to(first.reshape(1, 1, -1), (len(x), 1, patches.shape[-1]))
        joined = jnp.concatenate([first, patches], axis=1)
        places = self.position_embedding(np.arange(joined.shape[1]))
        return joined + places[None].astype(x.dtype)


class VisionModel(nnx.Module):
    """Embeddings, norm, layers, norm of the class token."""

    def __init__(self, c: ClipVisionConfig, *, rngs: Draws) -> None:
        self.embeddings = Embeddings(c, rngs=rngs)
        # spelled as in transformers
        self.pre_layrnorm = LayerNorm(c.hidden_size, c.layer_norm_eps, rngs=rngs)
        self.encoder = Stack(c, rngs=rngs)
        self.post_layernorm = LayerNorm(c.hidden_size, c.layer_norm_eps, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,S,S,3] -> [B,C]."""
        x = self.pre_layrnorm(self.embeddings(x))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x[:, 0])


class ClipVision(nnx.Module):
    """The encoder; see `ClipVisionConfig`."""

    def __init__(self, config: ClipVisionConfig, *, rngs: Draws) -> None:
        self.config = c = config
        self.vision_model = VisionModel(c, rngs=rngs)
        self.visual_projection = Linear(c.hidden_size, c.projection_dim, bias=False, rngs=rngs)

    def __call__(self, x: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Encodes pictures.

        Args:
            x: [B,S,S,3] of the side `image_size`, normalised by CLIP's mean and spread.

        Returns:
            [B,projection_dim], not of unit length.

        Raises:
            ValueError: pictures of another size.
        """
        side = self.config.image_size
        if x.shape[1:] != (side, side, 3):
            raise ValueError(f"x must be [B,{side},{side},3], got shape {x.shape}")
        return self.visual_projection(self.vision_model(x.astype(dtype)))
