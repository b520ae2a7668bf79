"""Pickles before they are read: their opcodes are counted, nothing is made or run.

A pickle of kilobytes can claim an index of 2^32, which takes 64 GB, or tuples of tuples, whose hash
takes forever. Such are refused from the opcodes alone.
"""

import pickletools
from typing import Any, Protocol

OPCODES = 2_000_000
"""Of a pickle; those of released checkpoints have some 100,000."""
PLACES = 20_000
"""Values in a tuple, those of the tuples in it counted."""
UNHASHED = frozenset(
    ("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS")
    + ("EMPTY_SET", "ADDITEMS", "BUILD")
)
"""Opcodes whose result is no tuple."""
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
MARK = -1
"""On the stack of sizes."""


class Stream(Protocol):
    """A file, or bytes that are read like one."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


def check(stream: Stream) -> None:
    """Check the next pickle of a stream; afterwards the stream stands behind it.

    Raises:
        ValueError: the pickle is cut off or damaged, or claims more than the limits of this module.
    """
    stack: list[int] = []
    memo: dict[Any, int] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > OPCODES:
                raise ValueError(f"more than {OPCODES} opcodes")
            _step(opcode, argument, stack, memo)
            if stack and stack[-1] > PLACES:
                raise ValueError(f"a tuple of more than {PLACES} values")
    except (IndexError, KeyError, OverflowError, MemoryError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} at an opcode") from None


def _step(opcode: Any, argument: Any, stack: list[int], memo: dict[Any, int]) -> None:
    """Sizes of the values on the stack after an opcode: 1, and of tuples what is in them."""
    name = opcode.name
    if name in PUTS or name == "MEMOIZE":
        index = len(memo) if name == "MEMOIZE" else int(argument)
        if not 0 <= index <= OPCODES:
            raise ValueError(f"a memo index of {index}")
        memo[index] = stack[-1]
    elif name in GETS:
        stack.append(memo[int(argument)])
    elif name == "DUP":
        stack.append(stack[-1])
    elif name == "MARK":
        stack.append(MARK)
    else:
        total = _popped(opcode, stack)
        size = 1 if name in UNHASHED else 1 + total
        stack.extend([size] * len(opcode.stack_after))


def _popped(opcode: Any, stack: list[int]) -> int:
    """The sizes of the values that an opcode takes from the stack."""
    before, total = opcode.stack_before, 0
    if pickletools.markobject in before:
        while (size := stack.pop()) != MARK:
            total += size
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        size = stack.pop()
        if size == MARK:
            raise ValueError("a mark in place of a value")
        total += size
    return total
