"""The networks: flax.nnx modules behind plain functions of plain dicts (see `functional`)."""
