"""The headers of TensorRT and CUDA that tests compile the C++ runtime's backend against: declarations of our own.

`runtime/tests/tensorrt/declared` says what the backend calls. It is the same in every version of TensorRT that is
served; what differs is the version itself, which is here. `checks` turns the declarations into assertions that
NVIDIA's headers must hold too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.tensorrt_backend import STAND_IN, tool

DECLARED = STAND_IN / "declared"
VERSIONS = {"10.3": "10.3.0.26", "10.13": "10.13.3.9", "10.16": "10.16.0.72", "11.1": "11.1.0.106"}
RTX = {"rtx-1.7": "1.7.1.116"}
"""TensorRT for RTX: its headers come with its SDK alone, and are compared with nothing."""

PARTS = ("MAJOR", "MINOR", "PATCH", "BUILD")


def tensorrt_headers(version: str, folder: Path) -> Path:
    """Write the headers of a TensorRT that `VERSIONS` or `RTX` names into a folder, and return it."""
    folder.mkdir()
    numbers = dict(zip(PARTS, {**VERSIONS, **RTX}[version].split("."), strict=True))
    lines = ["#pragma once"]
    for part, number in numbers.items():
        if version == "10.3":  # later ones give the number a name of its own
            lines.append(f"#define NV_TENSORRT_{part} {number}")
            continue
        name = f"TRT_{part}_{'RTX' if version in RTX else 'ENTERPRISE'}"
        lines += [f"#define {name} {number}", f"#define NV_TENSORRT_{part} {name}"]
    (folder / "NvInferVersion.h").write_text("\n".join([*lines, ""]))
    header = "NvInferRuntime.h"
    (folder / header).write_text((DECLARED / header).read_text())
    return folder


def cuda_headers(folder: Path) -> Path:
    """Write the header of CUDA's runtime into a folder, and return it."""
    folder.mkdir()
    header = "cuda_runtime_api.h"
    (folder / header).write_text((DECLARED / header).read_text())
    return folder


def checks(header: Path, *others: Path) -> str:
    """A C++ source that compiles only where a header's declarations hold.

    One assertion for each macro, enumeration, value, member, method and function, in the order of the header, which
    includes what it needs from the folders `others`.

    Raises:
        AssertionError: the header has a declaration that this does not know how to check.
    """
    macros, text = _own(header, others)
    found = [f"#include <{header.name}>", "#include <cstddef>", "#include <cstdint>", "#include <type_traits>"]
    found += [_same(name, f"({name}) == ({value})") for name, value in macros]
    return "\n".join([*found, *_assertions(text), ""])


def _own(header: Path, others: tuple[Path, ...]) -> tuple[list[tuple[str, str]], str]:
    """Macros and declarations of the header and of those beside it, without comments and other versions' lines."""
    command = [tool("g++"), "-std=c++17", "-E", "-dD", "-x", "c++", *(f"-I{folder}" for folder in others), str(header)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    macros, declarations, ours = [], [], False
    for line in lines:
        if marker := re.match(r'# \d+ "([^"]*)"', line):
            ours = Path(marker[1]).parent == header.parent
        elif ours and (macro := re.match(r"#define (\w+) (.+)", line)):
            macros.append((macro[1], macro[2]))
        elif ours and not line.startswith("#"):
            declarations.append(line)
    return macros, " ".join(" ".join(declarations).split())


_DECLARATIONS = re.compile(
    r"""(?:
    namespace\ (?P<namespace>\w+)\ \{
    | (?:class|struct)\ (?P<class>\w+)(?:\ :\ public\ (?P<base>\w+))?\ \{
    | enum\ (?:class\ )?(?P<enum>\w+)(?:\ :\ (?P<underlying>\w+))?\ \{\ ?(?P<values>[^}]*?)\ ?\};
    | using\ (?P<alias>\w+)\ =\ (?:struct\ )?(?P<aliased>\w+\*?);
    | virtual\ (?P<result>[^();]+?)(?P<method>\w+)\(\ ?(?P<given>[^()]*)\)(?P<const>\ const)?\ noexcept\ =\ 0;
    | (?:extern\ "C"|inline)\ (?P<returned>[^();]+?)(?P<function>\w+)\((?P<taken>[^()]*)\)(?P<noexcept>\ noexcept)?
      (?:;|\ \{[^}]*\})
    | (?P<constructed>\w+)\((?P<from>[^()]+)\)\ :\ [^}]*\}\}\ \{\}
    | (?P<type>[\w:]+\*?)\ (?P<member>\w+)(?P<array>\[\d+\])?;
    | (?P<nothing>public:|virtual\ ~\w+\(\)(?:\ noexcept)?\ =\ default;)
    | (?P<end>\};?)
    )\ ?""",
    re.VERBOSE,
)


def _assertions(text: str) -> Iterator[str]:
    """Every class's inside a class derived from it, where the names of its own types are known."""
    at, number = 0, 0
    scopes: list[str] = []  # the class's name; empty: a namespace
    while at < len(text):
        found = _DECLARATIONS.match(text, at)
        assert found, f"no declaration that can be checked: {text[at : at + 80]}"
        at = found.end()
        number += 1
        one = found.groupdict()
        owner = scopes[-1] if scopes else ""
        static = "static constexpr" if owner else "constexpr"
        if one["namespace"]:
            scopes.append("")
            yield f"namespace {one['namespace']} {{"
        elif one["class"]:
            scopes.append(one["class"])
            yield f"struct Checked{number} : {one['class']} {{"
            if one["base"]:
                yield _same("public base", f"std::is_convertible_v<{one['class']}*, {one['base']}*>")
        elif one["end"]:
            yield "};" if scopes.pop() else "}"
        elif one["enum"]:
            if one["underlying"]:
                yield _is(f"std::underlying_type_t<{one['enum']}>", one["underlying"])
            for value in one["values"].split(", "):
                name, _, wanted = value.partition(" = ")
                yield _same(name, f"static_cast<long long>({one['enum']}::{name}) == {wanted}")
        elif one["alias"]:
            yield _is(one["alias"], one["aliased"])
        elif one["method"]:
            pointer = f"({owner}::*checked{number})({_types(one['given'])}){one['const'] or ''}"
            yield f"{static} {one['result']}{pointer} noexcept = &{owner}::{one['method']};"
        elif one["function"]:
            pointer = f"(*checked{number})({_types(one['taken'])}){one['noexcept'] or ''}"
            yield f"{static} {one['returned']}{pointer} = &{one['function']};"
        elif one["constructed"]:
            yield _same("constructor", f"std::is_constructible_v<{one['constructed']}, {_types(one['from'])}>")
        elif one["member"]:
            yield _is(f"decltype({owner}::{one['member']})", one["type"] + (one["array"] or ""))
    assert not scopes


def _types(arguments: str) -> str:
    """Of a function's parameters, without their names and defaults."""
    return ", ".join(re.sub(r" ?\w+( = [\w:]+)?$", "", one) for one in arguments.split(", ") if one)


def _is(found: str, wanted: str) -> str:
    return _same(found, f"std::is_same_v<{found}, {wanted}>")


def _same(name: str, condition: str) -> str:
    return f'static_assert({condition}, "{name}");'
