"""Fields of a network's configuration: types and ranges, checked before a network is built."""

import dataclasses
from typing import Any

from sdedit_jax.files.schema import PLAIN, kind_of
from sdedit_jax.files.values import Real, Whole

LARGEST = 2**20
"""Of the whole numbers: widths, vocabularies, classes."""
LONGEST = 32
"""Entries of a list."""
SIDE, DEEPEST = 8192, 128

RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("image_size", "img_resolution", "sample_size"), (1, SIDE)),
    **dict.fromkeys(("attn_resolutions", "attention_resolutions"), (0, LARGEST)),
    **dict.fromkeys(("num_res_blocks", "num_blocks", "layers_per_block"), (1, DEEPEST)),
    **dict.fromkeys(("num_hidden_layers", "transformer_layers_per_block"), (1, DEEPEST)),
    **dict.fromkeys(("label_dim", "augment_dim", "downsample_padding"), (0, LARGEST)),
    "eos_token_id": (0, LARGEST),
    **dict.fromkeys(("num_head_channels", "num_heads_upsample"), (-1, LARGEST)),
    **dict.fromkeys(("dropout", "label_dropout"), (0, 1)),
}
"""Field -> least and largest number; of others (1, LARGEST), or (-LARGEST, LARGEST) of floats."""


def check(field: dataclasses.Field, value: Any) -> Any:
    """The value of a field; lists become tuples.

    Raises:
        ValueError: another type than the field's, a number out of its range, or a long list.
    """
    whole = Whole(*RANGES.get(field.name, (1, LARGEST)))
    real = Real(*RANGES.get(field.name, (-LARGEST, LARGEST)))
    kind_of(field.type, {**PLAIN, int: whole, float: real}, LONGEST).check(value, field.name)
    return tuple(value) if isinstance(value, list) else value
