"""Writes tests/goldens' trajectories and tables: `python tests/copy_goldens.py SHARED_GOLDENS`.

Arrays are the originals' own, byte for byte; arrays that no test reads are left out, and of the
recorded states every third is kept (`kept` numbers them).
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "goldens"
TRAJECTORIES = [
    "traj_ve_sdedit_paper_nomask",
    "traj_ve_sdedit_paper_mask",
    "traj_ve_sdedit_grid_nomask",
    "traj_vp_sdedit_grid_em_mask",
    "traj_ve_pf_reverse_diffusion",
    "traj_ve_pc_langevin",
]
STATES = ("x_steps", "x_after_predictor")
UNREAD = ("x_after_corrector", "nfe")
FORMS = ("t", "marginal_mean_on_ones", "marginal_std", "sde_drift_on_ones", "sde_diffusion")
SDES = {
    "ve_cifar10": ("t", "marginal_std", "sde_diffusion", "discrete_sigmas"),
    "ve_church": ("t", "marginal_std", "sde_diffusion", "discrete_sigmas"),
    "ve_ffhq1024": ("t", "marginal_std", "sde_diffusion", "discrete_sigmas"),
    "vp": (*FORMS, "sqrt_alphas_cumprod", "sqrt_1m_alphas_cumprod"),
    "subvp": FORMS,
}
TABLES = {
    "tables_sde": [f"{key}_{part}" for key, parts in SDES.items() for part in parts],
    "tables_sdedit": ["sqrt_a", "sqrt_1m_a", "alphas_cumprod_f64", "sqrt_1m_a_f64"],
    "tables_sigmas": ["sigmas_cifar10_ncsnpp", "sigmas_church_ncsnpp_continuous"],
}


def updates(name: str) -> bool:
    """The arrays of the update tables that are read: no annealed corrector, subVP by Euler."""
    unread = "_ald_" in name or name.endswith(("n1_xmean", "n3_xmean"))
    return not unread and (not name.startswith("subvp") or "euler" in name)


def main(shared: Path) -> None:
    for name in TRAJECTORIES:
        arrays = {k: v for k, v in read(shared / name).items() if k not in UNREAD}
        (states,) = set(STATES) & set(arrays)
        kept = np.arange(0, len(arrays[states]) - 1, 3)
        write(shared, name, arrays | {states: arrays[states][kept], "kept": kept})
    for name, wanted in TABLES.items():
        arrays = read(shared / name)
        write(shared, name, {k: arrays[k] for k in wanted})
    arrays = read(shared / "tables_sampler_updates")
    write(shared, "tables_sampler_updates", {k: v for k, v in arrays.items() if updates(k)})


def read(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "io.npz") as file:
        return dict(file)


def write(shared: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    (HERE / name).mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HERE / name / "io.npz", **arrays)
    config = json.loads((shared / name / "config.json").read_text())
    (HERE / name / "config.json").write_text(json.dumps(config) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
