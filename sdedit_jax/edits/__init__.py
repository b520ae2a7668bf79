"""The algorithms as pure functions of one image: SDEdit, inversion, LEDITS."""
