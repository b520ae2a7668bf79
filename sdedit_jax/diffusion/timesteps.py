"""The timesteps of diffusers as grids: whole numbers of a table, and strength as a share of them.

Step i of a table of T stands at t = (i + 1) / T. A run of N steps at strength p takes the last
min(int(N p), N) of the N, as its img2img pipeline does. What differs between its schedulers is
where a step ends:

    ddim     at i - T // N; below 0 at step 0 of the table, or clean with set_alpha_to_one
    ddpm     at the next step of the list; the last one clean
    dpmpp    at the next step of the list; the last one clean, or at step 0 (final_sigmas_type)
    pndm     as ddim; the list names its second step twice (solvers.PLMS), so it is N + 1 long, and
             a run that leaves some out at its start takes one more than ddim, from a noisier step
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.sde import CLEAN, SDE

SPACINGS = ("leading", "linspace", "trailing")
SCHEDULERS = ("ddim", "ddpm", "dpmpp", "pndm")


class Timesteps(NamedTuple):
    """How a scheduler numbers its steps.

    Attributes:
        scheduler: one of SCHEDULERS. spacing: one of SPACINGS.
        offset: added to the steps of "leading" (steps_offset).
        clean: whether the last step of ddim, pndm and dpmpp ends clean.
        table: steps of the table, T.
    """

    scheduler: str = "ddim"
    spacing: str = "leading"
    offset: int = 0
    clean: bool = True
    table: int = 1000


def count(n: int, strength: float) -> int:
    """How many of n steps are run at a strength: min(int(n strength), n), a float's product cut
    off (50 steps at 0.29 are 14).

    Raises:
        ValueError: the strength is not in [0, 1], or so little that no step is left.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], got {strength}")
    run = min(int(n * strength), n)
    if run < 1:
        raise ValueError(f"strength {strength} of {n} steps leaves none to run; at least {1 / n:g}")
    return run


def steps(schedule: Timesteps, n: int) -> np.ndarray:
    """The numbers of the steps, falling: [n], of pndm [n + 1] with the second one twice.

    Raises:
        ValueError: an unknown spacing, or more steps than the table has.
    """
    total, more = schedule.table, 1 if schedule.scheduler == "dpmpp" else 0
    if not 1 <= n + more <= total:
        raise ValueError(f"steps must be in [1, {total - more}], got {n}")
    if schedule.spacing == "leading":
        found = np.arange(n + more) * (total // (n + more)) + schedule.offset
        found = found[::-1][:n]
    elif schedule.spacing == "linspace":
        found = np.linspace(0, total - 1, n + more).round()[::-1][:n]
    elif schedule.spacing == "trailing":
        found = np.round(np.arange(total, 0, -total / n)[:n]) - 1
    else:
        raise ValueError(f"spacing must be one of {list(SPACINGS)}, got {schedule.spacing!r}")
    if found[0] >= total or found[-1] < 0 or np.any(np.diff(found) >= 0):
        raise ValueError(
            f"steps: {n} with offset {schedule.offset} do not fit in a table of {total}"
        )
    found = found.astype(int)
    return np.insert(found, 1, found[1]) if schedule.scheduler == "pndm" and n > 1 else found


def ends(schedule: Timesteps, n: int) -> np.ndarray:
    """Where each of the steps ends, as many as `steps`: numbers of steps, -1 for clean.

    Raises:
        ValueError: an unknown scheduler.
    """
    if schedule.scheduler not in SCHEDULERS:
        raise ValueError(f"scheduler must be one of {list(SCHEDULERS)}, got {schedule.scheduler!r}")
    found = steps(schedule, n)
    if schedule.scheduler in ("ddim", "pndm"):
        found = found - schedule.table // n
        return np.where(found < 0, -1 if schedule.clean else 0, found)
    last = -1 if schedule.clean or schedule.scheduler == "ddpm" else 0
    return np.append(found[1:], last)


def times(schedule: Timesteps, n: int, skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """t and s of the steps, without the first `skip`.

    Of pndm the second row of a run, whichever it is, ends where the first one does.
    """
    starts, stops = steps(schedule, n)[skip:], ends(schedule, n)[skip:]
    if schedule.scheduler == "pndm":
        stops[1:2] = stops[:1]
    t, s = ((a + 1).astype(np.float32) / np.float32(schedule.table) for a in (starts, stops))
    return t, np.where(stops < 0, np.float32(CLEAN), s)


@jax.tree_util.register_static
@dataclass(frozen=True)
class TimestepGrid:
    """The steps of a schedule as a grid; t0 moves none of them.

    Attributes:
        schedule: how the steps are numbered.
        total: N, the steps of the whole schedule.
        skip: steps at the noisy end that are not run.
    """

    schedule: Timesteps
    total: int
    skip: int = 0
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        times(self.schedule, self.total, self.skip)  # raises where the steps do not fit

    @property
    def count(self) -> int:
        """The number of steps that are run."""
        return len(steps(self.schedule, self.total)) - self.skip

    @property
    def start(self) -> float:
        """The time where the first step begins."""
        return float(times(self.schedule, self.total, self.skip)[0][0])

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        t, s = times(self.schedule, self.total, self.skip)
        if n != len(t):
            raise ValueError(f"n must be the {len(t)} steps of the list, got {n}")
        return Grid(jnp.asarray(t), jnp.asarray(s))
