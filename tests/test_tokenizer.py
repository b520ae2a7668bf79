"""Texts to ids: a vocabulary worked out by hand, and transformers' ids."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("tokenizers")
from sdedit_jax.text import tokenizer, vocabulary

VOCABULARY = {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "!": 5, "!</w>": 6}
VOCABULARY |= {"<|startoftext|>": 7, "<|endoftext|>": 8}
START, END = 7, 8


@pytest.fixture
def folder(tmp_path):
    """A vocabulary of a, b and ! that joins "ab" at the end of words; texts of eight ids."""
    (tmp_path / "vocab.json").write_text(json.dumps(VOCABULARY))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 8}')
    return tmp_path


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("", []),
        ("ab", [4]),
        ("AB  a\n", [4, 2]),
        ("ba aab", [1, 2, 0, 4]),
        ("ab!", [4, 6]),
        ("c", [END]),  # unknown
    ],
)
def test_a_small_vocabulary(folder, text, own):
    tokens = tokenizer.read(folder).encode(text)
    wanted = [START, *own, END] + [END] * (6 - len(own))
    np.testing.assert_array_equal(tokens.ids, wanted)
    assert tokens.ids.dtype == np.int32
    assert tokens.count == len(own) and tokens.cut == ""


def test_the_end_of_a_long_text_is_cut_and_told(folder):
    tokens = tokenizer.read(folder).encode("ab ab  ab a b a AB tail")
    np.testing.assert_array_equal(tokens.ids, [START, 4, 4, 4, 2, 3, 2, END])
    assert tokens.count == 6 and tokens.cut == "AB tail"
    assert tokenizer.read(folder).encode("ab " * 6).cut == ""


def test_the_map_of_marks_says_the_padding(folder):
    """As in Stable Diffusion 2: the configuration names another one; "!" in a text is padding."""
    config = {"model_max_length": 8, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text('{"pad_token": "!"}')
    made = tokenizer.read(folder)
    assert made.pad == 5
    np.testing.assert_array_equal(made.encode("ab!!").ids, [START, 4, 5, 5, END, 5, 5, 5])


def test_marks_written_as_objects(folder):
    marks = {"pad_token": {"content": "!", "lstrip": False}, "bos_token": {"content": "a"}}
    (folder / "special_tokens_map.json").write_text(json.dumps(marks))
    made = tokenizer.read(folder)
    assert (made.start, made.end, made.pad) == (0, END, 5)


def test_one_file_in_place_of_two(folder):
    texts = ["ab", "ba aab", "AB  !", ""]
    two = tokenizer.read(folder)
    wanted = [two.encode(text).ids.tolist() for text in texts]
    two.bpe.save(str(folder / "tokenizer.json"))
    (folder / "merges.txt").unlink()
    one = tokenizer.read(folder)
    assert [one.encode(text).ids.tolist() for text in texts] == wanted


def test_bad_folders(folder):
    (folder / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}')
    with pytest.raises(ValueError, match="no token '<pad>' for its pad"):
        tokenizer.read(folder)
    (folder / "special_tokens_map.json").write_text("{")
    with pytest.raises(ValueError, match="cannot read .*special_tokens_map.json"):
        tokenizer.read(folder)
    (folder / "special_tokens_map.json").unlink()
    (folder / "merges.txt").write_text("a z\n")
    with pytest.raises(ValueError, match="a merge must be of two entries to a third"):
        tokenizer.read(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(ValueError, match="neither vocab.json and merges.txt nor tokenizer.json"):
        tokenizer.read(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot read .*tokenizer.json"):
        tokenizer.read(folder)
    model = {"vocab": {"<|startoftext|>": 0, "<|endoftext|>": 1}, "merges": []}
    more = [{"content": [1], "id": 2}, {"content": {}, "id": 3}, 4]  # no names of tokens
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": more}))
    assert tokenizer.read(folder).bpe.get_vocab_size() == 2


def test_ids_of_transformers(golden):
    made = tokenizer.read(golden("sd_tiny") / "tokenizer")
    rows = json.loads(golden("io_tokenizer.json").read_text())["rows"]
    for row in rows:
        tokens = made.encode(row["text"])
        assert tokens.ids.tolist() == row["input_ids"], row["text"]
        if row["hf_equals_openai"] and not tokens.cut:
            assert tokens.count == len(row["openai_ids_unpadded"]) - 2


def test_padding_of_stable_diffusion_2(golden, tmp_path):
    """transformers gives "cat!!!" -> cat and three paddings, where "!" is the padding."""
    for file in (golden("sd_tiny") / "tokenizer").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "!"}')
    ids = tokenizer.read(tmp_path).encode("cat!!!").ids
    np.testing.assert_array_equal(ids, [49406, 2368, 0, 0, 0, 49407] + [0] * 71)


def test_words_that_the_vocabulary_has_never_seen_give_one_warning(tmp_path):
    vocabulary.write(tmp_path, ["a photo of a green apple"] * 2, 16)
    tokens = tokenizer.read(tmp_path)
    assert tokens.encode("a green apple, of a photo").unseen == ()
    assert tokens.encode("a Rusty apple, apples: rusty").unseen == ("Rusty", "apples", "rusty")
    tokens.bpe.add_tokens([f"<{i}>" for i in range(10_000)])
    assert tokens.encode("a rusty apple").unseen == ()
