"""A config.json that describes no SegFormer is refused key by key, before anything is allocated."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport import checkpoint as checkpoints
from segexport.errors import CheckpointError
from segexport.segformer import Structure, check, read_config
from tests.support.structures import STRUCTURES

GOOD = STRUCTURES["tiny"].config([f"class {i}" for i in range(10)])

WRONG: dict[str, tuple[Any, str]] = {
    "depths": ([1, 1, 1], r"depths has 3 entries: write 4 whole numbers of 1 to 512, one for each stage"),
    "depths as text": ("1111", r"depths is '1111': write 4"),
    "depths of none": ([1, 0, 1, 1], r"depths is \[1, 0, 1, 1\]"),
    "a million blocks": ([1, 1, 1, 10**9], "depths is"),
    "fractional depths": ([1, 1.5, 1, 1], "depths is"),
    "true depths": ([1, True, 1, 1], "depths is"),
    "hidden_sizes": ([8, 16, 24, -32], "hidden_sizes is"),
    "wide": ([8, 16, 24, 10**12], "hidden_sizes is"),
    "num_attention_heads": (
        [1, 2, 5, 4],
        r"num_attention_heads\[2\] is 5, which does not divide hidden_sizes\[2\], 24",
    ),
    "no heads": ([0, 1, 1, 1], "num_attention_heads is"),
    "sr_ratios": ([8, 4, 2, 0], "sr_ratios is"),
    "patch_sizes": (None, "patch_sizes is None"),
    "strides": ([4, 2, 2, 2, 2], "strides has 5 entries"),
    "stride 0": ([4, 2, 2, 0], "strides is"),
    "mlp_ratios": ([4, 4, 4, float("nan")], r"mlp_ratios is \[4, 4, 4, nan\]"),
    "infinite ratios": ([4, 4, 4, float("inf")], "mlp_ratios is"),
    "num_channels": ("3", "num_channels is '3': write a whole number of 1 to 64"),
    "num_encoder_blocks": (10**9, "num_encoder_blocks is 1000000000: write a whole number of 1 to 8"),
    "decoder_hidden_size": (10**12, "decoder_hidden_size is"),
    "hidden_act": ("mish", "hidden_act is 'mish': segexport writes gelu and relu"),
    "hidden_act as a list": ([], r"hidden_act is \[\]"),
    "architectures": (5, "architectures is 5: write a list of one class's name"),
    "architectures of numbers": ([5], "architectures is"),
    "id2label": ([1, 2], "id2label cannot be understood"),
    "num_labels": (10**9, "num_labels is 1000000000"),
}
KEYS = {
    "depths as text": "depths",
    "depths of none": "depths",
    "a million blocks": "depths",
    "fractional depths": "depths",
    "true depths": "depths",
    "wide": "hidden_sizes",
    "no heads": "num_attention_heads",
    "stride 0": "strides",
    "infinite ratios": "mlp_ratios",
    "hidden_act as a list": "hidden_act",
    "architectures of numbers": "architectures",
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("random_init", [False, True])
def test_a_wrong_value_is_one_line(case: str, random_init: bool, tmp_path: Path) -> None:
    value, complaint = WRONG[case]
    (tmp_path / "config.json").write_text(json.dumps({**GOOD, KEYS.get(case, case): value}))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=complaint) as caught:
            checkpoints.load(tmp_path, random_init=random_init)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)


def test_every_key_that_does_not_fit_has_its_line() -> None:
    with pytest.raises(CheckpointError) as caught:
        check({**GOOD, "depths": [1], "strides": "4222", "num_channels": 0}, "config.json")
    lines = str(caught.value).splitlines()
    assert [re.match(r"config\.json: (\w+)", line)[1] for line in lines] == ["num_channels", "depths", "strides"]


def test_keys_that_are_not_there_are_transformers_defaults() -> None:
    from transformers import SegformerConfig

    check({}, "config.json")
    structure = Structure.of_config({}, "segmentation", 150)
    settings = SegformerConfig()
    for key, value in structure.config([]).items():
        if key not in ("id2label", "label2id", "architectures", "layer_norm_eps", "model_type"):
            assert value == (list(found) if isinstance(found := getattr(settings, key), tuple) else found), key


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 100_000, "nests too deeply|not valid JSON"),
        ('{"a": ' * 50_000 + "1" + "}" * 50_000, "nests too deeply|not valid JSON"),
        ('{"model_type": "segformer", "depths": ' + "9" * 5000 + "}", "not valid JSON"),
        ("", "not valid JSON"),
        ("null", "not a SegFormer"),
        ('{"model_type": ["segformer"]}', "not a SegFormer"),
    ],
    ids=["lists", "objects", "digits", "empty", "null", "a list for a name"],
)
def test_what_is_no_configuration(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=4))
def test_whatever_stands_there_is_taken_or_refused(changes: dict[str, Any]) -> None:
    config = {**GOOD, **changes}
    refusal = ""
    try:
        check(config, "config.json")
    except CheckpointError as error:
        refusal = str(error)
    if refusal:
        assert all(line.startswith("config.json: ") for line in refusal.splitlines())
        return
    structure = Structure.of_config(config, "segmentation", 3)
    assert structure.stages == len(structure.sizes((512, 512)))
