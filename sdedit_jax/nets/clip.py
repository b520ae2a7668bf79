"""CLIP: pictures and texts as vectors whose angle measures how well they fit each other."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.clip_vision import ClipVision, ClipVisionConfig
from sdedit_jax.nets.layers import Draws
from sdedit_jax.nets.sd_config import check


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """The configurations of both encoders, which project to vectors of one length."""

    text: ClipTextConfig
    vision: ClipVisionConfig

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "ClipConfig":
        """The configuration from the config.json of a CLIPModel.

        Raises:
            ValueError: another kind of model, or see the configurations of the encoders.
        """
        check("model_type", values.get("model_type"), ("clip",))
        joint = {"projection_dim": values.get("projection_dim") or 512}
        parts = [values.get(f"{part}_config") or {} for part in ("text", "vision")]
        text = ClipTextConfig.from_mapping({**parts[0], **joint, "projection": True})
        return cls(text, ClipVisionConfig.from_mapping({**parts[1], **joint}))


class Clip(nnx.Module):
    """Both encoders; see `ClipConfig`."""

    def __init__(self, config: ClipConfig, *, rngs: Draws) -> None:
        self.text = ClipText(config.text, rngs=rngs)
        self.vision = ClipVision(config.vision, rngs=rngs)

    def texts(self, ids: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Tokens [B,N] -> unit vectors [B,D]; see `ClipText`."""
        return _unit(self.text(ids, dtype=dtype).pooled)

    def images(self, x: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Normalised pictures [B,S,S,3] -> unit vectors [B,D]; see `ClipVision`."""
        return _unit(self.vision(x, dtype=dtype))


def _unit(v: jax.Array) -> jax.Array:
    v = v.astype(jnp.float32)
    return v / jnp.linalg.norm(v, axis=-1, keepdims=True)
