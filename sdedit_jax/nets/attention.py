"""Attention: softmax(q k^T / sqrt(d)) v, in pieces on CPU, by cuDNN on GPU.

One picture of 64 x 64 tokens has 16.8 million weights in each head. In pieces they are never in
memory at once: a piece is a block of queries and a block of keys, and the softmax over the blocks
of keys is exact (Milakov and Gimelshein 2018, algorithm 3).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

PIECE = 1024
"""Queries and keys of a piece; on CPU the logits of a piece stay in the cache."""
SMALL = 2**17
"""Attention of at most this many weights a head is computed at once."""
CUDNN = (jnp.bfloat16, jnp.float16)
"""Dtypes that cuDNN's attention takes."""
AMPERE = 8.0
"""The least compute capability of a GPU for cuDNN's attention."""


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """softmax(q k^T / sqrt(d)) v for each head.

    Logits and softmax are in float32. With a mask everything is computed at once.

    Args:
        q: [B,N,heads,d]; k: [B,M,heads,d]; v: [B,M,heads,e].
        mask: [N,M], True where n attends to m; each n attends to one m at least.

    Returns:
        [B,N,heads,e] in the dtype of v.
    """
    if mask is not None or q.shape[1] * k.shape[1] <= SMALL:
        return attend_weighed(q, k, v, mask)[0]
    return lax.platform_dependent(q, k, v, cpu=_in_pieces, cuda=_fused, default=_at_once)


def attend_weighed(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The result of `attend`, and the weights [B,heads,N,M] float32."""
    rows, columns = q.swapaxes(1, 2), k.transpose(0, 2, 3, 1)
    # a product of rows and columns; on CPU a product of rows and rows takes twice as long
    columns = lax.optimization_barrier(columns)
    logits = jnp.matmul(rows, columns, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask[None, None], logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1)
    h = jnp.matmul(weights.astype(v.dtype), v.swapaxes(1, 2))
    return h.swapaxes(1, 2), weights


def _at_once(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return attend_weighed(q, k, v)[0]


def _fused(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """By cuDNN, for the GPUs, dtypes and head sizes that it takes."""
    d, e = q.shape[-1], v.shape[-1]
    sizes = d == e and d % 8 == 0 and d <= 128
    if not (_has_cudnn() and sizes and q.dtype == k.dtype == v.dtype and q.dtype in CUDNN):
        return _at_once(q, k, v)
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def _has_cudnn() -> bool:
    """Whether there is a GPU for cuDNN's attention; JAX traces `_fused` on every platform."""
    capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    return capability.replace(".", "").isdigit() and float(capability) >= AMPERE


# --- in pieces ------------------------------------------------------------------------------------


def _in_pieces(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """One head after the other, one block of queries after the other."""
    b, n, heads, _ = q.shape
    rows, columns, values = (_blocks(_by_head(a)) for a in (q, k, v))
    columns = lax.optimization_barrier(columns.swapaxes(-1, -2))
    left = rows.shape[1] * rows.shape[2] - n
    shown = _shown(k.shape[1], values.shape[1:3])
    one = partial(_head, shown=shown)
    h = lax.map(lambda head: one(*head), (rows, columns, values))
    h = h.reshape(b, heads, n + left, -1)[:, :, :n]
    return h.swapaxes(1, 2)


def _head(q: jax.Array, k: jax.Array, v: jax.Array, shown: jax.Array | None) -> jax.Array:
    """Blocks of queries [I,N,d], keys [J,d,M] and values [J,M,e] -> [I,N,e]."""
    return lax.map(lambda rows: _block(rows, k, v, shown), q)


def _block(q: jax.Array, k: jax.Array, v: jax.Array, shown: jax.Array | None) -> jax.Array:
    """One block of queries [N,d] on all blocks of keys: the softmax is kept up to its scale."""

    def step(state: tuple, piece: tuple) -> tuple[tuple, None]:
        top, total, h = state
        columns, values, *own = piece
        logits = jnp.dot(q, columns, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        logits = jnp.where(own[0], logits, -jnp.inf) if own else logits
        higher = jnp.maximum(top, logits.max(-1, keepdims=True))
        weights, shrink = jnp.exp(logits - higher), jnp.exp(top - higher)
        new = jnp.dot(weights.astype(v.dtype), values, preferred_element_type=jnp.float32)
        return (higher, total * shrink + weights.sum(-1, keepdims=True), h * shrink + new), None

    n = q.shape[0]
    start = (jnp.full((n, 1), -jnp.inf), jnp.zeros((n, 1)), jnp.zeros((n, v.shape[-1])))
    pieces = (k, v) if shown is None else (k, v, shown)
    (_, total, h), _ = lax.scan(jax.checkpoint(step), start, pieces)
    return (h / total).astype(v.dtype)


def _by_head(a: jax.Array) -> jax.Array:
    """[B,N,heads,d] -> [B heads,N,d]."""
    b, n, heads, d = a.shape
    return a.swapaxes(1, 2).reshape(b * heads, n, d)


def _blocks(a: jax.Array) -> jax.Array:
    """[B,N,d] -> [B,I,n,d]: I blocks of at most PIECE, zeros at the end of the last one."""
    b, n, d = a.shape
    count = math.ceil(n / PIECE)
    size = math.ceil(n / count)
    return jnp.pad(a, ((0, 0), (0, count * size - n), (0, 0))).reshape(b, count, size, d)


def _shown(n: int, blocks: tuple[int, ...]) -> jax.Array | None:
    """Which keys of the blocks [J,1,M] exist; None if all do."""
    count, size = blocks
    return None if count * size == n else (jnp.arange(count * size) < n).reshape(count, 1, size)
