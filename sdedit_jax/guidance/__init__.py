"""Guidance: predictor -> predictor. Classifier-free (cfg), semantic (sega), LEDITS++ (leditspp)."""

from sdedit_jax.guidance.cfg import Classes, Guided, Predict, cfg, check_label, condition

__all__ = ["Classes", "Guided", "Predict", "cfg", "check_label", "condition"]
