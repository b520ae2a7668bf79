"""How tests/goldens/measures.npz was made: other programs on random pictures and features.

    python tests/measures_goldens.py

Run with scikit-image 0.26.0 (SSIM, PSNR), clean-fid 0.1.35 and torch-fidelity 0.4.0 (FID, KID),
scipy 1.17.1, numpy 2.4.6, torch 2.14.1. They are needed only to run this; tests import `pictures`
and `features` from here. Pictures and features are drawn with numpy's RandomState, whose numbers
do not change between versions.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "goldens/measures.npz"
SUBSETS, SIZE, SEED = 7, 60, 2020


def pictures():
    """(a, b, mask): smooth pictures uint8 [4, 40, 52, 3], changed ones, masks float32."""
    rng = np.random.RandomState(1)
    down, right = np.mgrid[:40, :52]
    waves = rng.uniform(0.02, 0.3, (2, 4, 1, 1, 3)) * np.stack([down, right])[:, None, ..., None]
    a = 127 + 110 * np.sin(waves.sum(0) + rng.uniform(0, 6, (4, 1, 1, 3)))
    noise = rng.normal(0, 1, a.shape) * np.array([0, 3, 20, 60]).reshape(4, 1, 1, 1)
    b = 0.9 * a + noise
    b[0] = a[0]
    grey = np.abs(down - 20) + np.abs(right - 30) < np.array([6, 12, 20, 30]).reshape(4, 1, 1)
    a, b = (np.clip(np.rint(v), 0, 255).astype(np.uint8) for v in (a, b))
    return a, b, (grey * rng.uniform(0.1, 1, grey.shape)).astype(np.float32)


def features():
    """Two sets of features, float64 [180, 24] and [150, 24], of correlated non-negative numbers."""
    rng = np.random.RandomState(2)
    mix = rng.normal(size=(24, 24))
    x = np.abs(rng.normal(size=(180, 24)) @ mix)
    y = np.abs(rng.normal(size=(150, 24)) @ (mix + 0.3 * rng.normal(size=(24, 24))) + 0.4)
    return x, y


def similarities():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b, mask = pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found = {"ssim": [], "ssim_kept": [], "psnr": []}
    for i in range(len(a)):
        value, full = structural_similarity(
            a[i], b[i], data_range=255, channel_axis=-1, full=True, **options
        )
        kept = (mask[i] == 0)[5:-5, 5:-5]
        found["ssim"].append(value)
        found["ssim_kept"].append(full[5:-5, 5:-5][kept].mean())
        found["psnr"].append(peak_signal_noise_ratio(a[i], b[i]) if i else np.inf)
    return found


def distances():
    import torch
    from cleanfid import fid
    from torch_fidelity import metric_fid, metric_kid

    x, y = features()
    means = [(v.mean(0), np.cov(v, rowvar=False)) for v in (x, y)]
    tensors = [torch.tensor(v) for v in (x, y)]
    stats = [metric_fid.fid_features_to_statistics(v) for v in tensors]
    options = {"verbose": False, "kid_subsets": SUBSETS, "kid_subset_size": SIZE, "rng_seed": SEED}
    kid = metric_kid.kid_features_to_metric(*tensors, **options)
    few = [metric_fid.fid_features_to_statistics(v[:15]) for v in tensors]
    np.random.seed(SEED)
    return {
        "fid_clean": fid.frechet_distance(*means[0], *means[1]),
        "fid_torch_fidelity": metric_fid.fid_statistics_to_metric(*stats, False)[
            metric_fid.KEY_METRIC_FID
        ],
        "fid_few_torch_fidelity": metric_fid.fid_statistics_to_metric(*few, False)[
            metric_fid.KEY_METRIC_FID
        ],
        "kid_mean_torch_fidelity": kid[metric_kid.KEY_METRIC_KID_MEAN],
        "kid_std_torch_fidelity": kid[metric_kid.KEY_METRIC_KID_STD],
        "kid_clean": fid.kernel_distance(y, x, SUBSETS, SIZE),
        "kid_all_clean": fid.kernel_distance(y, x[:150], 1, 1000),
    }


if __name__ == "__main__":
    found = similarities() | distances()
    np.savez(FILE, **found)
    print({name: np.asarray(value).tolist() for name, value in found.items()})
