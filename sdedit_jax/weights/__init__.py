"""Checkpoints: readers, families, catalogue, conversion, self-check, the store of priors."""
