"""segexport uses of TensorRT what every version has that it serves, by name and signature.

mypy checks it against stubs of each version (stubs/README.md); the slow tests check the stubs against the bindings.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stubs.bindings import (
    TENSORRT_10_3,
    TENSORRT_10_13,
    TENSORRT_11_4,
    TENSORRT_RTX,
    VERSIONS,
    Bindings,
    Version,
    install,
)
from stubs.generate import stub
from tests.tensorrt.conformance import ROOT, SOURCES, holds, release, type_errors, unchecked, uses

each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.folder)

# A statement, and the versions that take it. What a builder or runner gets wrong first when it knows one version only.
EXAMPLES: list[tuple[str, tuple[Version, ...]]] = [
    ("builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))", VERSIONS),
    ("config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 30)", VERSIONS),
    (
        "trt.Builder(trt.Logger(trt.Logger.ERROR)).create_optimization_profile().set_shape('x', (1,), (2,), (3,))",
        VERSIONS,
    ),
    ("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", (TENSORRT_10_3, TENSORRT_10_13)),
    ("config.set_flag(trt.BuilderFlag.FP16)", (TENSORRT_10_3, TENSORRT_10_13)),
    ("builder.platform_has_fast_fp16", (TENSORRT_10_3, TENSORRT_10_13)),
    ("engine.device_memory_size", (TENSORRT_10_3, TENSORRT_10_13)),
    ("trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", (TENSORRT_10_13, TENSORRT_11_4, TENSORRT_RTX)),
    ("engine.create_runtime_config()", (TENSORRT_10_13, TENSORRT_11_4, TENSORRT_RTX)),
    ("trt.ErrorCode.SUCCESS.name.lower()", (TENSORRT_11_4, TENSORRT_RTX)),
    ("config.remote_auto_tuning_config = ''", (TENSORRT_10_13, TENSORRT_11_4)),
    ("config.set_compute_capability(trt.ComputeCapability.SM89, 0)", (TENSORRT_RTX,)),
    ("engine.create_runtime_config().create_runtime_cache()", (TENSORRT_RTX,)),
    ("config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)", ()),
    ("config.set_flag('TF32')", ()),
    ("builder.build_serialized_network(network, config).nbytes", ()),
    ("network.num_inputs = 2", ()),
    ("builder.made_up()", ()),
]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of mypy's for all versions: what does not depend on TensorRT is checked once."""
    return tmp_path_factory.mktemp("mypy")


@each_version
def test_types(version: Version, scratch: Path) -> None:
    assert type_errors([file for file in SOURCES if version in holds(file)], version, scratch) == []


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_nothing_hides_from_mypy(file: Path) -> None:
    assert unchecked(file) == []


def test_nothing_else_uses_tensorrt() -> None:
    others = set((ROOT / "segexport").rglob("*.py")) - set(SOURCES)
    assert [file for file in others if re.search(r"^\s*(import|from) tensorrt", file.read_text(), re.MULTILINE)] == []


@each_version
def test_the_check_sees_what_a_version_lacks(version: Version, scratch: Path) -> None:
    head = [
        "import tensorrt as trt",
        "builder: trt.Builder; config: trt.IBuilderConfig; network: trt.INetworkDefinition; engine: trt.ICudaEngine",
        "since_10_13: bool",
    ]
    file = scratch / "uses.py"
    file.write_text(
        "\n".join([*head, *(statement for statement, _ in EXAMPLES), "if since_10_13:", "    trt.SeekPosition"])
    )
    errors = type_errors([file], version, scratch)
    refused = {int(error.split(":")[1]) - len(head) - 1 for error in errors}
    assert refused == {index for index, (_, taken_by) in enumerate(EXAMPLES) if version not in taken_by}, errors


@pytest.mark.parametrize(
    "text",
    [
        "def f(trt):\n    return trt.Builder\n",
        "trt = flavour.bindings()\n",
        "module = flavour.bindings()\n",
        "trt: Any = importlib.import_module('tensorrt')\n",
        "level = getattr(trt.HardwareCompatibilityLevel, name)\n",
    ],
)
def test_the_check_sees_what_hides(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.tensorrt.conformance.ROOT", tmp_path)
    (tmp_path / "hides.py").write_text(text)
    assert len(unchecked(tmp_path / "hides.py")) == 1


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Version], Bindings]:
    """Install the bindings of a version, once."""
    for tool in ("gcc", "nm", "readelf"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, to make the empty libraries that the bindings ask for")
    folder = tmp_path_factory.mktemp("bindings")
    made: dict[Version, Bindings] = {}

    def get(version: Version) -> Bindings:
        if version not in made:
            try:
                made[version] = install(version, folder)
            except RuntimeError as error:
                pytest.skip(f"cannot get {version.distribution}: {error}")
        return made[version]

    return get


@pytest.mark.slow
@each_version
def test_the_stubs_are_those_of_the_bindings(version: Version, bindings: Callable[[Version], Bindings]) -> None:
    kept = ROOT / "stubs" / version.folder / "tensorrt" / "__init__.pyi"
    assert kept.read_text() == stub(bindings(version)), "run python -m stubs.generate"


@pytest.mark.slow
@each_version
def test_every_name_is_there(version: Version, bindings: Callable[[Version], Bindings]) -> None:
    found = [use for file in SOURCES if version in holds(file) for use in uses(file) if use.since <= release(version)]
    assert found
    program = (
        "import functools, importlib, json, sys\n"
        "trt = importlib.import_module(sys.argv[1])\n"
        "def there(name):\n"
        "    try: functools.reduce(getattr, name.split('.')[1:], trt)\n"
        "    except AttributeError: return False\n"
        "    return True\n"
        "print(json.dumps([there(name) for name in json.loads(sys.argv[2])]))"
    )
    names = json.dumps([use.name for use in found] + ["trt.BuilderFlag.MADE_UP"])
    *there, made_up = json.loads(bindings(version).python("-c", program, version.module, names))
    assert [use for use, is_there in zip(found, there, strict=True) if not is_there] == []
    assert not made_up
