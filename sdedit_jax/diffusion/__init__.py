"""Processes, grids, solvers, noise and the loop."""
