"""Tasks turn the user's pictures into a `Guide`; they are independent of models and noise.

Each task module has `Options` (a frozen dataclass of plain values) and
`make(path, options, size, fit) -> TaskInput`. Pictures, masks and strokes are combined at their own
size. One placement then fits the guide and the mask to `size`, the (height, width) of the edit.
"""

from sdedit_jax.images.guide import Guide
from sdedit_jax.tasks.common import TaskInput

__all__ = ["Guide", "TaskInput"]
