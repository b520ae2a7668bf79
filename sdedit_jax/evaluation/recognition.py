"""Measures by networks trained for recognition, from weights that the user has.

    inception(path)               features for FID and KID
    clip(folder)                  pictures and texts as unit vectors
    lpips(net, backbone, heads)   a distance of two pictures, also inside a mask

All compute in float32 with full products, in padded batches of one size: the value of a row does
not depend on how many rows there are, and each size of pictures compiles once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sdedit_jax import images
from sdedit_jax.caution import warn
from sdedit_jax.evaluation import resizing, selftest, selftest_rule, untrained
from sdedit_jax.evaluation.extractors import OWN, Extractor
from sdedit_jax.nets.functional import Network, Params
from sdedit_jax.text import tokenizer
from sdedit_jax.weights import published, recognition
from sdedit_jax.weights.recognition import Loaded

ROWS = 16
"""Rows of a batch."""


@partial(jax.jit, static_argnames=("network", "method"))
def _apply(network: Network, method: str, params: Params, *args: jax.Array) -> Any:
    return network.apply(params, *args, method=method)


def inception(path: str | Path, resize: str = "clean") -> Extractor:
    """Features of Inception v3, for FID and KID.

    Args:
        path: see `weights.recognition.load_inception`.
        resize: see `resizing`.

    Raises:
        ValueError: another name of a policy, or weights that are refused.
    """
    policy = resizing.policy(resize)
    loaded = recognition.load_inception(path)
    run = _batched(loaded, "__call__")
    tests = images.to_unit(selftest_rule.pictures())
    features = run(tests)
    moments = partial(_apply, loaded.network, "statistics", loaded.params, tests)
    facts = {
        **_checked(loaded, path, {"pool3": features}, features, moments),
        "resize": policy.text,
        "compares": _compares(loaded, policy.program),
    }

    def apply(pictures: np.ndarray) -> np.ndarray:
        return run(check_pictures(pictures), prepare=policy)

    return Extractor(f"inception-{resize}", apply, False, facts)


@dataclass(frozen=True)
class ClipModel:
    """CLIP's encoders.

    Attributes:
        loaded: the network and its weights.
        words: the tokenizer.
        facts: see `Extractor`.
    """

    loaded: Loaded
    words: tokenizer.Tokenizer
    facts: Mapping[str, Any]

    @property
    def side(self) -> int:
        """Side of the pictures that the network gets."""
        return self.loaded.network.config.vision.image_size

    def images(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [B,H,W,3] -> unit vectors float32 [B,D].

        The shorter side is resized to `side` by Pillow's bicubic filter, then the centre is cut.
        """
        prepare = partial(resizing.clip, side=self.side)
        return _batched(self.loaded, "images")(check_pictures(pictures), prepare=prepare)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> unit vectors float32 [B,D]. Texts of more than 75 tokens are cut, and a warning
        names them."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"texts must be a list of texts, got {texts!r}")
        found = [self.words.encode(text) for text in texts]
        for text, tokens in zip(texts, found, strict=True):
            if tokens.cut:
                warn(f"CLIP reads only the start of a text: {tokens.cut!r} of {text!r} is cut off")
        ids = np.array([tokens.ids for tokens in found], np.int32)
        return _batched(self.loaded, "texts")(ids.reshape(-1, self.words.length))


def clip(folder: str | Path) -> ClipModel:
    """CLIP from a folder of transformers, with the tokenizer's files in it or in tokenizer/.

    Raises:
        ValueError: see `weights.recognition.load_clip`; no tokenizer.
    """
    folder = Path(folder)
    loaded = recognition.load_clip(folder)
    home = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    model = ClipModel(loaded, tokenizer.read(home), {})
    tests = selftest_rule.pictures(side=model.side)
    outputs = {"images": model.images(tests), "texts": model.texts(selftest_rule.TEXTS)}
    facts = {
        **_checked(loaded, folder, outputs, outputs["images"]),
        "resize": f"Pillow bicubic, shorter side to {model.side}, centre cut",
        "compares": _compares(loaded, "CLIP scores of the same model"),
    }
    return ClipModel(loaded, model.words, facts)


@dataclass(frozen=True)
class LpipsDistance:
    """LPIPS; `facts` as of an Extractor."""

    loaded: Loaded
    facts: Mapping[str, Any]

    def __call__(self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Distances of pictures, without resizing.

        With a mask m, the map d of the distance (each layer's map enlarged bilinearly to the
        picture, then their sum) gives sum(m d) / sum(m). Near the edge of a mask, features also see
        pixels outside. A mask of ones gives nearly the distance without a mask: that one averages
        each layer's map at its own size.

        Args:
            a, b: uint8 [B,H,W,3]. mask: float32 [B,H,W] in [0, 1].

        Returns:
            float64 [B].

        Raises:
            ValueError: other shapes or dtypes, or a mask of zeros.
        """
        a, b = check_pictures(a), check_pictures(b)
        if a.shape != b.shape:
            raise ValueError(f"a and b must have one shape, got {a.shape} and {b.shape}")
        if mask is None:
            found = _batched(self.loaded, "__call__")(a, b, prepare=images.to_unit)
            return found.astype(np.float64)
        weights = _weights(mask, a.shape[:3])
        maps = _batched(self.loaded, "spatial")(a, b, prepare=images.to_unit)
        return np.sum(maps * weights, axis=(1, 2)) / np.sum(weights, axis=(1, 2))


def lpips(net: str, backbone: str | Path, heads: str | Path) -> LpipsDistance:
    """LPIPS 0.1; see `weights.recognition.load_lpips`.

    Raises:
        ValueError: weights that are refused.
    """
    loaded = recognition.load_lpips(net, backbone, heads)
    tests = images.to_unit(selftest_rule.pictures())
    last = _batched(loaded, "features")(tests)[-1].mean((1, 2))
    distance = _batched(loaded, "__call__")(tests[:2], tests[2:])
    facts = {
        **_checked(loaded, backbone, {"distance": distance, "last": last}, last),
        "resize": "none",
        "compares": _compares(loaded, "LPIPS 0.1"),
    }
    return LpipsDistance(loaded, facts)


def check_pictures(pictures: np.ndarray) -> np.ndarray:
    """The pictures.

    Raises:
        ValueError: they are not uint8 [B,H,W,3].
    """
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        got = f"{pictures.dtype} {list(pictures.shape)}"
        raise ValueError(f"pictures must be uint8 [B,H,W,3], got {got}")
    return pictures


def _batched(loaded: Loaded, method: str) -> Callable[..., Any]:
    """A method of the network on rows [N, ...] in batches of ROWS, the last one padded."""

    def run(*arrays: np.ndarray, prepare: Callable | None = None) -> Any:
        found = []
        for start in range(0, max(len(arrays[0]), 1), ROWS):
            rows = [a[start : start + ROWS] for a in arrays]
            inputs = [_padded(prepare(a) if prepare else a) for a in rows]
            out = _apply(loaded.network, method, loaded.params, *inputs)
            count = len(rows[0])
            found.append(jax.tree.map(lambda a, n=count: np.asarray(a)[:n], out))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    return run


def _padded(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a, np.zeros((ROWS - len(a), *a.shape[1:]), a.dtype)])


def _checked(
    loaded: Loaded,
    path: str | Path,
    outputs: Mapping[str, np.ndarray],
    features: np.ndarray,
    moments: Callable[[], untrained.Moments] | None = None,
) -> dict[str, Any]:
    """The facts, after both checks of the weights; published files need no statistics."""
    state = selftest.check(path, loaded.facts["sha256"], outputs)
    facts = {**loaded.facts, "selftest": state}
    if loaded.facts["weights"] == published.KNOWN:
        return facts
    name = f"source: {path} ({loaded.facts['network']})"
    signs = untrained.check(name, loaded.params, features, moments() if moments else None)
    return {**facts, "signs": signs}


def _compares(loaded: Loaded, program: str) -> str:
    known = loaded.facts["weights"] == published.KNOWN and program
    return f"with numbers of {program}" if known else OWN


def _weights(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise ValueError(f"mask must have shape {list(shape)}, got {list(mask.shape)}")
    if not (np.min(mask, initial=0) >= 0 and np.max(mask, initial=0) <= 1):
        raise ValueError(f"mask must be in [0, 1], got {np.min(mask)} to {np.max(mask)}")
    empty = np.flatnonzero(mask.sum((1, 2)) == 0)
    if len(empty):
        raise ValueError(f"mask {empty[0]} is zero everywhere, so that nothing is measured")
    return mask.astype(np.float64)
