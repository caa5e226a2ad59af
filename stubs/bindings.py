"""The Python bindings of four TensorRTs, imported without NVIDIA's libraries, drivers or GPU.

The bindings link to libraries that only exist where NVIDIA's index can be had. They look for a dozen C functions
there when imported, and call none until an object is made: so empty libraries that export these names will do. Every
class, attribute and signature is then the real one of that version; nothing can be built or run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Version:
    """A TensorRT whose API segexport holds to: `folder` has its stubs, pip gets `distribution`, with `module` in it."""

    folder: str
    distribution: str
    module: str = "tensorrt_bindings"


TENSORRT_10_3 = Version("tensorrt-10.3", "tensorrt-cu12-bindings==10.3.0")
TENSORRT_10_13 = Version("tensorrt-10.13", "tensorrt-cu12-bindings==10.13.3.9")
TENSORRT_11_4 = Version("tensorrt-11.4", "tensorrt-cu13-bindings==11.4.0.106")
TENSORRT_RTX = Version("tensorrt-rtx-1.7", "tensorrt-rtx-cu13-bindings==1.7.1.116", "tensorrt_rtx_bindings")
CLASSIC = (TENSORRT_10_3, TENSORRT_10_13, TENSORRT_11_4)
VERSIONS = (*CLASSIC, TENSORRT_RTX)


@dataclass(frozen=True)
class Bindings:
    """The installed bindings of one version."""

    version: Version
    packages: Path
    libraries: Path

    def python(self, *arguments: str | Path) -> str:
        """What a Python program prints that can import the bindings, by their module's name.

        Raises:
            RuntimeError: the program failed; holds what it said.
        """
        env = {**os.environ, "PYTHONPATH": str(self.packages), "LD_LIBRARY_PATH": str(self.libraries)}
        command = [sys.executable, "-S", *map(str, arguments)]  # -S: another TensorRT may be installed
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.version.distribution}: {done.stderr.strip()}")
        return done.stdout


def install(version: Version, folder: Path) -> Bindings:
    """Get the bindings with pip into a folder, and make the libraries that they ask for.

    Raises:
        RuntimeError: pip cannot get them; or they need a library or a function that is not known here.
    """
    packages, libraries = folder / version.folder / "packages", folder / version.folder / "libraries"
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--target", packages, version.distribution),
    )
    (binary,) = (packages / version.module).glob("*.so")
    libraries.mkdir()
    source = libraries / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _missing(binary)))
    for name in _needed(binary):
        _run("gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", libraries / name, source)
    return Bindings(version, packages, libraries)


def _needed(binary: Path) -> list[str]:
    """NVIDIA's libraries among those that a shared object links to."""
    return re.findall(r"NEEDED.*\[(lib(?:nv|tensorrt)\S+)\]", _run("readelf", "--dynamic", "--wide", binary))


def _missing(binary: Path) -> list[str]:
    """The C functions of these libraries that it looks for: create..._INTERNAL, get..., initLib...."""
    return re.findall(r" U ((?:create|get|init)[A-Z]\w+)$", _run("nm", "-D", "--undefined-only", binary), re.MULTILINE)


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
