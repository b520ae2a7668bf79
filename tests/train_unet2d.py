"""Trains the small diffusers-shaped prior of tests/goldens/unet2d_trained (16 x 16, DDPM's table).

    python tests/train_unet2d.py --data=PHOTOS.zip --work=FOLDER

The self-check is tested on trained weights in the layout of diffusers; the included prior's network
does not exist there. It has seen 51,200 pictures of Fruits-360 by Mihai Oltean and Horea Muresan
(2020 release, MIT License). The result is the usual folder: config.json, weights,
scheduler_config.json.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sdedit_jax import registry  # noqa: E402
from sdedit_jax.data.pictures import source  # noqa: E402
from sdedit_jax.training import loop  # noqa: E402
from sdedit_jax.training.augment import Augment  # noqa: E402
from sdedit_jax.training.loss import Objective  # noqa: E402
from sdedit_jax.training.step import Optimizer  # noqa: E402
from sdedit_jax.weights import export  # noqa: E402

FOLDER = ROOT / "tests" / "goldens" / "unet2d_trained"
UNET = {
    "_class_name": "UNet2DModel",
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "attention_head_dim": None,
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}
CARD = {
    "network": "unet2d",
    "config": {name: value for name, value in UNET.items() if name[0] != "_"},
    "process": {"name": "linear"},
    "prediction": {"name": "ddpm", "steps": 1000},
    "size": [16, 16, 3],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--steps", type=int, default=1600)
    args = parser.parse_args()
    prior = registry.prior_of(CARD)
    state = loop.train(
        args.work,
        prior.process,
        prior.predict,
        registry.initial_params(CARD, 0),
        source(args.data, "train", size=16),
        run=loop.Run(steps=args.steps, batch=32, held_out_every=500, sample_every=0),
        objective=Objective(),
        optimizer=Optimizer(rate=2e-3, warmup=200, schedule="cosine", ema=0.998),
        augment=Augment(),
        held_out=source(args.data, "test", size=16),
    )
    write(FOLDER, jax.tree.map(np.asarray, state.ema))


def write(folder: Path, params: dict) -> None:
    """The usual folder, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    export.write(folder / "diffusion_pytorch_model.safetensors", params)
    for name, values in (("config", UNET), ("scheduler_config", SCHEDULER)):
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
