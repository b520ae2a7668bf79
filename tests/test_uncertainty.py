"""The spread of samples: its law on an exact prior, the heat map, the program."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from PIL import Image
from program import exact_prior, known, names, noted, picture, refused, run, small
from scipy import stats

import sdedit_jax as sj
from sdedit_jax import images


def test_it_is_the_deviation_of_a_gaussian_prior():
    """The law of SDEdit on Gaussian data has a known variance, other in each half: chi^2."""
    m, t0, n, side = 0.1, 0.5, 12, 16
    std = np.full((side, side, 3), 0.05)
    std[:, side // 2 :] = 0.2
    prior = sj.gaussian(sj.VP(), jnp.full(std.shape, m), jnp.asarray(std))
    guide = np.full(std.shape, 140, np.uint8)
    grid = "log_snr(sigma_end=0.01)"
    made = sj.edit(prior, guide, t0=t0, samples=n, steps=60, grid=grid, rule="dpmpp_2m_sde")
    found = sj.uncertainty(made)
    assert found.shape == (side, side) and found.dtype == np.float32
    unit = images.to_unit(guide)[0, 0, 0]
    for half, own in ((found[:, : side // 2], 0.05), (found[:, side // 2 :], 0.2)):
        _, deviation = oracles.sdedit_law(oracles.vp(), t0, unit, m, own)
        want = (deviation / 2) ** 2 + 1 / 255**2 / 12  # in [0, 1] units, with rounding to levels
        free = half.size * 3 * (n - 1)
        low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], free) / free
        assert low * 0.97 < np.mean(half**2) / want < high * 1.03


def test_it_is_the_root_mean_square_over_channels(rng):
    made = rng.integers(0, 256, (2, 5, 4, 3, 3), dtype=np.uint8)
    found = sj.uncertainty(made)
    want = np.sqrt(np.mean(np.std(made / 255, axis=1, ddof=1) ** 2, axis=-1))
    np.testing.assert_allclose(found, want, atol=1e-6)
    alpha = np.concatenate([made[0], rng.integers(0, 256, (5, 4, 3, 1), dtype=np.uint8)], -1)
    np.testing.assert_allclose(sj.uncertainty(list(alpha)), want[0], atol=1e-6)
    with pytest.raises(ValueError, match="results must have at least 2 samples, got 1"):
        sj.uncertainty(made[0, :1])
    with pytest.raises(ValueError, match=r"results must be uint8 \[samples, h, w, C\], got float"):
        sj.uncertainty(made / 255)


def test_a_heat_map_is_brighter_where_values_are_higher():
    shown = images.heat(np.linspace(0, 0.3, 40)[None], 0.2)
    assert shown.shape == (1, 40, 3) and (shown[0, 0] <= 4).all()
    assert tuple(shown[0, 27]) == tuple(shown[0, -1]) == (252, 254, 164)  # above the top
    assert (np.diff(shown[0].astype(int).sum(-1)) >= 0).all()
    assert not images.heat(np.zeros((2, 2)), 0.0)[..., :2].any()


@pytest.mark.parametrize("output", ["prior", "original"])
def test_the_program_writes_it_beside_the_results(output, tmp_path, capsys):
    """One scale for all inputs, as printed, recorded and on the sheet."""
    (tmp_path / "in").mkdir()
    for name, size in (("a", 16), ("b", 24)):
        Image.fromarray(255 - known()).resize((size, size)).save(tmp_path / "in" / f"{name}.png")
    config = small(
        "strokes", prior=exact_prior(), input=str(tmp_path / "in"), samples=3, uncertainty=True,
        output=output, t0=0.3,
    )  # fmt: skip
    out = tmp_path / "out"
    assert run(config, out) == 0
    entries, printed = noted(out)["uncertainty"], capsys.readouterr().out
    top = max(entry["max"] for entry in entries)
    assert f"standard deviation, black 0 to pale yellow {top:.4g} on [0, 1] values" in printed
    for entry, name in zip(entries, "ab", strict=True):
        own = images.uncertainty([picture(out / f"{name}_{k}.png") for k in range(3)])
        assert entry["file"] == f"{name}_uncertainty.png" and entry["top"] == top
        assert entry["mean"] == pytest.approx(own.mean()) and entry["samples"] == 3
        np.testing.assert_array_equal(picture(out / entry["file"]), images.heat(own, top))
        assert f"{top:.4g}" in Image.open(out / entry["file"]).text["scale"]
    assert "exists" in refused(config, out)
    with config.unlocked():
        config.samples = 1
    wanted = "samples must be at least 2 with uncertainty, got 1"
    assert wanted in refused(config, tmp_path / "new")
    assert "uncertainty: a sweep has no samples" in refused(config, tmp_path / "new", "sweep")
    assert "a_uncertainty.png" in names(out)
