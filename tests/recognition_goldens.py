"""What the original programs compute with the weights of a fixed rule; writes goldens/recognition.

    python tests/recognition_goldens.py      needs torch and the programs, and neither jax nor this
                                             package

It was run with pytorch-fid 0.3.0, lpips 0.1.4, transformers 5.24.0, clean-fid 0.1.35,
torch-fidelity 0.4.0, torch 2.14.1, torchvision 0.29.1, float32 on CPU. Weights and pictures are
made again in the tests.
"""

import contextlib
import importlib.util
import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FILE = HERE / "goldens" / "recognition" / "io.npz"
CLIP = {
    "model_type": "clip",
    "architectures": ["CLIPModel"],
    "projection_dim": 12,
    "text_config": {
        "vocab_size": 99,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 11,
        "eos_token_id": 98,
        "bos_token_id": 97,
        "pad_token_id": 98,
    },
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
    },
}
IDS = np.array([[97, 5, 6, 7, 98, 98, 98, 98, 98, 98, 98], [97, *range(20, 29), 98]])
EVERY = 13
"""Of the resized pictures, every 13th row and column is kept."""


def rule_of_pictures():
    """evaluation/selftest_rule.py, without the package."""
    path = HERE.parent / "sdedit_jax" / "evaluation" / "selftest_rule.py"
    spec = importlib.util.spec_from_file_location("pictures_by_path", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(count, height, width):
    return rule_of_pictures().pictures(count, max(height, width))[:, :height, :width]


def weights(shapes):
    """Weights by name: normal numbers of a seed from the name; filters differ in length."""
    return {name: _tensor(name, tuple(shape)) for name, shape in shapes.items()}


def _tensor(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    a = rng.standard_normal(shape)
    if name.startswith("lin"):
        a = np.abs(a)
    elif name.endswith("running_var"):
        a = np.exp(a / 2)
    elif len(shape) < 2 and name.endswith("weight"):
        a = 1 + a / 4
    elif len(shape) < 2 or "embedding.weight" in name and len(shape) == 2:
        a = a / 4
    else:
        lengths = np.exp(rng.standard_normal(shape[0]) / 2 - 0.25)
        a = a * lengths.reshape(-1, *[1] * (len(shape) - 1)) * np.sqrt(2 / np.prod(shape[1:]))
    return a.astype(np.float32)


# --- the originals --------------------------------------------------------------------------------


def _put(module, start=""):
    """The module with the rule's weights, named without `start`, in inference."""
    import torch

    state = {n: a for n, a in module.state_dict().items() if a.is_floating_point()}
    made = weights({start + n: a.shape for n, a in state.items()})
    found = {n: torch.from_numpy(np.asarray(made[start + n])) for n in state}
    missing = module.load_state_dict(found, strict=False).missing_keys
    assert not [n for n in missing if n in state], missing
    return module.eval().requires_grad_(False)


def _chw(x):
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(x, np.float32), -1, 1)))


def inception_module():
    """pytorch-fid's network with our weights; its own function would download them."""
    from pytorch_fid import inception
    from torchvision.models import Inception3

    class Ours(Inception3):
        def load_state_dict(self, state, **kwargs):
            """Called with what was downloaded: nothing. The blocks are in place by now."""
            if not state:
                _put(self)
            return super().load_state_dict(state or self.state_dict(), **kwargs)

    kept = inception._inception_v3, inception.load_state_dict_from_url
    inception._inception_v3 = lambda weights, **kwargs: Ours(init_weights=False, **kwargs)
    inception.load_state_dict_from_url = lambda *args, **kwargs: {}
    try:
        net = inception.InceptionV3(resize_input=False)
    finally:
        inception._inception_v3, inception.load_state_dict_from_url = kept
    return net.eval()


def inception():
    model = inception_module()
    x = _chw(pictures(2, 299, 299)) / 255
    return {"pool3": model(x)[0][:, :, 0, 0].numpy()}


def lpips(net):
    """Distances and maps; two pairs of 64 x 80 pixels."""
    import lpips
    from torchvision import models

    kind = {"vgg": models.vgg16, "alex": models.alexnet}[net]
    with contextlib.redirect_stdout(sys.stderr):
        whole = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        spatial = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, spatial=True)
        backbone = _put(kind(weights=None).features, "features.")
    for model in (whole, spatial):
        layers = dict(backbone.named_children())
        for part in model.net.children():
            for number, child in part.named_children():
                if hasattr(child, "weight"):
                    child.load_state_dict(layers[number].state_dict())
        for i, head in enumerate(model.lins):
            _put(head, f"lin{i}.")
        model.eval().requires_grad_(False)
    x = _chw(pictures(4, 64, 80)) / 127.5 - 1
    return {
        f"{net}_distance": whole(x[:2], x[2:]).numpy().ravel(),
        f"{net}_map": spatial(x[:2], x[2:]).numpy()[:, 0],
    }


def clip():
    """Embeddings of pictures and texts, and the pooled states of CLIPTextModelWithProjection."""
    import torch
    import transformers

    config = transformers.CLIPConfig(**{n: v for n, v in CLIP.items() if n != "model_type"})
    model = _put(transformers.CLIPModel(config))
    text = transformers.CLIPTextConfig(**CLIP["text_config"], projection_dim=12)
    alone = _put(transformers.CLIPTextModelWithProjection(text))
    x = _chw((pictures(2, 32, 32) / 255 - 0.45) / 0.27)
    ids = torch.from_numpy(IDS)
    found = {
        "images": model.get_image_features(pixel_values=x).pooler_output.numpy(),
        "texts": model.get_text_features(input_ids=ids).pooler_output.numpy(),
        "pooled": alone(input_ids=ids).text_embeds.numpy(),
    }
    return {f"clip_{name}": a for name, a in found.items()} | {
        "clip_names": np.array("\n".join(sorted(model.state_dict())))
    }


SIZES = {"small": (37, 50), "large": (350, 420)}


def resizing():
    """The resized pictures of clean-fid, torch and torch-fidelity; CLIP's processor."""
    import torch
    from cleanfid.resize import build_resizer
    from torch.nn.functional import interpolate
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as like_tensorflow,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    found = {}
    for name, size in SIZES.items():
        picture = pictures(1, *size)
        chw, side = _chw(picture), (299, 299)
        made = {
            "clean": build_resizer("clean")(picture[0]),
            "pytorch": interpolate(chw, side, mode="bilinear", align_corners=False),
            "tensorflow": like_tensorflow(chw, side, align_corners=False),
        }
        for policy, a in made.items():
            a = np.moveaxis(a[0].numpy(), 0, -1) if isinstance(a, torch.Tensor) else a
            found[f"{policy}_{name}"] = a[::EVERY, ::EVERY]
        process = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
        a = process(picture[0], return_tensors="np")["pixel_values"][0]
        found[f"processor_{name}"] = np.moveaxis(a, 0, -1)
    return found


def main():
    arrays = {**inception(), **lpips("vgg"), **lpips("alex"), **clip(), **resizing()}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FILE, **arrays)
    for name, a in arrays.items():
        print(name, a.shape, a.dtype, *([np.abs(a).mean()] if a.dtype.kind == "f" else []))


if __name__ == "__main__":
    main()
