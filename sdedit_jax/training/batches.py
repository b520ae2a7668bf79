"""Batches for training: a source of pictures -> an endless stream.

Step n of the stream is a function of (seed, n) alone, by index arithmetic on grain's MapDataset. A
run that restarts at step n therefore reads no earlier step.

Augmentation is in augment.py, the noise of training in loss.py.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import grain
import jax
import numpy as np

from sdedit_jax.data.pictures import Source
from sdedit_jax.diffusion.noise import seed_word
from sdedit_jax.training.augment import Augment, draw, draw_more, stack


def loader(
    data: Source,
    batch: int,
    seed: int = 0,
    augment: Augment | None = None,
    start_step: int = 0,
    *,
    threads: int = 0,
    workers: int = 0,
    process: tuple[int, int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's share of an endless stream of batches, from `start_step` on.

    Args:
        data: the pictures; each epoch in another order.
        batch: pictures in a step over all processes.
        seed: of the order and of the augmentation.
        augment: None keeps the pictures unchanged.
        start_step: the step of the first batch.
        threads: this many threads prepare batches in advance; 0: no prefetching.
        workers: processes that decode, for sets that do not fit into memory; grain then needs
            parsed absl flags (absl.app.run parses them).
        process: (index, count), by default that of JAX.

    Returns:
        {"image": float32 [b, H, W, C] in [-1, 1], "label": int32 [b] where there are labels}.

    Raises:
        ValueError: an empty source; a batch size that is not a multiple of the processes.
    """
    index, count = process or (jax.process_index(), jax.process_count())
    if len(data) == 0:
        raise ValueError("data: the source is empty")
    if batch < 1 or batch % count:
        raise ValueError(f"batch must be a positive multiple of {count} processes, got {batch}")
    # practically endless; grain's own endless stream is too long for batches of one picture
    epochs = 2**60 // len(data)
    stream = grain.MapDataset.source(data).seed(seed_word(seed)).shuffle().repeat(epochs)
    if augment is not None:
        stream = stream.random_map(partial(_drawn, augment=augment))
    stream = stream[index::count].batch(batch // count, batch_fn=partial(stack, augment=augment))
    stream = stream[start_step:]
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = stream.to_iter_dataset(ahead)
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def _drawn(
    element: dict[str, Any], rng: np.random.Generator, *, augment: Augment
) -> dict[str, Any]:
    return {**element, "draw": (*draw(augment, rng), *draw_more(augment, rng))}


def spaced(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` numbers in [0, count), evenly spaced, each once."""
    return np.unique(np.linspace(0, count - 1, wanted).astype(int))


def batch_of(data: Source, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures by number: (float32 [B, H, W, C] in [-1, 1], int32 labels [B] or None)."""
    batch = stack([data[int(i)] for i in rows], None)
    return batch["image"], batch.get("label")
