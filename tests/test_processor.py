"""`preprocessor_config.json` in all its spellings, read as transformers reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segexport.checkpoint import Checkpoint
from segexport.errors import CheckpointError
from segexport.processor import read_processor
from segexport.spec import Labels, Source
from tests.support.checkpoints import SIZE

OLD = {"feature_extractor_type": "SegformerFeatureExtractor", "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
SPELLINGS = {
    "feature extractor": ({**OLD, "size": 512, "reduce_labels": True, "resample": 3}, (512, 512), True),
    "reduce_zero_label": ({**OLD, "size": [512, 1024], "reduce_zero_label": True}, (512, 1024), True),
    "shortest edge": ({"size": {"shortest_edge": 256}, "do_reduce_labels": False}, (256, 256), False),
    "new name before old": ({"do_reduce_labels": False, "reduce_labels": True}, (512, 512), False),
    "today's": ({"size": {"height": 64, "width": 96}, "do_reduce_labels": True, "do_resize": False}, (64, 96), True),
    "rescale of its own": ({"do_rescale": True, "rescale_factor": 0.5, "do_normalize": False}, (512, 512), False),
    "empty": ({}, (512, 512), False),
}


def transformers_reads(folder: Path):
    """transformers' own idea of the same file, by the class that needs no torchvision."""
    import transformers

    kind = getattr(transformers, "SegformerImageProcessorPil", None) or transformers.SegformerImageProcessor
    return kind.from_pretrained(folder)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_spellings(tmp_path: Path, spelling: str, name: str) -> None:
    config, size, reduce = SPELLINGS[spelling]
    content = {"image_processor": config} if name == "processor_config.json" else config
    (tmp_path / name).write_text(json.dumps(content))
    found, reduces, note = read_processor(tmp_path, (512, 512))
    assert (found.size, reduces, note, found.found_in) == (size, reduce, None, name)
    reference = transformers_reads(tmp_path)
    assert found.do_rescale == reference.do_rescale
    assert found.rescale_factor == pytest.approx(reference.rescale_factor)
    assert found.do_normalize == reference.do_normalize
    assert (found.mean, found.std) == (tuple(reference.image_mean), tuple(reference.image_std))
    assert found.resample == reference.resample


def test_the_reference_reads_the_newer_file_too(tmp_path: Path) -> None:
    from segexport.engines.pytorch import image_processor

    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": OLD}))
    found, _, _ = read_processor(tmp_path, SIZE)
    source = Source("tiny", None, "")
    loaded = Checkpoint(source, "semantic-segmentation", {}, found, Labels((), ()), tmp_path)
    assert found.mean == tuple(image_processor(loaded).image_mean)


def test_one_mean_for_all_channels(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": 0.25}')
    found, _, _ = read_processor(tmp_path, SIZE)
    assert (found.mean, found.std, found.size) == ((0.5,) * 3, (0.25,) * 3, SIZE)


@pytest.mark.parametrize("text", ["{", "[]", '{"size": "large"}', '{"size": {"width": 3}}', '{"image_mean": [1, 2]}'])
def test_what_cannot_be_understood(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json cannot be understood"):
        read_processor(tmp_path, SIZE)
