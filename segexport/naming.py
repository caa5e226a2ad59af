"""What a bundle is called where nobody says, so that the next command finds what the last one made."""

from __future__ import annotations

import os
from pathlib import Path

from segexport.aliases import alias_of, aliases
from segexport.spec import Contract, Preprocessing, format_size

BUNDLES = Path("bundles")
"""Where bundles stand by default, below the working directory."""

_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin")


def name_of(model: str | Path) -> str:
    """The short name of a checkpoint.

    Args:
        model: as a user names it: the alias of it, or of the published checkpoint whose hub id it is; otherwise the
            last part of the path or id, of a weight file without its extension.
    """
    text = str(model)
    if alias_of(text):
        return text
    if not Path(text).exists():
        for alias, hub_id in aliases().items():
            if text == hub_id:
                return alias
    path = Path(os.path.abspath(text))  # noqa: PTH100  (a link is named as it is, not as what it leads to)
    weight_file = path.suffix in _SUFFIXES and not path.is_dir()
    return path.stem if weight_file else path.name


def default_folder(name: str, contract: Contract, preprocessing: Preprocessing, precision: str, engine: str) -> Path:
    """`bundles/NAME[-HxW][-OUTPUT]-PRECISION-ENGINE`: size and output where they are not the checkpoint's default.

    Args:
        name: of the checkpoint, from `name_of`.
        contract: what the bundle will serve.
        preprocessing: the checkpoint's, which holds its own size.
        precision: as it was asked for, `auto` too.
        engine: the engine's name.
    """
    parts = [name]
    if contract.size != preprocessing.size:
        parts.append(format_size(contract.size))
    if contract.output != ("topk" if contract.mask_size is None else "mask"):
        parts.append(contract.output)
    return BUNDLES / "-".join([*parts, precision, engine])
