"""Files of prompts: JSON and tables say the same; names with or without suffix."""

import csv
import io
import json
from pathlib import Path

import pytest

from sdedit_jax.modes.ledits import FIELDS
from sdedit_jax.modes.prompt_files import by_id, naming, read
from sdedit_jax.priors.conditioning import Prompt

SHORT = (Prompt._fields, "prompt")
WANTED = {
    "apple.png": {"prompt": "a red, ripe apple", "negative_prompt": "a; pear", "scale": 7.5},
    "grüne birne": {"prompt": 'a "green" pear'},
}


def written(file, text, encoding="utf-8"):
    file.write_bytes(text.encode(encoding))
    return str(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_says_the_same_as_json(tmp_path, delimiter, encoding):
    made = io.StringIO()
    columns = ["name", "prompt", "negative_prompt", "scale"]
    table = csv.DictWriter(made, columns, delimiter=delimiter, restval="")
    table.writeheader()
    table.writerows({"name": name, **entry} for name, entry in WANTED.items())
    assert read(written(tmp_path / "a.csv", made.getvalue(), encoding), *SHORT) == WANTED
    text = json.dumps(WANTED, ensure_ascii=False)
    assert read(written(tmp_path / "a.json", text, encoding), *SHORT) == WANTED


def test_two_columns_without_a_header_are_names_and_prompts(tmp_path):
    text = 'a.png;a red, ripe apple\n\nb ; "a; pear"\n'
    wanted = {"a.png": {"prompt": "a red, ripe apple"}, "b": {"prompt": "a; pear"}}
    assert read(written(tmp_path / "a.csv", text), *SHORT) == wanted


def test_concepts_and_masks_stand_in_a_table(tmp_path):
    text = 'File_Name,concepts,masks\na.png,"+green:7,-red",\nb.png,+a,"x.png,y.png"\n'
    assert read(written(tmp_path / "a.csv", text), FIELDS) == {
        "a.png": {"concepts": "+green:7,-red"},
        "b.png": {"concepts": "+a", "masks": "x.png,y.png"},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.png,a red apple, ripe\n", "line 1 of .* quotes around what has delimiters"),
        ("name,prompt\na,b\na,c\n", "line 3 of .* must hold a new name"),
        ("name,prompt\n,b\n", "line 2 of .* must hold a new name"),
        ("name,promt\na,b\n", "the column 'promt' of .* did you mean 'prompt'"),
        ("name,scale\na,much\n", "scale of line 2 in .* must be a number, got 'much'"),
        ("just a sentence\n", "must be JSON, or a table whose first line is a header"),
        ('name,prompt\na,"b\n', "is no row of a table"),
        ("", "the file is empty"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, text, told):
    with pytest.raises(ValueError, match=f"prompts: .*{told}"):
        read(written(tmp_path / "a.csv", text), *SHORT)


def test_a_table_without_header_needs_a_field_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="first line is a header: name and some of"):
        read(written(tmp_path / "a.csv", "a.png,+green\n"), FIELDS)


def test_names_may_have_suffixes_and_folders():
    paths = [Path("in/apple.png"), Path("in/a.png.jpg"), Path("in/pear.jpg")]
    names = {"apple": 1, "photos/pear.jpg": 2, "a.png": 3}
    assert by_id(names, paths, "x") == {"apple": 1, "pear": 2, "a.png": 3}
    for entries, told in [
        ({"aple.png": 1}, r"names \['aple.png'\], and no input .* mean 'apple.png'"),
        ({"apple": 1, "apple.png": 2}, "names the input 'apple' twice"),
    ]:
        with pytest.raises(ValueError, match=f"prompts: .*{told}"):
            by_id(entries, paths, "x")
    both = [Path("in/apple.png"), Path("in/apple.jpg")]
    assert by_id({"apple": 1}, both, "x") == {"apple": 1}
    with pytest.raises(ValueError, match="'apple.png' in x: several inputs are called 'apple'"):
        by_id({"apple.png": 1}, both, "x")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"scale": None}, "scale of 'a' in .*p.json must be a number, got None"),
        ({"scale": "7"}, "scale of 'a' in .*p.json must be a number, got '7'"),
        ({"scale": True}, "scale of 'a' in .*p.json must be a number, got True"),
        ({"scale": float("inf")}, "cannot read .*p.json: the number Infinity is not allowed"),
        ({"prompt": 3}, "prompt of 'a' in .*p.json must be a text, got 3"),
        (None, "'a' in .*p.json must be a text or an object of .*, got None"),
    ],
)
def test_a_wrong_value_is_named_with_file_entry_and_field(tmp_path, entry, told):
    with pytest.raises(ValueError, match=f"prompts: {told}"):
        read(written(tmp_path / "p.json", json.dumps({"a": entry})), *SHORT)
    with pytest.raises(ValueError, match="concepts of 'a' in .*p.json must be texts, got 3"):
        read(written(tmp_path / "p.json", '{"a": {"concepts": 3}}'), FIELDS)


@pytest.mark.parametrize(
    ("file", "own", "told"),
    [
        ("", {}, "wrong"),
        ("p.json", {"a": {}}, "prompts: 'a' in p.json: wrong"),
        ("p.json", {"b": {}}, "prompts: 'a' has no entry in p.json: wrong"),
    ],
)
def test_an_error_names_the_entry_of_the_input(file, own, told):
    with pytest.raises(ValueError, match=f"^{told}$"), naming(file, own, "a"):
        raise ValueError("wrong")


def test_a_column_of_a_table_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("name,prompt,Prompt\na,b,c\n")
    with pytest.raises(ValueError, match="has the column 'prompt' twice"):
        read(str(tmp_path / "p.csv"), ["prompt"])
