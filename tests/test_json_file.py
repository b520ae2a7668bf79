"""Users' JSON files: encodings, and one sentence for each kind of damage."""

import json

import pytest
from program import refused, small

from sdedit_jax.files import json_file
from sdedit_jax.weights import store

VALUE = {"apfel": "ein grüner Apfel", "林檎": [1, 2.5, None]}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_every_unicode_encoding_is_read(tmp_path, encoding):
    file = tmp_path / "a.json"
    file.write_bytes(json.dumps(VALUE, ensure_ascii=False).encode(encoding))
    assert json_file.read(file, "prompts") == VALUE


DAMAGE = {
    b"": "the file is empty",
    b"\xef\xbb\xbf \n": "the file is empty",
    b'{"a": 1,\n "b": }': "not JSON at line 2, column 7: Expecting value",
    b'{"a": 1}\n{"b": 2}': "not JSON at line 2, column 1: Extra data",
    b"name,prompt\nphoto,a red apple\n": "looks like CSV, its first line is 'name,prompt'",
    b"photo.png;a red apple\n": "looks like CSV, its first line is 'photo.png;a red apple'",
    '{"a": "grün"}'.encode("latin-1"): "byte 9 is not UTF-8 text; save the file as UTF-8",
    b"\x89PNG\r\n\x1a\n": "byte 0 is not UTF-8 text",
    b"[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("data", DAMAGE, ids=range(len(DAMAGE)))
def test_damage_is_one_sentence_with_field_file_and_place(tmp_path, data):
    file = tmp_path / "a.json"
    file.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        json_file.read(file, "prompts")
    assert str(caught.value).startswith(f"prompts: cannot read {file}: ")
    assert DAMAGE[data] in str(caught.value)


def test_missing_files_folders_and_other_values_are_named(tmp_path):
    with pytest.raises(ValueError, match="vae: cannot read nowhere.json: no such file"):
        json_file.read("nowhere.json", "vae")
    with pytest.raises(
        ValueError, match=f"vae: cannot read {tmp_path}: it is a folder, not a file"
    ):
        json_file.read(tmp_path, "vae")
    file = tmp_path / "a.json"
    for text, kind in [("[1]", "a list"), ("null", "None"), ('"x"', "'x'")]:
        file.write_text(text)
        with pytest.raises(ValueError, match=f"vae: {file} must hold a JSON object, got {kind}"):
            json_file.read_object(file, "vae")


def test_a_prior_json_saved_by_another_editor_is_read(tmp_path):
    card = {"name": "kürbis"}
    (tmp_path / "prior.json").write_bytes(json.dumps(card, ensure_ascii=False).encode("utf-16"))
    assert store.read_metadata(tmp_path) == card


def test_the_program_names_field_and_file(tmp_path):
    file = tmp_path / "prior.json"
    file.write_text("name,network\n")
    config = small("strokes", prior=str(tmp_path))
    assert f"prior: cannot read {file}: the file is not JSON but looks like CSV" in refused(
        config, tmp_path / "out"
    )
