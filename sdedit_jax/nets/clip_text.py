"""The text encoder of CLIP, alone as Stable Diffusion uses it, or beside the picture encoder.

Attribute names are those of transformers' state dicts, which convert by one rule; newer files lack
the prefix `text_model.`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers
from sdedit_jax.nets.clip_blocks import Stack
from sdedit_jax.nets.diffusers_blocks import LayerNorm, Linear
from sdedit_jax.nets.layers import Draws
from sdedit_jax.nets.sd_config import ClipTextConfig

__all__ = ["ClipText", "ClipTextConfig", "Encoded"]

LARGEST = 2
"""The eos_token_id of old files, which no text contains: the end token has the largest id."""


class Encoded(NamedTuple):
    """An encoded text.

    Attributes:
        tokens: states of the tokens after the last norm [B,N,C], which Stable Diffusion attends to.
        pooled: the state at the end token [B,C], projected if the model has a projection.
    """

    tokens: jax.Array
    pooled: jax.Array


class Embeddings(nnx.Module):
    """Token embeddings plus position embeddings."""

    def __init__(self, c: ClipTextConfig, *, rngs: Draws) -> None:
        self.token_embedding = layers.Embedding(c.vocab_size, c.hidden_size, rngs=rngs)
        places = c.max_position_embeddings
        self.position_embedding = layers.Embedding(places, c.hidden_size, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        places = self.position_embedding(np.arange(ids.shape[1]))
        return self.token_embedding(ids) + places[None]


class TextModel(nnx.Module):
    """Embeddings, layers, norm."""

    def __init__(self, c: ClipTextConfig, *, rngs: Draws) -> None:
        self.embeddings = Embeddings(c, rngs=rngs)
        self.encoder = Stack(c, rngs=rngs)
        self.final_layer_norm = LayerNorm(c.hidden_size, c.layer_norm_eps, rngs=rngs)


class ClipText(nnx.Module):
    """The encoder; see `ClipTextConfig`."""

    def __init__(self, config: ClipTextConfig, *, rngs: Draws) -> None:
        self.config = c = config
        self.text_model = TextModel(c, rngs=rngs)
        if c.projection:
            self.text_projection = Linear(c.hidden_size, c.projection_dim, bias=False, rngs=rngs)

    def __call__(self, ids: jax.Array, *, skip: int = 0, dtype: jnp.dtype = jnp.float32) -> Encoded:
        """Encodes texts.

        Args:
            ids: tokens [B,N], padded; the padding is not masked, as in the original.
            skip: layers left out before the last norm ("clip skip"), for `tokens` only.
            dtype: of the activations; embeddings and norms compute in float32.

        Raises:
            ValueError: ids have another rank or are too long, or `skip` exceeds the layers.
        """
        c = self.config
        if ids.ndim != 2 or ids.shape[1] > c.max_position_embeddings:
            wanted = f"[B,N] with N up to {c.max_position_embeddings}"
            raise ValueError(f"ids must be {wanted}, got shape {ids.shape}")
        if not 0 <= skip <= c.num_hidden_layers:
            raise ValueError(f"skip must be in [0, {c.num_hidden_layers}], got {skip}")
        states = [self.text_model.embeddings(ids).astype(dtype)]
        past = jnp.tri(ids.shape[1], dtype=bool)
        for layer in self.text_model.encoder.layers:
            states.append(layer(states[-1], past))
        tokens, last = (self.text_model.final_layer_norm(states[-1 - k]) for k in (skip, 0))
        pooled = last[jnp.arange(len(ids)), self._end(ids)]
        pooled = self.text_projection(pooled) if c.projection else pooled
        return Encoded(tokens, pooled)

    def _end(self, ids: jax.Array) -> jax.Array:
        """Position of the end token [B]."""
        eos = self.config.eos_token_id
        return jnp.argmax(ids if eos == LARGEST else ids == eos, axis=-1)
