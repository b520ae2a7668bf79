"""Each field of each config with numbers, texts and parts that it must refuse or survive."""

from pathlib import Path

from fuzz.case import EXACT, PHOTO, Case, kind, program
from fuzz.special import SKIPPED, WRITTEN, base_fields, configs, fields, mode_of

NUMBERS = ("nan", "inf", "-inf", "1" + "0" * 20, "-1", "-" + "9" * 30, "1e308", "-1e-308", "0")
NUMBERS += ("5e-324", "2147483648", "0.5", "", "x", "True", "None", "1" * 5000, "0x10", "1_000")
NUMBERS += ("()", "(1,)", "[1,2]", "\u0663", "\u00bd", " 1", "1\n", "--1", "9223372036854775808")
TEXTS = ("", "\n", "a\nb", "x" * 10**5, "\x1b[31mred", "\u202e", "a\0b", "../../x", "{}", "%s%n")
TEXTS += ("null", "nan", "0", "-1", "a,b,,c", ":", "#", "~", "*", "[", "$HOME", "`id`", ",", "ä")
TEXTS += ("/**/*", "hf:", "hf:a", "hf:../..", "stock/photo.png#ffffff", "é" * 3000)
LISTS = ("()", "(0,)", "(-1,)", "(1e20,)", "(nan,)", "('a',)", "((),)", "(" * 200, "(1,2", "1", "x")
LISTS += ("(1.5,)", "(True,)", "(10**9,)", "('l2','l2')", "('',)", "(None,)", "__import__('os')")
PART_TEXTS = ("(" * 3000, "a(b=" * 500 + ")" * 500, "ancestral(eta=" + "[" * 300 + "]" * 300 + ")")
PART_TEXTS += ("ancestral(eta=1e999)", "ancestral(eta=nan)", "ancestral(eta=-0.0)", "karras()")
PART_TEXTS += ("karras(rho=0)", "karras(rho=1e308)", "karras(rho=-7)", "sa_solver(tau=1e20)")
PART_TEXTS += ("ancestral(eta=0.5,eta=1)", "ancestral(eta=" + "1" * 5000 + ")", "ancestral\n", "\0")
PART_TEXTS += ("langevin(snr=1e308)", "langevin(steps=10**9)", "langevin(steps=1000000000)", "()")
PART_TEXTS += (
    "adaptive(atol=0)",
    "adaptive(atol=-1,rtol=nan)",
    "lambda: 0",
    "ancestral(eta=2**99)",
)
PART_TEXTS += (
    "ancestral(eta=" + "-" * 5000 + "1)",
    "ancestral(eta=" + "1+" * 5000 + "1)",
    "é(é=1)",
)
CONCEPTS = ("+", "-", "+:7", "+a:", "+a:nan", "+a:1e999", "+a:7:2:3:4:5", '+"a', '+"a,b":x', ",,,")
CONCEPTS += (
    "+a:7:-1",
    "+a:7:threshold=2",
    "+a:7:x=1",
    "a:7",
    "+" + "a," * 5000,
    "+a:" + "1" * 5000,
)
CONCEPTS += ("+a:7:threshold=0.9:threshold=0.8", "++a", "+-a", "+\0", "+a\nb:7", "+a:7:1.5", "+a:0")


def odd_value(rng, field, value):
    """A text for a field, by the type of its default."""
    if field == "concepts":
        return rng.choice(CONCEPTS)
    if field in ("sampler.rule", "sampler.grid", "sampler.corrector"):
        return rng.choice(PART_TEXTS)
    if isinstance(value, bool):
        return rng.choice(("x", "2", "nan", "None", "truefalse", "1.0"))
    if isinstance(value, int | float) or value is None:
        return rng.choice(NUMBERS)
    if isinstance(value, tuple | list):
        return rng.choice(LISTS)
    return rng.choice(TEXTS)


LONG = ("run.steps", "run.batch", "samples", "batch", "web.port", "cluster.processes")
"""Fields whose large values are honest requests of long runs; they are not made large."""
SIZES = ("1e308", "2147483648", "9223372036854775808", "1" + "0" * 20, "1" * 5000)


def run_long(field, text):
    """Whether a value asks for a run that rightly takes long."""
    return (field in LONG or field.startswith(("cluster.", "web."))) and text in SIZES


@kind
def config_fields(rng):
    """One or two fields of a config on the command line."""
    name = rng.choice(configs())
    known = [(f, v) for f, v in fields(configs()[name]) if f not in SKIPPED]
    mode, told = mode_of(name), []
    if mode == "edit":
        mode = rng.choice(("edit", "edit", "edit", "sweep", "search"))
    given = base_fields(name, mode)
    for _ in range(1 + rng.chance(0.2)):
        field, value = rng.choice(known)
        text = odd_value(rng, field, value)
        if run_long(field, text) or field in WRITTEN:
            continue
        given[field.replace(".", "__")] = text
        told.append(f"{field}={text[:40]!r}")
    workdir = "./out/prior" if mode == "convert" else "out"
    return Case(program(mode, name, workdir, **given), (), f"{mode} {name} {' '.join(told)}")


@kind
def sampler_parts(rng):
    """The parts of the sampler, as texts."""
    field = rng.choice(("sampler__rule", "sampler__grid", "sampler__corrector", "size", "preset"))
    text = rng.choice(PART_TEXTS)
    if field == "size":
        text = rng.choice(
            ("0x0", "x", "16x", "-16x16", "100000x100000", "16x16x16", "1e9x1", "9" * 999)
        )
    argv = program("edit", "strokes", **(EXACT | {"input": PHOTO, field: text}))
    return Case(argv, (), f"{field}={text[:60]!r}")


MISTAKES = (
    *("def get_config(:", "x = 1", "def get_config(): return 5", "def get_config(): return None"),
    *("raise SystemExit(0)", "import sys; sys.exit('bye')", "raise KeyboardInterrupt", "1/0"),
    *("import nothing_of_this_name", "def get_config(): raise RuntimeError('a\\nb')", "\0", ""),
    *("def get_config(): return get_config()", "raise OverflowError", "raise RecursionError"),
    *("def get_config(x): return x", "get_config = 5", "raise BaseException('x')", "yield 1"),
    *(
        "class E(Exception):\n def __str__(self): raise ValueError\nraise E()",
        "raise GeneratorExit",
    ),
    *("def get_config():\n return {'a': 1}", "(" * 300, "x = " + "-" * 50_000 + "1", "# coding: x"),
    *("raise ExceptionGroup('a', [ValueError('b')])", "raise StopIteration", "\tx\n  y\n z"),
)
SETUPS = ("config.t0 = float('nan')", "config.input = None", "config.prior = 5", "config.size = {}")
SETUPS += ("config.sampler = None", "config.options = None", "config.sampler.rule = lambda: 0")
SETUPS += ("del config.prior", "del config.sampler", "config.unlock(); config.extra = object()")
SETUPS += ("config.example = 5", "config.samples = 10**30", "config.options.mask = b'x'")
SETUPS += ("config.seed = 2.5", "config.seed = '1'", "config.t0 = [0.5]", "config.guidance = 1")
SETUPS += ("config.batch = None", "config.task = ''", "config.input = b'x'", "config.cache = 1")
SETUPS += ("config.sampler.steps = 2.5", "config.features = None", "config.prior = '\\0'")
SETUPS += ("config.a = config", "config.input = 'x' * 10**6", "config.preset = ()", "del config.t0")


@kind
def config_files(rng):
    """Configs that are programs with mistakes, or that set fields to values of other types."""
    if rng.chance(0.5):
        text = rng.choice(MISTAKES)
        note = text
    else:
        line = note = rng.choice(SETUPS)
        text = (
            "from sdedit_jax.configs import strokes\n\n\ndef get_config():\n"
            f"    config = strokes.get_config()\n    config.prior = 'stock/exact'\n"
            f"    config.input = 'stock/photo.png'\n    config.samples = 1\n"
            f"    config.sampler.steps = 1\n    config.cache = ''\n    with config.unlocked():\n"
            f"        {line}\n    return config\n"
        )
    data = text.encode()
    if rng.chance(0.1):
        data = data.replace(b"strokes", "str\u00f6kes".encode("latin-1"))
    Path("my.py").write_bytes(data)
    mode = rng.choice(("edit", "edit", "edit", "sweep", "evaluate", "train", "convert", "replay"))
    return Case(program(mode, "my.py"), (), f"{mode}: {note[:80]}")


ARGUMENTS = ("x", "--", "-", "--config.", "--config.=1", "--config..t0=1", "--config.t0", "--t0=1")
ARGUMENTS += (
    "--config.sampler=5",
    "--config.options=x",
    "--nothing",
    "--config.t0=0.5=0.5",
    "-h=1",
)
ARGUMENTS += ("--mode=", "--mode", "--overwrite=x", "--keep=2", "--list=x", "--no", "")
ARGUMENTS += (
    "--config.options.x=1",
    "--config.t0.x=1",
    "--verbosity=x",
    "--config.t0=\ud800",
    "@x",
)
ARGUMENTS += (
    "--flagfile=",
    "--config=",
    "--config=no",
    "--config=/",
    "--config=a:b:c",
    "--undefok=",
)
ARGUMENTS += ("--config.sampler.rule.x=1", "--config['t0']=1", "--config.example.input=/dev/zero")
ARGUMENTS += ("--mode=edit\n", "--pdb=x", "--only_check_args=x", "--config.sweep.t0=(", "\x1b[31m")


@kind
def arguments(rng):
    """Flags that are none, or wrong, and flag files."""
    argv = program("edit", "strokes", **(EXACT | {"input": PHOTO}))
    for _ in range(1 + rng.chance(0.3)):
        argv.insert(
            rng.below(len(argv) + 1), rng.choice(ARGUMENTS).encode("utf-8", "replace").decode()
        )
    note = ""
    if rng.chance(0.3):
        lines = [rng.choice(ARGUMENTS) for _ in range(3)]
        lines += rng.choice((["--flagfile=flags"], ["\0"], ["x" * 10**6], ["--t0"] * 1000, []))
        Path("flags").write_text("\n".join(lines), errors="replace")
        argv.append("--flagfile=flags")
        note = f"flags {lines[:3]}"
    return Case(argv, (), f"{note} {argv!r:.200}")
