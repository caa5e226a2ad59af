"""What FP16 and INT8 cost on really trained weights and real images, calibrated on images of another split."""

from pathlib import Path

import pytest

import segexport
from segexport.bundle import Bundle
from segexport.datasets import open_data
from segexport.engines import info
from segexport.evaluation.bootstrap import ImageCounts
from segexport.evaluation.metrics import Agreement
from segexport.precision.ranges import Ranges
from segexport.segmenter import open_segmenter

pytestmark = [pytest.mark.bundle, pytest.mark.slow]


@pytest.fixture(scope="module")
def fp32(camvid_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("camvid") / "fp32"
    return segexport.build(camvid_checkpoint, out, engine="onnxruntime", size=(360, 480))


@pytest.fixture(scope="module")
def ranges(fp32: Bundle, camvid: Path) -> Ranges:
    graph = segexport.graph_of(None, fp32.folder)
    return segexport.calibrate(graph, camvid / "train", samples=32)


@pytest.mark.parametrize(
    ("engine", "precision", "most_lost", "least_equal"),
    [
        ("onnxruntime", "fp16", 0.001, 0.998),
        ("onnxruntime", "int8", 0.01, 0.98),
        ("openvino", "int8", 0.01, 0.98),
    ],
)
def test_the_price_of_a_precision(
    fp32: Bundle, ranges: Ranges, camvid: Path, tmp_path: Path, engine, precision, most_lost, least_equal
) -> None:
    if precision not in info(engine).precisions:
        pytest.skip(f"{engine} does not compute in {precision} on this machine")
    lowered = segexport.rebuild(fp32, tmp_path / "out", engine=engine, precision=precision, calibration=ranges)
    data = open_data(camvid / "test", fp32.manifest.labels)
    counts = [ImageCounts(11), ImageCounts(11)]
    agreement = Agreement()
    with open_segmenter(fp32) as one, open_segmenter(lowered) as other:
        for index in range(len(data)):
            sample = data.sample(index)
            found = [net.run(sample.image).mask for net in (one, other)]
            for count, mask in zip(counts, found, strict=True):
                count.update(sample.mask, mask)
            agreement.update(*found)
    assert abs(counts[0].miou() - 0.5061) < 0.001, "the checkpoint's own figure"
    assert counts[0].miou() - counts[1].miou() <= most_lost
    assert least_equal <= agreement.share() < 1
