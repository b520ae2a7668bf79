"""prior.json and run.json from others: every wrong field is refused by its name."""

import json

import numpy as np
import pytest
from nested import places, put
from program import ROOT, exact_prior, grey_prior, tiny_card, tiny_prior

from sdedit_jax.files import prior_fields
from sdedit_jax.registry import names
from sdedit_jax.training import history
from sdedit_jax.weights import load, store
from sdedit_jax.weights.families import diffusers

NAN, SHA = float("nan"), "0" * 64
WRONG = [True, -1, 10**400, 1e300, NAN, "a\nb", "x" * 10**6, [], [[]], {}, {"a": 1}, [NAN]]
FREE = ("config", "training", "check", "source")
"""Parts of free form, which a network or nobody reads."""


def included():
    files = sorted((ROOT / "checkpoints").glob("*/prior.json"))
    return [json.loads(file.read_text()) for file in files]


def others():
    """Cards of other networks, processes and predictions, as conversions write them."""
    table = {"name": "linear", "n": 1000, "beta_start": 1e-4, "beta_end": 0.02}
    kept = {"name": "respaced", "table": table, "kept": [0, 10, 999]}
    steps = {"clip_sample": True, "steps_offset": 1, "timestep_spacing": "leading"}
    for network, process, prediction in [
        ("adm", kept, {"name": "ddpm", "steps": 1000, "learned_variance": True}),
        ("unet2d", {"name": "betas", "betas": [0.1, 0.2, 1.0]}, {"name": "ddpm", "steps": 3}),
        ("ddpm_unet", {"name": "cosine", "n": 100}, {"name": "v"}),
        ("edm_song", {"name": "vp", "beta_min": 0.1, "beta_max": 20}, {"name": "edm_vp"}),
        ("score_sde_ddpm", {"name": "subvp"}, {"name": "score_sde_ve_discrete", "levels": 10}),
        ("stable_diffusion", table, {"name": "stable_diffusion", "steps": 10, "attention": 4}),
    ]:
        yield {
            **{"name": "a", "network": network, "config": {}, "process": process},
            **{"prediction": prediction, "size": [8, 16, 3], "range": [-1, 1], "sha256": SHA},
            **{"scheduler": steps, "ledits": {"ledits": {"t0": 0.5}}, "notes": ["n"]},
            "source": {"file": "a.pt", "sha256": SHA, "ema": True, "left_out": {}},
        }


def test_priors_that_exist_are_accepted():
    cards = [*included(), *others(), tiny_card()]
    for card in cards:
        prior_fields.check(json.loads(json.dumps(card)))
    for folder in (tiny_prior(), exact_prior(), grey_prior(), ROOT / "checkpoints" / "flowers64"):
        store.read_metadata(folder)


def test_a_wrong_value_in_any_field_is_refused_by_the_field():
    tried = 0
    for card in [*included(), *others()]:
        for path in places(card, entries=1):
            if path[0] in FREE and path[1:]:
                continue
            count = 0
            for wrong in WRONG:
                tried += 1
                try:
                    prior_fields.check(put(card, path, wrong))
                except ValueError as error:
                    count += 1
                    name = next(p for p in reversed(path) if isinstance(p, str))
                    text = str(error)
                    assert "\n" not in text and len(text) < 600
                    parts = {name, path[0], *("data", "auto_t0")}
                    assert any(part in text for part in parts), (path, text)
            assert count >= 7, (path, count)
    assert tried > 1500


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"strange": 1}, "strange is no field"),
        ({"process": {"name": "ve", "sigma_min": 2, "sigma_max": -1}}, "process.sigma_max"),
        ({"process": {"name": "betas", "betas": [0.1] * 10**6}}, "process.betas must be a list"),
        ({"process": {"name": "betas", "betas": [0.1, "0.2"]}}, r"process.betas\[1\] must be"),
        ({"process": {"name": "linear", "n": 10**9}}, "process.n must be at most 100000"),
        (
            {"process": {"name": "respaced", "table": {"name": "respaced"}, "kept": [0, 1]}},
            "process.table.name must be one of",
        ),
        ({"process": {"name": "respaced", "kept": [0, 1]}}, "process.table is missing"),
        ({"process": {"sigma_min": 1}}, "process.name is missing"),
        ({"prediction": {"name": ["edm"]}}, "prediction.name must be one of"),
        ({"size": [64, 64, 2]}, r"size\[2\] must be one of \[1, 3\]"),
        ({"size": [10**9, 64, 3]}, r"size\[0\] must be"),
        ({"sha256": "g" * 64}, "sha256 must be a sha256"),
        ({"data": {"labels": ["a\x1b[2J"]}}, r"data.labels\[0\] must be a text without control"),
        ({"data": {"labels": ["a"]}, "config": {"num_classes": 2}}, "data.labels must be a list"),
        ({"range": [0, 10**400]}, r"range\[1\] must be"),
        ({"ledits": {"ledits": {"t0": None}}}, "ledits.ledits.t0 must be a number"),
        ({"scheduler": {"clip_sample": "no"}}, "scheduler.clip_sample must be true or false"),
    ],
)
def test_tampered_fields_are_refused(change, told, tmp_path):
    card = {"name": "a", "network": "ncsnpp", "config": {}, "size": [8, 8, 3], **change}
    (tmp_path / "prior.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"prior: .*prior\.json: " + told):
        store.read_metadata(tmp_path)
    with pytest.raises(ValueError, match=r"prior: .*prior\.json: " + told):
        load.load_prior(tmp_path)
    if "sha256" in change:  # which is that of the weights
        return
    with pytest.raises(ValueError, match=told):
        store.save(tmp_path / "new", {"a": np.zeros(1, np.float32)}, card)
    assert not (tmp_path / "new").exists()


def test_a_calibration_whose_parts_do_not_fit_is_refused():
    card = next(card for card in included() if "auto_t0" in card)
    fit = card["auto_t0"]["picture"]
    for field, value in {
        "quadratic": fit["quadratic"][1:],
        "weights": fit["weights"][1:],
        "limits": [0.0],
        "constant": None,
    }.items():
        changed = put(card, ("auto_t0", "picture", field), value)
        with pytest.raises(ValueError, match=rf"auto_t0\.picture\.{field} must be"):
            prior_fields.check(changed)


def test_a_process_whose_numbers_contradict_each_other_names_the_field():
    for values in (
        {"name": "ve", "sigma_min": 80.0, "sigma_max": 0.01},
        {"name": "vp", "beta_min": 20.0, "beta_max": 0.1},
        {"name": "respaced", "table": {"name": "cosine", "n": 10}, "kept": [5, 3]},
    ):
        with pytest.raises(ValueError, match=r"^process '"):
            names.process(values)


@pytest.mark.parametrize("field", prior_fields.SCHEDULER)
def test_a_scheduler_of_wrong_types_is_refused(field):
    good = {"_class_name": "DDIMScheduler", "num_train_timesteps": 10}
    assert diffusers.checked_scheduler({**good, "other": [1], field: None} | good)
    for wrong in ([], {}, -1, 1e300, NAN, [NAN], "x\0", [["a"]]):
        with pytest.raises(ValueError, match=rf"architecture: scheduler\.{field}(\[0\])? must be"):
            diffusers.checked_scheduler({**good, field: wrong})


@pytest.mark.parametrize(
    "body",
    [
        *({}, 3, "a", None, [3], [{}], [{"step": 1}], [{"step": "1", "config": {}}]),
        *([{"step": -1, "config": {}}], [{"step": 1, "config": []}]),
        [{"step": 1, "config": {}, "more": 1}],
    ],
)
def test_a_damaged_run_json_is_refused(body, tmp_path):
    (tmp_path / history.FILE).write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"workdir: cannot read .*run\.json.*: entries"):
        history.continued(tmp_path, {}, 5)
