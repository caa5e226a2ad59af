"""Damaged and hostile files of `torch.save`: one line each, no memory beyond the file's size, nothing worse."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from segexport.errors import CheckpointError
from segexport.weights import load_pickle
from tests.support.torch_files import saved

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
_MAGIC = 0x1950A86A20F9469CFC6C


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            load_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert text.startswith(f"{path} ")
    assert "\n" not in text
    return text


def some_tensors() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return {f"layer.{i}.weight": torch.randn(16, 8, generator=generator) for i in range(4)}


def archive(content: bytes, entries: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        for name, entry in {"data.pkl": content, "byteorder": b"little", **(entries or {})}.items():
            written.writestr(f"archive/{name}", entry)
    return file.getvalue()


def older(content: bytes, keys: object = ("0",), storages: bytes = b"") -> bytes:
    return b"".join(
        [
            *(pickle.dumps(value, 2) for value in (_MAGIC, 1001, {"little_endian": True})),
            content,
            pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2),
            storages,
        ]
    )


def tensor_pickle(
    count: int = 6,
    offset: object = 0,
    size: object = (2, 3),
    stride: object = (3, 1),
    kind: str = "FloatStorage",
    view: object = None,
    key: str = "0",
) -> bytes:
    """A tensor as torch writes it, with any numbers, by hand: torch would not write these."""
    parts = [pickle.PROTO + b"\x02", b"ctorch._utils\n_rebuild_tensor_v2\n", pickle.MARK, pickle.MARK]
    parts += [plain("storage"), f"ctorch\n{kind}\n".encode(), plain(key), plain("cpu"), plain(count)]
    parts += [plain(view)] if view else []
    parts += [pickle.TUPLE, pickle.BINPERSID, plain(offset), plain(size), plain(stride), plain(False), plain(None)]
    return b"".join([*parts, pickle.TUPLE, pickle.REDUCE, pickle.STOP])


def plain(value: object) -> bytes:
    """The opcodes of a plain value, without protocol, memo and end."""
    written = pickle.dumps(value, 2)
    opcodes = list(pickletools.genops(written))
    ends = [*(start for _, _, start in opcodes[1:]), len(written)]
    kept = [
        written[start:end]
        for (opcode, _, start), end in zip(opcodes, ends, strict=True)
        if opcode.name not in ("PROTO", "BINPUT", "LONG_BINPUT", "STOP")
    ]
    return b"".join(kept)


SIX = struct.pack("<6f", *range(6))


def test_the_tensor_made_by_hand_is_right(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for content in (
        archive(tensor_pickle(), {"data/0": SIX}),
        older(tensor_pickle(), storages=struct.pack("<q", 6) + SIX),
        older(tensor_pickle(8, view=("1", 1, 6)), storages=struct.pack("<q", 8) + b"\0" * 4 + SIX + b"\0" * 4),
    ):
        path.write_bytes(content)
        assert load_pickle(path).tolist() == [[0, 1, 2], [3, 4, 5]]


@FORMATS
def test_truncation_anywhere(tmp_path: Path, zipped: bool) -> None:
    whole = saved({"state_dict": some_tensors(), "meta": {"epoch": 3}}, zipped=zipped)
    cuts = {0, 1, 3, 4, 5, 10, 30, len(whole) - 1, len(whole) - 2, len(whole) - 30}
    cuts |= {len(whole) * i // 40 for i in range(40)}
    for cut in sorted(cuts):
        text = refusal(tmp_path, whole[:cut])
        assert "is truncated or no PyTorch file (" in text, cut
        assert text.endswith("): copy or download it again")


@FORMATS
def test_flipped_bytes_anywhere(tmp_path: Path, zipped: bool) -> None:
    """Either the file is refused, or read: whatever is wrong with it, nothing else is raised."""
    whole = saved({"state_dict": some_tensors(), "meta": {"epoch": 3}}, zipped=zipped)
    drawn = random.Random(0)
    refusals = []
    for _ in range(1500):
        content = bytearray(whole)
        for _ in range(drawn.choice((1, 1, 3))):
            content[drawn.randrange(min(len(whole), 1400) if drawn.random() < 0.8 else len(whole))] = drawn.randrange(
                256
            )
        (tmp_path / "x.pth").write_bytes(content)
        try:
            load_pickle(tmp_path / "x.pth")
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > 300
    assert not [text for text in refusals if "\n" in text]


def test_a_changed_value_in_a_zip_is_noticed(tmp_path: Path) -> None:
    import torch

    whole = saved({"a": torch.full((64,), 1.5)})
    place = whole.index(struct.pack("<f", 1.5) * 64)
    assert "CRC-32" in refusal(tmp_path, whole[:place] + b"\1" + whole[place + 1 :])


HUGE = 10**12
BEYOND: dict[str, dict[str, Any]] = {
    "offset": {"offset": 1},
    "size": {"size": (3, 3)},
    "stride": {"stride": (4, 1)},
    "negative offset": {"offset": -1},
    "negative size": {"size": (2, -3)},
    "negative stride": {"stride": (-3, 1)},
    "axes": {"size": (6,)},
    "many axes": {"size": (1,) * 65, "stride": (1,) * 65},
    "repeated": {"size": (HUGE,), "stride": (0,)},
    "repeated a little": {"size": (7,), "stride": (0,)},
    "beyond 64 bits": {"size": (2**70,), "stride": (0,)},
    "empty and huge": {"size": (0, 2**62, 2**62), "stride": (1, 1, 1)},
    "text": {"size": "ab"},
    "real": {"offset": 0.0},
    "truth": {"offset": True},
    "wider": {"kind": "DoubleStorage"},
    "huge storage": {"count": HUGE},
    "huge storage and tensor": {"count": HUGE, "size": (HUGE,), "stride": (1,)},
    "negative storage": {"count": -6},
    "unknown key": {"key": "7"},
}


@pytest.mark.parametrize("case", BEYOND)
@FORMATS
def test_tensors_beyond_their_storage(tmp_path: Path, zipped: bool, case: str) -> None:
    written = tensor_pickle(**BEYOND[case])
    content = archive(written, {"data/0": SIX}) if zipped else older(written, storages=struct.pack("<q", 6) + SIX)
    assert "is truncated or no PyTorch file (" in refusal(tmp_path, content)


@pytest.mark.parametrize("view", [("1", 3, 6), ("1", -1, 6), ("1", 0, HUGE), ("1",), ("1", "a", "b")])
def test_views_beyond_their_storage(tmp_path: Path, view: tuple[object, ...]) -> None:
    content = older(tensor_pickle(8, view=view), storages=struct.pack("<q", 8) + SIX + b"\0" * 8)
    assert "is truncated or no PyTorch file (" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("keys", "storages"),
    [
        ((), b""),
        (("0", "0"), struct.pack("<q", 6) + SIX),
        (("1",), struct.pack("<q", 6) + SIX),
        ({"0": 1}, struct.pack("<q", 6) + SIX),
        (("0",), struct.pack("<q", 5) + SIX),
        (("0",), struct.pack("<q", -6) + SIX),
        (("0",), struct.pack("<q", HUGE) + SIX),
    ],
)
def test_storages_that_are_not_those_of_the_pickle(tmp_path: Path, keys: object, storages: bytes) -> None:
    assert "is truncated or no PyTorch file (" in refusal(tmp_path, older(tensor_pickle(), keys, storages))


DEEP = 300_000
"""Deeper than a stack of 8 MB takes, where something calls itself for each level."""


def lists(depth: int) -> bytes:
    return pickle.EMPTY_LIST * depth + pickle.APPEND * (depth - 1) + pickle.STOP


HOSTILE: dict[str, Callable[[], bytes]] = {
    "lists in lists": lambda: lists(DEEP),
    "tuples in tuples": lambda: pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP + pickle.STOP,
    "a key of tuples in tuples": lambda: (
        pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP + pickle.NONE + pickle.SETITEM + pickle.STOP
    ),
    "a set of tuples in tuples": lambda: (
        pickle.EMPTY_SET + pickle.MARK + pickle.EMPTY_TUPLE + pickle.TUPLE1 * DEEP + pickle.ADDITEMS + pickle.STOP
    ),
    "marks": lambda: pickle.MARK * 100_000 + pickle.STOP,
    "calls in calls": lambda: (
        b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00"
        + (pickle.EMPTY_TUPLE + pickle.BINPUT + b"\x01")
        + (pickle.MARK + b"h\x00" + pickle.NONE + b"h\x01" + pickle.NONE + pickle.TUPLE + pickle.BINPUT + b"\x01")
        * 9999
        + (b"h\x00h\x01" + pickle.REDUCE + pickle.STOP)
    ),
    "a memo of many": lambda: pickle.NONE + pickle.LONG_BINPUT + b"\xff" * 4 + pickle.LONG_BINGET + b"\xfe" * 4,
    "text of many": lambda: pickle.BINUNICODE + b"\xff" * 4 + b"a" + pickle.STOP,
    "bytes of many": lambda: pickle.BINBYTES + b"\xff" * 4 + b"a" + pickle.STOP,
    "bytes of a number": lambda: b"cbuiltins\nbytearray\n" + plain((HUGE,)) + pickle.REDUCE + pickle.STOP,
    "eight bytes of length": lambda: pickle.BINUNICODE8 + b"\xff" * 8 + pickle.STOP,
    "an extension": lambda: pickle.EXT1 + b"\x01" + pickle.STOP,
    "an instance": lambda: pickle.MARK + b"ios\nsystem\n" + pickle.STOP,
    "nothing on the stack": lambda: pickle.TUPLE2 + pickle.STOP,
    "no mark": lambda: pickle.TUPLE + pickle.STOP,
    "an item of a tensor type": lambda: b"ctorch\nTensor\n" + pickle.NONE + pickle.NONE + pickle.SETITEM + pickle.STOP,
    "attributes of a function": lambda: (
        b"ctorch._utils\n_rebuild_tensor_v2\n" + plain({"call": 1}) + pickle.BUILD + pickle.STOP
    ),
    "a call of a value": lambda: plain("x") + pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.STOP,
    "a new tensor type": lambda: b"ctorch\nTensor\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.STOP,
    "a name without end": lambda: b"c" + b"a" * 5000,
    "a name of several lines": lambda: plain("a\nb") + plain("c\ud800" * 10**5) + pickle.STACK_GLOBAL + pickle.STOP,
    "a storage of a storage": lambda: tensor_pickle(kind="storageStorage"),
    "no storages here": lambda: plain("storage") + pickle.TUPLE1 + pickle.BINPERSID + pickle.STOP,
    "an odd count of items": lambda: pickle.EMPTY_DICT + pickle.MARK + pickle.NONE + pickle.SETITEMS + pickle.STOP,
}


@pytest.mark.parametrize("case", HOSTILE)
@FORMATS
def test_hostile_pickles(tmp_path: Path, zipped: bool, case: str) -> None:
    written = pickle.PROTO + b"\x02" + HOSTILE[case]()
    path = tmp_path / "x.pth"
    path.write_bytes(archive(written) if zipped else older(written, ()))
    with pytest.raises(CheckpointError) as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_list_in_itself(tmp_path: Path) -> None:
    endless: list[object] = []
    endless.append(endless)
    (tmp_path / "x.pth").write_bytes(archive(pickle.dumps({"a": endless}, 2)))
    found = load_pickle(tmp_path / "x.pth")["a"]
    assert found[0] is found


def test_deep_but_not_too_deep(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(archive(pickle.PROTO + b"\x02" + lists(50)))
    assert load_pickle(tmp_path / "x.pth")
    assert "it is no pickle of tensors" in refusal(tmp_path, archive(pickle.PROTO + b"\x02" + lists(200)))


def test_archives_that_torch_does_not_write(tmp_path: Path) -> None:
    entry = {"data/0": SIX}
    assert "compressed" in refusal(tmp_path, archive(tensor_pickle(), entry, zipfile.ZIP_DEFLATED))
    assert "without data.pkl" in refusal(tmp_path, archive(b"").replace(b"data.pkl", b"data.pk_"))
    assert "storage 0 is missing" in refusal(tmp_path, archive(tensor_pickle()))
    assert "storage 0 has 20 bytes instead of 24" in refusal(tmp_path, archive(tensor_pickle(), {"data/0": SIX[:20]}))
    big = refusal(tmp_path, archive(tensor_pickle(), {**entry, "byteorder": b"big"}))
    assert big.endswith("was written on a big-endian machine: save it again on a little-endian one")


def test_a_zip_whose_entries_lie_over_each_other(tmp_path: Path) -> None:
    """A thousand names for one entry of a megabyte would be a gigabyte."""
    size = 2**20
    numbers = [tensor_pickle(size // 4, 0, (size // 4,), (1,), key=str(i))[2:-1] for i in range(1000)]
    written = pickle.PROTO + b"\x02" + pickle.MARK + b"".join(numbers) + pickle.TUPLE + pickle.STOP
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("a/data.pkl", written)
        content.writestr("a/data/0", b"\0" * size)
        first = content.getinfo("a/data/0")
        for i in range(1, 1000):
            other = zipfile.ZipInfo(f"a/data/{i}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(other, field, getattr(first, field))
            content.filelist.append(other)
            content.NameToInfo[other.filename] = other
    assert "is truncated or no PyTorch file (" in refusal(tmp_path, file.getvalue())


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth does not exist: pass the path"):
        load_pickle(tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\)"):
        load_pickle(tmp_path)
