"""The program from a checkout: python main.py --config=strokes --workdir=out [--mode=edit]."""

from sdedit_jax.modes.command_line import start

if __name__ == "__main__":
    start()
