"""A graph of the zoo, and short ways to write its constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

DOMAINS = ("com.microsoft", "my.own")


@dataclass(frozen=True)
class Animal:
    """A graph in ONNX's text form, or a `model` that it has no short way for; and the rules it breaks, warnings too."""

    name: str
    signature: str = ""
    body: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)
    breaks: str = ""
    opset: int = 18
    model: onnx.ModelProto | None = None

    @property
    def rules(self) -> set[str]:
        return set(self.breaks.split())

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name.replace(' ', '_').replace('/', '_')}.onnx"
        onnx.save(self.model or self.parsed(), path)
        return path

    def parsed(self) -> onnx.ModelProto:
        opsets = ", ".join([f'"" : {self.opset}', *(f'"{name}" : 1' for name in DOMAINS if f"{name}." in self.body)])
        text = f"<ir_version: 10, opset_import: [{opsets}]> zoo {self.signature} {{ {self.body} }}"
        model = onnx.parser.parse_model(text)
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"
        for name, array in self.constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return model


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def f16(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def i8(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int8)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def i32(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)
