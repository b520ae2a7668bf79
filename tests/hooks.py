"""Hooks made of functions, for tests."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Hook:
    """A hook of two functions (x, context) -> x; `draws` is the number of draws before a step."""

    before: Callable | None = None
    after: Callable | None = None
    evaluations: int = 0
    draws: int = 0


def draws_of(hook: Any) -> int:
    """Draws of a hook before each step: a corrector draws once an evaluation."""
    return hook.draws if isinstance(hook, Hook) else hook.evaluations


def chain(*hooks: Any) -> Hook:
    """Several hooks as one, for recorded noise: their draws before a step follow one another.

    After the step at most one of them may draw.
    """

    def before(x, context):
        first = 0
        for hook in hooks:
            if hook.before is not None:
                own = shifted(context, first)
                x, first = hook.before(x, own), first + draws_of(hook)
        return x

    def after(x, context):
        for hook in hooks:
            x = x if hook.after is None else hook.after(x, context)
        return x

    return Hook(before, after, draws=sum(map(draws_of, hooks)))


def shifted(context, first):
    """The context whose draws begin with number `first`."""
    return context._replace(draw=lambda call, shape: context.draw(first + call, shape))
