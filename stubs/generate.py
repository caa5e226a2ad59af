"""Write the stubs of every version of TensorRT that segexport holds to, from its real bindings.

    python -m stubs.generate [--out DIR]

Needs pip, gcc and binutils; takes about ten seconds. To hold to another version, add it to `VERSIONS` in `bindings.py`,
run this, and run tests/tensorrt/test_conformance.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from stubs.bindings import VERSIONS, Bindings, install

HERE = Path(__file__).parent


def stub(bindings: Bindings) -> str:
    """The text of `__init__.pyi`, formatted as everything else here."""
    text = bindings.python(HERE / "describe.py", bindings.version.module, bindings.version.distribution)
    # Unused imports go; a name that is neither a class nor imported is an error here (see RENAMED in describe.py).
    return _ruff("format", _ruff("check", text, "--select=F", "--fix", "--quiet"))


def _ruff(command: str, text: str, *options: str) -> str:
    """As if the text lay here, wherever it will lie, and so by this project's settings."""
    call = [sys.executable, "-m", "ruff", command, *options, "--stdin-filename", str(HERE / "__init__.pyi"), "-"]
    done = subprocess.run(call, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ruff {command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def main() -> None:
    """Write `DIR/tensorrt-.../tensorrt/__init__.pyi` for each version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="where to, instead of beside this file")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            file = out / version.folder / "tensorrt" / "__init__.pyi"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(stub(install(version, Path(folder))))
            print(file)


if __name__ == "__main__":
    main()
