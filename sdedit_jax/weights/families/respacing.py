"""Which steps of a table the `timestep_respacing` of guided-diffusion keeps."""

import re

from sdedit_jax.files.wording import brief


def kept_steps(n: int, respacing: str | int) -> list[int]:
    """The steps of a table of n that the original's `timestep_respacing` keeps.

    Args:
        respacing: "": all; "250": this many, evenly spaced; "10,20": this many of each equal part
            of the table; "ddim50": this many at a whole stride from 0.

    Raises:
        ValueError: more steps than the table has, or no whole stride.
    """
    text = str(respacing)
    if not text:
        return list(range(n))
    wrong = ValueError(f"architecture: timestep_respacing {brief(text)} does not fit {n} steps")
    if not re.fullmatch(r"ddim[1-9]\d{0,5}|[1-9]\d{0,5}(,[1-9]\d{0,5})*", text):
        raise wrong
    if text.startswith("ddim"):
        strides = (range(0, n, stride) for stride in range(1, n))
        found = [kept for kept in strides if len(kept) == int(text[4:])]
        if not found:
            raise wrong
        return list(found[0])
    counts = [int(part) for part in text.split(",")]
    kept, start = [], 0
    for i, count in enumerate(counts):
        size = n // len(counts) + (i < n % len(counts))
        if size < count:
            raise wrong
        kept += spread(start, size, count)
        start += size
    return kept


def spread(start: int, size: int, count: int) -> list[int]:
    """`count` of the numbers from start on, evenly, with both ends (one: the first)."""
    stride, at, kept = (size - 1) / (count - 1) if count > 1 else 1, 0.0, []
    for _ in range(count):  # a running sum, whose rounding is the original's
        kept.append(start + round(at))
        at += stride
    return kept
