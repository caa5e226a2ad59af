"""Pickle's opcodes, run on plain values alone: nothing is imported, and nothing called that `admitted` has not.

`pickle.Unpickler` with a `find_class` of one's own is not enough here. It sets attributes of whatever it is given
(BUILD), takes memory for the largest number that the memo is asked for, and hashes tuples in tuples until the stack
overflows and the process dies. As in torch's own `_weights_only_unpickler.py`, the opcodes are those that `torch.save`
writes, in protocols 2 to 4, and few more.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pickle import UnpicklingError, decode_long
from typing import IO, Any

import numpy as np

from segexport.weights.admitted import Function, StorageType, find, is_key
from segexport.weights.storages import Storage

StorageOf = Callable[[StorageType, str, object, object], Storage]
"""(type, key, count of elements, view) -> the storage that a pickle refers to by these."""

_MOST_OPERATIONS = 20_000_000
"""A checkpoint with its optimizer has a hundredth of that, and each may take some two hundred bytes."""

_DEEPEST = 100
_LONGEST_NAME = 1000
_SMALL = 2**16


class Stream:
    """A file, or bytes, read in order: reading beyond the end is an error before memory is taken for it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size

    @property
    def left(self) -> int:
        """How many bytes there are from here on."""
        return self.size - self.file.tell()

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            EOFError: there are fewer.
        """
        if count > _SMALL and count > self.left:
            raise EOFError("it ends too early")
        found = self.file.read(count)
        if len(found) != count:
            raise EOFError("it ends too early")
        return found

    def number(self, form: str) -> int:
        """A whole number, little-endian, as `struct` writes `form`.

        Raises:
            EOFError: the file ends in it.
        """
        form = f"<{form}"
        return int(struct.unpack(form, self.read(struct.calcsize(form)))[0])

    def line(self) -> str:
        """Text up to the end of a line, which is not part of it.

        Raises:
            EOFError: no line ends near.
        """
        found = self.file.readline(_LONGEST_NAME)
        if not found.endswith(b"\n"):
            raise EOFError("it ends too early")
        return found[:-1].decode()


def unpickle(stream: Stream, storage_of: StorageOf | None = None) -> Any:
    """The value of one pickle, which the stream then stands behind.

    Args:
        stream: stands before the pickle.
        storage_of: finds storages; None where there are none.

    Returns:
        Dictionaries (plain ones, whatever they were), lists, tuples, sets, text, bytes, numbers, NumPy arrays and
        `Storage`.

    Raises:
        Refused: a name that is not admitted.
        Unsupported: a tensor that NumPy has not.
        EOFError, IndexError, KeyError, TypeError, UnpicklingError, ValueError, struct.error: no pickle of tensors.
    """
    machine = _Machine(stream, storage_of)
    value = machine.run()
    _refuse_depth(value)
    return value


class _Machine:
    def __init__(self, stream: Stream, storage_of: StorageOf | None) -> None:
        self.stream = stream
        self.storage_of = storage_of
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """The stacks below the marks."""
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(_MOST_OPERATIONS):
            code = self.stream.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise UnpicklingError(f"opcode {code!r} is none of a pickle of tensors")
            operation(self)
        raise UnpicklingError("it has too many parts")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def skip(self, count: int) -> None:
        self.stream.read(count)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.below.pop()
        return found

    def last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        return found

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise UnpicklingError("only lists are appended to")
        target.extend(items)

    def add(self) -> None:
        items, target = self.since_mark(), self.stack[-1]
        if type(target) is not set or not all(is_key(item) for item in items):
            raise UnpicklingError("only sets are added to")
        target.update(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2 or not all(is_key(key) for key in items[::2]):
            raise UnpicklingError("only dictionaries have items")
        target.update(zip(items[::2], items[1::2], strict=True))

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise UnpicklingError("only admitted functions are called")
        self.push(function.call(*arguments))

    def build(self) -> None:
        """Attributes are left out: of state dicts (`_metadata`), and of parameters."""
        target, _ = self.last(2)
        if not isinstance(target, dict | np.ndarray):
            raise UnpicklingError("only dictionaries and parameters have attributes")
        self.push(target)

    def name(self) -> None:
        module = self.stream.line()
        self.push(find(module, self.stream.line()))

    def name_on_stack(self) -> None:
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("names are text")
        self.push(find(module, name))

    def persistent(self) -> None:
        """("storage", type, key, location, count) and, in the older format, a view."""
        identity = self.stack.pop()
        if self.storage_of is None or not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise UnpicklingError("only storages are elsewhere")
        word, kind, key, _, count, *view = identity
        if word not in ("storage", b"storage") or not isinstance(kind, StorageType):
            raise UnpicklingError("only storages are elsewhere")
        self.push(self.storage_of(kind, _text(key), count, view[0] if view else None))

    def text(self, count: int) -> None:
        self.push(self.stream.read(count).decode("utf-8", "surrogatepass"))

    def text_of_python_2(self) -> None:
        self.push(self.stream.read(self.stream.number("B")).decode())

    def long(self) -> None:
        self.push(decode_long(self.stream.read(self.stream.number("B"))))

    def real(self) -> None:
        self.push(struct.unpack(">d", self.stream.read(8))[0])

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.push(self.memo[index])


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if not isinstance(value, str):
        raise UnpicklingError("keys of storages are text")
    return value


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.skip(1),
    pickle.FRAME: lambda m: m.skip(8),
    pickle.MARK: _Machine.mark,
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.stream.number("i")),
    pickle.BININT1: lambda m: m.push(m.stream.number("B")),
    pickle.BININT2: lambda m: m.push(m.stream.number("H")),
    pickle.LONG1: _Machine.long,
    pickle.BINFLOAT: _Machine.real,
    pickle.BINUNICODE: lambda m: m.text(m.stream.number("I")),
    pickle.SHORT_BINUNICODE: lambda m: m.text(m.stream.number("B")),
    pickle.SHORT_BINSTRING: _Machine.text_of_python_2,
    pickle.BINBYTES: lambda m: m.push(m.stream.read(m.stream.number("I"))),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.stream.read(m.stream.number("B"))),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push(m.last(1)),
    pickle.TUPLE2: lambda m: m.push(m.last(2)),
    pickle.TUPLE3: lambda m: m.push(m.last(3)),
    pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append([m.stack.pop()]),
    pickle.APPENDS: lambda m: m.append(m.since_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(list(m.last(2))),
    pickle.SETITEMS: lambda m: m.set_items(m.since_mark()),
    pickle.EMPTY_SET: lambda m: m.push(set()),
    pickle.ADDITEMS: _Machine.add,
    pickle.GLOBAL: _Machine.name,
    pickle.STACK_GLOBAL: _Machine.name_on_stack,
    pickle.REDUCE: _Machine.call,
    pickle.NEWOBJ: _Machine.call,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent,
    pickle.BINPUT: lambda m: m.remember(m.stream.number("B")),
    pickle.LONG_BINPUT: lambda m: m.remember(m.stream.number("I")),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.BINGET: lambda m: m.recall(m.stream.number("B")),
    pickle.LONG_BINGET: lambda m: m.recall(m.stream.number("I")),
}


def _refuse_depth(value: object) -> None:
    """Whoever walks through the value, once through each part of it, should not run out of stack."""
    level, seen = [value], set()
    for _ in range(_DEEPEST):
        found: list[object] = []
        for item in level:
            if isinstance(item, dict | list | tuple) and id(item) not in seen:
                seen.add(id(item))
                found += item.values() if isinstance(item, dict) else item
        if not found:
            return
        level = found
    raise UnpicklingError("it is nested too deeply")
