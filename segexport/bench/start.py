"""Who takes part in a benchmark: a process for each bundle, and one of PyTorch for each network size among them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from segexport import machine
from segexport.bench.process import Check, ContenderProcess
from segexport.bench.scoring import Contender
from segexport.bundle import Bundle, Manifest
from segexport.errors import CheckpointError, ContractError, EngineUnavailable, SegexportError
from segexport.evaluation.bootstrap import ImageCounts
from segexport.precision.emulate import FP16_EMULATED
from segexport.spec import DYNAMIC, format_size, to_json

_HOW = "pass --reference CHECKPOINT"


@dataclass(frozen=True)
class Asked:
    """What a benchmark was asked for.

    `reference` is the checkpoint, where it is no longer what the bundles name; `use_reference` whether PyTorch takes
    part: None where it can. `batch` is the images of a call, None for one where a batch is open.
    """

    reference: str | None = None
    use_reference: bool | None = None
    threads: int | None = None
    batch: int | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether it is an error if PyTorch cannot take part."""
        return self.use_reference is True or (self.use_reference is None and self.reference is not None)


def same_weights(bundles: Sequence[Bundle]) -> Manifest:
    """The first bundle's manifest, whose weights all have.

    Raises:
        ContractError: no bundle, or bundles from different weights.
    """
    if not bundles:
        raise ContractError("nothing to benchmark: name at least one bundle")
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        if bundle.manifest.source.weights_sha256 != first.source.weights_sha256:
            raise ContractError(
                f"{bundles[0].folder} and {bundle.folder} were built from different weights: benchmark them in two runs"
            )
    return first


def batches(bundles: Sequence[Bundle], batch: int | None) -> list[int]:
    """How many images a call of each bundle has.

    Raises:
        ContractError: less than one, or a bundle was built for another number.
    """
    if batch is not None and batch < 1:
        raise ContractError(f"a call of {batch} images cannot be made: give a --batch of 1 or more")
    for bundle in bundles:
        own = bundle.manifest.contract.batch
        if batch not in (None, own) and own != DYNAMIC:
            raise ContractError(
                f"{bundle.folder} takes exactly {own} image{'s' * (own != 1)} at once, and not {batch}: build it with "
                f"--batch {batch} or --batch dynamic, or leave --batch out here"
            )
    owns = (bundle.manifest.contract.batch for bundle in bundles)
    return [(batch or 1) if own == DYNAMIC else own for own in owns]


def start(stack: ExitStack, bundles: Sequence[Bundle], asked: Asked, check: Check) -> tuple[list[Contender], str]:
    """Start every contender and wait until all are ready; and why PyTorch is not among them, if it was to be.

    Raises:
        SegexportError: one that cannot be opened.
    """
    images = batches(bundles, asked.batch)
    references = _references(stack, bundles, images, asked) if asked.use_reference is not False else []
    others = _of_bundles(stack, bundles, images, asked.threads, [one.name for one in references])
    ready, why = [], ""
    for reference in references:
        try:
            reference.facts = reference.process.opened(check)
            ready.append(reference)
        except (CheckpointError, EngineUnavailable) as error:
            if asked.needs_reference:
                raise _with_remedy(error) from error
            why = f"PyTorch takes no part: {error}" + (f"; {_HOW}" if isinstance(error, CheckpointError) else "")
    for one, bundle in zip(others, bundles, strict=True):
        one.facts = one.process.opened(check)
        one.reference = _held_against(one, ready, others)
        one.notes += _of_bundle(bundle, next((r.name for r in ready if r.size == one.size), None))
    return [*ready, *others], why


def unique_name(name: str, taken: Sequence[str]) -> str:
    """`name`, with a number behind it where it is taken already."""
    return name if name not in taken else next(n for i in range(2, 999) if (n := f"{name} ({i})") not in taken)


def _references(stack: ExitStack, bundles: Sequence[Bundle], images: Sequence[int], asked: Asked) -> list[Contender]:
    """PyTorch at each network size; its calls have as many images as those of the bundles, where these all agree."""
    found = []
    sizes = dict.fromkeys(bundle.manifest.contract.size for bundle in bundles)
    for size in sizes:
        same = [(b, count) for b, count in zip(bundles, images, strict=True) if b.manifest.contract.size == size]
        manifest = same[0][0].manifest
        in_a_call = {count for _, count in same}
        batch = in_a_call.pop() if len(in_a_call) == 1 else 1
        request = {
            "kind": "reference",
            "source": to_json(manifest.source),
            "contract": to_json(manifest.contract),
            "override": asked.reference,
            "threads": asked.threads,
            "batch": batch,
        }
        name = "pytorch" if len(sizes) == 1 else f"pytorch {format_size(size)}"
        process = stack.enter_context(ContenderProcess(request))
        counts = ImageCounts(len(manifest.labels))
        found.append(Contender(name, "fp32", size, size, process, counts, batch=batch, notes=_of_batch(batch)))
    return found


def _of_bundles(
    stack: ExitStack, bundles: Sequence[Bundle], images: Sequence[int], threads: int | None, taken: Sequence[str]
) -> list[Contender]:
    names, found = list(taken), []
    for bundle, batch in zip(bundles, images, strict=True):
        names.append(unique_name(bundle.name, names))
        request = {"kind": "bundle", "folder": str(bundle.folder), "threads": threads, "batch": batch}
        process = stack.enter_context(ContenderProcess(request))
        size, image_size = bundle.manifest.contract.size, bundle.manifest.contract.image_size
        counts = ImageCounts(len(bundle.manifest.labels))
        precision, notes = bundle.manifest.precision, _of_batch(batch)
        found.append(Contender(names[-1], precision, size, image_size, process, counts, batch=batch, notes=notes))
    return found


def _held_against(one: Contender, references: Sequence[Contender], others: Sequence[Contender]) -> str | None:
    """PyTorch of the same network size, else the run's first bundle in fp32 of that size, but not itself."""
    candidates = [*references, *(other for other in others if other.precision == "fp32")]
    first = next((other for other in candidates if other.size == one.size), None)
    return None if first is None or first is one else first.name


def _with_remedy(error: SegexportError) -> SegexportError:
    if not isinstance(error, CheckpointError):
        return error
    return CheckpointError(f"{error}; {_HOW}, or --no-reference to leave PyTorch out")


def _of_batch(batch: int) -> list[str]:
    return [f"a call is a batch of {batch}: the same image, repeated"] if batch > 1 else []


def _of_bundle(bundle: Bundle, pytorch: str | None) -> list[str]:
    """What has to be known about a bundle to read its row; `pytorch` is the name of its PyTorch reference."""
    manifest, notes = bundle.manifest, []
    contract, facts = manifest.contract, manifest.engine
    if contract.content_size != contract.size and pytorch is not None:
        notes.append(f"{pytorch} stretches the images, this bundle letterboxes them")
    if contract.mask_size not in (None, contract.image_size):
        assert contract.mask_size is not None
        notes.append(f"class maps of {format_size(contract.mask_size)}, enlarged by nearest neighbour")
    if manifest.precision == "fp16" and facts.derived:
        notes.append(FP16_EMULATED)
    if manifest.precision == "int8" and facts.device == "CPU" and not machine.int8_instructions():
        notes.append("this CPU has no instructions for INT8 products (VNNI, AMX), with which INT8 gains more")
    return notes
