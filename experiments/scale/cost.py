"""A model of the time, and of the cost, of edits on N devices.

seconds = compile + ceil(pictures / (N batch)) (transfer(batch) + evaluations second(batch)) + write

`batch` is the number of pictures on one device. transfer(batch) and second(batch), the seconds of
one evaluation, are straight lines. There is no term for communication, since programs of edits have
none.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls


class Cost(NamedTuple):
    """The parameters, in seconds.

    Attributes:
        begin, transfer: of a batch beside its evaluations: begin + transfer * batch.
        launch, evaluate: of an evaluation: launch + evaluate * batch.
        compile: of all programs.
        write: of one picture.
    """

    begin: float
    transfer: float
    launch: float
    evaluate: float
    compile: float = 0.0
    write: float = 0.0


def fit(rows: Iterable[tuple[int, int, float]]) -> Cost:
    """The Cost, without compile and write, with the least squares of relative errors.

    Args:
        rows: (batch, evaluations, seconds) of batches on one device. Two sizes and two numbers of
            evaluations in all combinations determine the parameters.
    """
    batch, evaluations, seconds = np.array(list(rows), float).T
    columns = [np.ones_like(batch), batch, evaluations, evaluations * batch]
    found, _ = nnls(np.stack(columns, 1) / seconds[:, None], np.ones_like(seconds))
    return Cost(*map(float, found))


def of_batch(cost: Cost, batch: int, evaluations: int, shared: float = 1.0) -> float:
    """Seconds of one batch on each device.

    Args:
        shared: devices for each core, below 1 where a device has several.
    """
    second = shared * (cost.launch + cost.evaluate * batch)
    return cost.begin + cost.transfer * batch + evaluations * second


def of_job(
    cost: Cost, pictures: int, devices: int, batch: int, evaluations: int, shared: float = 1.0
) -> float:
    """Seconds of all pictures on the devices of one host."""
    rounds = -(-pictures // (devices * batch))
    each = of_batch(cost, batch, evaluations, shared)
    return cost.compile + rounds * each + cost.write * pictures


def of_picture(seconds: float, devices: int, pictures: int) -> float:
    """Device-seconds of one picture; times the price of a device-second, its price."""
    return devices * seconds / pictures
