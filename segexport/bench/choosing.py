"""Which bundles a benchmark's names stand for, in which sets: one of each checkpoint's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segexport import checkpoint, engines
from segexport.bench.here import why_not
from segexport.builder import build
from segexport.bundle import MANIFEST, Bundle, name_in, open_bundle
from segexport.contracts import contract_for
from segexport.errors import BundleCorrupt, CheckpointError, ContractError, EngineUnavailable, OutputError
from segexport.naming import BUNDLES, default_folder

Progress = Callable[[str], None]


@dataclass(frozen=True)
class OfOneCheckpoint:
    """Bundles built from the same weights, which one benchmark compares; `name` is their checkpoint's."""

    name: str
    bundles: tuple[Bundle, ...]


@dataclass(frozen=True)
class Choice:
    """What is measured, what is not and why (a sentence each), and how names were understood (a sentence each)."""

    sets: tuple[OfOneCheckpoint, ...]
    left_out: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def choose(names: Sequence[str], progress: Progress = lambda step: None) -> Choice:
    """The bundles that names stand for; every bundle below `bundles/` if there is none.

    A name is that of a bundle's folder, else of one in `bundles/`, else of all bundles below `bundles/` that were made
    of a checkpoint of this name, else of a folder with bundles below it, else a checkpoint: it is built in fp32 for
    every CPU engine installed, under its default names. Of what a name stands for together, bundles that cannot run on
    this machine are left out.

    Args:
        names: what a user names.
        progress: told the name of each step as it starts.

    Raises:
        BundleCorrupt: a bundle that was named by itself is not what was built.
        CheckpointError: a name stands for nothing.
        ContractError: nothing to measure below `bundles/`.
        EngineUnavailable: none of the bundles can run here.
        OutputError: a bundle to be built stands there already, of other weights.
    """
    chosen: dict[Path, Bundle] = {}
    left_out: list[str] = []
    said: list[str] = []
    for name in names or [""]:
        alone = next((f for f in (Path(name), BUNDLES / name) if name and (f / MANIFEST).is_file()), None)
        if alone is not None:
            bundles = [open_bundle(alone)]
            if alone != Path(name):
                said.append(f"{name}: {alone}")
        elif together := _together(name):
            opened = [_open(folder) for folder in together]
            bundles = [found for found in opened if isinstance(found, Bundle)]
            left_out += [found for found in opened if isinstance(found, str)]
            if name:
                said.append(f"{name}: {', '.join(map(str, together))}")
        elif not name:
            raise ContractError(f"no bundles below {BUNDLES}/: build one, segexport build --model b0 --precision fp16")
        else:
            bundles = _built(name, progress)
            said.append(f"{name}: a checkpoint, as {', '.join(str(bundle.folder) for bundle in bundles)}")
        chosen |= {bundle.folder.resolve(): bundle for bundle in bundles}
    if not chosen:
        raise EngineUnavailable(f"no bundle can run here: {'; '.join(left_out)}")
    return Choice(tuple(_sets(chosen.values())), tuple(left_out), tuple(said))


def _together(name: str) -> list[Path]:
    """Every bundle below `bundles/` that is made of a checkpoint of this name, or below the folder of this name."""
    below = list(_below(BUNDLES))
    if not name:
        return below
    return [folder for folder in below if name_in(folder) == name] or list(_below(Path(name)))


def _below(folder: Path) -> Iterator[Path]:
    for manifest in sorted(folder.rglob(MANIFEST)):
        if not any(part.startswith(".") for part in manifest.relative_to(folder).parts):  # one that is being built
            yield manifest.parent


def _open(folder: Path) -> Bundle | str:
    """The bundle, or why it is left out."""
    try:
        bundle = open_bundle(folder)
    except BundleCorrupt as error:
        return str(error)
    reason = why_not(bundle)
    return bundle if reason is None else f"{folder}: {reason}"


def _built(name: str, progress: Progress) -> list[Bundle]:
    """The checkpoint's bundles in fp32 for every CPU engine installed, built where they do not stand yet."""
    progress("reading the checkpoint")
    try:
        loaded = checkpoint.load(name)
    except CheckpointError as error:
        raise CheckpointError(f"{name} is no bundle, nor the name of any below {BUNDLES}/. {error}") from error
    contract = contract_for(loaded)
    bundles = []
    for engine in engines.infos():
        if not engine.builds or not engine.devices or engine.name in engines.ON_GPU:
            continue
        folder = default_folder(loaded.name, contract, loaded.preprocessing, "fp32", engine.name)
        if not (folder / MANIFEST).is_file():
            bundles.append(build(loaded, folder, engine=engine.name, progress=progress))
            continue
        bundles.append(open_bundle(folder))
        if bundles[-1].manifest.source.weights_sha256 != loaded.source.weights_sha256:
            raise OutputError(f"{folder} was built from other weights than {name} has: move it, or build to another -o")
    if not bundles:
        raise EngineUnavailable(f"no engine for CPUs is installed: {engines.info('openvino').install}")
    return bundles


def _sets(bundles: Iterable[Bundle]) -> Iterator[OfOneCheckpoint]:
    by_weights: dict[str, list[Bundle]] = {}
    for bundle in bundles:
        by_weights.setdefault(bundle.manifest.source.weights_sha256, []).append(bundle)
    names = [found[0].manifest.name for found in by_weights.values()]
    for name, (weights, found) in zip(names, by_weights.items(), strict=True):
        unique = name if names.count(name) == 1 else f"{name} (weights {weights[:8]})"
        yield OfOneCheckpoint(unique, tuple(found))
