"""The table of what rewrites gain, as Markdown: the machine, and a table for each model and engine; ratios only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.results import percentiles
from segexport.spec import format_size

BEGIN, END = "<!-- gains: begin -->", "<!-- gains: end -->"
FULL, PLAIN, WITHOUT, WITH = "the whole pipeline", "the plain graph", "without", "with"
"""What a row is: the pipeline, or it with or without the rewrite that the row is named after."""

_COLUMNS = ("variant", "latency, all cores", "gain", "CPU time, one core", "gain", "logits differ by", "GMAC")


def compared(kind: str, seconds: Sequence[float], full: Sequence[float]) -> dict[str, float]:
    """Milliseconds, their ratio to the whole pipeline's, and the gain: what a rewrite saves of the time without it."""
    own = percentiles(seconds)
    ratio = own["p50"] / percentiles(full)["p50"]
    return {**own, "ratio": ratio, "gain": 1 - ratio if kind == WITH else 1 - 1 / ratio}


def render(found: dict[str, Any]) -> str:
    """A run of benchmarks/rewrites.py."""
    described = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    lines = [
        f"{described['processor']}, {described['cores']} cores, {described['system']}; {versions}.",
        "",
        f"{found['started'][:10]}, {found['calls']} calls of each variant. Times are medians (10th to 90th percentile) "
        "as multiples of the whole pipeline's; a gain is what the rewrite saves of the time without it.",
    ]
    for model in found["models"]:
        weights = "random weights" if model["random_weights"] else "trained weights"
        what = f"{model['model']}, {format_size(tuple(model['size']))}, {model['labels']} labels, {weights}"
        for engine in model["engines"]:
            lines += [
                "",
                f"**{engine['engine']} {engine['version']}**: {what}, largest logit {engine['largest_logit']:.3g}",
                "",
                f"| {' | '.join(_COLUMNS)} |",
                "|---|" + "--:|" * (len(_COLUMNS) - 1),
                *(f"| {' | '.join(_cells(row, engine['rows']))} |" for row in engine["rows"]),
            ]
    return "\n".join(lines)


def _cells(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    full = next(other for other in rows if other["kind"] == FULL)
    name = f"({row['name']})" if " " in row["name"] else f"`{row['name']}`"
    yield {WITHOUT: f"without {name}", WITH: f"with {name}"}.get(row["kind"], row["name"])
    for what in ("latency", "cpu"):
        own, unit = row[what], full[what]["p50"]
        yield f"{own['ratio']:.3f} ({own['p10'] / unit:.2f}-{own['p90'] / unit:.2f})"
        yield "" if row["kind"] == FULL else f"{own['gain'] * 100:+.1f} %"
    yield "" if row["kind"] == PLAIN else f"{row['difference']:.1e}"
    yield f"{row['macs'] / 1e9:.2f}"


def between_markers(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """`text` with what stands between its two markers replaced.

    Raises:
        ValueError: it has not both of them.
    """
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"there is no {begin} with an {end} behind it")
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", text)
