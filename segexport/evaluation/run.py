"""An evaluation from names to figures: open, look at every image once, keep a line of each, sum up."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segexport
from segexport import machine
from segexport.datasets import LabelledImages, Sample, open_data
from segexport.errors import CheckpointError, ContractError, DataError
from segexport.evaluation import records
from segexport.evaluation.condition import CLEAN, Condition, conditions_of
from segexport.evaluation.folder import EvaluationFolder, Shard, open_folder, shards_of, update_data
from segexport.evaluation.groups import BANDS, ROW, require_column
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.result import SCHEMA, Evaluation
from segexport.evaluation.subject import Subject, open_subject
from segexport.evaluation.summary import summarise
from segexport.evaluation.writer import RecordWriter
from segexport.files import sha256_of

MOST_SHARDS = 512
"""All of them are read at once."""

_DIGITS = re.compile(r"(\d+)/(\d+)")


class EvaluationStopped(KeyboardInterrupt):
    """Ctrl-C, with the evaluation of the images that were done by then; the same call goes on from there."""

    def __init__(self, found: Evaluation) -> None:
        super().__init__()
        self.found = found


def evaluate(
    subjects: Sequence[str | Path],
    data: str | Path,
    *,
    out: str | Path | None = None,
    protocol: Protocol | None = None,
    split: str | None = None,
    limit: int | None = None,
    columns: str | Path | None = None,
    by: Sequence[str] = (),
    boundary: bool = True,
    corruptions: str | None = None,
    severity: str | None = None,
    reference: str | None = None,
    use_reference: bool = True,
    seed: int = 0,
    shard: str | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score bundles and checkpoints on labelled images, all of them on the same ones, in the same way.

    What is done is kept in `out`, image by image: the same call goes on where an earlier one was interrupted.

    Args:
        subjects: bundles' folders and checkpoints (folders, hub ids, aliases, .pth), all of the same classes.
        data: labelled images, in any layout of `open_data`.
        out: folder for the records; `evaluation-NAME` in the working directory if None, after the first subject.
        protocol: how images are shown; whole at the network's own size if None.
        split: of the data, where it has several.
        limit: take the first so many images.
        columns: a CSV file of what else is known of the images.
        by: columns to group images by, and `brightness` and `row`.
        boundary: whether boundary IoU is counted; of clean images.
        corruptions: `all`, or names with commas between them: every image is scored under each, too.
        severity: of the corruptions, such as 1..5 (all, if None) or 1,3.
        reference: with corruptions, the checkpoint for PyTorch beside the bundles; found through them if None.
        use_reference: False leaves it out.
        seed: of the corruptions' chance and of the draws for intervals.
        shard: `i/n` does every n-th image from the i-th on. Without it, whatever is missing is done.
        overwrite: begin anew, deleting an evaluation that stands at `out`.
        skip_bad: leave out images that cannot be used, and list them, instead of stopping at the first.
        threads: CPU threads; each engine's default if None.
        device: of the bundles' engines.
        progress: called with images done and to do, where an image counts once for every condition.

    Raises:
        ContractError: options that contradict each other; subjects of different classes; a classifier.
        CheckpointError, BundleCorrupt, EngineUnavailable, EngineMismatch: a subject cannot be opened.
        DataError: an image, mask or column that cannot be used; what is done is kept.
        OutputError: `out` holds something else, or cannot be written; what is done is kept.
        EvaluationStopped: by Ctrl-C, once an image is done.
    """
    conditions = conditions_of(corruptions, severity)
    part = None if shard is None else parse_shard(shard)
    if part is not None and overwrite:
        raise ContractError(
            "--overwrite with --shard would delete what other shards have done: delete the folder by hand, or pass "
            "another --out"
        )
    if reference is not None and (len(conditions) == 1 or not use_reference):
        raise ContractError(
            "--reference is the PyTorch beside --corruptions: pass those too, or name the checkpoint as a subject"
        )
    if not subjects:
        raise ContractError("name what to evaluate: bundles, or checkpoints")
    with ExitStack() as stack:
        opened: list[Subject] = [
            stack.enter_context(open_subject(name, protocol or Protocol(), threads=threads, device=device))
            for name in subjects
        ]
        if len(conditions) > 1 and use_reference:
            opened[:0] = [stack.enter_context(s) for s in _references(opened, reference, threads)]
        _require_same_labels(opened)
        images: LabelledImages = open_data(Path(data), opened[0].labels, split=split, limit=limit)
        if columns is not None:
            from segexport.datasets.columns import with_columns

            images = with_columns(images, Path(columns))
        facts = _named(opened)
        named_after = facts[len(opened) - len(subjects)]["name"]
        path = Path(out) if out is not None else Path(f"evaluation-{_slug(named_after)}")
        settings = {
            "schema": SCHEMA,
            "subjects": facts,
            "data": _data_facts(data, images, split),
            "classes": list(opened[0].labels.names),
            "conditions": [dataclasses.asdict(condition) for condition in conditions],
            "boundary": boundary,
            "bands": BANDS if ROW in by else None,
            "columns": None if columns is None else sha256_of(Path(columns)),
            "seed": seed,
            "shards": part.of if part else (None if overwrite else shards_of(path)) or 1,
            "versions": {"segexport": segexport.__version__, **machine.versions()},
        }
        folder, other_data = open_folder(path, settings, overwrite=overwrite)
        if other_data:
            _require_unchanged(folder, images)
            update_data(folder)
        work = _Work(folder, opened, images, conditions, tuple(by), skip_bad, progress or (lambda done, total: None))
        try:
            before = work.run(folder.shards if part is None else (part,))
        except KeyboardInterrupt:
            so_far = summarise(folder, facts, opened[0].labels.names, by, unfinished=True)
            if not so_far.images:
                raise
            raise EvaluationStopped(so_far) from None
        found = summarise(folder, facts, opened[0].labels.names, by)
        return dataclasses.replace(found, done_before=before)


def parse_shard(text: str) -> Shard:
    """`i/n` as a shard.

    Raises:
        ContractError: it is not one of 1/n to n/n.
    """
    found = _DIGITS.fullmatch(text.strip())
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of <= MOST_SHARDS:
        raise ContractError(f"shard '{text}' is none: pass --shard i/n, 1/n to n/n, and at most {MOST_SHARDS} of them")
    return Shard(number, of)


@dataclass(frozen=True)
class _Work:
    """What is left to do of some shards."""

    folder: EvaluationFolder
    subjects: Sequence[Subject]
    images: LabelledImages
    conditions: Sequence[Condition]
    by: tuple[str, ...]
    skip_bad: bool
    progress: Callable[[int, int], None]

    def run(self, shards: Sequence[Shard]) -> int:
        """Do it; returns how many images were done before."""
        before = {shard: self.folder.position(shard) for shard in shards}
        total = sum(len(shard.indices(len(self.images))) for shard in shards) * len(self.conditions)
        done = sum(at.ordinal * len(self.conditions) + at.condition for at in before.values())
        self.progress(done, total)
        for shard in shards:
            with RecordWriter(self.folder, shard) as writer:
                for more in self._shard(shard, writer):
                    done += more
                    self.progress(done, total)
        return sum(at.ordinal for at in before.values())

    def _shard(self, shard: Shard, writer: RecordWriter) -> Iterator[int]:
        """Do a shard's images; yields how many conditions of an image are done, one after another."""
        first = writer.position.condition
        for index in shard.indices(len(self.images))[writer.position.ordinal :]:
            try:
                sample = self.images.sample(index)
            except DataError as error:
                if not self.skip_bad:
                    raise DataError(
                        f"{error}; what is done is kept in {self.folder.path}: mend the data and run the same command "
                        "again, or pass --skip-bad to leave such images out"
                    ) from error
                writer.append(records.bad_line(index, first, " ".join(str(error).split())))
                yield len(self.conditions) - first
                first = 0
                continue
            if writer.position.ordinal == 0 and first == 0 and index == shard.number - 1:
                require_column(self.by, sample.columns, "the images")
            for number in range(first, len(self.conditions)):
                writer.append(self._record(index, number, sample))
                yield 1
            first = 0

    def _record(self, index: int, number: int, sample: Sample) -> dict[str, Any]:
        """One image in one condition: corrupted once, and given to every subject."""
        condition = self.conditions[number]
        if sample.mask is None:
            raise DataError(f"{sample.name} has no mask: pass labelled images")
        seen = condition.apply(sample.image, self.folder.settings["seed"], index)
        clean = condition == CLEAN
        scores = [
            records.score(
                sample.mask,
                subject.segment(seen),
                len(subject.labels),
                boundary=clean and self.folder.settings["boundary"],
                bands=self.folder.settings["bands"] if clean else None,
            )
            for subject in self.subjects
        ]
        return records.line(index, number, condition, sample, scores)


def _references(opened: Sequence[Subject], named: str | None, threads: int | None) -> Iterator[Subject]:
    """PyTorch for every weights that are there as a bundle alone, shown images as the first such bundle is."""
    known = {s.facts["weights_sha256"] for s in opened if s.facts["kind"] == "pytorch"}
    for subject in opened:
        weights = subject.facts["weights_sha256"]
        if subject.facts["kind"] == "pytorch" or weights in known:
            continue
        known.add(weights)
        name = named or subject.reference
        if name is None:
            raise CheckpointError(
                f"{subject.facts['name']} does not say which checkpoint it is of: pass --reference CHECKPOINT, or "
                "--no-reference"
            )
        try:
            yield open_subject(name, subject.protocol, threads=threads, reference_source=subject.source)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; it is the PyTorch beside {subject.facts['name']}: pass --reference CHECKPOINT, or "
                "--no-reference to leave it out"
            ) from error


def _require_same_labels(opened: Sequence[Subject]) -> None:
    first = opened[0]
    for other in opened[1:]:
        if (other.labels.names, other.labels.reduce) != (first.labels.names, first.labels.reduce):
            raise ContractError(
                f"{first.facts['name']} has {len(first.labels)} classes and {other.facts['name']} "
                f"{len(other.labels)}, or other names of them: evaluate them apart"
            )


def _named(opened: Sequence[Subject]) -> list[dict[str, Any]]:
    """Every subject's facts, under names that occur once."""
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for subject in opened:
        facts = dict(subject.facts)
        name = plain = str(facts["name"])
        if name in taken:
            name = plain = f"{name} ({facts['engine']} {facts['precision']})"
        number = 2
        while name in taken:
            name, number = f"{plain} {number}", number + 1
        taken.add(name)
        found.append({**facts, "name": name})
    return found


def _data_facts(path: str | Path, images: LabelledImages, split: str | None) -> dict[str, Any]:
    try:
        sha256 = images.sha256()
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): mend it, or leave it out") from error
    return {"path": str(path), "split": split, "images": len(images), "sha256": sha256}


def _require_unchanged(folder: EvaluationFolder, images: LabelledImages) -> None:
    """The data is not what it was: go on only if that is so of images alone that are not done.

    Raises:
        DataError: an image that is done has changed.
    """
    for image in folder.digests():
        try:
            same = records.digest(images.sample(image.index)) == image.sha256
        except DataError:
            same = image.sha256 is None
        if not same:
            what = "was left out as bad, and can be read now" if image.sha256 is None else "is not what it was"
            raise DataError(
                f"image {image.index} of {folder.settings['data']['path']} {what}, so that {folder.path} "
                "cannot be gone on with: pass another --out, or --overwrite to begin anew"
            )


def _slug(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"[^\w.-]+", "-", name.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or "model"
