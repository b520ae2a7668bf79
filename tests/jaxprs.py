"""Traced programs: their equations, those of inner programs too."""

import jax


def equations(jaxpr):
    """Every equation of a jaxpr, the inner ones after the one that holds them."""
    for eqn in jaxpr.eqns:
        yield eqn
        inner = jax.tree.leaves(list(eqn.params.values()), is_leaf=is_program)
        for program in filter(is_program, inner):
            yield from equations(getattr(program, "jaxpr", program))


def is_program(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def products(jaxpr):
    """The equations that are products: of matrices, and convolutions."""
    names = ("dot_general", "conv_general_dilated")
    return [eqn for eqn in equations(jaxpr) if eqn.primitive.name in names]
