"""The example programs: what they write is what Python makes of the same files, and bad files are one line."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from segexport.files import sha256_of
from segexport.images import encode_png, read_image, read_mask
from tests.support.checkpoints import SIZE
from tests.support.runtime import RUNTIME

pytestmark = pytest.mark.slow  # compiles tests and examples

ORIENTATION = 0x0112


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def programs(runtime_build: Path) -> Path:
    folder = runtime_build / "examples"
    if not (folder / "segment").exists():
        pytest.skip("needs libjpeg and libpng with their headers, to build the examples")
    return folder


def run(program: Path, *arguments: object, stdin: bytes = b"") -> Said:
    done = subprocess.run(
        [str(program), *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=120
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def failed(said: Said, *parts: str) -> None:
    """Exit code 2 and one line, on standard error alone."""
    assert said.code == 2, said
    assert said.out == ""
    assert re.fullmatch("error: [^\n]+\n", said.err), said
    for part in parts:
        assert part in said.err


def picture(size: tuple[int, int] = (70, 110)) -> Image.Image:
    return Image.fromarray(scenes.scene(7, size)[0])


def noted(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker before it"
    exif[ORIENTATION] = orientation
    return exif


def segmented(programs: Path, bundle: Bundle, image: Path, out: Path) -> Said:
    said = run(
        programs / "segment", bundle.folder, image, out / "overlay.png", "--mask", out / "mask.png", "--threads", 1
    )
    assert said.code == 0, said
    return said


@pytest.mark.filterwarnings("ignore::segexport.images.ImageConverted")
def test_segment_writes_what_python_writes(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    """Files of every kind that is read: the same pixels go in, and the same class map and overlay come out."""
    rgb = picture()
    rgb.save(tmp_path / "rgb.png")
    rgb.save(tmp_path / "upright.jpg", quality=90)
    rgb.save(tmp_path / "progressive.jpg", quality=80, progressive=True, subsampling=0)
    rgb.save(tmp_path / "turned.jpg", quality=90, exif=noted(6))
    rgb.save(tmp_path / "turned.png", exif=noted(5))
    rgb.convert("L").save(tmp_path / "gray.png")
    rgb.convert("L").save(tmp_path / "gray.jpg")
    rgb.convert("1").save(tmp_path / "bits.png")
    rgb.convert("LA").save(tmp_path / "gray_alpha.png")
    rgb.quantize(13).save(tmp_path / "palette.png")
    alpha = np.random.default_rng(0).integers(0, 256, (70, 110, 1), np.uint8)
    Image.fromarray(np.concatenate([np.asarray(rgb), alpha], axis=2)).save(tmp_path / "alpha.png")
    images = sorted(tmp_path.iterdir())
    with segexport.open(openvino_bundle.folder, threads=1) as net:
        for image in images:
            out = tmp_path / "out" / image.name
            out.mkdir(parents=True)
            said = segmented(programs, openvino_bundle, image, out)
            pixels = read_image(image)
            expected = net.run(pixels)
            np.testing.assert_array_equal(read_mask(out / "mask.png"), expected.mask, err_msg=image.name)
            np.testing.assert_array_equal(read_image(out / "overlay.png"), expected.overlay(pixels), err_msg=image.name)
            converted = image.stem in ("gray", "bits", "gray_alpha", "palette", "alpha")
            assert said.err == (f"warning: {image} is not RGB: converted\n" if converted else "")


@pytest.mark.parametrize("orientation", range(1, 10))
def test_exif_orientation(programs: Path, openvino_bundle: Bundle, tmp_path: Path, orientation: int) -> None:
    """With an opacity of 0 the overlay is the image as it was read."""
    picture((33, 47)).save(tmp_path / "image.png", exif=noted(orientation))
    said = run(
        programs / "segment", openvino_bundle.folder, tmp_path / "image.png", tmp_path / "out.png", "--opacity", 0
    )
    assert said.code == 0, said
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), read_image(tmp_path / "image.png"))


def test_segment_says_what_it_saw(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    picture().save(tmp_path / "image.png")
    said = segmented(programs, openvino_bundle, tmp_path / "image.png", tmp_path)
    assert said.out.startswith(f"{tmp_path / 'image.png'}: 70x110\n")
    mask = read_mask(tmp_path / "mask.png")
    shares = {name: float(share) for share, name in re.findall(r"^ +([\d.]+) %  (.+)$", said.out, re.MULTILINE)}
    names = openvino_bundle.manifest.labels.names
    assert shares == {names[id_]: round(100 * float(np.mean(mask == id_)), 2) for id_ in np.unique(mask)}
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert re.search(r"openvino fp32: preprocessing [\d.]+ ms, network [\d.]+ ms, class map [\d.]+ ms", said.out)
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == "P"
        assert tuple(written.getpalette()[:3]) == openvino_bundle.manifest.labels.palette[0]


def test_segment_on_real_images(programs: Path, openvino_bundle: Bundle, camvid: Path, tmp_path: Path) -> None:
    images = sorted(path for path in camvid.rglob("*") if path.suffix in (".png", ".jpg") and "mask" not in str(path))[
        :2
    ]
    assert images
    with segexport.open(openvino_bundle.folder, threads=1) as net:
        for image in images:
            segmented(programs, openvino_bundle, image, tmp_path)
            np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), net.run(read_image(image)).mask)


def test_selftest(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    said = run(programs / "segment", openvino_bundle.folder, "--selftest")
    assert said == Said(
        0, f"{openvino_bundle.folder}: 100.0000 % of the golden image's pixels are as built (99.9 % required)\n", ""
    )


def test_selftest_of_a_quarter_sized_mask(programs: Path, checkpoint: Path, tmp_path: Path) -> None:
    bundle = segexport.build(checkpoint, tmp_path / "quarter", engine="openvino", size=SIZE, mask_size="network")
    assert run(programs / "segment", bundle.folder, "--selftest").code == 0


def test_a_selftest_that_fails(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    """A golden mask of something else, in a bundle whose checksums say that it is meant."""
    folder = tmp_path / "other"
    shutil.copytree(openvino_bundle.folder, folder)
    golden = folder / "golden" / "engine.png"
    golden.write_bytes(encode_png(np.roll(read_mask(golden), 20, axis=1).astype(np.uint8)))
    sums = folder / "SHA256SUMS"
    line = f"{sha256_of(golden)}  golden/engine.png"
    sums.write_text(re.sub("^.*golden/engine.png$", line, sums.read_text(), flags=re.MULTILINE))
    failed(run(programs / "segment", folder, "--selftest"), str(folder), "99.9 % required", "build the bundle")


def bad_files(folder: Path) -> dict[str, tuple[str, ...]]:
    """Writes files that are no images of ours; what is said of each."""
    rgb = picture()
    rgb.save(folder / "whole.png")
    rgb.save(folder / "whole.jpg")
    png, jpeg = (folder / "whole.png").read_bytes(), (folder / "whole.jpg").read_bytes()
    (folder / "whole.png").unlink()
    (folder / "whole.jpg").unlink()
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(folder / "deep.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.save(folder / "image.bmp")
    for name, data in {
        "empty.png": b"",
        "text.png": b"no image at all",
        "signature.png": png[:8],
        "half.png": png[: len(png) // 2],
        "damaged.png": png[:300] + bytes(8) + png[308:],
        "start.jpg": jpeg[:3],
        "header.jpg": jpeg[:100],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "almost.jpg": jpeg[:-40],
        "noise.jpg": b"\xff\xd8\xff" + bytes(range(256)) * 4,
    }.items():
        (folder / name).write_bytes(data)
    # A JPEG whose frame header says 65500x65500: SOF0 is followed by length, precision, height and width.
    at = jpeg.index(b"\xff\xc0") + 5
    (folder / "huge.jpg").write_bytes(jpeg[:at] + b"\xff\xdc\xff\xdc" + jpeg[at + 4 :])
    said = {path.name: (str(path),) for path in folder.iterdir()}
    said["deep.png"] += ("16 bits",)
    said["cmyk.jpg"] += ("CMYK: convert it to RGB",)
    said["huge.jpg"] += ("65500x65500",)
    for name in ("half.png", "half.jpg", "almost.jpg", "damaged.png", "signature.png"):
        said[name] += ("cannot be decoded", "replace the file")
    for name in ("empty.png", "text.png", "image.bmp"):
        said[name] += ("not a JPEG or PNG",)
    return said


def test_bad_images(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    out = tmp_path / "out.png"
    for name, parts in bad_files(folder).items():
        failed(run(programs / "segment", openvino_bundle.folder, folder / name, out), *parts)
        assert not out.exists()
    failed(run(programs / "segment", openvino_bundle.folder, tmp_path / "none.png", out), "none.png does not exist")
    failed(run(programs / "segment", openvino_bundle.folder, folder, out), f"{folder} is a folder")


def test_bad_arguments_of_segment(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    image, out = tmp_path / "image.png", tmp_path / "out.png"
    picture((33, 47)).save(image)
    segment, bundle = programs / "segment", openvino_bundle.folder
    failed(run(segment), "0 arguments", "segment BUNDLE IMAGE OUT.png")
    failed(run(segment, bundle, image), "2 arguments")
    failed(run(segment, bundle, image, "--selftest"), "2 arguments")
    failed(run(segment, bundle, image, out, "--colour", 1), "no option --colour")
    failed(run(segment, bundle, image, out, "--opacity"), "--opacity needs a value")
    for opacity in ("1.5", "half", "", "nan"):
        failed(run(segment, bundle, image, out, "--opacity", opacity), "from 0 to 1")
    failed(run(segment, bundle, image, out, "--threads", "1.5"), "whole number")
    failed(run(segment, bundle, image, image), "is the image itself")
    failed(run(segment, bundle, image, out, "--device", "NPU.7"), "NPU.7")
    failed(run(segment, tmp_path / "nowhere", image, out), str(tmp_path / "nowhere"))
    failed(run(segment, bundle, image, tmp_path / "no" / "folder.png"), "folder.png cannot be written (No such file")


STAGES = ("reading", "preprocessing", "network", "class map", "submit to wait", "whole period")


def looped(said: Said, frames: int, size: tuple[int, int]) -> None:
    assert said.code == 0, said
    first = re.match(rf"{frames} frames of {size[0]}x{size[1]} on openvino fp32: ([\d.]+) fps\n", said.out)
    assert first is not None, said.out
    assert float(first[1]) > 0
    rows = dict(re.findall(r"^(.+?) {2,}([\d.]+) +[\d.]+$", said.out, re.MULTILINE))
    assert tuple(rows) == STAGES[frames == 1 :], said.out


def test_video_loop_over_pictures(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    """Fewer pictures than frames, of two sizes and kinds."""
    picture((70, 110)).save(tmp_path / "a.png")
    picture((40, 60)).save(tmp_path / "b.JPG", "jpeg")
    (tmp_path / "notes.txt").write_text("no picture")
    looped(run(programs / "video_loop", openvino_bundle.folder, tmp_path, "--frames", 5, "--threads", 1), 5, (70, 110))


@pytest.mark.parametrize(("kind", "bytes_a_pixel"), [("rgb", 3), ("bgr", 3), ("nv12", 1.5)])
def test_video_loop_over_raw_frames(
    programs: Path, openvino_bundle: Bundle, tmp_path: Path, kind: str, bytes_a_pixel: float
) -> None:
    frame = bytes(range(256)) * int(70 * 110 * bytes_a_pixel / 256 + 1)
    video = frame[: int(70 * 110 * bytes_a_pixel)] * 4
    (tmp_path / "video.raw").write_bytes(video)
    arguments = ("--size", "70x110", "--format", kind, "--threads", 1)
    looped(run(programs / "video_loop", openvino_bundle.folder, tmp_path / "video.raw", *arguments), 4, (70, 110))
    looped(run(programs / "video_loop", openvino_bundle.folder, "-", *arguments, stdin=video), 4, (70, 110))
    looped(
        run(programs / "video_loop", openvino_bundle.folder, "-", *arguments, "--frames", 1, stdin=video), 1, (70, 110)
    )


def test_bad_frames(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    loop, bundle = programs / "video_loop", openvino_bundle.folder
    raw = tmp_path / "video.raw"
    raw.write_bytes(bytes(70 * 110 * 3 + 5))
    empty = tmp_path / "empty"
    empty.mkdir()
    failed(run(loop, bundle), "1 arguments rather than 2")
    failed(run(loop, bundle, tmp_path / "none"), f"{tmp_path / 'none'} does not exist")
    failed(run(loop, bundle, tmp_path / "none", "--size", "4x4"), f"{tmp_path / 'none'} does not exist")
    failed(run(loop, bundle, empty), f"{empty} holds no JPEG or PNG")
    failed(run(loop, bundle, empty, "--size", "70x110"), "is a folder")
    failed(run(loop, bundle, raw), f"{raw} is no folder", "--size")
    failed(run(loop, bundle, raw, "--size", "70x110", "--format", "yuyv"), "none of rgb, bgr, nv12")
    for size in ("70", "70x", "0x110", "-5x4", "70x110x3", "99999x4", "axb"):
        failed(run(loop, bundle, raw, "--size", size), f"--size {size} is not a frame's HxW")
    failed(run(loop, bundle, raw, "--size", "71x110", "--format", "nv12"), "71x110 in nv12")
    failed(run(loop, bundle, raw, "--size", "70x110"), f"{raw} ends after 5 of a frame's 23100 bytes")
    failed(run(loop, bundle, "-", "--size", "70x110"), "standard input ends after 0 of a frame's 23100 bytes")
    (empty / "a.png").write_bytes(b"no image")
    failed(run(loop, bundle, empty), f"{empty / 'a.png'} is not a JPEG or PNG")


def test_a_picture_that_fails_while_the_engine_works(programs: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    failed(run(programs / "video_loop", openvino_bundle.folder, tmp_path), f"{tmp_path / 'b.png'} is not")


def test_c_abi(runtime_build: Path, openvino_bundle: Bundle, tmp_path: Path) -> None:
    pixels = np.asarray(picture())
    raw = tmp_path / "frame.rgb"
    raw.write_bytes(pixels.tobytes())
    said = run(runtime_build / "examples" / "c_abi", openvino_bundle.folder, raw, 70, 110)
    assert said.code == 0, said
    with segexport.open(openvino_bundle.folder) as net:
        mask = net.run(pixels).mask
        assert mask is not None
        expected = [f"{100 * np.mean(mask == id_):7.2f} %  {net.labels.names[id_]}" for id_ in np.unique(mask)]
    assert said.out.splitlines()[1:] == expected
    failed(run(runtime_build / "examples" / "c_abi", openvino_bundle.folder, raw, 71, 110), str(raw))
    failed(run(runtime_build / "examples" / "c_abi", tmp_path / "none", raw, 70, 110), str(tmp_path / "none"))


STAND_IN = """
// What opencv.hpp uses of cv::Mat, by OpenCV's own names and types (modules/core/include/opencv2/core/mat.hpp).
#pragma once
#include <cstddef>
#include <vector>
#define CV_8UC1 0
#define CV_8UC3 16
#define CV_8UC4 24
namespace cv {
struct MatStep {
    std::size_t p[2];
    const std::size_t& operator[](int i) const { return p[i]; }
};
class Mat {
   public:
    int dims = 2, rows = 0, cols = 0;
    unsigned char* data = nullptr;
    MatStep step{};
    int type() const { return type_; }
    void create(int height, int width, int type) {
        if (height == rows && width == cols && type == type_ && data != nullptr) return;
        rows = height, cols = width, type_ = type;
        step.p[0] = static_cast<std::size_t>(width) * (type / 8 + 1);
        held_.resize(step.p[0] * height);
        data = held_.data();
    }

   private:
    int type_ = 0;
    std::vector<unsigned char> held_;
};
}  // namespace cv
"""

WITH_OPENCV = """
#include <segexport/opencv.hpp>

#include <cstdio>

int main() {
    cv::Mat image, mask, gray;
    image.create(70, 110, CV_8UC3);
    gray.create(70, 110, CV_8UC1);
    const segexport::ImageView view = segexport::view(image);
    if (view.data != image.data || view.height != 70 || view.width != 110 || view.stride != 330) return 1;
    if (view.format != segexport::PixelFormat::bgr) return 2;
    const auto* const before = segexport::mask_over(mask, image).data();
    const segexport::Mask again = segexport::mask_over(mask, image);
    if (again.data() != before || again.data() != mask.data) return 3;
    if (again.height() != 70 || again.width() != 110 || again.stride() != 110) return 4;
    image.create(5, 6, CV_8UC4);
    if (segexport::view(image).format != segexport::PixelFormat::bgra || segexport::view(image).stride != 24) return 5;
    try {
        segexport::view(gray);
        return 6;
    } catch (const segexport::ContractError& error) {
        std::puts(error.what());
    }
    return 0;
}
"""


@pytest.mark.parametrize("real", [False, True], ids=["stand-in", "opencv"])
def test_the_opencv_adapter(runtime_build: Path, tmp_path: Path, real: bool) -> None:
    include: list[str] = []
    if real:
        if (
            shutil.which("pkg-config") is None
            or subprocess.run(["pkg-config", "--exists", "opencv4"], check=False).returncode
        ):
            pytest.skip("needs OpenCV's headers (Debian: libopencv-core-dev)")
        include = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "opencv4"], capture_output=True, text=True, check=True
        ).stdout.split()
    else:
        (tmp_path / "opencv2" / "core").mkdir(parents=True)
        (tmp_path / "opencv2" / "core" / "mat.hpp").write_text(STAND_IN)
        include = [f"-I{tmp_path}"]
    source, program = tmp_path / "adapter.cpp", tmp_path / "adapter"
    source.write_text(WITH_OPENCV)
    subprocess.run(
        [
            *("g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion", "-Werror"),
            *(f"-I{RUNTIME / 'include'}", str(source), "-o", str(program), *include),
            *(f"-L{runtime_build}", "-lsegexport"),
        ],
        check=True,
    )
    assert "cv::cvtColor" in subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
