"""Calls of the public API with arrays of numpy and JAX and PIL images; a type checker reads it."""

import threading

import jax.numpy as jnp
import numpy as np
from PIL import Image

import sdedit_jax as sj

prior = sj.load_prior("checkpoints/fruits64")
guide = np.zeros((64, 64, 3), np.uint8)
picture = Image.open("examples/recolor/apple.png")
mask = np.ones((64, 64), bool)

one = sj.edit(prior, guide, mask, t0=0.4, steps=8, seed=3)
two = sj.edit(prior, picture, sigma=2.0, samples=2, as_pil=True)
three = sj.edit(prior, jnp.zeros((2, 64, 64, 3)), seed=[0, 1], rule="ancestral(eta=0.5)")
four = sj.edit(prior, [guide, picture, "a.png"], size=(64, 96), output="original")
cancel = threading.Event()
for event in sj.stream(sj.edit, prior, guide, preview_every=2, cancel=cancel):
    if isinstance(event, sj.Event):
        print(event.step, event.steps, event.evaluations)
    else:
        print(event.result.shape)
text = sj.load_prior("checkpoints/fruits64-text")
maps = sj.invert(text, picture, "an apple")
five = sj.ledits(text, picture, "+green:7", inverted=maps, details=True)
six = sj.text_edit(text, guide, "a green apple", scale=5.0)
print(sj.describe(prior.process, 0.5), prior.with_process(sj.VP()), five.image)
