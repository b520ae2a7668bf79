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
    "traj_ve_pc_ald_ancestral",
    "traj_ve_colorize",
    "traj_vp_pc_em",
]
FLOWS = ["traj_ve_ode_rk45", "traj_vp_ode_rk45"]
STATES = ("x_steps", "x_after_predictor", "x_predictor_before_data")
UNREAD = ("x_after_corrector", "nfe")
FORMS = ("t", "marginal_mean_on_ones", "marginal_std", "sde_drift_on_ones", "sde_diffusion")
VE = ("t", "marginal_std", "sde_diffusion", "discrete_sigmas")
GRID = ("timesteps", "continuous_labels")
REVERSE = (
    "reverse_pf0_sde_drift_on_ones",
    "reverse_pf0_sde_diffusion",
    "reverse_pf1_sde_drift_on_ones",
)
LEVELS = (
    "discretize_index",
    *(f"reverse_pf{flow}_discretize_{part}" for flow in (0, 1) for part in ("f_on_ones", "G")),
)
SDES = {
    "ve_cifar10": (*VE, *GRID, *REVERSE, *LEVELS, "discrete_labels"),
    "ve_church": VE,
    "ve_ffhq1024": VE,
    "vp": (*FORMS, *GRID, *REVERSE, *LEVELS, "sqrt_alphas_cumprod", "sqrt_1m_alphas_cumprod"),
    "subvp": (*FORMS, *GRID, *REVERSE),
}
TABLES = {
    "tables_sde": [f"{key}_{part}" for key, parts in SDES.items() for part in parts],
    "tables_sdedit": ["sqrt_a", "sqrt_1m_a", "alphas_cumprod_f64", "sqrt_1m_a_f64"],
    "tables_sigmas": ["sigmas_cifar10_ncsnpp", "sigmas_church_ncsnpp_continuous"],
}


def main(shared: Path) -> None:
    for name in TRAJECTORIES:
        arrays = {k: v for k, v in read(shared / name).items() if k not in UNREAD}
        (states,) = set(STATES) & set(arrays)
        kept = np.arange(0, len(arrays[states]) - 1, 3)
        write(shared, name, arrays | {states: arrays[states][kept], "kept": kept})
    for name in FLOWS:
        write(shared, name, {k: v for k, v in read(shared / name).items() if k != "noise"})
    for name, wanted in TABLES.items():
        arrays = read(shared / name)
        write(shared, name, {k: arrays[k] for k in wanted})
    arrays = read(shared / "tables_sampler_updates")
    means = tuple(f"_n{steps}_xmean" for steps in (1, 3))  # of correctors
    kept = {k: v for k, v in arrays.items() if not k.endswith(means)}
    write(shared, "tables_sampler_updates", kept)


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
