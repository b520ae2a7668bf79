"""Which file of weights a file is: published ones are known by their sha256."""

import hashlib
import re
from pathlib import Path

from sdedit_jax.files import door
from sdedit_jax.weights.readers import home

PUBLISHED: dict[str, frozenset[str]] = {
    "inception": frozenset({"6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"}),
    "vgg": frozenset({"397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"}),
    "alex": frozenset({"7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"}),
    "vgg heads": frozenset({"a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"}),
    "alex heads": frozenset({"df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"}),
    "clip": frozenset(
        {
            "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
            "f1a17cdbe0f36fec524f5cafb1c261ea3bbbc13e346e0f74fc9eb0460dedd0d3",
            "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        }
    ),
}
"""Kind of a file -> sha256 of its published versions. Of CLIP: ViT-B/32 (pytorch_model.bin) and
ViT-L/14 (pytorch_model.bin, model.safetensors) of OpenAI."""

OTHERS: dict[str, str] = {
    "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c": "LPIPS 0.0 (vgg)",
    "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5": "LPIPS 0.0 (alex)",
}
"""Files of the right shapes that are weights of something else."""

KNOWN, UNKNOWN = "published", "not a published file"
NAMED = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt)$")


def identify(path: Path, kind: str) -> tuple[str, str]:
    """The sha256 of a file, and whether it is the published file of a kind: KNOWN or UNKNOWN.

    Raises:
        ValueError: there is no such file, its name has the start of another sha256 (as the names
            of published files do), or it is known as weights of something else.
    """
    sha256 = sha256_of(path)
    named = NAMED.search(path.name)
    if named and not sha256.startswith(named[1]):
        raise ValueError(
            f"source: {path} is damaged or renamed: its sha256 begins with "
            f"{sha256[: len(named[1])]}, its name says {named[1]}"
        )
    if sha256 in OTHERS:
        raise ValueError(f"source: {path} is {OTHERS[sha256]}, not the {kind} wanted here")
    return sha256, KNOWN if sha256 in PUBLISHED[kind] else UNKNOWN


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes.

    Raises:
        ValueError: the file cannot be read.
    """
    with door.open_file(home.check_stored(door.check(path, "source")), "source") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
