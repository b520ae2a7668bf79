"""Every field of every config has bounds, and every wrong value is one line that names it."""

import numpy as np
import pytest
from nested import put
from program import ROOT, config_of, refused, small

from sdedit_jax.files.schema import Many
from sdedit_jax.files.values import Flag, Maybe, Real, Whole
from sdedit_jax.modes.files import plain
from sdedit_jax.registry import bounds

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("[a-z]*.py"))
NAN, INF = float("nan"), float("inf")
HUGE = 10**5000
"""Python refuses to show its digits."""
WRONG = [NAN, INF, -INF, -1, 10**20, HUGE, "x", "a\0b", "y" * 10**6, b"x", [], None, True]
WRONG += [[[[1]]], {"a": 1}, (NAN,), object(), 1j]


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def leaves(config, before=()):
    """(names of the parts and the field, value) of a config."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, (*before, name))
        else:
            yield (*before, name), value


def inner(kind):
    """The kind of each value of a field that may be unset or have many."""
    return inner(kind.kind) if isinstance(kind, Maybe | Many) else kind


def message(config):
    """What the check says of a config; "" where it passes."""
    try:
        bounds.check(config)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_has_bounds(name):
    """A new field without them is unknown; a number is never free of a range."""
    config = plain(config_of(name))
    bounds.check(config)
    fields = bounds.fields_of(config)
    for path, _ in leaves(config):
        field = ".".join(path)
        if path[0] in ("example", "ledits"):
            continue
        assert field in fields, f"{field} needs a bound in registry/fields.py"
        if isinstance(kind := inner(fields[field]), Whole | Real):
            assert kind.low > -INF and kind.high < INF


@pytest.mark.parametrize("name", CONFIGS)
def test_every_wrong_value_is_named(name):
    config = plain(config_of(name))
    fields = bounds.fields_of(config)
    for path, _ in leaves(config):
        field = ".".join(path)
        for wrong in WRONG:
            text = message(put(config, path, wrong))
            assert not text or (field in text and "\n" not in text and len(text) < 1000), text
        kind = fields.get(field, Real())
        if isinstance(inner(kind), Whole | Real):
            for wrong in [HUGE, NAN] if "seed" in field else [HUGE, NAN, 10**31]:
                given = (wrong,) if isinstance(kind, Many) else wrong
                assert field in message(put(config, path, given)), field
        unset = message(put(config, path, None)) == ""
        assert isinstance(kind, Maybe) == unset or field not in fields
        assert field in message(put(config, path, object()))


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_and_missing_fields_are_named(name):
    config = plain(config_of(name))
    told = message({**config, "foo": 1})
    assert told.startswith("foo: ") or "foo" in told
    for field in ("batch", "name", "cache"):
        if field in config:
            assert message({k: v for k, v in config.items() if k != field}).startswith(field)
    for part in (name for name, value in config.items() if isinstance(value, dict)):
        if part != "example":
            assert message({**config, part: 3}).startswith(f"{part} must be an object")


def test_junk_is_no_config():
    for junk in (None, 3, [], "x", {}, {1: 2}, {"task": {}}, {"method": []}, {"run": 1}):
        assert message(junk)
    deep = {}
    for _ in range(5000):
        deep = {"example": deep}
    assert "example" in message({**plain(config_of("base")), **deep})


def test_where_stands_before_the_field():
    with pytest.raises(ValueError, match="^recipe: batch must be at least 1, got 0$"):
        bounds.check(plain(config_of("base", batch=0)), "recipe: ")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Whole(1, 9), [1, 9, np.int64(9)], [0, 10, 1.0, True, "1"]),
        (Real(0, 1), [0, 1, 0.5, np.float32(0.5)], [-1e-9, 1.1, NAN, INF, False]),
        (Real(0, 2, above=True), [1e-9, 2], [0, 2.1]),
        (Real(0, 2, below=True), [0, 1.9], [-1e-9, 2]),
        (Many(Whole(), 2, 2), [(1, 2), [3, 4]], [(1,), (1, 2, 3), 1, "ab", (1, -1)]),
        (Maybe(Real()), [None, 1e30], [1.1e30]),
        (Flag(), [True, False, np.True_], [0, 1, "True", None]),
    ],
)
def test_a_kind_takes_what_is_inside(kind, good, bad):
    for value in good:
        kind.check(value, "f")
    for value in bad:
        with pytest.raises(ValueError, match=r"^f(\[1\])? must be .*, got "):
            kind.check(value, "f")


def test_work_names_the_factors():
    assert bounds.work({"a": 3, "b": 4}, 12, "things") == 12
    with pytest.raises(ValueError, match="^a, b: 3 x 5 are 15 things, at most 12$"):
        bounds.work({"a": 3, "b": 5}, 12, "things")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"sampler__steps": 20, "sampler__repeats": 99_999},
            "sampler.steps, sampler.repeats: 20 x 99999 are 1999980 evaluations a picture, at most",
        ),
        (
            {"sampler__corrector": "langevin(steps=100000)"},
            "sampler.steps, sampler.repeats, sampler.corrector: 4 x 1 x 100001 are",
        ),
        ({"samples": 100_000, "sheet_scale": 64}, "input, samples, sheet_scale: "),
        ({"size": "67108864x67108864"}, "size must have at most 16777216 pixels"),
        ({"size": "9" * 4000 + "x1"}, "size must be HxW"),
        ({"feather": 10**9}, "feather must be at most 4096"),
        ({"seed": 2**64}, "seed must be a whole number in [0, 2**64 - 1], or -1"),
    ],
)
def test_too_much_work_is_refused_before_it_begins(changes, told, tmp_path):
    assert told in refused(small("strokes", **changes), tmp_path)


def test_the_released_sdedit_and_a_study_are_allowed():
    """500 steps x 3 repeats; 10,000 evaluations of each picture of LSUN's validation set."""
    assert 500 * 3 < bounds.MOST_EVALUATIONS and 10_000 < bounds.MOST_EVALUATIONS
    assert 300 * 10_000 * 100 < bounds.MOST_TOTAL


@pytest.mark.parametrize("name", ["strokes", "ledits", "evaluate_strokes"])
def test_a_config_without_its_empty_fields_is_completed(name):
    whole = config_of(name).to_dict()

    def without_nulls(values):
        kept = {n: one for n, one in values.items() if one is not None}
        return {n: without_nulls(v) if isinstance(v, dict) else v for n, v in kept.items()}

    few = without_nulls(whole)
    assert few != whole and bounds.completed(few) == whole
