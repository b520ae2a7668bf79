"""Tasks turn the user's pictures into a `Guide`; they know nothing of models or noise.

Each task module has `Options` (a frozen dataclass of plain values) and
`make(path, options, size, fit) -> TaskInput`. Pictures, masks and strokes are combined at the
size in which they come and fitted to the prior's size by one placement.
"""

from sdedit_jax.guide import Guide
from sdedit_jax.tasks.common import TaskInput

__all__ = ["Guide", "TaskInput"]
