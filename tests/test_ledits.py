"""LEDITS and LEDITS++: the originals' runs from recorded estimates, and edits with exact priors.

What the originals' network says of the states of LEDITS++ was recorded afterwards with diffusers'
U-Net on the recorded states (sd_leditspp_estimates); all else is as the originals left it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from recorded import TABLE, Codec, arrays, close, player, settings

from sdedit_jax.diffusion import solvers
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.edits import inversion, ledits
from sdedit_jax.edits.inversion import Inverted
from sdedit_jax.guidance.leditspp import (
    LeditsPP,
    LeditsPPCond,
    attention_mask,
    mask_of,
    noise_mask,
    smoothed,
)
from sdedit_jax.guidance.sega import concepts, padded
from sdedit_jax.priors.analytic import gaussian
from sdedit_jax.priors.prior import Prior

KEY = jax.random.key(5)
SHAPE = (8, 8, 2)
NONE = concepts(np.zeros(0, int))


def raw(file, name):
    with np.load(file) as stored:
        return stored[name]


# --- LEDITS ---------------------------------------------------------------------------------------

LEDITS = [
    ("sd_ledits.npz", "combined"),
    *[("io_ledits.npz", case) for case in (
        "rec_uncond", "pure_inversion_edit", "pure_sega", "combined", "combined_srcprompt",
        "demo_three_slots", "ddim_sched_same", "skip1",
    )],
]  # fmt: skip


@pytest.mark.parametrize("file, case", LEDITS)
def test_the_demo(golden, file, case):
    """Preset `ledits-app`: every state of the demo's runs, from its maps and estimates."""
    file = golden(file)
    setting, a = settings(file, case), arrays(file, case + "__")
    start = arrays(file, "inv_src__" if "srcprompt" in case else "inv_uncond__")
    p, skip, n = setting["params"], setting["skip"], len(start["zs"])
    edit = a.get("edit", np.zeros((n - skip, 0, *a["text"].shape[1:]), np.float32))
    said = np.concatenate([a["uncond"][:, None], a["text"][:, None], edit], axis=1)
    prior = player(start["timesteps"][skip:], said)
    made = ledits.recipe("ledits-app", n=n, skip=skip)._replace(
        target_scale=float(setting["guidance_scale"])
    )
    assert made.concept["momentum"] == p["edit_momentum_scale"]
    assert made.concept["beta"] == p["edit_mom_beta"]
    many = ledits.concepts_of(
        made, np.arange(2, said.shape[1]), scale=p["edit_guidance_scale"],
        reverse=p["reverse_editing_direction"], warmup=p["edit_warmup_steps"],
        threshold=p["edit_threshold"],
    )  # fmt: skip
    plan = ledits.plan(prior, made)
    request = ledits.request(made, jnp.zeros(prior.shape), source=0, empty=0, target=1, many=many)

    states = jax.jit(pure.replayed_states(plan))
    path = states(prior.params, request, Inverted(start["wts"][skip], start["zs"][skip:]))
    close(path, a["latents"], 1e-5)


def test_numbers_of_the_presets():
    """The defaults of the sources."""
    app, paper = ledits.recipe("ledits-app"), ledits.recipe("ddpm-inversion-paper")
    for made in (app, paper):
        assert (made.n, made.skip, made.source_scale, made.target_scale) == (100, 36, 3.5, 15)
        assert made.zero_last
    assert app.concept == {
        "scale": 7, "warmup": 2, "threshold": 0.95, "momentum": 0.3, "beta": 0.6
    }  # fmt: skip
    cog = ledits.recipe("cog-ledits")
    assert (cog.n, cog.skip, cog.source_scale, cog.target_scale) == (100, 36, 3.5, 20)
    assert cog.zero_last and cog.guidance == app.guidance
    many = ledits.concepts_of(cog, np.zeros((2, 1)), reverse=[True, False])
    assert many.scale.tolist() == [7, 15] and many.warmup.tolist() == [1, 1]
    assert many.momentum.tolist() == [0.5, 0.5] and many.beta.tolist() == pytest.approx([0.6] * 2)
    assert many.threshold.tolist() == pytest.approx([0.95] * 2)
    plus = ledits.recipe("leditspp-diffusers")
    assert (plus.n, plus.skip, plus.source_scale) == (34, 4, -2.5)
    assert plus.concept == {"scale": 5, "warmup": 0, "threshold": 0.9}
    with pytest.raises(ValueError, match="preset must be one of"):
        ledits.recipe("ledit")
    with pytest.raises(ValueError, match="target: guidance 'intersect' is by concepts alone"):
        ledits.request(plus, None, source=0, empty=0, many=NONE, target=1)
    with pytest.raises(ValueError, match="guidance must be one of"):
        ledits.plan(told(), app._replace(guidance="cfg"))


# --- LEDITS++: maps -------------------------------------------------------------------------------


@pytest.mark.parametrize("case, n, skip", [("dpm_inv", 10, 0.2), ("dpm_inv_src", 10, 0.15)])
def test_maps_of_diffusers(golden, case, n, skip):
    a = arrays(golden("io_leditspp.npz"), case + "__")
    eps = arrays(golden("sd_leditspp_estimates.npz"), case + "__")["eps"]
    made = ledits.recipe("leditspp-diffusers", n=n, skip=skip)
    eps = eps if eps.ndim == 5 else eps[:, None]
    prior = player(a["timesteps"], eps)
    got = inverted(made, prior, a["x0"], a["noise_t_ascending"][::-1], n, source=eps.shape[1] - 1)
    close(got.x, a["init_latents"][..., :1], 1e-6)
    close(got.zs, a["zs"][..., :1], 1e-5)


def inverted(made, prior, x0, noises, n, source=0):
    """The inversion of the first channel."""
    plan = ledits.plan(prior, made)
    request = ledits.request(made, x0[..., :1], source=source, empty=0, many=NONE)
    noises = np.concatenate([np.zeros((plan.skip, *noises.shape[1:])), noises])[..., :1]
    assert plan.steps == n
    request = request._replace(noises=noises.astype(np.float32))
    return jax.jit(lambda params, request: pure.invert(plan)(params, request, KEY))(
        prior.params, request
    )


def noises_of(steps, x0, states):
    """The noise of each state, states [n, H, W, C] at these steps of 1000."""
    t = (jnp.asarray(steps, jnp.float32) + 1) / 1000
    alpha, sigma = (np.asarray(v)[:, None, None, None] for v in (TABLE.alpha(t), TABLE.sigma(t)))
    return (states - alpha * x0) / sigma


@pytest.mark.parametrize(
    "case, states, zs",
    [("orig_inv_uncond", "xts_uncond", "zs_uncond"), ("orig_n16", "n16__xts", "n16__zs")],
)
def test_maps_of_the_authors(golden, case, states, zs):
    a = arrays(golden("io_leditspp_original.npz"))
    steps = a["n16__timesteps" if "n16" in case else "timesteps"]
    eps = arrays(golden("sd_leditspp_estimates.npz"), case + "__")["eps"]
    prior, path = player(steps, eps[:, None]), a[states][::-1][:-1]
    made = ledits.recipe("leditspp-original", n=len(steps), skip=0.2)
    got = inverted(made, prior, a["x0"], noises_of(steps, a["x0"], path), len(steps))
    close(got.zs, a[zs][..., :1], 3e-5)
    if "n16" in case:  # from 15 steps on their replay leads back to the photo
        plan = ledits.plan(prior, made)
        request = ledits.request(made, a["x0"][..., :1], source=0, empty=0, many=NONE)
        back = pure.replay(plan)(prior.params, request, Inverted(path[0][..., :1], a[zs][..., :1]))
        np.testing.assert_allclose(back, a["x0"][..., :1], atol=1e-5 * np.abs(path).max())


def test_the_last_step_of_the_authors_with_few_steps(golden):
    """Below 15 steps their replay ends in first order: another photo comes back."""
    a = arrays(golden("io_leditspp_original.npz"))
    eps = arrays(golden("sd_leditspp_estimates.npz"), "orig_inv_uncond__")["eps"]
    made = ledits.recipe("leditspp-original", n=10, skip=0.2)
    made = made._replace(solver=solvers.DPMpp(first_order_to=0.001))
    prior = player(a["timesteps"], eps[:, None])
    plan = ledits.plan(prior, made)
    request = ledits.request(made, a["x0"][..., :1], source=0, empty=0, many=NONE)
    start = Inverted(a["xts_uncond"][-1][..., :1], a["zs_uncond"][..., :1])
    back = pure.replay(plan)(prior.params, request, start)
    want = a["rec_uncond__latents"][-1][..., :1]
    np.testing.assert_allclose(back, want, atol=1e-5 * np.abs(a["rec_uncond__latents"]).max())
    assert np.abs(back - a["x0"][..., :1]).max() > 0.01


# --- LEDITS++: edits ------------------------------------------------------------------------------

OWN = {"smiling dog, grin": 4, "glasses": 1, "snow, winter": 3}  # tokens of the concepts
EDITS = [  # file, case, its inversion, how many steps have estimates
    ("sd_leditspp.npz", "dpm_edit_default", "dpm_inv__", 5),
    ("io_leditspp.npz", "dpm_edit_default", "dpm_inv__", 5),
    ("io_leditspp.npz", "dpm_edit_cross", "dpm_inv__", 4),
    ("io_leditspp.npz", "dpm_edit_usermask", "dpm_inv__", 3),
    ("io_leditspp.npz", "dpm_edit3_src", "dpm_inv_src__", 3),
]


def own_tokens(texts, length=16):
    """1 at the tokens of each text, behind the start."""
    places = np.arange(length)[None]
    counts = np.asarray([OWN[text] for text in texts])[:, None]
    return ((places >= 1) & (places <= counts)).astype(np.float32)


def attention_of(file, case, many, warm):
    """The maps [N, K, 4, 4, 16] of an edit: one row was kept for each concept in its time."""
    rows = iter(raw(file, case + "__attn_agg"))
    maps = np.full((len(warm), many, 4, 4, 16), np.nan, np.float32)
    for i, now in enumerate(warm):
        for c in np.flatnonzero(now):
            maps[i, c] = next(rows)
    return maps


@pytest.mark.parametrize("file, case, start, n", EDITS)
def test_edits_of_diffusers(golden, file, case, start, n):
    """Masks exactly, guidance and states, from the estimates on its own states."""
    file = golden(file)
    setting, a, b = settings(file, case), arrays(file, case + "__"), arrays(file, start)
    eps = arrays(golden("sd_leditspp_estimates.npz"), case + "__")["eps"]
    p, texts = setting["params"], setting["editing_prompt"]
    warmup = np.broadcast_to(p.get("edit_warmup_steps", 0), len(texts))
    cooldown = np.broadcast_to(p.get("edit_cooldown_steps", np.inf), len(texts))
    index = np.arange(10)[:, None]
    warm = (index >= warmup) & (index < cooldown)
    masks = "intersect" if p.get("use_intersect_mask", True) else "attention"
    skip = {"dpm_inv__": 0.2, "dpm_inv_src__": 0.15}[start]
    maps = attention_of(file, case, len(texts), warm[: len(a["latents"])])[:n]
    maps = np.concatenate([np.zeros_like(maps[:, :1]), maps], axis=1)  # `against` needs none
    prior = player(b["timesteps"][:n], eps, maps)
    made = ledits.recipe("leditspp-diffusers", n=10, skip=skip)._replace(guidance=masks)
    mask = p.get("user_mask")
    many = ledits.concepts_of(
        made, np.arange(1, len(texts) + 1), scale=p["edit_guidance_scale"],
        threshold=p["edit_threshold"], warmup=warmup, cooldown=cooldown,
        reverse=p.get("reverse_editing_direction", False), tokens=own_tokens(texts),
        mask=raw(file, "user_mask")[None, ..., None] if mask else None,
    )  # fmt: skip
    plan = ledits.plan(prior, made)
    request = ledits.request(made, jnp.zeros(prior.shape), source=0, empty=0, many=many)

    states = jax.jit(pure.replayed_states(plan))
    replayed = Inverted(b["init_latents"], b["zs"][:n])
    close(states(prior.params, request, replayed), a["latents"][:n], 1e-4)
    for i in range(n):
        push = jnp.zeros(prior.shape)
        t = (b["timesteps"][i] + 1) / 1000
        for c in np.flatnonzero(warm[i]):
            one = jax.tree.map(lambda v, c=c: v[c], many)
            psi = (eps[i, c + 1] - eps[i, 0]) * np.where(one.reverse, -1, 1) * one.scale
            psi = psi if mask is None else psi * one.mask
            got = mask_of(psi, maps[i, c + 1], one, masks, t <= 0.801)
            np.testing.assert_array_equal(got[..., 0], a["activation_mask"][i, c][..., 0])
            push = push + got * psi
        close(push, a["sem_guidance"][i], 1e-4)


def test_an_edit_of_the_authors(golden):
    """M1 M2 at all times, with their steps."""
    a = arrays(golden("io_leditspp_original.npz"))
    file, n = golden("sd_leditspp_estimates.npz"), 3
    eps = arrays(file, "orig_edit_intersect__")["eps"]
    maps = raw(file, "orig_edit_intersect__attn")  # theirs are of 16 x 16 queries at any size
    maps = np.concatenate([np.zeros_like(maps[:, :1]), maps], axis=1)
    prior = player(a["timesteps"][:n], eps, maps)
    made = ledits.recipe("leditspp-original", n=10, skip=0.2)._replace(
        guidance="intersect", intersect_to=1.0
    )
    texts = ["smiling dog, grin", "glasses"]
    many = ledits.concepts_of(
        made, np.arange(1, 3), scale=[5.0, 3.0], reverse=[False, True], threshold=0.7,
        tokens=own_tokens(texts, 5),
    )  # fmt: skip
    plan = ledits.plan(prior, made)
    request = ledits.request(made, jnp.zeros(prior.shape), source=0, empty=0, many=many)
    start = Inverted(a["xts_uncond"][-1], a["zs_uncond"][:n])
    path = pure.replayed_states(plan)(prior.params, request, start)
    close(path, a["edit_intersect__latents"][:n], 1e-4)
    for i in range(n):
        for c in range(2):
            one = jax.tree.map(lambda v, c=c: v[c], many)
            psi = (eps[i, c + 1] - eps[i, 0]) * one.scale
            got = mask_of(psi, maps[i, c + 1], one, "intersect")
            want = a["edit_intersect__activation_mask"][i, c]
            np.testing.assert_array_equal(got[..., 0], want[..., 0])


# --- LEDITS++: masks by hand ----------------------------------------------------------------------


def test_smoothing(rng):
    """Against a loop over the 3 x 3 neighbours, reflected at the edges."""
    a = rng.standard_normal((5, 7))
    kernel = np.outer([np.exp(-1), 1, np.exp(-1)], [np.exp(-1), 1, np.exp(-1)])
    wide = np.pad(a, 1, mode="reflect")
    want = sum(
        kernel[i, j] * wide[i : i + 5, j : j + 7] for i in range(3) for j in range(3)
    ) / kernel.sum()  # fmt: skip
    np.testing.assert_allclose(smoothed(jnp.asarray(a, jnp.float32)), want, atol=1e-6)


def test_masks_follow_their_maps():
    """Attention in one quarter, a direction in another: where each mask lies."""
    attention = np.zeros((4, 4, 5), np.float32)
    attention[:2, :2, 2] = 1
    attention[..., 4] = 9  # a token of another
    tokens = np.asarray([0, 1, 1, 0, 0], np.float32)
    first = np.asarray(attention_mask(attention, tokens, 0.8, 2))
    assert first.shape == (8, 8, 1) and first[:4, :4].all() and not first[6:, 6:].any()
    psi = np.zeros(SHAPE, np.float32)
    psi[2:4, 2:4] = 1
    np.testing.assert_array_equal(noise_mask(psi, 0.95)[..., 0], psi[..., 0])


@pytest.mark.parametrize("sides", [(10, 13), (9, 9), (7, 12)])
def test_masks_of_odd_sides(rng, sides):
    """Maps of sides rounded up, as of a U-Net that halves twice: each value covers its 4 x 4, cut
    off at the end."""
    own = [-(-side // 4) for side in sides]
    attention = rng.uniform(size=(*own, 5)).astype(np.float32)
    one = concepts(np.zeros(1), threshold=0.6, tokens=np.asarray([[0, 1, 1, 0, 0]], np.float32))
    one = jax.tree.map(lambda a: a[0], one._replace(cond=None))
    got = np.asarray(mask_of(np.zeros((*sides, 2), np.float32), attention, one, "attention"))
    smooth = np.asarray(smoothed(attention[..., 1:3].sum(-1)), np.float64)
    wanted = np.kron(smooth >= np.quantile(smooth, 0.6) - 1e-7, np.ones((4, 4)))
    np.testing.assert_array_equal(got[..., 0], wanted[: sides[0], : sides[1]])


def test_maps_of_other_sides_are_refused():
    prior = told((8, 13, 2))
    many = concepts(np.ones(1), tokens=np.ones((1, 5), np.float32))
    predict = LeditsPP(prior.predict).bind(prior.params, LeditsPPCond(np.float32(0), many))
    x = jnp.zeros((8, 13, 2))
    with pytest.raises(ValueError, match=r"attention must have the sides \(8, 13\) of the state"):
        predict.predict((), x, jnp.float32(0.5), jnp.int32(0))


# --- with exact priors ----------------------------------------------------------------------------


def told(shape=SHAPE):
    """A prior whose data lie around its cond, a number, with attention maps of its own."""
    exact = gaussian(TABLE, jnp.zeros(shape), 0.5)

    def predict(params, x, t, cond=None, key=None):
        ramp = jnp.linspace(0, 1, x.size).reshape(x.shape)
        eps = exact.predict(params, x - 0.3 * TABLE.alpha(t) * cond * ramp, t).eps
        maps = jnp.sin(jnp.arange(4 * 4 * 5) * (1 + cond)).reshape(4, 4, 5)
        return Prediction(eps, attention=maps)

    return Prior(TABLE, predict, exact.params, SHAPE)


TEXTS = {"source": np.float32(0.5), "empty": np.float32(0)}


def photo(rng):
    return rng.uniform(-1, 1, SHAPE).astype(np.float32)


EXACT = [("ledits", {}), ("leditspp", {}), ("leditspp-original", {})]
ZEROED = [("ledits-app", {"skip": 3}), ("ddpm-inversion-paper", {"skip": 3})]


@pytest.mark.parametrize("preset, given", EXACT + ZEROED)
def test_the_photo_comes_back_under_its_own_guidance(rng, preset, given):
    """Source text as the target, no concepts: exactly, but for the noise of the last step where its
    map is set to 0."""
    prior, x0 = told(), photo(rng)
    made = ledits.recipe(preset, n=8, **given)
    plus = made.guidance in ledits.MASKS
    texts = TEXTS | ({"source": TEXTS["empty"]} if plus else {"target": TEXTS["source"]})
    made = made._replace(target_scale=made.source_scale)
    request = ledits.request(made, x0, **texts, many=concepts(np.zeros(0, np.float32)))
    plan = ledits.plan(prior, made)
    exact = dataclasses.replace(plan, zero_last=False)

    @jax.jit
    def run(params, request):
        return pure.edit_inverted(plan)(params, request, KEY), pure.invert(exact)(
            params, request, KEY
        )

    back, found = run(prior.params, request)
    missed = inversion.step_stds(plan)[-1] * found.zs[-1] if made.zero_last else 0.0
    np.testing.assert_allclose(back + missed, x0, atol=1e-5)


def test_diffusers_ends_clean():
    plan = ledits.plan(told(), ledits.recipe("leditspp-diffusers"))
    std = inversion.step_stds(plan)
    assert std[-1] == 0 and (std[:-1] > 0).all() and plan.zero_last


@pytest.mark.parametrize("guidance", ledits.GUIDANCES)
def test_concepts_of_scale_0_change_nothing(rng, guidance):
    prior, x0 = told(), photo(rng)
    plus = guidance in ledits.MASKS
    made = ledits.recipe("leditspp" if plus else "ledits", n=4)._replace(guidance=guidance)
    given = {"tokens": np.ones((2, 5), np.float32)}

    @jax.jit
    def run(many):
        request = ledits.request(made, x0, **TEXTS, many=many)
        return pure.edit_inverted(ledits.plan(prior, made))(prior.params, request, KEY)

    cond = np.asarray([1.0, -2.0], np.float32)
    off = run(ledits.concepts_of(made, cond, scale=0.0, **given))
    gone = run(ledits.concepts_of(made, cond, scale=3.0, active=False, **given))
    on = run(ledits.concepts_of(made, cond, scale=3.0, warmup=0, **given))
    np.testing.assert_array_equal(off, gone)
    assert np.abs(on - off).max() > 1e-2


def test_masks_are_drawn_on_pictures(rng):
    """In a prior of latents a mask of pixels stands where its blocks are."""

    def encode(params, image, z=None):
        return image.reshape(4, 2, 4, 2, 2).mean((1, 3))

    def decode(params, x0):
        return jnp.repeat(jnp.repeat(x0, 2, axis=0), 2, axis=1)

    prior = told((4, 4, 2)).replace(codec=Codec(encode, decode), shape=SHAPE)
    mask = np.zeros((1, *SHAPE[:2], 1), np.float32)
    mask[0, 3, 5] = 1  # one pixel of the block in row 1, column 2
    for preset in ("ledits", "leditspp"):
        made = ledits.recipe(preset, n=2)
        if preset == "leditspp":
            made = made._replace(guidance="noise")
        many = ledits.concepts_of(
            made, np.ones(1, np.float32), scale=20.0, warmup=0, threshold=0.0, mask=mask
        )
        empty = TEXTS["empty"]
        request = ledits.request(made, photo(rng), source=empty, empty=empty, many=many)
        out = jax.jit(pure.edit_inverted(ledits.plan(prior, made)))(prior.params, request, KEY)
        still = encode(None, request.image)
        moved = np.abs(encode(None, out) - still).max(axis=-1) > 1e-3
        assert np.argwhere(moved).tolist() == [[1, 2]]


def test_padded_concepts_of_leditspp():
    """To the last digit, whatever stands in the padding."""
    prior, x = told(), jnp.linspace(-1, 1, np.prod(SHAPE)).reshape(SHAPE)
    many = concepts(
        np.asarray([1.0, -2.0], np.float32), warmup=0, threshold=[0.5, 0.8],
        tokens=np.eye(5, dtype=np.float32)[1:3],
    )  # fmt: skip
    wide = padded(many, 4)
    wide = wide._replace(cond=np.where(wide.active, wide.cond, np.float32(np.nan)))

    @jax.jit
    def run(many):
        predict = LeditsPP(prior.predict, intersect_to=1.0).bind(
            prior.params, LeditsPPCond(TEXTS["empty"], many)
        )
        return predict.predict((), x, jnp.float32(0.5), 3)[0].eps

    np.testing.assert_array_equal(run(many), run(wide))
    turned = jax.tree.map(lambda a: a[::-1], many)
    np.testing.assert_allclose(run(turned), run(many), atol=1e-6)


@pytest.mark.parametrize("masks", ["intersect", "attention", "noise"])
def test_the_prediction_carries_the_masks(rng, masks):
    """Of the concepts that act at the step: with one's mask its push is w mask psi."""
    prior, x, t = told(), photo(rng), jnp.float32(0.5)
    many = ledits.concepts_of(
        ledits.recipe("leditspp"), np.asarray([0.3, -0.7], np.float32), scale=[4, 3],
        warmup=[0, 5], threshold=[0.6, 0.8], tokens=np.eye(2, 5, dtype=np.float32),
    )  # fmt: skip

    @jax.jit
    def run(many):
        cond = LeditsPPCond(np.float32(0), many)
        return LeditsPP(prior.predict, masks).bind(prior.params, cond).predict((), x, t, 3)[0]

    found = run(many)
    against, concept = (prior.predict(prior.params, x, t, np.float32(c)).eps for c in (0, 0.3))
    assert found.masks.shape == (2, *SHAPE[:2], 1) and not found.masks[1].any()
    assert set(np.unique(found.masks[0])) == {0, 1}
    push = many.weight[0] * found.masks[0] * 4 * (concept - against)
    np.testing.assert_allclose(found.eps, against + push, rtol=1e-5, atol=1e-5)


def test_one_program_for_all_texts_and_numbers(rng):
    prior, traces = told(), []
    for preset in ("ledits", "leditspp"):
        made = ledits.recipe(preset, n=3)
        traces.clear()

        @jax.jit
        def run(request, made=made):
            traces.append(None)
            return pure.edit_inverted(ledits.plan(prior, made))(prior.params, request, KEY)

        for v in (1.0, 2.0):
            many = ledits.concepts_of(
                made, np.asarray([v, -v], np.float32), scale=[v, 3], threshold=0.4 * v,
                warmup=int(v), reverse=[v > 1, False], active=[True, v > 1],
                tokens=np.full((2, 5), v, np.float32),
                mask=rng.uniform(0, 1, (2, *SHAPE[:2], 1)).astype(np.float32),
            )  # fmt: skip
            request = ledits.request(
                made, photo(rng), source=np.float32(v), empty=np.float32(-v), many=many, t0=0.3 * v
            )
            assert np.isfinite(run(request)).all()
        assert len(traces) == 1


def test_bad_input():
    prior = told()
    blind = prior.replace(predict=lambda *a, **k: prior.predict(*a, **k)._replace(attention=None))
    many = concepts(np.zeros(1, np.float32), tokens=np.ones((1, 5), np.float32))
    x, t = jnp.zeros(SHAPE), jnp.float32(0.5)

    def say(prior, many, masks="intersect", x=x):
        predict = LeditsPP(prior.predict, masks).bind(
            prior.params, LeditsPPCond(np.float32(0), many)
        )
        return predict.predict((), x, t, 0)

    for make, said in [
        (lambda: say(blind, many), "masks 'intersect' requires the attention"),
        (
            lambda: say(prior, many._replace(tokens=None)),
            "masks 'intersect' requires the attention",
        ),
        (lambda: say(prior, many._replace(tokens=np.ones((1, 4)))), r"tokens must be \[K, 5\]"),
        (lambda: say(prior, many, masks="both"), "masks must be one of"),
    ]:
        with pytest.raises(ValueError, match=said):
            make()
    say(blind, many._replace(tokens=None), masks="noise")
