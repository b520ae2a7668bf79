"""Priors: a process with a predictor of the noise in its states."""
