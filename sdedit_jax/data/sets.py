"""Opening a data set by its path: what kind of set it is, and the layouts by name."""

from pathlib import Path

from sdedit_jax.data import celeba_hq, imagenet, lsun, pie_bench
from sdedit_jax.data.examples import DataSet
from sdedit_jax.data.folders import folder, tfds_set
from sdedit_jax.data.layouts import Choice, Layout
from sdedit_jax.data.manifest import ENDINGS, manifest
from sdedit_jax.data.tfds_sets import check_known
from sdedit_jax.files import door
from sdedit_jax.files.paths import user_path
from sdedit_jax.images import MASK_SUFFIX
from sdedit_jax.text.spelling import one_of

PLAIN = {
    "folder": Layout(Path.is_dir, folder, ("split", "labels", "mask_suffix")),
    "zip": Layout(lambda path: path.suffix == ".zip", folder, ("split", "labels", "mask_suffix")),
    "tfds": Layout(
        lambda path: path.is_dir() and (path / "dataset_info.json").exists(), tfds_set, ("split",)
    ),
    "manifest": Layout(lambda path: path.suffix in ENDINGS, lambda path, _: manifest(path)),
}
PUBLISHED = {
    "lsun": lsun.LAYOUT,
    "celeba_hq": celeba_hq.LAYOUT,
    "imagenet": imagenet.LAYOUT,
    "pie_bench": pie_bench.LAYOUT,
}
LAYOUTS = PLAIN | PUBLISHED


def open_data_set(
    source: str | Path,
    *,
    layout: str = "auto",
    split: str = "",
    labels: str = "",
    mask_suffix: str = MASK_SUFFIX,
) -> DataSet:
    """Open a data set. Pictures are read when a row is accessed.

    Args:
        source: a folder of pictures, a zip, a manifest (CSV or JSONL), a prepared tfds folder or a
            tfds name, or a folder in a published layout.
        layout: one of LAYOUTS, or "auto": what the path looks like.
        split: a folder in the paths of the pictures, or a split of tfds, LSUN, CelebA-HQ or
            ImageNet, or the editing types of PIE-Bench, such as "1,8".
        labels: for a folder or zip "folder" or "captions", see folders.py; for ImageNet
            "synset", "class" or "words".
        mask_suffix: what the stem of a mask adds to that of its picture; "": there are no masks.
            For CelebA-HQ the parts of the mask, such as "_hair,_hat".

    Raises:
        ValueError: there is no such set, it has no rows, an id is missing or occurs twice, or an
            option has no effect for the layout.
    """
    one_of("layout", layout, ["auto", *LAYOUTS])
    path = user_path(source)
    with door.reading(path, "data"):
        name = _detected(path) if layout == "auto" else layout
        _check_exists(path, name)
        choice = Choice(split, labels, mask_suffix)
        _check_options(choice, name)
        return LAYOUTS[name].open(path, choice)


def _detected(path: Path) -> str:
    """The layout that a path looks like; what does not exist may be the name of a tfds set."""
    found = [name for name, layout in PUBLISHED.items() if layout.fits(path)]
    if len(found) > 1:
        raise ValueError(f"data: {path} looks like each of {found}; choose one by layout")
    plain = [name for name in ("tfds", "zip", "manifest", "folder") if PLAIN[name].fits(path)]
    if path.is_file() and not plain:
        raise ValueError(
            f"data: {path} is not a folder, a .zip file or a manifest ({', '.join(ENDINGS)})"
        )
    return (found or plain or ["tfds"])[0]


def _check_exists(path: Path, name: str) -> None:
    """Check that a set exists, so that a wrong path is the first error."""
    if name == "tfds":
        check_known(path)
    elif not path.exists():
        raise ValueError(f"data: {path} does not exist")


def _check_options(choice: Choice, name: str) -> None:
    """Check that each option that is not at its default has an effect."""
    for field, value in choice._asdict().items():
        default = Choice._field_defaults[field]
        if value != default and field not in LAYOUTS[name].takes:
            raise ValueError(f"{field} has no effect for the layout {name!r}, got {value!r}")
