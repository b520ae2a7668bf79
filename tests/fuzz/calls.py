"""Calls of the Python API with arguments of other types, shapes and sizes."""

import numpy as np
from PIL import Image

from fuzz.case import Case, kind

ODD = (
    *(
        None,
        True,
        -1,
        0,
        10**9,
        10**20,
        2**63,
        0.5,
        float("nan"),
        float("inf"),
        -0.0,
        1e308,
        5e-324,
    ),
    *("", "x", "auto", "\0", "a\nb", "x" * 10**5, "/dev/zero", "/etc", "stock/exact", "nan", b"x"),
    *([], {}, (), set(), [None], [[]], {"a": 1}, [1, 2], ("a",), object(), object, len, ..., 1j),
    *(range(3), slice(1), Exception("x"), iter([1]), np.nan, np.array(None), np.float16(6e4)),
)
ARRAYS = (
    *((0,), (16,), (16, 16), (16, 16, 0), (16, 16, 1), (16, 16, 2), (16, 16, 3), (16, 16, 4)),
    *((16, 16, 5), (0, 16, 3), (1, 1, 3), (0, 16, 16, 3), (2, 16, 16, 3), (1, 1, 1, 16, 16, 3), ()),
    *((1, 100_000, 3), (3, 16, 16), (17, 15, 3)),
)
TYPES = ("uint8", "float32", "float64", "float16", "int8", "int64", "uint16", "bool", "complex64")
TYPES += ("object", "U4", "S3", "datetime64[s]", "V8")


def array(rng):
    """An array of any shape and type, with odd values in it."""
    a = np.zeros(rng.choice(ARRAYS), rng.choice(TYPES))
    if a.dtype.kind == "f" and a.size:
        a.flat[0] = rng.choice((np.nan, np.inf, -np.inf, 1, 255, -1e4))
    if rng.chance(0.1):
        a = np.broadcast_to(np.zeros((), a.dtype), (10**5, 10**5, 3))
    return a


def picture(rng):
    """A PIL image of an odd mode or size."""
    mode = rng.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"))
    return Image.new(mode, rng.choice(((16, 16), (0, 0), (0, 5), (1, 1), (1, 30_000))))


def odd(rng):
    how = rng.below(4)
    return array(rng) if how == 0 else picture(rng) if how == 1 else rng.choice(ODD)


NAMES = (
    "image",
    "mask",
    "t0",
    "steps",
    "seed",
    "id",
    "sigma",
    "snr_db",
    "step",
    "strength",
    "size",
)
NAMES += (
    "strength_map",
    "target_l2",
    "target_lpips",
    "lpips",
    "preset",
    "sample",
    "samples",
    "fit",
)
NAMES += ("cond", "against", "scale", "output", "feather", "opaque", "value_range", "noise", "rule")
NAMES += ("grid", "corrector", "hold", "repeats", "final", "noise_by", "batch", "devices", "as_pil")
TEXT_NAMES = (
    "image",
    "prompt",
    "negative_prompt",
    "scale",
    "mask",
    "t0",
    "clip_skip",
    "seed",
    "id",
)
LEDITS_NAMES = ("image", "concepts", "prompt", "source_prompt", "negative_prompt", "preset", "mask")
LEDITS_NAMES += ("inverted", "slots", "details", "maps", "steps", "skip", "t0", "scale", "warmup")
LEDITS_NAMES += ("threshold", "cooldown", "weight", "momentum", "beta", "intersect_to", "clip_skip")
HUGE = ("steps", "repeats", "samples", "batch", "slots")
"""Fields whose large values are honest requests of long runs."""


@kind
def api(rng):
    """`edit`, `text_edit`, `invert`, `ledits` and `load_prior` with one or two odd arguments."""
    import sdedit_jax as sj

    name = rng.choice(("edit", "edit", "edit", "text_edit", "ledits", "invert", "load_prior"))
    if name == "load_prior":
        given = {"folder": odd(rng)} if rng.chance(0.5) else {"folder": "stock/exact"}
        given |= rng.choice(({}, {"compute": odd(rng)}, {"attention": odd(rng)}))
        return Case([], (), f"load_prior {given!r:.150}", call=lambda: sj.load_prior(**given))
    known = {"edit": NAMES, "text_edit": TEXT_NAMES, "ledits": LEDITS_NAMES}
    fields = known.get(name, ("image", "source_prompt", "preset", "seed", "steps", "skip", "t0"))
    given = {"image": np.zeros((16, 16, 3), np.uint8), "steps": 1}
    given |= {"text_edit": {"prompt": "red"}, "ledits": {"concepts": "+red:5"}}.get(name, {})
    told = {}
    for _ in range(1 + rng.chance(0.3)):
        field = rng.choice(fields)
        value = odd(rng)
        if field not in HUGE or not isinstance(value, int) or value < 1000:
            given[field] = told[field] = value
    prior = "stock/exact" if name == "edit" else "stock/text"

    def call():
        return getattr(sj, name)(sj.load_prior(prior), **given)

    return Case([], (), f"{name} {told!r:.150}".replace("\n", " "), call=call)
