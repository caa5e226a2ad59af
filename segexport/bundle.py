"""The folder that ships: one engine, its manifest, and a golden image that proves it on the target.

    DIR/
      model.onnx            the portable graph, metadata included
      calibration.json      the ranges that its precision was made with, to build others with (fp16, int8)
      placement.json        which layers are in INT8 (int8)
      engine.onnx           what this bundle's engine runs instead, derived from it; absent where that is the same
      engine.plan           what TensorRT compiled of that
      segexport.json        the manifest: contract, labels, preprocessing, source, engine, rewrites
      golden/image.png      a generated image in the contract's image size
      golden/reference.*    what PyTorch (fp32) makes of it: a class map (png), or the best classes (json)
      golden/engine.*       what this bundle's own engine makes of it
      SHA256SUMS            of every file above, in the format of `sha256sum --check`
      cache/                anything an engine may rebuild; not hashed, may be deleted

A bundle is never changed: `build --from-bundle` writes a new one.
"""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segexport.errors import BundleCorrupt, ContractError
from segexport.files import sha256_of
from segexport.naming import name_of
from segexport.spec import (
    Contract,
    Labels,
    Lowering,
    PassResult,
    Precision,
    Preprocessing,
    Source,
    facts_from_json,
    from_json,
    pass_result_from_json,
    to_json,
)

SCHEMA = 6
MODEL = "model.onnx"
ENGINE_GRAPH = "engine.onnx"
PLAN = "engine.plan"
MANIFEST = "segexport.json"
SUMS = "SHA256SUMS"
CALIBRATION = "calibration.json"
PLACEMENT = "placement.json"
GOLDEN_IMAGE = "golden/image.png"
CACHE = "cache"

ClassMap = Literal["graph", "host", "device"]


@dataclass(frozen=True)
class PlanFacts:
    """What a TensorRT plan was built for, and from.

    Attributes:
        targets: compute capabilities (`sm86`) of a plan of TensorRT for RTX; empty where it chose them itself.
        compute_capability: of the GPU that classic TensorRT built on (`8.7`), which is the one it runs on.
        gpu: that GPU's name.
        system: operating system and architecture, such as `Linux x86_64`.
        profiles: images it serves, each as `segexport.tensorrt.options.parse_profile` reads them.
        options: builder options other than the defaults.
        onnx_sha256: of the graph it was built from.
    """

    targets: tuple[str, ...]
    compute_capability: str | None
    gpu: str | None
    system: str
    profiles: tuple[str, ...]
    options: dict[str, Any]
    onnx_sha256: str


@dataclass(frozen=True)
class EngineFacts:
    """Which engine a bundle is for, on what it was built and checked, and what was derived for it.

    `rewrites` are the passes that made `engine.onnx`, `int8` its layers in INT8; with `derived` False there is no such
    file, and the engine runs `model.onnx`. `class_map` says where a class map is made of the logits: by operators of
    the `graph`, or behind it on the `host`, by `segexport.native`, or on the `device`, by a CUDA kernel. `plan` is set
    for TensorRT.
    """

    name: str
    version: str
    device: str
    machine: str
    class_map: ClassMap = "graph"
    rewrites: tuple[PassResult, ...] = ()
    int8: tuple[str, ...] = ()
    derived: bool = False
    plan: PlanFacts | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything a program needs to know about a bundle, written as `segexport.json`."""

    segexport: str
    source: Source
    precision: Precision
    contract: Contract
    preprocessing: Preprocessing
    labels: Labels
    engine: EngineFacts
    rewrites: tuple[PassResult, ...]
    golden: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    lowering: Lowering | None = None
    name: str = ""
    """The checkpoint's short name, which bundles made of this one are called by, see `segexport.naming`."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest, both verified."""

    folder: Path
    manifest: Manifest = field(repr=False)

    @property
    def model(self) -> Path:
        """The portable ONNX graph."""
        return self.folder / MODEL

    @property
    def engine_graph(self) -> Path:
        """The ONNX graph the engine runs: its own, where one was derived for it, or else the portable one."""
        return self.folder / ENGINE_GRAPH if self.manifest.engine.derived else self.model

    @property
    def plan(self) -> Path:
        """What TensorRT compiled."""
        return self.folder / PLAN

    @property
    def cache(self) -> Path:
        """Where an engine may keep what it can rebuild."""
        return self.folder / CACHE

    @property
    def name(self) -> str:
        """The folder's name, used in tables."""
        return self.folder.resolve().name

    def size_bytes(self) -> int:
        """Bytes of everything that ships, caches left out."""
        return sum(path.stat().st_size for path in _contents(self.folder))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and the checksums of everything in `folder`: the last step of a build."""
    content = {"schema": SCHEMA, **to_json(manifest)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    plan = manifest.engine.plan
    known = {} if plan is None else {folder / ENGINE_GRAPH: plan.onnx_sha256}  # hashed when the plan was made
    paths = _contents(folder)
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        digests = pool.map(lambda path: known.get(path) or sha256_of(path), paths)
    lines = [f"{digest}  {path.relative_to(folder).as_posix()}\n" for digest, path in zip(digests, paths, strict=True)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle, refusing one that is not, byte for byte, what was built.

    Raises:
        BundleCorrupt: no bundle, a changed or missing file, or a manifest newer than this segexport.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise BundleCorrupt(f"{folder} is not a bundle (it has no {MANIFEST}): pass a folder made by segexport build")
    content = _read_manifest(folder / MANIFEST)
    verified = _verify(folder)
    content.pop("schema")
    try:
        bundle = Bundle(folder, _manifest(content))
    except (KeyError, TypeError, ValueError, AttributeError, ContractError) as error:
        raise BundleCorrupt(
            f"{folder / MANIFEST} does not follow its schema ({error!r}): build the bundle again"
        ) from error
    needed = {bundle.engine_graph.name, *([PLAN] if bundle.manifest.engine.plan is not None else [])}
    _require_listed(needed, verified, folder)
    return bundle


def name_in(folder: Path) -> str | None:
    """The checkpoint's name in a bundle's manifest, without verifying anything; None where it cannot be read."""
    try:
        content = _read_manifest(folder / MANIFEST)
        return str(content.get("name") or name_of(content["source"]["id"]))
    except (BundleCorrupt, OSError, KeyError, TypeError):
        return None


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = int(content["schema"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BundleCorrupt(f"{path} cannot be read ({error!r}): build the bundle again") from error
    if schema > SCHEMA:
        raise BundleCorrupt(
            f"{path} has schema {schema}, this segexport reads up to {SCHEMA}: upgrade segexport, or build it again"
        )
    return dict(content)


def _verify(folder: Path) -> set[str]:
    """Check every file against its checksum; the names of them all."""
    sums = folder / SUMS
    if not sums.is_file():
        raise BundleCorrupt(f"{folder} has no {SUMS}: copy the bundle again, whole")
    listed = {}
    for line in sums.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n"):
        digest, _, name = line.partition("  ")
        listed[name] = digest
    _require_listed({MANIFEST, MODEL}, set(listed), folder)
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            raise BundleCorrupt(f"{path} is missing, though {SUMS} lists it: copy the bundle again, whole")
        if sha256_of(path) != digest:
            raise BundleCorrupt(
                f"{path} is not the file that was built (its SHA-256 is not the one in {SUMS}): copy or build it again"
            )
    return set(listed)


def _require_listed(names: set[str], listed: set[str], folder: Path) -> None:
    for name in sorted(names - listed):
        raise BundleCorrupt(f"{folder / SUMS} does not list {name}: copy or build the bundle again")


def _manifest(content: dict[str, Any]) -> Manifest:
    rewrites = tuple(pass_result_from_json(r) for r in content["engine"].pop("rewrites", ()))
    derived = any(result.rewritten for result in rewrites)  # what schema 2 did not say
    plan = content["engine"].pop("plan", None)
    engine = from_json(EngineFacts, {"derived": derived, **content["engine"], "rewrites": rewrites})
    engine = dataclasses.replace(engine, plan=None if plan is None else from_json(PlanFacts, plan))
    lowering = content.get("lowering")
    golden = content["golden"]
    if "agreement_with_pytorch" in golden:  # its name while PyTorch was the reference
        golden["agreement_with_reference"] = golden.pop("agreement_with_pytorch")
    own = {
        "engine": engine,
        "notes": tuple(content["notes"]),
        "name": content.get("name") or name_of(content["source"]["id"]),  # schema 6 has it
        "lowering": None if lowering is None else from_json(Lowering, lowering),
    }
    return Manifest(**{**content, **facts_from_json(content), **own})


def _contents(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return sorted(path for path in files if path.relative_to(folder).parts[0] != CACHE)
