"""Writes NAME.selftest.json beside weights: what the original PyTorch program computes with them.

    python experiments/recognition/selftest.py inception pt_inception-2015-12-05-6726825d.pth
    python experiments/recognition/selftest.py vgg vgg16-397923af.pth vgg.pth
    python experiments/recognition/selftest.py alex alexnet-owt-7be5be79.pth alex.pth
    python experiments/recognition/selftest.py clip FOLDER

It needs torch and the original program (pytorch-fid; lpips and torchvision; transformers), and
neither jax nor sdedit_jax. Nothing is downloaded.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
LAST = {"vgg": "relu5_3", "alex": "relu5"}


def rule():
    """sdedit_jax/evaluation/selftest_rule.py by its path."""
    path = ROOT / "sdedit_jax" / "evaluation" / "selftest_rule.py"
    spec = importlib.util.spec_from_file_location("selftest_rule", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULE = rule()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=["inception", "vgg", "alex", "clip"])
    parser.add_argument("weights", type=Path)
    parser.add_argument("heads", type=Path, nargs="?", help="of LPIPS")
    given = parser.parse_args()
    if (given.heads is None) == (given.network in LAST):
        parser.error("heads must be given for vgg and alex, and only there")
    with torch.inference_mode():
        outputs, programs, files = MAKE[given.network](given)
    file = given.weights.with_name(given.weights.name + RULE.ENDING)
    content = {
        "rule": RULE.RULE,
        "program": ", ".join(f"{p} {importlib.metadata.version(p)}" for p in (*programs, "torch")),
        "sha256": "+".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files),
        "outputs": RULE.summary({name: a.numpy() for name, a in outputs.items()}),
    }
    file.write_text(json.dumps(content) + "\n")
    print(file)


def inception(given):
    from pytorch_fid import inception as original

    original.load_state_dict_from_url = lambda *args, **kwargs: read(given.weights)
    net = original.InceptionV3(resize_input=False).eval()
    pool3 = net((pictures() + 1) / 2)[0][:, :, 0, 0]
    return {"pool3": pool3}, ["pytorch-fid"], [given.weights]


def distance(given):
    import lpips
    from torchvision import models

    net = lpips.LPIPS(net=given.network, pnet_rand=True, model_path=str(given.heads)).eval()
    backbone = {"vgg": models.vgg16, "alex": models.alexnet}[given.network](weights=None)
    backbone.load_state_dict(read(given.weights))
    layers = dict(backbone.features.named_children())
    for part in net.net.children():
        for number, child in part.named_children():
            child.load_state_dict(layers[number].state_dict())
    x = pictures()
    last = getattr(net.net(net.scaling_layer(x)), LAST[given.network]).mean((2, 3))
    outputs = {"distance": net(x[:2], x[2:]).ravel(), "last": last}
    return outputs, ["lpips", "torchvision"], [given.weights, given.heads]


def clip(given):
    import transformers

    model = transformers.CLIPModel.from_pretrained(given.weights, local_files_only=True).eval()
    home = given.weights / "tokenizer"
    words = transformers.CLIPTokenizer.from_pretrained(home if home.is_dir() else given.weights)
    side = model.config.vision_config.image_size
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    x = (pictures(side) + 1) / 2
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    length = model.config.text_config.max_position_embeddings
    ids = words(list(RULE.TEXTS), padding="max_length", max_length=length, return_tensors="pt")
    found = {
        "images": model.vision_model(x).pooler_output @ model.visual_projection.weight.T,
        "texts": model.text_model(ids["input_ids"]).pooler_output @ model.text_projection.weight.T,
    }
    outputs = {name: a / a.norm(dim=-1, keepdim=True) for name, a in found.items()}
    return outputs, ["transformers"], weights_of(given.weights)


def pictures(side=RULE.SIDE):
    """The test pictures in [-1, 1], [4, 3, side, side]."""
    x = np.moveaxis(RULE.pictures(side=side).astype(np.float32) / 127.5 - 1, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(x))


def read(path):
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def weights_of(folder):
    """The files that both programs read; of several copies the safetensors."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            names = set(json.loads(index.read_text())["weight_map"].values())
            return [folder / part for part in sorted(names)]
    raise SystemExit(f"{folder} has no weights")


MAKE = {"inception": inception, "vgg": distance, "alex": distance, "clip": clip}


if __name__ == "__main__":
    main()
