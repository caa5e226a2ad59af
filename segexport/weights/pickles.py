"""Files of `torch.save` -> plain values and NumPy arrays, without torch; nothing in a file is ever executed.

Source of both formats: `torch/serialization.py`. Since 1.6 (`_save`) a file is a zip archive with a folder of any name:

    <root>/data.pkl      the pickle; a tensor in it refers to a storage by its key
    <root>/data/<key>    a storage's bytes
    <root>/byteorder     "little" or "big"; files before 2.1 lack it

The older format (`_legacy_save`) is five pickles, one behind the other: a magic number, the protocol's version, facts
about the machine, the value, the storages' keys. Then, for each key, the count of elements in 8 bytes, and the
elements, little-endian on every machine.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from segexport.errors import CheckpointError
from segexport.weights.admitted import Refused, StorageType, Unsupported, in_one_line
from segexport.weights.opcodes import Stream, unpickle
from segexport.weights.storages import Misfit, Storage, storage_size

_ZIP = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MALFORMED = (pickle.UnpicklingError, LookupError, TypeError, ValueError, ArithmeticError, struct.error)
"""What a pickle that is none of tensors raises when it is run."""


class _Complaint(Exception):
    """What is wrong with the whole file: its text follows the file's name."""


def load_pickle(path: Path, *, values: bool = True) -> Any:
    """What `torch.save` wrote: a state dict, or whatever it is in.

    Args:
        path: a file in either of torch's formats.
        values: whether the tensors' values are wanted. Without them nothing but the pickle is read, and tensors are
            arrays of the right shape and type that hold nothing.

    Returns:
        Dictionaries, lists, tuples, text and numbers as they were; tensors and parameters as NumPy arrays of their own
        type (bfloat16 and 8-bit floats as ml_dtypes has them), which share memory where they did in torch; element
        types and devices as text.

    Raises:
        CheckpointError: missing, truncated, damaged, no file of torch's, or with anything in it that is no plain value
            and no tensor.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            zipped = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            return _Zipped(file, size, values).load() if zipped else _Older(file, size, values).load()
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: pass the path of a .pth file") from None
    except _Complaint as complaint:
        raise CheckpointError(f"{path} {complaint}") from None
    except Refused as refused:
        raise CheckpointError(
            f"{path} holds {refused.name} beside its weights, which could run code when loaded, and was not: if you "
            'trust the file, resave its tensors where it was trained: python -c "import torch; c = torch.load('
            "'IN.pth', weights_only=False); torch.save({'state_dict': c.get('state_dict', c)}, 'OUT.pth')\""
        ) from refused
    except Unsupported as unsupported:
        raise CheckpointError(
            f"{path} holds {unsupported}, which cannot be read: save dense tensors of floats and integers"
        ) from unsupported
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}): correct its permissions or copy it again"
        ) from error
    except (EOFError, Misfit, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error
    except _MALFORMED as error:
        raise _damaged(path, "it is no pickle of tensors") from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is truncated or no PyTorch file ({in_one_line(reason)}): copy or download it again")


class _Zipped:
    """The format of today's torch."""

    def __init__(self, file: IO[bytes], size: int, values: bool) -> None:
        self.archive = zipfile.ZipFile(file)
        self.left = size
        """Bytes that storages may still claim: entries that lie over each other could hold more than the file."""
        self.values = values
        self.root = ""
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        names = self.archive.namelist()
        root = next(
            (name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")),
            None,
        )
        if root is None:
            raise zipfile.BadZipFile("a zip archive without data.pkl")
        self.root = root
        if f"{root}constants.pkl" in names or any(name.startswith(f"{root}code/") for name in names):
            raise _Complaint("is a TorchScript program: save the model's state_dict() and pass that")
        if f"{root}byteorder" in names and self._read(f"{root}byteorder").tobytes() != b"little":
            raise _Complaint("was written on a big-endian machine: save it again on a little-endian one")
        content = self._read(f"{root}data.pkl").tobytes()
        return unpickle(Stream(io.BytesIO(content), len(content)), self._storage)

    def _storage(self, kind: StorageType, key: str, count: object, view: object) -> Storage:
        size = storage_size(count, kind.dtype)
        known = self.storages.get(key)
        if known is None:
            name = f"{self.root}data/{key}"
            if name not in self.archive.NameToInfo:
                raise Misfit(f"storage {key} is missing")
            if self._entry(name).file_size != size:
                raise Misfit(f"storage {key} has {self._entry(name).file_size} bytes instead of {size}")
            known = self.storages[key] = Storage(size, kind.dtype, self._read(name) if self.values else None)
        if known.size != size or view is not None:
            raise Misfit(f"storage {key} has several sizes")
        return Storage(size, kind.dtype, known.data)

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self.archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise zipfile.BadZipFile(f"{name} is compressed or encrypted, which torch.save does not do")
        return entry

    def _read(self, name: str) -> npt.NDArray[np.uint8]:
        """An entry's bytes, whose checksum is right."""
        entry = self._entry(name)
        self.left -= entry.file_size
        if self.left < 0:
            raise zipfile.BadZipFile(f"{name} is larger than what is left of the file")
        found = np.empty(entry.file_size, np.uint8)
        with self.archive.open(entry) as source:
            _fill(source, found)
            source.read(1)  # behind the last byte the checksum is looked at
        return found


class _Older:
    """The format of torch before 1.6, and of `_use_new_zipfile_serialization=False`."""

    def __init__(self, file: IO[bytes], size: int, values: bool) -> None:
        self.file = file
        self.stream = Stream(file, size)
        self.values = values
        self.claimed = 0
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        if unpickle(self.stream) != _MAGIC:
            raise pickle.UnpicklingError("no magic number")
        if unpickle(self.stream) != _PROTOCOL:
            raise pickle.UnpicklingError("another protocol")
        unpickle(self.stream)
        found = unpickle(self.stream, self._storage)
        keys = unpickle(self.stream)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self.storages):
            raise Misfit("the list of its storages is not of those that it uses")
        for key in keys:
            self._fill(key)
        return found

    def _storage(self, kind: StorageType, key: str, count: object, view: object) -> Storage:
        size = storage_size(count, kind.dtype)
        known = self.storages.get(key)
        if known is None:
            # Elements follow the pickle: their number is held against the rest of the file before there is memory.
            self.claimed += size
            if self.claimed > self.stream.left:
                raise EOFError(f"storage {key} is said to have {size} bytes, and the file ends before")
            data = np.empty(size, np.uint8) if self.values else None
            known = self.storages[key] = Storage(size, kind.dtype, data)
        if known.size != size:
            raise Misfit(f"storage {key} has several sizes")
        whole = Storage(size, kind.dtype, known.data)
        if view is None:
            return whole
        if not isinstance(view, tuple) or len(view) != 3:
            raise Misfit(f"a view of storage {key} without its place")
        return whole.part(view[1], view[2])

    def _fill(self, key: str) -> None:
        storage = self.storages[key]
        width = storage.dtype.itemsize if storage.dtype else 1
        count = self.stream.number("q")
        if count * width != storage.size:
            raise Misfit(f"storage {key} has {count * width} bytes instead of {storage.size}")
        if storage.size > self.stream.left:
            raise EOFError(f"it ends in storage {key}")
        if storage.data is None:
            self.file.seek(storage.size, io.SEEK_CUR)
        else:
            _fill(self.file, storage.data)


def _fill(source: IO[bytes], target: npt.NDArray[np.uint8]) -> None:
    rest = target.data
    while len(rest):
        count = source.readinto(rest)  # type: ignore[attr-defined]  # of every binary file, and not of IO
        if not count:
            raise EOFError("it ends in a storage")
        rest = rest[count:]
