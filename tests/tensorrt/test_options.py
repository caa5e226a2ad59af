"""Options of a TensorRT engine: read, and refused where a version lacks them."""

from __future__ import annotations

import pytest

from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import DYNAMIC, Contract
from segexport.tensorrt.flavour import CLASSIC, RTX
from segexport.tensorrt.options import (
    Profile,
    TensorRtOptions,
    opens_batch,
    opens_size,
    parse_profile,
    profiles_of,
    require_possible,
)
from segexport.tensorrt.targets import parse_targets


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("1x512x512", Profile((1, 512, 512), (1, 512, 512), (1, 512, 512))),
        ("1x256x256:2x512x640:4X1024x1024", Profile((1, 256, 256), (2, 512, 640), (4, 1024, 1024))),
    ],
)
def test_profiles_are_read_and_said_again(text, profile):
    assert parse_profile(text) == profile
    assert str(profile) == text.lower()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("512x512", "write NxHxW"),
        ("1x512x512:2x512x512", "write NxHxW"),
        ("axbxc", "write NxHxW"),
        ("", "write NxHxW"),
        ("2x512x512:1x512x512:4x512x512", "does not rise"),
        ("0x512x512", "does not rise"),
        ("1x16x512", "outside of 32"),
        ("1x32x99999", "outside of 32"),
    ],
)
def test_profiles_that_are_none(text, reason):
    with pytest.raises(ContractError, match=reason):
        parse_profile(text)


def test_profiles_follow_the_contract():
    assert str(*profiles_of(TensorRtOptions(), Contract((64, 96)))) == "1x64x96"
    assert str(*profiles_of(TensorRtOptions(), Contract((64, 96), batch=3))) == "3x64x96"
    assert str(*profiles_of(TensorRtOptions(), Contract((64, 96), batch=DYNAMIC))) == "1x64x96:1x64x96:8x64x96"
    cameras = Contract((64, 96), source_size=(480, 640))
    assert str(*profiles_of(TensorRtOptions(), cameras)) == "1x480x640"
    asked = (parse_profile("1x64x96"), parse_profile("1x128x128"))
    assert profiles_of(TensorRtOptions(profiles=asked), Contract((64, 96))) == asked
    with pytest.raises(ContractError, match="no profile serves 1x64x96"):
        profiles_of(TensorRtOptions(profiles=(parse_profile("2x64x96:2x64x96:4x64x96"),)), Contract((64, 96)))


@pytest.mark.parametrize(
    ("profile", "size", "batch"),
    [
        ("1x64x96", False, False),
        ("1x64x96:1x64x96:4x64x96", False, True),
        ("1x64x96:1x64x96:1x64x128", True, False),
        ("1x32x96:2x64x96:2x64x96", True, True),
    ],
)
def test_what_profiles_open(profile, size, batch):
    profiles, contract = (parse_profile(profile),), Contract((64, 96))
    assert (opens_size(profiles, contract), opens_batch(profiles, contract)) == (size, batch)
    assert not opens_batch(profiles, Contract((64, 96), batch=DYNAMIC))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sm86", ("sm86",)),
        ("sm89,sm86", ("sm86", "sm89")),
        ("rtx40, SM_89", ("sm89",)),
        ("ampere,rtx50", ("sm80", "sm86", "sm120")),
        ("8.6", ("sm86",)),
        ("turing", ("sm75",)),
    ],
)
def test_targets_are_read(text, found):
    assert parse_targets(text) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [("sm61", "'sm61' is no target.*sm86"), ("", "is no target"), ("rtx99", "rtx40"), ("sm75,sm86", "build it apart")],
)
def test_targets_that_are_none(text, reason):
    with pytest.raises(ContractError, match=reason):
        parse_targets(text)


@pytest.mark.parametrize(
    ("options", "flavour", "version", "precision", "refused"),
    [
        (TensorRtOptions(hardware_compatibility="ampere-plus"), RTX, "1.7.1", "fp16", "--target"),
        (
            TensorRtOptions(weight_streaming=True),
            RTX,
            "1.7.1",
            "fp16",
            "--weight-streaming is not for TensorRT for RTX",
        ),
        (TensorRtOptions(dla=0), RTX, "1.7.1", "fp16", "no DLA"),
        (TensorRtOptions(targets=("sm86",)), CLASSIC, "10.3.0", "fp16", "the GPU at hand"),
        (TensorRtOptions(hardware_compatibility="same-compute-capability"), CLASSIC, "10.3.0", "fp16", "10.7"),
        (TensorRtOptions(dla=0), CLASSIC, "11.1.0", "fp16", "have no DLA"),
        (TensorRtOptions(dla=0), CLASSIC, "10.3.0", "fp32", "not fp32"),
        (
            TensorRtOptions(dla=0, profiles=(parse_profile("1x64x64:1x64x64:2x64x64"),)),
            CLASSIC,
            "10.3.0",
            "int8",
            "one size",
        ),
    ],
)
def test_options_that_a_version_lacks(options, flavour, version, precision, refused):
    with pytest.raises(EngineUnavailable, match=refused):
        require_possible(options, flavour, version, precision)


def test_options_that_it_has():
    require_possible(TensorRtOptions(targets=("sm86",), version_compatible=True), RTX, "1.7.1.116", "int8")
    everything = TensorRtOptions(
        workspace_mib=512,
        optimization_level=5,
        version_compatible=True,
        hardware_compatibility="same-compute-capability",
        weight_streaming=True,
        dla=1,
    )
    require_possible(everything, CLASSIC, "10.13.3.9", "fp16")
    require_possible(everything, CLASSIC, "11.4.0.106", "int8")


@pytest.mark.parametrize(
    ("options", "reason"),
    [(TensorRtOptions(optimization_level=6), "0 to 5"), (TensorRtOptions(workspace_mib=0), "MiB")],
)
def test_options_that_nothing_has(options, reason):
    with pytest.raises(ContractError, match=reason):
        require_possible(options, RTX, "1.7.1", "fp32")
