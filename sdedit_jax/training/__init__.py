"""Training of priors: loss, step, loop, report. Knows no network, only `predict`."""
