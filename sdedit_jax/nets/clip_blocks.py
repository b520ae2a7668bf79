"""Layers that CLIP's two encoders share; names of transformers' state dicts."""

from typing import Protocol

import jax
from flax import nnx

from sdedit_jax.nets import attention
from sdedit_jax.nets.diffusers_blocks import ACTIVATIONS, LayerNorm, Linear
from sdedit_jax.nets.layers import Draws


class ClipConfig(Protocol):
    """What a layer reads of an encoder's configuration."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def hidden_act(self) -> str: ...
    @property
    def layer_norm_eps(self) -> float: ...


class SelfAttention(nnx.Module):
    """Self-attention; with a mask [N,N], token n attends to token m where it is True."""

    def __init__(self, c: ClipConfig, *, rngs: Draws) -> None:
        n = c.hidden_size
        self.heads = c.num_attention_heads
        self.q_proj = Linear(n, n, rngs=rngs)
        self.k_proj = Linear(n, n, rngs=rngs)
        self.v_proj = Linear(n, n, rngs=rngs)
        self.out_proj = Linear(n, n, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (a.reshape(*a.shape[:2], self.heads, -1) for a in (q, k, v))
        return self.out_proj(attention.attend(q, k, v, mask).reshape(x.shape))


class Mlp(nnx.Module):
    """Two linear maps with the activation between."""

    def __init__(self, c: ClipConfig, *, rngs: Draws) -> None:
        self.act = c.hidden_act
        self.fc1 = Linear(c.hidden_size, c.intermediate_size, rngs=rngs)
        self.fc2 = Linear(c.intermediate_size, c.hidden_size, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(ACTIVATIONS[self.act](self.fc1(x)))


class Layer(nnx.Module):
    """Attention and two linear maps, each after a norm and residual."""

    def __init__(self, c: ClipConfig, *, rngs: Draws) -> None:
        self.self_attn = SelfAttention(c, rngs=rngs)
        self.layer_norm1 = LayerNorm(c.hidden_size, c.layer_norm_eps, rngs=rngs)
        self.mlp = Mlp(c, rngs=rngs)
        self.layer_norm2 = LayerNorm(c.hidden_size, c.layer_norm_eps, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Stack(nnx.Module):
    """The layers, in order."""

    def __init__(self, c: ClipConfig, *, rngs: Draws) -> None:
        self.layers = nnx.List([Layer(c, rngs=rngs) for _ in range(c.num_hidden_layers)])
