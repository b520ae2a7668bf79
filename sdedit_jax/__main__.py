"""The program: python -m sdedit_jax, or the command sdedit."""

from sdedit_jax.modes.command_line import start

if __name__ == "__main__":
    start()
