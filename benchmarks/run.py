"""segexport beside what a user would pick instead, interleaved in one run on the same images and the same weights.

python benchmarks/run.py                                     every case, every contender
python benchmarks/run.py --case b0-512x512-150 --calls 3     a look
python benchmarks/run.py --case camvid-precision             FP16 and INT8, ours and those of stock tools
python benchmarks/run.py --checkpoint DIR --data DIR         one case of your own
python benchmarks/run.py --setup-only                        the environments alone
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import environments
from benchmarks import cases, contenders, markdown, measure, weights
from benchmarks.cases import Case, CaseError, Table
from benchmarks.contenders import Contender
from benchmarks.peak import SHAPES, Peak
from benchmarks.process import WorkerFailed
from benchmarks.results import Absence, CaseResult, Run, with_shares
from environments import EnvironmentFailed
from segexport import machine
from segexport.errors import SegexportError

RESULTS = Path(__file__).parent / "results"
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "avx_vnni",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Processor features that decide how fast a network can run."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _options(arguments)
    console = Console(stderr=True)
    try:
        return _run(options, console)
    except (CaseError, SegexportError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print(f"interrupted: {options.out} has the cases that were finished", style="red")
        return 130


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only this case; repeatable")
    parser.add_argument("--contender", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--calls", type=int, metavar="N", help="timed calls, instead of each case's own number")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="one case of this checkpoint at its own size")
    parser.add_argument("--data", type=Path, metavar="DIR", help="its images, and masks if there are any")
    parser.add_argument("--placement", type=Path, metavar="FILE", help="of segexport tune, for a row of its own")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where the results go")
    parser.add_argument("--setup-only", action="store_true", help="make the environments and stop")
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) != (options.data is None):
        parser.error("--checkpoint and --data go together")
    if options.checkpoint is not None and options.case:
        parser.error("--checkpoint is a case of its own: leave --case out")
    if options.calls is not None and options.calls < 1:
        parser.error("--calls is 1 or more")
    if options.placement is not None and not options.placement.is_file():
        parser.error(f"--placement: there is no file {options.placement}")
    return options


def _run(options: argparse.Namespace, console: Console) -> int:
    began = time.monotonic()
    started = datetime.datetime.now(datetime.timezone.utc)
    picked = [] if options.setup_only else _cases(options)
    tables = {case.table for case in picked} or set(get_args(Table))
    fields = {table: contenders.field_of(table, options.placement) for table in sorted(tables)}
    taking_part, absent = _make_environments(*_field(fields, options.contender), console)
    for absence in absent:
        console.print(f"{absence.contender} is left out: {absence.reason}", style="yellow", markup=False)
    if options.setup_only:
        return 1 if any(absence.stage == "environment" for absence in absent) else 0
    threads, flags = machine.cores(), contenders.processor_flags()
    described = {**machine.describe(), "flags": [flag for flag in _FLAGS if flag in flags], "threads": threads}
    found: list[CaseResult] = []
    with tempfile.TemporaryDirectory(prefix="segexport-benchmark-") as temporary:
        folder = Path(temporary)
        with Peak(contenders.precisions(flags), threads, folder) as peak:
            console.print("measuring the machine's peak")
            peak.measure()
            for case in picked:
                names = _names(fields[case.table])
                ready = [contender for contender in taking_part if contender.name in names]
                missing = [absence for absence in absent if absence.contender in names]
                found.append(_measure(case, ready, missing, folder / case.name, threads, console))
                # The largest products only at both ends: they take as long as a case's calls.
                peak.measure(SHAPES if case is picked[-1] else SHAPES[:2])
                # After every case, so that an interrupted run keeps what it has.
                result = Run(
                    started=started.isoformat(timespec="seconds"),
                    minutes=(time.monotonic() - began) / 60,
                    machine=described,
                    peak={"best": peak.best(), "samples": peak.samples, "failed": peak.failed},
                    cases=[with_shares(done, peak.best()) for done in found],
                )
                written = _write(result, options.out, options.case)
    console.print(f"wrote {written}.json and .md", markup=False)
    print(markdown.render(result))
    return 1 if any(absence.stage != "left out" for case in found for absence in case.absent) else 0


def _cases(options: argparse.Namespace) -> list[Case]:
    if options.checkpoint is not None:
        picked = [cases.own(options.checkpoint, options.data)]
    else:
        picked = cases.chosen(options.case)
    return [dataclasses.replace(case, calls=options.calls or case.calls) for case in picked]


_Field = tuple[list[Contender], dict[str, str]]
"""Who takes part in a table, and the reasons why others do not."""


def _names(field: _Field) -> set[str]:
    taking_part, left_out = field
    return {*(contender.name for contender in taking_part), *left_out}


def _field(fields: Mapping[Table, _Field], names: list[str]) -> tuple[list[Contender], list[Absence]]:
    """Everybody of all tables, once, or those named."""
    taking_part = {contender.name: contender for found, _ in fields.values() for contender in found}
    left_out = {name: why for _, found in fields.values() for name, why in found.items()}
    known = [*taking_part, *left_out]
    for name in names:
        if name not in known:
            raise CaseError(f"there is no contender {name}: choose from {', '.join(known)}")
    wanted = [contender for name, contender in taking_part.items() if not names or name in names]
    absent = [Absence(name, "left out", why) for name, why in left_out.items() if not names or name in names]
    return wanted, absent


def _make_environments(
    wanted: list[Contender], absent: list[Absence], console: Console
) -> tuple[list[Contender], list[Absence]]:
    """Make what the contenders need; whoever's environment fails does not take part."""
    failed: dict[str, str] = {}
    # The machine's peak needs these two, whoever takes part.
    needed = {"huggingface", "openvino"} | {contender.environment for contender in wanted}
    for name in sorted(needed):
        if not environments.is_made(name):
            console.print(f"making environment {name} (once; PyTorch is the large part)")
        try:
            environments.make(name)
        except EnvironmentFailed as error:
            failed[name] = str(error)
    present = [contender for contender in wanted if contender.environment not in failed]
    lost = [Absence(c.name, "environment", failed[c.environment]) for c in wanted if c.environment in failed]
    return present, [*absent, *lost]


def _measure(
    case: Case, taking_part: list[Contender], absent: list[Absence], folder: Path, threads: int, console: Console
) -> CaseResult:
    began = time.monotonic()
    folder.mkdir()
    images = weights.images(case)
    scored_on = {}
    if case.table == "precisions":
        scored_on, calibration = weights.scored_on(case), weights.calibration(case, folder)
        taking_part = [dataclasses.replace(c, request={**c.request, **calibration}) for c in taking_part]
    try:
        checkpoint = weights.checkpoint(case, folder / "checkpoint", threads)
    except WorkerFailed as error:
        everybody = [Absence(c.name, "preparing", f"the checkpoint cannot be made: {error}") for c in taking_part]
        result = measure.empty(case, [*absent, *everybody])
    else:
        with _bar(console, case.name) as shown:
            result = measure.run(
                case, taking_part, absent, images, checkpoint, folder, threads, shown, scored_on=scored_on
            )
    console.print(f"{case.name}: {len(result.rows)} contenders in {time.monotonic() - began:.0f} s", highlight=False)
    for absence in result.absent:
        if absence.stage != "left out":
            line = f"{case.name}: {absence.contender} failed while {absence.stage}: {absence.reason}"
            console.print(line, style="red", markup=False)
    return result


@contextmanager
def _bar(console: Console, name: str) -> Iterator[measure.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(name, total=None)
        yield lambda what, done, total: shown.update(task, completed=done, total=total, description=f"{name}: {what}")


def _write(result: Run, folder: Path, names: list[str]) -> Path:
    """Both files of a run, called after the cases asked for by name, too; their common path without a suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "-".join([result.started[:10], slug(result.machine["processor"]), *names])
    result.write(path.with_name(f"{path.name}.json"))
    path.with_name(f"{path.name}.md").write_text(markdown.render(result), encoding="utf-8")
    return path


def slug(processor: str) -> str:
    """A processor's name as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-") or "unknown"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no process and no weights stay behind
    sys.exit(main())
