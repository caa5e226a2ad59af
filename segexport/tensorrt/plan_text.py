"""The text of a program in a plan: statements of a line each, read into fields.

    header {                                    what the program needs: regions of memory, inputs, outputs
      region = { name=devmem size=83558400 type=user place=accelerator ... }
      inputs={ "image.1" }
    }
    descriptors {                               every tensor; a sub_tensor is another view of a tensor's memory
      tensor={ dims={ 1 512 512 3 } name="image.1" region="devmem" type=uint8 ... }
    }
    main {                                      the operations, in order
      corrltn={ name="..." output={"conv2d.1" } input={"conv2d.1_2" "__mye84254_dconst" } layers="[ONNX Layer: ...]" }
    }
    shape_main { ... }                          integers on the host, from which open dimensions are computed

Read defensively: a line that does not follow the pattern is counted and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

Value = str | list[str]
Fields = dict[str, Value]

_HEADING = re.compile(r"(\w+) \{\s*")
_STATEMENT = re.compile(r"\s*(\w+)\s*=\s*\{(.*)\}\s*", re.S)
_SETTING = re.compile(r"\s*(\w+)\s*=\s*(\S+)\s*")
_TOKEN = re.compile(r'\s*("[^"]*"|[{}=]|[^\s={}"]+)')
_SYNCHRONISES = {"signal", "wait", "shape_call", "assert"}


@dataclass(frozen=True)
class Tensor:
    """A tensor's descriptor. Dimensions are numbers, or the names of integers; `base` is what it is a view of."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    constant: bool
    base: str | None
    region: str


@dataclass(frozen=True)
class Statement:
    """An operation: its kind and its fields, those of lists without the tensors' quotes."""

    kind: str
    fields: Fields

    def text(self, name: str) -> str:
        """A field of one word; empty where there is none."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def names(self, *keys: str) -> list[str]:
        """The first of these fields that is a list; empty where there is none."""
        for key in keys:
            if isinstance(value := self.fields.get(key), list):
                return value
        return []


@dataclass
class Text:
    """A program as its text has it. `unread` counts lines that could not be read."""

    settings: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    regions: list[Fields] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    main: list[Statement] = field(default_factory=list)
    shapes: list[Statement] = field(default_factory=list)
    unread: int = 0

    def operations(self) -> list[Statement]:
        """What the GPU does: `main` without the sums of dimensions that the host does."""
        host = {region.get("name") for region in self.regions if region.get("place") == "host"}
        return [one for one in self.main if not self._writes_only(one, host)]

    def _writes_only(self, statement: Statement, regions: Set[object]) -> bool:
        outputs = [self.tensors.get(name) for name in statement.names("output_args", "output")]
        return bool(outputs) and all(tensor is not None and tensor.region in regions for tensor in outputs)


def parse(text: str) -> Text:
    """Read a program; never raises."""
    found = Text()
    section = ""
    for line in text.split("\n"):
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        elif (stripped := line.strip()) and stripped != "}" and not stripped.startswith("label "):
            try:
                _take(found, section, stripped)
            except (ValueError, KeyError, TypeError):
                # An assertion's message may run over several lines, and nothing but shapes is computed there.
                found.unread += section != "shape_main"
    return found


def layers_of(text: str) -> tuple[str, ...]:
    """ONNX nodes of a `layers` field, or of an inspector's metadata: `[ONNX Layer: a]`, 0x1F or 0x1E, `[ONNX ...`."""
    parts = re.split(r"[\x1e\x1f]|(?<=\])(?=\[ONNX Layer: )", text)
    names = (part.removeprefix("[ONNX Layer: ").removesuffix("]").strip() for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))


def _take(found: Text, section: str, line: str) -> None:
    statement = _STATEMENT.fullmatch(line)
    if statement is None:
        setting = _SETTING.fullmatch(line)
        if setting is None or section != "header":
            raise ValueError(line)
        found.settings[setting[1]] = setting[2]
        return
    kind, content = statement.groups()
    tokens = _tokens(content)
    if section == "header" and kind == "region":
        found.regions.append(_fields(tokens))
    elif section == "header":
        found.lists[kind] = list(tokens)
    elif section == "descriptors":
        tensor = _tensor(_fields(tokens))
        found.tensors[tensor.name] = tensor
    elif section == "shape_main":
        found.shapes.append(Statement(kind, _fields(tokens)))
    elif section == "main" and kind not in _SYNCHRONISES:
        found.main.append(Statement(kind, _fields(tokens)))


def _tensor(fields: Fields) -> Tensor:
    name, dtype, dims = fields["name"], fields["type"], fields["dims"]
    base, region = fields.get("base"), fields.get("region", "")
    if not isinstance(name, str) or not isinstance(dtype, str) or isinstance(dims, str):
        raise TypeError(name)
    if isinstance(base, list) or isinstance(region, list):
        raise TypeError(name)
    sides = tuple(int(side) if re.fullmatch(r"-?\d+", side) else side for side in dims)
    return Tensor(name, dtype, sides, "const_payload_size" in fields, base, region)


def _tokens(text: str) -> Iterator[str]:
    position, text = 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(text)
        yield match[1].strip('"')
        position = match.end()


def _fields(tokens: Iterator[str]) -> Fields:
    """Words of the form `key=value` or `key={ values }`; a nested group is a list of its words."""
    fields: Fields = {}
    key = next(tokens, None)
    while key is not None:
        if next(tokens, None) != "=":
            raise ValueError(key)
        value = next(tokens, None)
        following = next(tokens, None)
        if value == "{":
            words: list[str] = []
            depth = 1
            while following is not None:
                depth += (following == "{") - (following == "}")
                if depth == 0:
                    break
                words.append(following)
                following = next(tokens, None)
            if depth:
                raise ValueError(key)
            fields[key], key = words, next(tokens, None)
        elif value is None:
            raise ValueError(key)
        else:
            fields[key], key = value, following
    return fields
