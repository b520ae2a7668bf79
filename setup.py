"""The package sdedit_jax. Tool settings are in pyproject.toml."""

from setuptools import find_packages, setup

SHIPPED = ("configs", "checkpoints", "examples")
"""Top-level folders that an installed package holds as sdedit_jax.configs and so on."""

WEB = ["gradio>=6,<7", "fastapi>=0.115", "uvicorn>=0.30"]

setup(
    name="sdedit_jax",
    version="0.1.0",
    description="Image editing with diffusion (SDE) priors in JAX: SDEdit, NCSN++, training",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=[
        *find_packages(include=["sdedit_jax", "sdedit_jax.*"]),
        *(f"sdedit_jax.{folder}" for folder in SHIPPED),
    ],
    package_dir={f"sdedit_jax.{folder}": folder for folder in SHIPPED},
    package_data={
        "sdedit_jax": ["py.typed"],
        "sdedit_jax.weights.cards": ["*.json"],
        "sdedit_jax.web": ["*.html", "*.js", "*.css"],
        "sdedit_jax.evaluation": ["*.html"],
        "sdedit_jax.checkpoints": ["**/*"],
        "sdedit_jax.examples": ["**/*"],
    },
    entry_points={"console_scripts": ["sdedit = sdedit_jax.modes.command_line:start"]},
    install_requires=[
        "jax>=0.10",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "numpy>=2.0",
        # SSIM filters with scipy.ndimage; JAX installs scipy too
        "scipy>=1.14",
        "ml-collections>=1.0",
        "absl-py>=2.1",
        "pillow>=11",
        "platformdirs>=4.2",
        "tqdm>=4.66",
        "grain>=0.2.18",
        "tensorboardX>=2.6",
        "matplotlib>=3.9",
        "tensorflow-datasets>=4.9.10",
        # tensorflow-datasets 4.9.10 imports it but declares it only for Python < 3.9
        "importlib_resources",
        # checkpoints of other programs
        "safetensors>=0.5",
        "msgpack>=1.0",
        "ml_dtypes>=0.5",
        "huggingface_hub>=0.36",
        "tokenizers>=0.21",
        "jinja2>=3.1",  # reports
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "nbclient>=0.10",
            "ipykernel>=6.29",
            "anywidget>=0.9",
            "lmdb>=1.4",  # writes the files that our reader of LSUN reads
            *WEB,
            "playwright>=1.49",  # with the chromium of the system, for tests of the page
        ],
        "notebook": ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29", "anywidget>=0.9"],
        "dev": ["ruff>=0.12", "pyright[nodejs]>=1.1.400"],
        "convert": ["torch>=2.6"],
        "web": WEB,
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.7,<10",
            "mkdocstrings[python]>=1,<2",
            "latex2mathml>=3.78,<4",
            "nbconvert>=7.16,<8",
            "nbclient>=0.10",
            "ipykernel>=6.29",
        ],
        "cuda": ["jax[cuda13]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
    },
)
