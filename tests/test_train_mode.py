"""--mode=train: pictures in, a prior out that loads, edits, and can be trained on."""

import gc
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from program import SIZE, known, names, refused, run, tiny_net

import sdedit_jax as sj
from sdedit_jax.modes.train import read, seed_of, training_pictures
from sdedit_jax.training import history
from sdedit_jax.training.report import Report
from sdedit_jax.weights import store


def training(folder, **changes):
    """A run of three steps on the pictures of a folder."""
    config = tiny_net(
        data__source=str(folder), data__split="", data__held_out="", dtype="float32", **changes
    )
    config.net.ch_mult = (1,)
    config.run.update(steps=3, batch=4, log_every=1, sample_every=0, held_out_every=0, save_every=3)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of pictures, workdir) after a run of three steps."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("run")
    for i in range(6):
        Image.fromarray(np.roll(known(), i, axis=1)).save(photos / f"{i}.png")
    assert run(training(photos), out, "train") == 0
    return photos, out


def test_the_published_prior_loads_and_edits(trained):
    photos, out = trained
    card = json.loads((out / "prior" / "prior.json").read_text())
    assert card["name"] == "tiny" and card["size"] == [SIZE, SIZE, 3]
    assert card["data"]["pictures"] == 6 and card["data"]["source"] == photos.name
    assert "changes" not in card["training"]
    assert card["training"]["steps"] == 3 and card["training"]["images"] == 12
    prior = sj.load_prior(out / "prior")
    assert card["sha256"] == store.digest(prior.params)  # float32 is published as it is
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:8] = True
    edited = sj.edit(prior, known(), mask, steps=1)
    np.testing.assert_array_equal(edited[8:], known()[8:])


def test_metrics_are_written_as_it_goes(trained):
    lines = (trained[1] / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(np.isfinite(line["loss"]) and line["images_per_second"] > 0 for line in steps)
    assert {"checkpoints", "curves.png", "events", "metrics.jsonl", "prior"} <= set(
        names(trained[1])
    )


def test_a_signal_saves_and_is_the_exit_code(trained, tmp_path, monkeypatch, capsys):
    """Here SIGINT: `test_signals.py` has the code of each, `test_train.py` the loop at SIGTERM."""

    def write(self, step, values):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Report, "write", write)
    assert run(training(trained[0]), tmp_path, "train") == 130
    assert "stopped at step 2 of 3" in capsys.readouterr().out
    assert names(tmp_path / "checkpoints") == ["2"] and not (tmp_path / "prior").exists()
    monkeypatch.undo()
    assert run(training(trained[0]), tmp_path, "train") == 0  # continues by itself
    cards = [store.read_metadata(folder / "prior") for folder in (trained[1], tmp_path)]
    assert cards[0]["sha256"] == cards[1]["sha256"]


def test_the_newest_checkpoint_is_exported_without_training(trained, tmp_path, capsys):
    photos, out = trained
    config = training(photos, export=True, publish=str(tmp_path / "prior"))
    config.run.steps = 1000
    assert run(config, out, "train") == 0
    told = capsys.readouterr()
    assert "at step 3" in told.out
    assert f"warning: {tmp_path / 'prior'} at step 3: the prior fails the denoise test" in told.err
    assert "it looks untrained" in told.err
    a, b = (store.read_metadata(folder) for folder in (out / "prior", tmp_path / "prior"))
    assert a["sha256"] == b["sha256"]
    assert (b["check"]["passed"], b["check"]["failure_mode"]) == (False, "untrained")
    assert "there is no checkpoint" in refused(config, tmp_path / "other", "train")


def test_a_run_may_start_from_a_prior(trained, tmp_path):
    photos, out = trained
    # it stands at step 3 of 3: the weights that it starts from are published again
    config = training(photos, init=str(out / "prior"), first_step=3)
    assert run(config, tmp_path, "train") == 0
    cards = [store.read_metadata(folder / "prior") for folder in (out, tmp_path)]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert cards[1]["training"]["steps"] == 3
    assert cards[1]["training"]["images"] == cards[0]["training"]["images"] == 3 * config.run.batch
    # more pictures a step from here on: those before were counted with their own batch
    config = training(photos, init=str(out / "prior"), first_step=3)
    config.run.batch *= 2
    assert run(config, tmp_path / "wider", "train") == 0
    card = store.read_metadata(tmp_path / "wider" / "prior")
    assert card["training"]["images"] == cards[0]["training"]["images"]


def test_a_continued_run_records_what_has_changed_and_since_when(trained, tmp_path, capsys):
    photos, config = trained[0], training(trained[0])
    shutil.copytree(trained[1], tmp_path, dirs_exist_ok=True)
    config.optimizer.rate = 0.5
    config.augment.flip = False
    config.run.update(steps=5, log_every=2)
    rate = training(photos).optimizer.rate
    wanted = {"optimizer.rate": [rate, 0.5], "augment.flip": [True, False], "run.steps": [3, 5]}
    capsys.readouterr()
    assert run(config, tmp_path, "train") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "training: compiling the first step, of 4 pictures" in lines
    told = [line for line in lines if line.startswith("changed")]
    assert len(told) == 3
    assert f"changed   optimizer.rate {rate} (now 0.5), from step 3 on" in told
    assert known_changes(tmp_path) == [{"step": 3, "fields": wanted}]
    # an export changes nothing, and a config that has made no step is forgotten
    config.update(export=True, publish=str(tmp_path / "other"))
    config.optimizer.rate = 0.1
    assert run(config, tmp_path, "train") == 0
    assert known_changes(tmp_path, "other") == [{"step": 3, "fields": wanted}]
    entries = json.loads((tmp_path / "run.json").read_text())
    assert [entry["step"] for entry in entries] == [0, 3]
    assert entries[0]["config"]["optimizer"]["rate"] == rate
    (tmp_path / "run.json").write_text("{")
    assert "run.json: the file is not JSON at line 1" in refused(config, tmp_path, "train")


def known_changes(workdir, folder="prior"):
    """The changes in a published prior, the fields without their order."""
    return store.read_metadata(workdir / folder)["training"]["changes"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_training_refuses(trained, tmp_path):
    photos, out = trained
    (tmp_path / "empty").mkdir()
    for changes, told in [
        ({"data__source": ""}, "data.source: give a folder or zip"),
        ({"data__source": str(tmp_path / "empty")}, "no picture"),
        ({"data__split": "train"}, "6 pictures lie in the folder itself: add --config.data.split="),
        ({"data__size": 8}, "the network's are 16x16; set data.size"),
        ({"publish": str(tmp_path)}, "holds the run itself; give another folder"),
        ({"publish": str(photos)}, "holds other files, which would be replaced"),
        ({"publish": "fruits64"}, "publish: 'fruits64' is the name of an included prior"),
        ({"net__num_classes": 3}, "net.num_classes must be the number of labels"),
        ({"data__labels": "folder"}, "got None, the data have 1 label"),
        ({"data__credits": str(tmp_path / "none")}, "data.credits: cannot read"),
        ({"network": "foo"}, "network must be one of"),
        ({"compute": "foo"}, "compute must be one of"),
        ({"dtype": "float99"}, "dtype must be one of"),
        ({"init": str(tmp_path / "none")}, "prior.json does not exist"),
        ({"objective__weight": "foo"}, "weight must be one of"),
        ({"optimizer__schedule": "foo"}, "schedule must be one of"),
        ({"run__batch": 0}, "run.batch must be at least 1, got 0"),
    ]:
        config = training(photos)
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
        assert told in refused(config, tmp_path / "out", "train")
    config = training(photos, init=str(out / "prior"))
    config.net.nf = 16
    told = refused(config, tmp_path / "other", "train")
    assert "of shape (8,), the network of this config needs (16,)" in told
    config = training(photos)
    config.run.batch = 2
    assert "run.batch: checkpoint 3 in" in refused(config, out, "train")
    config = training(photos)
    config.net.nf = 16
    config.data.labels = "folder"
    told = refused(config, out, "train")
    for part in ("net.nf 8 (now 16)", "data.labels '' (now 'folder')", "--workdir"):
        assert part in told
    gc.collect()  # reads that tensorstore gave up complain when they are collected
    assert jax.tree.leaves(sj.load_prior(out / "prior").params)  # the published prior is whole


def test_turned_pictures_are_read_larger_and_labels_come_from_folders(tmp_path):
    """With data.views the training pictures keep that size until they are turned; the held-out ones
    have the network's. The published metadata names the classes."""
    photos = tmp_path / "photos"
    for i, (split, kind) in enumerate(
        [("train", "a"), ("train", "b"), ("train", "b"), ("train", "a"), ("test", "b")]
    ):
        folder = photos / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        large = Image.fromarray(np.roll(known(), i, axis=1)).resize((2 * SIZE, 2 * SIZE))
        large.save(folder / f"{i}.png")
    config = training(photos, data__labels="folder", data__views=2 * SIZE, net__num_classes=2)
    config.data.update(split="train", held_out="test")
    config.net.patch = 2
    config.augment.update(turn=180.0, brightness=0.1, hue=5.0)
    config.optimizer.update(ema=0.05, longer=(0.9,))
    (tmp_path / "credits.txt").write_text("by nobody\n")
    config.data.credits = str(tmp_path / "credits.txt")
    data, augment = training_pictures(config, SIZE)
    assert data.images.shape == (4, 2 * SIZE, 2 * SIZE, 3) and augment.side == SIZE
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert read(config, "test", SIZE).images.shape == (1, SIZE, SIZE, 3)
    assert run(config, tmp_path / "run", "train") == 0
    card = store.read_metadata(tmp_path / "run" / "prior")
    assert card["data"]["labels"] == ["a", "b"] and card["training"]["augment"]["turn"] == 180.0
    prior = sj.load_prior(tmp_path / "run" / "prior")
    assert sj.edit(prior, known(), steps=1, cond=1).shape == (SIZE, SIZE, 3)
    assert (tmp_path / "run" / "prior" / "CREDITS.tsv").read_text() == "by nobody\n"
    config.update(export=True, average=0.9, publish=str(tmp_path / "longer"))
    assert run(config, tmp_path / "run", "train") == 0
    assert store.read_metadata(tmp_path / "longer")["sha256"] != card["sha256"]
    config.average = 0.7
    assert "average must be one of [0.05, 0.9], got 0.7" in refused(
        config, tmp_path / "run", "train"
    )


def test_a_drawn_seed_is_that_of_the_run(tmp_path, capsys):
    assert 0 <= seed_of(-1, tmp_path) < 2**32
    assert capsys.readouterr().out.startswith("seed      ")
    assert seed_of(2**40, tmp_path) == 2**40
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    history.write(tmp_path, [{"step": 0, "config": {"run": {"seed": 12}}}])
    assert seed_of(-1, tmp_path) == 12 and seed_of(5, tmp_path) == 5
    assert capsys.readouterr().out == ""
