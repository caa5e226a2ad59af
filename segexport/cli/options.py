"""What the options of several commands have in common: their types, how their text is read, and where help stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segexport.errors import ContractError

if TYPE_CHECKING:
    from segexport.spec import MaskSize


class Integer(click.IntRange):
    """An integer with bounds, which click's errors call an "integer range"."""

    name = "integer"


class Float(click.FloatRange):
    """A number with bounds, which click's errors call a "float range"."""

    name = "float"


COUNT = Integer(min=1)
PATH = click.Path(path_type=Path, readable=False)
"""A file or folder, as a Path. Whether it is there and can be read is for the command to say."""
NAME = click.Path(readable=False)
"""A name of something that may be a path, too, as text: shells complete it as a path."""
ENGINE = click.Choice(
    (
        "auto",
        "tensorrt",
        "tensorrt-rtx",
        "onnxruntime-cuda",
        "onnxruntime-tensorrt",
        "onnxruntime-tensorrt-rtx",
        "openvino",
        "onnxruntime",
    )
)
"""What `--engine` takes."""

model = click.option("--model", "-m", type=NAME, metavar="NAME", help="Folder, .pth, hub id, or alias, as for build.")
from_bundle = click.option("--from-bundle", type=PATH, help="A bundle in fp32 instead; needs no PyTorch.")
draw_seed = click.option("--seed", type=Integer(min=0), default=0, help="Of their draw.")
limit = click.option("--limit", type=COUNT, help="Only the first so many images.")
threads = click.option("--threads", type=COUNT, help="CPU threads; each engine's default if not given.")
device = click.option("--device", help="Another device than the bundle's: OpenVINO's GPU.0, or cuda:1.")
classes = click.option("--classes", type=PATH, help="File of class names, one a line, if the data have none.")
revision = click.option("--revision", help="Branch, tag or commit on the hub.")
json_figures = click.option("--json", "json_file", type=PATH, help="Write every figure here.")


class Argument(click.Argument):
    """An argument that `--help` explains; click's own can be explained from 8.5 on."""

    def __init__(self, declarations: Sequence[str], help: str, **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.help = help


class Command(click.Command):
    """A command whose `--help` lists its arguments before its options, whatever the version of click."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both lists."""
        rows = [
            (" ".join(one.get_usage_pieces(ctx)), f"{one.help}{'  [required]' if one.required else ''}")
            for one in self.params
            if isinstance(one, Argument)
        ]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave out the list of click 8.5 and later."""


def required(path: Path | None, option: str) -> Path:
    """An option that `--precision auto` cannot do without."""
    if path is None:
        raise ContractError(f"--precision auto measures what pays: pass {option} too")
    return path


def size_of(text: str | None) -> tuple[int, int] | None:
    """(height, width), or None where none is given."""
    from segexport.spec import parse_size

    return None if text is None else parse_size(text)


def parse_mask_size(text: str) -> MaskSize | tuple[int, int]:
    """A named size, or (height, width)."""
    from segexport.spec import parse_size

    named: dict[str, MaskSize] = {"input": "input", "network": "network"}
    return named.get(text) or parse_size(text)


def parse_batch(text: str) -> int:
    """A number, or the one that stands for any."""
    from segexport.spec import DYNAMIC

    if text == "dynamic":
        return DYNAMIC
    if not text.isdecimal():
        raise ContractError(f"'{text}' is no batch: pass --batch with a number, or 'dynamic'")
    return int(text)
