"""Guidance as predictors made from a predictor: classifier-free, semantic (SEGA), LEDITS++."""

from sdedit_jax.guidance.cfg import CFG
from sdedit_jax.guidance.leditspp import LeditsPP, LeditsPPCond
from sdedit_jax.guidance.sega import SEGA, Concepts, SEGACond, concepts, padded

__all__ = ["CFG", "SEGA", "Concepts", "LeditsPP", "LeditsPPCond", "SEGACond", "concepts", "padded"]
