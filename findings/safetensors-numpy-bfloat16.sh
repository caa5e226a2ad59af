#!/usr/bin/env bash
# One expects that safetensors with NumPy either reads a bfloat16 tensor or refuses it, and does the same for one file
# however it is read.
#
# What really happens: with 0.8.0 `load_file` and `safe_open(framework="numpy")` read it as an array of ml_dtypes if,
# and only if, anything has imported ml_dtypes before; that the package is installed is not enough. So the same program
# reads the file or raises TypeError depending on what else it has imported. `load` of the very same bytes raises
# KeyError in any case. 0.4.0 reads no bfloat16 in any way, and says with an AttributeError that NumPy has no such
# type.
#
# Versions seen: safetensors 0.8.0 (0.4.5, 0.5.3 and 0.7.0 do the same) and 0.4.0, ml_dtypes 0.6.0, NumPy 2.4.6, Python
# 3.11, x86-64 Linux.
#
# Output seen:
#
#     safetensors 0.8.0, ml_dtypes absent
#       load_file(path): TypeError: data type 'bfloat16' not understood
#       safe_open(path): TypeError: data type 'bfloat16' not understood
#       load(the same bytes): KeyError: 'BF16'
#     safetensors 0.8.0, ml_dtypes installed
#       load_file(path): TypeError: data type 'bfloat16' not understood
#       safe_open(path): TypeError: data type 'bfloat16' not understood
#       load(the same bytes): KeyError: 'BF16'
#     safetensors 0.8.0, ml_dtypes imported
#       load_file(path): bfloat16 [1.0, 2.0, 3.0, -4.0]
#       safe_open(path): bfloat16 [1.0, 2.0, 3.0, -4.0]
#       load(the same bytes): KeyError: 'BF16'
#     safetensors 0.4.0, ml_dtypes imported
#       load_file(path): AttributeError: module 'numpy' has no attribute 'bfloat16'
#       safe_open(path): AttributeError: module 'numpy' has no attribute 'bfloat16'
#       load(the same bytes): KeyError: 'BF16'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"

cat >"$folder/program.py" <<'PYTHON'
import json
import sys
from importlib import metadata
from pathlib import Path

if "imported" in sys.argv:
    import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load, load_file

path = Path(__file__).with_name("model.safetensors")
header = json.dumps({"weight": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
numbers = np.array([0x3F80, 0x4000, 0x4040, 0xC080], np.uint16)  # 1, 2, 3, -4
path.write_bytes(len(header).to_bytes(8, "little") + header + numbers.tobytes())


def open_file():
    with safe_open(path, framework="numpy") as file:
        return file.get_tensor("weight")


found = []
print(f"safetensors {metadata.version('safetensors')}, ml_dtypes {sys.argv[1]}")
for name, read in {
    "load_file(path)": lambda: load_file(path)["weight"],
    "safe_open(path)": open_file,
    "load(the same bytes)": lambda: load(path.read_bytes())["weight"],
}.items():
    try:
        array = read()
    except Exception as error:
        print(f"  {name}: {type(error).__name__}: {error}")
        found.append(type(error).__name__)
    else:
        print(f"  {name}: {array.dtype} {array.astype(np.float32).tolist()}")
        found.append("reads")
if found != sys.argv[2:]:
    sys.exit(f"CHANGED: the three gave {', '.join(found)}.")
PYTHON

"$python" -m pip install --quiet numpy==2.4.6 safetensors==0.8.0
"$python" "$folder/program.py" "absent" TypeError TypeError KeyError
"$python" -m pip install --quiet ml_dtypes==0.6.0
"$python" "$folder/program.py" "installed" TypeError TypeError KeyError
"$python" "$folder/program.py" "imported" reads reads KeyError
"$python" -m pip install --quiet safetensors==0.4.0
"$python" "$folder/program.py" "imported" AttributeError AttributeError KeyError
