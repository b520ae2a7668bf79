"""The names of the package `registry`, which are imported at the first use of one of them."""

from sdedit_jax.registry.conditions import (
    GUIDANCE,
    NO_NULL,
    check_label,
    classes,
    condition,
    guided,
)
from sdedit_jax.registry.names import SDES, pick, process
from sdedit_jax.registry.priors import (
    EXACT,
    LATENT_PRIORS,
    NETS,
    PARTS,
    PRIORS,
    check_channels,
    initial_params,
    latent_prior_of,
    part_of,
    prior_of,
    size_of,
    text_of,
    with_attention,
)
from sdedit_jax.registry.tasks import TASKS, default_options, reads_mask_beside, task

__all__ = [
    "EXACT",
    "GUIDANCE",
    "LATENT_PRIORS",
    "NETS",
    "NO_NULL",
    "PARTS",
    "PRIORS",
    "SDES",
    "TASKS",
    "check_channels",
    "check_label",
    "classes",
    "condition",
    "default_options",
    "guided",
    "initial_params",
    "latent_prior_of",
    "part_of",
    "pick",
    "reads_mask_beside",
    "prior_of",
    "process",
    "size_of",
    "task",
    "text_of",
    "with_attention",
]
