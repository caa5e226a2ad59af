"""Print the names and signatures of an imported TensorRT as a .pyi file; `generate.py` runs this, once per version.

pybind11 keeps no signature but writes each into the first line of a docstring: that line is read, and nothing else.
Run as `python describe.py MODULE DISTRIBUTION`, with the module on the path.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from types import FunctionType, ModuleType
from typing import Any

# What a program that builds or runs engines starts from. Classes they mention come along, save those of LEFT_OUT.
ROOTS = (
    *("Builder", "NetworkDefinitionCreationFlag", "BuilderFlag", "PreviewFeature", "TacticSource", "IProgressMonitor"),
    *("OnnxParser", "OnnxParserFlag", "Logger", "LayerType", "TensorFormat", "Refitter", "OnnxParserRefitter"),
    *(
        "EngineValidity",
        "EngineInvalidityDiagnostics",
        "Runtime",
        "SerializationFlag",
        "TempfileControlFlag",
        "EngineInspector",
        "IOutputAllocator",
        "Profiler",
    ),
    *("Dims", "DimsHW", "Dims2", "Dims3", "Dims4", "get_nv_onnx_parser_version", "volume", "nptype"),
)
# Whatever mentions one of these is left out too: a network comes from an ONNX file here, never layer by layer.
LEFT_OUT = re.compile(r"I\w+Layer|ILoop|IIfConditional|IAttention|\w*Plugin\w*|I\w*Calibrator\d?|IAlgorithm\w*")
# Methods that return None where they fail or have nothing, which signatures do not say.
NULLABLE = {
    *("build_serialized_network", "build_engine_with_config", "deserialize_cuda_engine", "load_runtime"),
    *("create_execution_context", "get_timing_cache", "get_output_allocator"),
}
# What signatures call otherwise than a .pyi file does: C++ names of classes registered late, and Python's own.
RENAMED = {
    **{"IBuilder": "Builder", "IRuntime": "Runtime", "IParserError": "ParserError", "IRefitter": "Refitter"},
    **{"buffer": "Buffer", "capsule": "object", "CapsuleType": "object", "handle": "object", "ndarray": "Any"},
    **{"List": "list", "Tuple": "tuple", "SupportsInt": "int", "SupportsFloat": "float", "method": "Any"},
}
GENERIC = {"list": "list[Any]", "tuple": "tuple[Any, ...]", "dict": "dict[Any, Any]", "Callable": "Callable[..., Any]"}
GENERIC |= {"function": "Callable[..., Any]", "Iterable": "Iterable[Any]", "Iterator": "Iterator[Any]"}
# What Python's protocols do with these classes though no attribute shows it.
PROTOCOLS = {
    "IHostMemory": "    def __buffer__(self, flags: int, /) -> memoryview: ...",
    "Dims": "    def __iter__(self) -> Iterator[int]: ...",
}
UNINTERESTING = re.compile(r"__(del|enter|exit|getstate|setstate|doc|module|hash|repr|str|eq|ne)__|_?_pybind11.*")
HEADER = """# Generated from {0} by `python -m stubs.generate`: do not edit.
# Names and signatures only: see stubs/README.md.
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, overload

from typing_extensions import Buffer

__version__: str

class _Enum:
    def __init__(self, value: int) -> None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
"""


class Describer:
    """Writes the classes and functions of one module."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.classes = {name for name, thing in vars(module).items() if isinstance(thing, type)}

    def file(self, distribution: str) -> str:
        """The whole .pyi file: those of `ROOTS` that this version has, and the classes they mention."""
        done: dict[str, str] = {}
        todo = {name for name in ROOTS if hasattr(self.module, name)}
        while todo:
            for name in todo:
                thing = getattr(self.module, name)
                lines = self.of_class(thing) if isinstance(thing, type) else self.of_function(name, thing)
                done[name] = "\n".join(lines)
            todo = set(re.findall(r"\w+", " ".join(done.values()))) & self.classes - done.keys()
        return HEADER.format(distribution) + "\n".join(done[name] for name in sorted(done))

    def of_class(self, cls: type) -> list[str]:
        """Constants with their values, then nested classes, properties and methods by name."""
        members = getattr(cls, "__members__", None) if "__members__" in vars(cls) else None
        bases = [base.__name__ for base in cls.__bases__ if base.__module__ == cls.__module__]
        lines = [f"class {cls.__name__}({', '.join(['_Enum'] if members else bases)}):"]
        if members:
            name = cls.__qualname__
            lines += [f"    {key}: ClassVar[{name}]  # {int(value)}" for key, value in sorted(members.items())]
            lines += [f"    __members__: ClassVar[dict[str, {name}]]"]
            # Some versions have a method where others have a property.
            if not isinstance(vars(cls)["name"], property):
                lines += ["    def name(self) -> str: ...  # type: ignore[override]"]
        else:
            for key, value in sorted(vars(cls).items()):
                if not UNINTERESTING.fullmatch(key):
                    lines += ["    " + line for line in self.of_member(key, value)]
        if cls.__name__ in PROTOCOLS:
            lines.append(PROTOCOLS[cls.__name__])
        return lines if len(lines) > 1 else [lines[0] + " ..."]

    def of_member(self, name: str, value: Any) -> list[str]:
        """One attribute of a class; nothing for what a .pyi file has no use for."""
        kind = type(value).__name__
        if isinstance(value, type):
            return self.of_class(value)
        if kind == "property":
            return self.of_property(name, value)
        if kind == "pybind11_static_property":
            return [f"{name}: ClassVar[{self.returned(value.fget)}]"]
        if kind == "staticmethod":
            return [line for one in self.of_function(name, value.__func__) for line in ("@staticmethod", one)]
        if kind == "instancemethod":
            return self.of_function(name, value)
        return [f"{name}: ClassVar[{type(value).__qualname__}]"] if hasattr(type(value), "__members__") else []

    def of_property(self, name: str, value: property) -> list[str]:
        """Getter and setter; a property that can only be written has a getter of Any."""
        type_ = self.returned(value.fget)
        lines = ["@property", f"def {name}(self) -> {type_}: ..."]
        if value.fset:
            _, written, _ = self.arguments(value.fset.__doc__ or "(self, value: Any) -> None")[1]
            lines += [f"@{name}.setter", f"def {name}(self, value: {written}) -> None: ..."]
        return [] if _left_out(" ".join(lines[1::2])) else lines

    def of_function(self, name: str, value: Any) -> list[str]:
        """All overloads that mention nothing left out."""
        if isinstance(value, FunctionType):  # Python's own, without annotations
            given = ", ".join(f"{argument}: Any" for argument in inspect.signature(value).parameters)
            return [f"def {name}({given}) -> Any: ..."]
        made = []
        for signature in re.findall(rf"^(?:\d+\. )?{name}(\(.*\) -> .*)$", value.__doc__ or "", re.MULTILINE):
            returned = self.translate(signature.rpartition(" -> ")[2])
            if name in NULLABLE and returned != "None":
                returned += " | None"
            given = ", ".join(_argument(*argument) for argument in self.arguments(signature))
            made.append(f"def {name}({given}) -> {returned}: ...")
        made = [one for one in dict.fromkeys(made) if not _left_out(one)]
        return [line for one in made for line in ("@overload", one)] if len(made) > 1 else made

    def returned(self, getter: Any) -> str:
        """The type of a property; Any where pybind11 wrote none."""
        first = (getter.__doc__ or "").strip().partition("\n")[0] if getter else ""
        return self.translate(first.rpartition(" -> ")[2]) if first else "Any"

    def arguments(self, signature: str) -> list[tuple[str, str, str]]:
        """Name, type and default of each argument of `(self: X, shape: Dims = ...) -> Y`."""
        parts, depth = [""], 0
        for sign in signature[signature.index("(") + 1 : signature.rindex(") ->")]:
            depth += (sign in "([<{") - (sign in ")]>}")
            if sign == "," and not depth:
                parts.append("")
            else:
                parts[-1] += sign
        found = []
        for part in filter(lambda part: part not in ("", "/"), map(str.strip, parts)):
            named, _, default = part.partition(" = ")
            name, _, type_ = named.partition(": ")
            # Sequences are converted: to a std::vector, and to Dims.
            type_ = re.sub(r"\blist\[", "Sequence[", self.translate(type_ or "Any"))
            found.append((name, "Dims | Sequence[int]" if type_ == "Dims" else type_, default))
        return found

    def translate(self, type_: str) -> str:
        """A type as pybind11 writes it, in the words of a .pyi file."""
        type_ = re.sub(r"detail::accessor<.*>|numpy\.ndarray\[.*\]", "Any", type_)
        type_ = re.sub(r"(?:\w+::)+|(?:tensorrt\w*|numpy|collections\.abc|typing_extensions|typing|types)\.", "", type_)
        type_ = re.sub(r"[A-Za-z]\w*", lambda found: RENAMED.get(found[0], found[0]), type_)
        type_ = re.sub(r"\w+(?![\w\[])", lambda found: GENERIC.get(found[0], found[0]), type_)
        return type_


def _argument(name: str, type_: str, default: str) -> str:
    if name == "self":
        return name
    if default == "None" and "None" not in type_:
        type_ += " | None"
    return f"{name}: {type_}" + (" = ..." if default else "")


def _left_out(text: str) -> bool:
    return any(LEFT_OUT.fullmatch(name) for name in re.findall(r"\w+", text.partition("(")[2] or text))


if __name__ == "__main__":
    print(Describer(importlib.import_module(sys.argv[1])).file(sys.argv[2]))
