"""One case: everybody opened, warmed up, and called in turn on the same images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import process, scores
from benchmarks.cases import STATEMENTS, Case
from benchmarks.contenders import PLAIN, Contender
from benchmarks.process import SETUP_SECONDS, Worker, WorkerFailed
from benchmarks.results import REFERENCE, Absence, CaseResult, Row, percentiles
from benchmarks.scores import Score
from segexport.bench import SETTLE_SECONDS
from segexport.datasets import Sample
from segexport.errors import SegexportError
from segexport.evaluation.metrics import Agreement, ConfusionMatrix
from segexport.images import UInt8
from segexport.inspection import multiply_accumulates

WARMUP_CALLS = 2

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is."""


@dataclass
class Entrant:
    """A contender in a case, and what it has done so far."""

    contender: Contender
    facts: dict[str, Any] = field(default_factory=dict)
    worker: Worker | None = None
    whole: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)
    confusion: ConfusionMatrix = field(default_factory=lambda: ConfusionMatrix(0))
    peak_memory: int = 0
    failure: Absence | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done inside may fail, and is then all that this entrant does."""
        try:
            yield
        except (WorkerFailed, SegexportError, OSError) as error:
            self.failure = Absence(self.contender.name, name, str(error))
            if self.worker is not None:
                self.worker.close()

    def ask(self, message: object, stage: str) -> dict[str, Any] | None:
        """The worker's answer; None, and the failure kept, where there is none."""
        with self.stage(stage):
            assert self.worker is not None
            return self.worker.ask(message)
        return None


def run(
    case: Case,
    contenders: Sequence[Contender],
    absent: Sequence[Absence],
    images: Sequence[Sample],
    checkpoint: Path,
    folder: Path,
    threads: int,
    progress: Progress = lambda what, done, total: None,
    *,
    scored_on: Mapping[str, Sequence[Sample]] | None = None,
) -> CaseResult:
    """Measure a case.

    Args:
        case: what to measure.
        contenders: who takes part.
        absent: who does not, for the result.
        images: in the case's size.
        checkpoint: the case's weights.
        folder: for exports, bundles and logs.
        threads: of every contender.
        progress: told how far it is.
        scored_on: data sets, in the case's size, that everybody is called on behind the timed calls.
    """
    entrants = [
        Entrant(contender, confusion=ConfusionMatrix(case.labels))
        for contender in contenders
        if contender.name not in case.leave_out
    ]
    missing = [*absent, *(Absence(name, "left out", reason) for name, reason in case.leave_out.items())]
    with ExitStack() as stack:
        _open(stack, entrants, case, checkpoint, folder, threads, progress)
        _warm_up(entrants, images[0], progress)
        _measure(entrants, images, case.calls, progress)
        scored = {name: _scores(entrants, case, name, samples, progress) for name, samples in (scored_on or {}).items()}
        for entrant in _running(entrants):
            with entrant.stage("stopping"):
                assert entrant.worker is not None
                entrant.peak_memory = entrant.worker.stop()
    # All peers execute the graph of torch's own export, whichever way they get to it.
    plain_macs = next((entrant.facts.get("macs") for entrant in entrants if entrant.contender.name == PLAIN), None)
    return CaseResult(
        name=case.name,
        model=case.model,
        size=case.size,
        labels=case.labels,
        weights=STATEMENTS[case.weights],
        images=len(images),
        calls=case.calls,
        rows=tuple(_row(entrant, case, plain_macs) for entrant in entrants if entrant.failure is None),
        absent=(*missing, *(entrant.failure for entrant in entrants if entrant.failure is not None)),
        scores=scored,
    )


def empty(case: Case, absent: Sequence[Absence]) -> CaseResult:
    """A case that nobody could take part in."""
    return CaseResult(case.name, case.model, case.size, case.labels, STATEMENTS[case.weights], 0, 0, (), tuple(absent))


def _running(entrants: Sequence[Entrant]) -> list[Entrant]:
    return [entrant for entrant in entrants if entrant.failure is None]


def _open(
    stack: ExitStack,
    entrants: Sequence[Entrant],
    case: Case,
    checkpoint: Path,
    folder: Path,
    threads: int,
    progress: Progress,
) -> None:
    """Prepare and open everybody, as many at a time as there are threads: none of it is timed."""
    stack.callback(lambda: [entrant.worker.close() for entrant in entrants if entrant.worker is not None])
    base = {"checkpoint": str(checkpoint), "folder": str(folder), "size": list(case.size), "threads": threads}

    interrupted = threading.Event()

    def open_one(entrant: Entrant) -> None:
        if interrupted.is_set():
            return
        contender = entrant.contender
        request = {**base, **contender.request}
        log = folder / f"{contender.name}.log"
        if contender.prepares:
            with entrant.stage("preparing"):
                entrant.facts |= process.prepare(contender.script, contender.environment, threads, log, request)
                if "graph" in entrant.facts:
                    entrant.facts["macs"] = multiply_accumulates(Path(entrant.facts["graph"]))
        if entrant.failure is None:
            with entrant.stage("opening"):
                entrant.worker = process.start(contender.script, contender.environment, threads, log)
                entrant.facts |= entrant.worker.ask({**request, "do": "open"}, SETUP_SECONDS)

    # Our bundles come one after the other, since all but the first are rebuilt from it: first, being the longest job.
    ours = [entrant for entrant in entrants if entrant.contender.is_ours]
    jobs = [ours, *([entrant] for entrant in entrants if not entrant.contender.is_ours)]

    def open_all(job: Sequence[Entrant]) -> int:
        for entrant in job:
            open_one(entrant)
        return len(job)

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for future in as_completed([pool.submit(open_all, job) for job in jobs]):
                done += future.result()
                progress("exporting, building, opening", done, len(entrants))
        except KeyboardInterrupt:
            interrupted.set()
            process.kill_all()  # or the pool would wait until they are ready
            raise


def _warm_up(entrants: Sequence[Entrant], sample: Sample, progress: Progress) -> None:
    for done in range(WARMUP_CALLS):
        for entrant in _running(entrants):
            entrant.ask(sample.image, "warming up")
        progress("warming up", done + 1, WARMUP_CALLS)


def _measure(entrants: Sequence[Entrant], images: Sequence[Sample], calls: int, progress: Progress) -> None:
    """Everybody on every image, in rotating order, and round again until there are calls enough."""
    for index in range(calls):
        sample = images[index % len(images)]
        shift = index % len(entrants)
        maps = {}
        for entrant in [*entrants[shift:], *entrants[:shift]]:
            if entrant.failure is not None:
                continue
            time.sleep(SETTLE_SECONDS)
            answer = entrant.ask(sample.image, "calling")
            if answer is None:
                continue
            entrant.whole.append(answer["whole"])
            if answer["network"] is not None:
                entrant.network.append(answer["network"])
            maps[entrant.contender.name] = answer["map"]
        if index < len(images):
            _score(entrants, maps, sample)
        progress("timed calls", index + 1, calls)


def _score(entrants: Sequence[Entrant], maps: Mapping[str, Any], sample: Sample) -> None:
    for entrant in entrants:
        found = maps.get(entrant.contender.name)
        if found is None:
            continue
        if sample.mask is not None:
            entrant.confusion.update(sample.mask, np.minimum(found, len(entrant.confusion.counts) - 1))
        if REFERENCE in maps:
            entrant.agreement.update(found, maps[REFERENCE])


def _scores(
    entrants: Sequence[Entrant], case: Case, what: str, samples: Sequence[Sample], progress: Progress
) -> dict[str, Score]:
    running = {entrant.contender.name: entrant for entrant in _running(entrants)}
    ours = {name: e.contender.request["precision"] for name, e in running.items() if e.contender.is_ours}

    def decide(name: str, image: UInt8) -> UInt8 | None:
        answer = running[name].ask(image, f"scoring on {what}")
        return None if answer is None else answer["map"]

    def watched() -> Iterator[Sample]:
        for done, sample in enumerate(samples):
            progress(f"scoring on {what}", done, len(samples))
            yield sample

    return scores.score(list(running), scores.baseline_of(ours), watched(), case.labels, decide)


def _row(entrant: Entrant, case: Case, plain_macs: int | None) -> Row:
    facts, scored = entrant.facts, bool(entrant.confusion.counts.sum())
    return Row(
        contender=entrant.contender.name,
        precision=facts["precision"],
        whole_ms=percentiles(entrant.whole),
        network_ms=percentiles(entrant.network) if entrant.network else None,
        calls=len(entrant.whole),
        peak_memory_bytes=entrant.peak_memory,
        macs=facts.get("macs") if entrant.contender.is_ours else plain_macs,
        agreement=entrant.agreement.share() if entrant.agreement.total else None,
        miou=entrant.confusion.miou() if case.is_scored and scored else None,
        versions=facts["versions"],
        settings=facts.get("settings", ""),
        size_bytes=facts.get("size_bytes"),
    )
