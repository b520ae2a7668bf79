"""How tests/goldens/edm_* were made: NVlabs/edm run on seeded random weights.

    python tests/edm_goldens.py --peer=PATH_TO_NVLABS_EDM

For each of `CASES` the original's preconditioned network is built, every tensor of its state dict
is replaced by `numbers(...)`, and it is run in float32 on CPU. Kept are the names and shapes of the
state dict, the arguments, the names that its own pickle asks for, and the outputs; neither weights
(they come from the seed) nor the pickle (it holds the original's source text). The pickle is
written, read by this project's reader and compared before it is thrown away.

Torch and the original are needed only to run this; tests import `numbers` and `inputs` from here.
"""

import argparse
import hashlib
import json
import pickle
import pickletools
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parent / "goldens"

SMALL = {"img_resolution": 16, "img_channels": 3, "model_type": "SongUNet"}
DDPMPP = SMALL | {
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
    "augment_dim": 9,
    "dropout": 0.13,
}
NCSNPP = DDPMPP | {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
    "channel_mult": [2, 1, 2],
}
SKIPS = DDPMPP | {
    "encoder_type": "skip",
    "decoder_type": "skip",
    "resample_filter": [1, 3, 3, 1],
    "channel_mult": [1, 2, 1],
    "channel_mult_emb": 2,
    "attn_resolutions": [16, 4],
}
ADM = SMALL | {
    "model_type": "DhariwalUNet",
    "model_channels": 32,
    "channel_mult": [2, 4],  # heads have 64 channels: one, and two
    "num_blocks": 1,
    "attn_resolutions": [8],
}
SIGMAS = {
    "EDMPrecond": [0.002, 0.05, 0.7, 80.0],
    "VPPrecond": [0.01, 0.3, 5.0, 140.0],
    "VEPrecond": [0.02, 0.3, 5.0, 100.0],
    "iDDPMPrecond": [0.02, 0.3, 5.0, 78.0],
}
CASES = {
    "edm_ddpmpp": ("EDMPrecond", DDPMPP),
    "edm_ddpmpp_cond": ("EDMPrecond", DDPMPP | {"label_dim": 10, "label_dropout": 0.1}),
    "edm_ncsnpp": ("EDMPrecond", NCSNPP),
    "edm_ncsnpp_cond": ("EDMPrecond", NCSNPP | {"label_dim": 4, "sigma_data": 0.6}),
    "edm_skips": ("EDMPrecond", SKIPS),
    "edm_ddpmpp_vp": ("VPPrecond", DDPMPP | {"augment_dim": 0}),
    "edm_ncsnpp_ve": ("VEPrecond", NCSNPP | {"augment_dim": 0, "resample_filter": [1, 1]}),
    "edm_adm": ("EDMPrecond", ADM | {"augment_dim": 9, "num_blocks": 2}),
    "edm_adm_cond": (
        "EDMPrecond",
        ADM | {"channel_mult": [2, 2], "label_dim": 5, "use_fp16": True},
    ),
    "edm_adm_vp": ("VPPrecond", ADM | {"channel_mult": [2, 2], "label_dim": 2}),
    "edm_adm_ve": ("VEPrecond", ADM | {"channel_mult": [2, 2]}),
    "edm_adm_iddpm": ("iDDPMPrecond", ADM | {"channel_mult": [2, 2], "label_dim": 5}),
}
RELEASED = {  # arguments that the original's train.py makes of the options in its README
    "cifar10-32x32-cond-vp": {
        **{"img_resolution": 32, "img_channels": 3, "label_dim": 10, "model_type": "SongUNet"},
        **{"embedding_type": "positional", "encoder_type": "standard", "dropout": 0.13},
        **{"decoder_type": "standard", "channel_mult_noise": 1, "resample_filter": [1, 1]},
        **{"model_channels": 128, "channel_mult": [2, 2, 2], "augment_dim": 9},
    },
    "ffhq-64x64-uncond-ve": {
        **{"img_resolution": 64, "img_channels": 3, "label_dim": 0, "model_type": "SongUNet"},
        **{"embedding_type": "fourier", "encoder_type": "residual", "dropout": 0.05},
        **{"decoder_type": "standard", "channel_mult_noise": 2, "resample_filter": [1, 3, 3, 1]},
        **{"model_channels": 128, "channel_mult": [1, 2, 2, 2], "augment_dim": 9},
    },
    "imagenet-64x64-cond-adm": {
        **{"img_resolution": 64, "img_channels": 3, "label_dim": 1000, "dropout": 0.10},
        **{"model_type": "DhariwalUNet", "model_channels": 192, "channel_mult": [1, 2, 3, 4]},
    },
}


def numbers(names_and_shapes, seed):
    """name -> float32 array: the weights of a case.

    The generator is numpy's legacy one, whose stream is frozen. Kernels have the size that keeps
    variances, norms lie around 1, biases around 0; nothing is close to 0 throughout.
    """
    draw = np.random.RandomState(seed)
    made = {}
    for name, shape in names_and_shapes:
        values = draw.standard_normal(shape)
        if name.endswith("freqs"):
            values = 16 * values
        elif len(shape) > 1:
            values = values / np.sqrt(np.prod(shape[1:]))
        else:
            values = 0.1 * values + (".norm" in name or "_norm" in name) * name.endswith("weight")
        made[name] = values.astype(np.float32)
    return made


def is_weight(name):
    """Whether the case has random numbers here; else it is a constant of the original's."""
    return not name.endswith("resample_filter") and name != "u"


def inputs(kind, kwargs, seed=7):
    """(x [n, C, H, W] of the noise level's size, sigma [n], y [n] or None)."""
    sigmas = np.asarray(SIGMAS[kind], np.float32)
    shape = (len(sigmas), kwargs["img_channels"], *[kwargs["img_resolution"]] * 2)
    draw = np.random.RandomState(seed)
    x = draw.uniform(-1, 1, shape) + sigmas[:, None, None, None] * draw.standard_normal(shape)
    classes = kwargs.get("label_dim", 0)
    return x.astype(np.float32), sigmas, np.arange(len(sigmas)) % classes if classes else None


def read_case(folder):
    """(case, arrays): what case.json and io.npz hold; case["state"] lists (name, shape)."""
    case = json.loads((folder / "case.json").read_text())
    with np.load(folder / "io.npz") as file:
        arrays = dict(file)
    case["state"] = json.loads(arrays.pop("state").tobytes())
    return case, arrays


def digest(weights):
    """sha256 of the weights in their order."""
    total = hashlib.sha256()
    for name, values in weights.items():
        total.update(name.encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def asked(data):
    """The names "module name" that a pickle asks for."""
    names, texts, memo = set(), [], []
    for op, arg, _ in pickletools.genops(data):
        if op.name in ("SHORT_BINUNICODE", "BINUNICODE"):
            texts.append(arg)
        elif op.name == "MEMOIZE":
            memo.append(texts[-1] if texts else None)
        elif op.name in ("BINGET", "LONG_BINGET"):
            texts.append(memo[arg])
        elif op.name == "STACK_GLOBAL":
            names.add(f"{texts[-2]} {texts[-1]}")
        elif op.name == "GLOBAL":
            names.add(arg)
    return sorted(names)


def original(peer):
    """The original's modules (networks, loss, augment)."""
    sys.path.insert(0, str(peer))
    sys.modules.setdefault("requests", types.ModuleType("requests"))  # for downloads only
    from training import augment, loss, networks

    return networks, loss, augment


def make(modules, name, folder):
    """Runs one case and writes its folder."""
    import torch

    networks, loss, augment = modules
    kind, kwargs = CASES[name]
    net = getattr(networks, kind)(**kwargs).eval().requires_grad_(False)
    state = net.state_dict()
    listed = [[key, list(value.shape)] for key, value in state.items()]
    seed = sorted(CASES).index(name)
    weights = numbers([pair for pair in listed if is_weight(pair[0])], seed)
    net.load_state_dict(state | {k: torch.from_numpy(v) for k, v in weights.items()})
    x, sigma, y = (None if a is None else torch.from_numpy(a) for a in inputs(kind, kwargs))
    heard = []
    net.model.register_forward_hook(lambda module, args, out: heard.append((args[1], out)))
    hot = None if y is None else torch.eye(kwargs["label_dim"])[y]
    with torch.inference_mode():
        outputs = {"denoised": net(x, sigma, hot)}
        outputs |= {"label": heard[0][0], "raw": heard[0][1]}
        if y is not None:
            outputs["denoised_null"] = net(x, sigma, None)
        if kind == "iDDPMPrecond":
            outputs["u"] = net.u
    net.model._forward_hooks.clear()
    pickled = pickle.dumps(
        {
            "ema": net,
            "loss_fn": loss.EDMLoss(),
            "augment_pipe": augment.AugmentPipe(p=0.12, xflip=1e8)
            if "augment_dim" in kwargs
            else None,
            "dataset_kwargs": {"class_name": "training.dataset.ImageFolderDataset"},
        }
    )
    check_reader(pickled, net)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {k: v.float().numpy() for k, v in outputs.items()}
    arrays["state"] = np.frombuffer(json.dumps(listed).encode(), np.uint8)  # compresses well here
    np.savez_compressed(folder / "io.npz", **arrays)
    case = {
        "made_by": f"NVlabs/edm, torch {torch.__version__}",
        "class_name": kind,
        "init_kwargs": kwargs,
        "model_class": kwargs["model_type"],
        "model_kwargs": net.model.init_kwargs,
        "seed": seed,
        "weights_sha256": digest(weights),
        "sigma_range": [net.sigma_min, net.sigma_max] if kind != "EDMPrecond" else None,
        "asked": asked(pickled),
    }
    (folder / "case.json").write_text(json.dumps(case) + "\n")
    print(name, len(pickled), "bytes of pickle,", float(arrays["raw"].std()), "std of raw")


def shapes_of_released(networks, folder):
    """Names and shapes of networks of full size, which nothing is computed with."""
    import torch

    made = {}
    for name, kwargs in RELEASED.items():
        with torch.device("meta"):
            net = networks.EDMPrecond(**kwargs)
        state = sorted((k, list(v.shape)) for k, v in net.state_dict().items() if is_weight(k))
        made[name] = {"init_kwargs": kwargs, "tensors": len(state)}
        made[name]["parameters"] = sum(p.numel() for p in net.parameters())
        made[name]["sha256"] = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shapes.json").write_text(json.dumps(made, indent=1) + "\n")


def check_reader(pickled, net):
    """The genuine pickle through this project's reader: same names, order and values."""
    from sdedit_jax.weights.readers.edm_pickle import read_edm

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network-snapshot.pkl"
        file.write_bytes(pickled)
        source = read_edm(file)
    wanted = net.state_dict()
    assert list(source.tensors) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(source.tensors[name], value.numpy())
    assert source.config["init_kwargs"] == net.init_kwargs, source.config
    assert source.config["model_kwargs"] == net.model.init_kwargs, source.config


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of NVlabs/edm")
    parser.add_argument("--out", type=Path, default=GOLDENS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    peer = original(options.peer)
    for case_name in CASES:
        make(peer, case_name, options.out / case_name)
    shapes_of_released(peer[0], options.out / "edm_released")
