"""Recognition networks by path: loading, facts, refusals, the two checks of weights, measures.

The files hold the weights of a fixed rule (recognition_goldens.py), for which the outputs of the
original programs are known.
"""

import json
import shutil

import jax
import numpy as np
import pytest
import recognition_goldens as goldens
from conftest import HERE
from recognition_files import lpips_in, theirs, write

from sdedit_jax.evaluation import recognition, selftest, selftest_rule, untrained
from sdedit_jax.nets.clip import Clip, ClipConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.inception import Inception, InceptionConfig
from sdedit_jax.nets.lpips import Lpips, LpipsConfig
from sdedit_jax.weights import orbax_folder, published
from sdedit_jax.weights import recognition as loading
from sdedit_jax.weights.readers import folder as folders

TOKENIZER = HERE.parent / "checkpoints" / "fruits64-text" / "tokenizer"


@pytest.fixture(scope="module")
def io():
    with np.load(goldens.FILE) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(recognition, "ROWS", 2)


@pytest.fixture
def any_weights(monkeypatch):
    """The weights of the rule do not look trained everywhere."""
    monkeypatch.setattr(untrained, "check", lambda *args: {})


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    tensors = theirs(Network(Inception, InceptionConfig()).shapes)
    tensors["fc.weight"] = np.zeros((1008, 2), np.float32)
    tensors["Mixed_7c.branch1x1.bn.num_batches_tracked"] = np.zeros((), np.int64)
    return write(tmp_path_factory.mktemp("inception") / "inception.safetensors", tensors)


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory):
    return lpips_in(tmp_path_factory.mktemp("lpips"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "clip"
    shutil.copytree(TOKENIZER, folder / "tokenizer")
    text = {"vocab_size": 561, "max_position_embeddings": 24, "eos_token_id": 560}
    values = {**goldens.CLIP, "text_config": {**goldens.CLIP["text_config"], **text}}
    (folder / "config.json").write_text(json.dumps(values))
    parts = Network(Clip, ClipConfig.from_mapping(values)).shapes.values()
    tensors = {n: a for shapes in parts for n, a in theirs(shapes).items()}
    tensors["logit_scale"] = np.ones((), np.float32)
    tensors["text_model.embeddings.position_ids"] = np.arange(24)[None]
    write(folder / "model.safetensors", tensors)
    return folder


# --- loading --------------------------------------------------------------------------------------


def test_facts_of_the_weights(inception_file, lpips_files, clip_folder):
    facts = loading.load_inception(inception_file).facts
    assert facts["sha256"] == published.sha256_of(inception_file)
    assert facts["weights"] == "not a published file"
    assert set(facts["unused"]) == {"fc.*", "*.num_batches_tracked"}
    facts = loading.load_lpips("alex", *lpips_files).facts
    assert facts["file"] == "backbone.safetensors+heads.safetensors"
    assert facts["sha256"] == "+".join(published.sha256_of(file) for file in lpips_files)
    assert set(facts["unused"]) == {"classifier.*"}
    facts = loading.load_clip(clip_folder).facts
    assert facts["file"] == "model.safetensors" and facts["network"] == "CLIP"
    assert set(facts["unused"]) == {"*.position_ids", "logit_scale"}


def test_published_files_are_known_by_their_sha256(lpips_files, monkeypatch):
    known = {
        "alex": {published.sha256_of(lpips_files[0])},
        "alex heads": {published.sha256_of(lpips_files[1])},
    }
    monkeypatch.setattr(published, "PUBLISHED", known)
    assert loading.load_lpips("alex", *lpips_files).facts["weights"] == "published"
    monkeypatch.setattr(published, "PUBLISHED", {**known, "alex": set()})
    assert loading.load_lpips("alex", *lpips_files).facts["weights"] == "not a published file"
    other = {published.sha256_of(lpips_files[1]): "LPIPS 0.0 (alex)"}
    monkeypatch.setattr(published, "OTHERS", other)
    with pytest.raises(ValueError, match="is LPIPS 0.0"):
        loading.load_lpips("alex", *lpips_files)


def test_known_hashes():
    """Published names carry the first digits; the heads are those of the package, if it is here."""
    starts = {"inception": "6726825d", "vgg": "397923af", "alex": "7be5be79"}
    for kind, start in starts.items():
        (sha256,) = published.PUBLISHED[kind]
        assert sha256.startswith(start)
    every = [h for hashes in published.PUBLISHED.values() for h in hashes] + [*published.OTHERS]
    assert len(set(every)) == len(every) and {len(h) for h in every} == {64}


def test_the_heads_in_the_package_lpips_are_the_published_ones():
    lpips = pytest.importorskip("lpips")
    home = HERE.__class__(lpips.__file__).parent / "weights"
    for net in ("vgg", "alex"):
        state = published.identify(home / "v0.1" / f"{net}.pth", f"{net} heads")[1]
        assert state == published.KNOWN
        with pytest.raises(ValueError, match="LPIPS 0.0"):
            published.identify(home / "v0.0" / f"{net}.pth", f"{net} heads")


def test_a_published_name_with_other_bytes_is_refused(tmp_path):
    file = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match="damaged or renamed: its sha256 begins with d9298a10"):
        loading.load_inception(file)
    with pytest.raises(ValueError, match="no such file"):
        loading.load_inception(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": np.zeros((1000, 2))}, "1000 classes: it is torchvision's Inception"),
        ({"Conv2d_1a_3x3.bn.running_var": -np.ones(32)}, "running_var .* below 0: -1"),
        ({"Conv2d_1a_3x3.bn.bias": np.full(32, np.nan)}, "bn.bias .* not finite"),
        ({"Conv2d_1a_3x3.conv.weight": np.zeros((32, 3, 5, 5))}, "shape .*32, 3, 5, 5"),
        ({"extra": np.zeros(1)}, "without use: .'extra'"),
        ({"Mixed_7c.branch_pool.bn.weight": None}, "lacks the tensor Mixed_7c.branch_pool.bn"),
    ],
)
def test_wrong_tensors_are_refused(inception_file, monkeypatch, change, message):
    source = loading.readers.read(inception_file)
    tensors = {n: a for n, a in {**source.tensors, **change}.items() if a is not None}
    wrong = source._replace(tensors=tensors)
    monkeypatch.setattr(loading.readers, "read", lambda path: wrong)
    with pytest.raises(ValueError, match=message):
        loading.load_inception(inception_file)


def test_heads_below_zero_are_refused(lpips_files, tmp_path):
    backbone, heads = lpips_files
    tensors = dict(loading.readers.read(heads).tensors)
    tensors["lin2.model.1.weight"] = -tensors["lin2.model.1.weight"]
    wrong = write(tmp_path / "heads.safetensors", tensors)
    with pytest.raises(ValueError, match=r"lin2.model.1.weight .* below 0"):
        loading.load_lpips("alex", backbone, wrong)
    with pytest.raises(ValueError, match="net must be one of"):
        loading.load_lpips("squeeze", backbone, heads)
    with pytest.raises(ValueError, match="lacks the tensor lin0.model.1.weight"):
        loading.load_lpips("alex", backbone, backbone)


def test_folders_of_clip_that_ask_for_other_pictures(clip_folder, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    asked = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3}
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**asked, "image_mean": loading.MEAN.tolist()}))
    loading.load_clip(folder)
    file.write_text(json.dumps({**asked, "resample": 2, "image_mean": [0.5, 0.5, 0.5]}))
    with pytest.raises(ValueError, match="asks for .*'resample': 2, 'image_mean': .0.5"):
        loading.load_clip(folder)


# --- measures -------------------------------------------------------------------------------------


def test_inception_features(io, inception_file, any_weights):
    extractor = recognition.inception(inception_file, "pytorch")
    assert extractor.name == "inception-pytorch" and not extractor.standardised
    pictures = goldens.pictures(3, 299, 299)
    found = extractor.apply(pictures)
    assert found.shape == (3, 2048) and found.dtype == np.float32
    want = io["pool3"]
    assert np.abs(found[:2] - want).max() <= 1e-4 * np.abs(want).max()
    assert np.array_equal(extractor.apply(pictures[2:]), found[2:])  # alone in its batch
    assert "pytorch-fid" in extractor.facts["resize"]
    assert extractor.facts["compares"] == "not comparable with published numbers"
    assert extractor.facts["selftest"] == "no file"
    with pytest.raises(ValueError, match=r"pictures must be uint8 \[B,H,W,3\], got float32"):
        extractor.apply(pictures.astype(np.float32))


def test_lpips_without_and_with_a_mask(io, lpips_files, any_weights):
    distance = recognition.lpips("alex", *lpips_files)
    x = goldens.pictures(4, 64, 80)
    found = distance(x[:2], x[2:])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, io["alex_distance"], rtol=1e-4)
    np.testing.assert_array_equal(distance(x, x[::-1])[:1], distance(x[:1], x[3:]))
    mask = np.zeros((2, 64, 80), np.float32)
    mask[0, 10:30, 40:], mask[1, :7] = 1, 0.25
    inside = [io["alex_map"][0, 10:30, 40:].mean(), io["alex_map"][1, :7].mean()]
    np.testing.assert_allclose(distance(x[:2], x[2:], mask), inside, rtol=2e-4)
    for wrong, message in (
        (mask[:1], "mask must have shape"),
        (mask * 3 - 1, r"mask must be in \[0, 1\]"),
        (mask * [[[1]], [[0]]], "mask 1 is zero everywhere"),
    ):
        with pytest.raises(ValueError, match=message):
            distance(x[:2], x[2:], wrong)


def test_clip_model(clip_folder):
    model = recognition.clip(clip_folder)
    assert model.facts["signs"]["filters"] > untrained.FILTERS
    x = goldens.pictures(3, 40, 56)
    found = model.images(x)
    assert found.shape == (3, 12) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.images(x[2:]), found[2:])
    texts = model.texts(["a red apple", "a lemon", "a red apple"])
    np.testing.assert_array_equal(texts[0], texts[2])
    assert np.abs(texts[0] - texts[1]).max() > 0.01
    assert model.texts([]).shape == (0, 12)
    with pytest.warns(UserWarning, match="reads only the start"):
        model.texts(["apple " * 40])
    with pytest.raises(ValueError, match="texts must be a list of texts"):
        model.texts("one text")


# --- stored activations ---------------------------------------------------------------------------


def stored(weights, outputs, **change):
    content = {
        "rule": selftest_rule.RULE,
        "program": "the original 1.0",
        "sha256": "abc",
        "outputs": selftest_rule.summary(outputs),
    }
    file = selftest.file_of(weights)
    file.write_text(json.dumps({**content, **change}))
    return file


def test_stored_activations(tmp_path, rng):
    weights = tmp_path / "weights.pth"
    outputs = {"pool3": rng.standard_normal((2, 30)), "distance": rng.random(2)}
    assert selftest.check(weights, "abc", outputs) == "no file"
    file = stored(weights, outputs)
    assert file.name == "weights.pth.selftest.json"
    near = {name: a * (1 + 1e-4) for name, a in outputs.items()}
    assert selftest.check(weights, "abc", near) == "passed (the original 1.0)"

    def refused(message, outputs=outputs, sha256="abc"):
        with pytest.raises(ValueError, match=f"^selftest: .*{message}"):
            selftest.check(weights, sha256, outputs)

    late = outputs["pool3"].copy()
    late[1, 20:] *= 1.1  # beyond the stored values: the norm tells
    refused("pool3 differs from the stored one by .*the original 1.0", {**outputs, "pool3": late})
    refused("distance differs", {**outputs, "distance": outputs["distance"] + 0.01})
    refused("distance differs", {**outputs, "distance": outputs["distance"] * np.nan})
    refused("pool3 has shape", {**outputs, "pool3": outputs["pool3"][:, :20]})
    refused(r"holds \['distance', 'pool3'\], needed are \['images'\]", {"images": late})
    refused("of weights with sha256 abc, these have def", sha256="def")
    stored(weights, outputs, rule="leaves-0")
    refused("its pictures are leaves-0")
    stored(weights, outputs, program=None)
    refused("must hold rule, program, sha256")
    stored(weights, {})
    file.write_text(file.read_text().replace("{}", '{"pool3": {}, "distance": []}'))
    refused("must hold shape, norms")
    file.write_text("{")
    refused("not JSON")


def test_stored_activations_are_checked_at_loading(clip_folder, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    model = recognition.clip(folder)
    tests = selftest_rule.pictures(side=32)
    outputs = {"images": model.images(tests), "texts": model.texts(selftest_rule.TEXTS)}
    file = stored(folder, outputs, sha256=model.facts["sha256"])
    assert file == tmp_path / "clip.selftest.json"
    assert recognition.clip(folder).facts["selftest"].startswith("passed")
    stored(folder, {**outputs, "images": -outputs["images"]}, sha256=model.facts["sha256"])
    with pytest.raises(ValueError, match="images differs"):
        recognition.clip(folder)


# --- signs of training ----------------------------------------------------------------------------


DRAWS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "orthogonal": lambda rng, shape: np.linalg.qr(rng.standard_normal((288, 64)))[0].reshape(shape),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_fresh_weights_are_refused(draw, rng):
    params = {f"{i}": {"kernel": DRAWS[draw](rng, (3, 3, 32, 64))} for i in range(12)}
    assert untrained.filter_spread(params) < 1.6
    with pytest.raises(ValueError, match="NAME is not a trained network .* as alike as fresh"):
        untrained.check("NAME", params, rng.random((3, 4)))


def test_our_fresh_networks_are_refused():
    for net in (Network(Lpips, LpipsConfig("alex")), Network(Inception, InceptionConfig())):
        assert untrained.filter_spread(net.init(jax.random.key(3))) < 1.6


@pytest.mark.parametrize("name", ["fruits64", "flowers64", "text_encoder", "unet", "vae"])
def test_trained_weights_pass(name):
    """The included priors are the trained networks at hand."""
    home = HERE.parent / "checkpoints"
    if name.endswith("64"):
        params = (home / name / "params").absolute()
        tree = orbax_folder.read(orbax_folder.opened(params))
    else:
        tensors = folders.read_part(home / "fruits64-text" / name).tensors
        kept = {n: a for n, a in tensors.items() if a.ndim > 1 and "embedding." not in n}
        tree = {n: {"kernel": np.moveaxis(np.asarray(a), 0, -1)} for n, a in kept.items()}
    assert untrained.filter_spread(tree) > 2 * untrained.FILTERS


def test_features_that_do_not_differ_are_refused(rng):
    lengths = np.exp(rng.standard_normal(16))
    params = {"a": {"kernel": rng.standard_normal((3, 3, 8, 16)) * lengths}}
    same = np.ones((3, 4)) + 1e-6 * rng.random((3, 4))
    for features in (same, np.zeros((3, 4)), np.full((3, 4), np.nan)):
        with pytest.raises(ValueError, match="different pictures the same features"):
            untrained.check("NAME", params, features)
    untrained.check("NAME", params, rng.random((3, 4)))


def test_batch_norms_that_do_not_fit_are_refused(rng):
    lengths = np.exp(rng.standard_normal(16))
    norm = {"running_mean": rng.random(16), "running_var": rng.random(16)}
    params = {"kernel": rng.standard_normal((3, 3, 8, 16)) * lengths, "bn": norm}
    features = rng.random((3, 4))
    fitting = [(rng.standard_normal(16) / 2, np.exp(rng.standard_normal(16))) for _ in range(9)]
    found = untrained.check("NAME", params, features, fitting)
    assert found["mean"] < 0.6 and found["variance"] < 1
    shifted = [(mean + 5, var) for mean, var in fitting]
    scaled = [(mean, 100 * var) for mean, var in fitting]
    for moments in (shifted, scaled):
        with pytest.raises(ValueError, match="batch norms do not fit"):
            untrained.check("NAME", params, features, moments)
    for wrong in ({"running_mean": np.zeros(16)}, {"running_var": np.ones(16)}):
        fresh = {**params, "bn": {**norm, **wrong}}
        with pytest.raises(ValueError, match="initial means 0"):
            untrained.check("NAME", fresh, features, fitting)


def test_inception_with_norms_of_no_training_is_refused(inception_file):
    """The rule's stored means and variances are random numbers."""
    with pytest.raises(ValueError, match=r"inception.safetensors .* batch norms do not fit"):
        recognition.inception(inception_file)


def test_published_weights_need_no_signs(clip_folder, monkeypatch):
    sha256 = published.sha256_of(clip_folder / "model.safetensors")
    monkeypatch.setattr(published, "PUBLISHED", {"clip": {sha256}})
    monkeypatch.setattr(untrained, "check", None)
    facts = recognition.clip(clip_folder).facts
    assert facts["weights"] == "published" and facts["compares"].startswith("with numbers of")
