"""Pictures: files in and out, fitting to the prior's size, masks, pasting, sheets.

Pictures are uint8 [H, W, 3]; masks are float32 [H, W] in [0, 1], 1 (white) where the edit may
change pixels. Nothing here knows models or tasks. Only numpy and Pillow are needed.
"""

from sdedit_jax.images.files import (
    FORMATS,
    decode,
    read,
    read_mask,
    read_region,
    read_text,
    same_size,
    write_bytes,
    write_png,
)
from sdedit_jax.images.fitting import FITS, Placement, fit, fit_mask, fit_rgb, place, unfit
from sdedit_jax.images.inputs import find_inputs, output_names, paired
from sdedit_jax.images.pixels import (
    Picture,
    color,
    feathered,
    flatten,
    from_unit,
    grow,
    in_levels,
    luminance,
    over,
    paste,
    shrink,
    to_unit,
)
from sdedit_jax.images.sheets import contact_sheet, grid

__all__ = [
    "FITS",
    "FORMATS",
    "Picture",
    "Placement",
    "color",
    "contact_sheet",
    "decode",
    "feathered",
    "find_inputs",
    "fit",
    "fit_mask",
    "fit_rgb",
    "flatten",
    "from_unit",
    "grid",
    "grow",
    "in_levels",
    "luminance",
    "output_names",
    "over",
    "paired",
    "paste",
    "place",
    "read",
    "read_mask",
    "read_region",
    "read_text",
    "same_size",
    "shrink",
    "to_unit",
    "unfit",
    "write_bytes",
    "write_png",
]
