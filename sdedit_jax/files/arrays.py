"""Arrays that callers give: real numbers, not too many, and none that JAX traces."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax.files.values import mistyped
from sdedit_jax.files.wording import reason

MOST = 2**30
"""Numbers of an array."""
NUMBERS = "an array of real numbers"


def array(value: Any, name: str, allowed: str = NUMBERS) -> np.ndarray:
    """A value as an array of real numbers.

    Args:
        value: an array of any library, a number, or lists of numbers. allowed: what the value may
            be, for messages.

    Raises:
        TypeError: it is none, or JAX traces it. ValueError: it has more than MOST numbers.
    """
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name} must be {allowed}, not one that jax.jit or jax.vmap traces")
    own = isinstance(value, list | tuple | int | float | complex)
    if not own and not hasattr(value, "__array__") and not hasattr(value, "__array_interface__"):
        raise mistyped(name, allowed, value)
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise TypeError(f"{name} must be {allowed}; {reason(error)}") from None
    if not (jnp.issubdtype(found.dtype, jnp.floating) or found.dtype.kind in "bui"):
        raise TypeError(f"{name} must be {allowed}, got {found.dtype}")
    if found.size > MOST:
        raise ValueError(f"{name} must have at most {MOST} numbers, got shape {found.shape}")
    return found


def finite(value: Any, name: str, allowed: str = NUMBERS) -> np.ndarray:
    """A value as an array of finite float32, see `array`.

    Raises:
        TypeError, ValueError: see `array`; NaN or infinity.
    """
    found = array(value, name, allowed)
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: values that are not finite (NaN or infinity)")
    return found
