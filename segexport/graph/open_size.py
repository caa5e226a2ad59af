"""Open a finished graph's height and width, and its batch on request: for engines that are built for ranges of sizes.

Nothing but shapes changes. A walk from the image on finds what every dimension is at any size (`symbolic`,
`shape_rules`), and each constant that names a size, of a Reshape, a Resize or an Expand, is written anew: `0` where the
dimension is copied, one `-1` where a single one is left, else the number from the Shape of the first value that has it.
What does not follow is refused, so that no constant stays that would be wrong at another size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.errors import ContractError
from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.graph.halves import drop_middle, repeat_middle
from segexport.graph.shape_rules import RULES, Unclear, constant_ints, expanded, named, numbers_of, require, reshaped
from segexport.graph.symbolic import Dim, Dims, Side, Unknown, dim
from segexport.spec import DYNAMIC, Contract, format_size

LEAST_SIDE = 64
"""Smallest height and width a graph can be opened from: below, stages have rows or columns of one cell, and a 1 in a
shape does not say what it counts. The opened graph serves smaller images too."""

_MANY = 7
"""Images in an open batch while its graph is read: any number but 1, which a shape also has for other reasons."""

_SIDES: tuple[Side, Side] = ("height", "width")

_TARGETS = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""Where an operator is told the shape it makes."""


def open_size(graph: Graph, *, batch: bool = False, equal_parts: bool = False) -> Graph:
    """A copy of `graph` that takes images of any height and width from 32 on.

    Args:
        graph: a finished one: after all passes, in any precision.
        batch: whether to open the number of images too; one that is open stays so.
        equal_parts: whether every size to come divides as the graph's own does where queries are split, as
            `halves.parts_stay_equal` tells. Otherwise halves overlap by the middle query where it does not.

    Returns:
        The same network behind `image`, uint8 [N, height, width, 3]. Outputs at the image's size or the network's
        follow it. The contract's `size` is still the one that the graph was made for.

    Raises:
        ContractError: the graph resizes its images, its mask has a size of its own, it was made for less than 64x64, or
            it has a node whose shape at another size does not follow: the error names it.
    """
    _require_openable(graph.contract)
    made = graph.copy()
    if batch:
        made.contract = dataclasses.replace(made.contract, batch=DYNAMIC)
    _Opening(made.model.graph, equal_parts).run(made.contract)
    RemoveUnusedNodesPass()(made.model)
    return made


def _require_openable(contract: Contract) -> None:
    if contract.source_size is not None:
        raise ContractError(
            f"a graph that resizes {format_size(contract.source_size)} images itself serves no other size: "
            "leave out --source-size, and resize in the program"
        )
    if min(contract.size) < LEAST_SIDE:
        raise ContractError(
            f"a graph for {format_size(contract.size)} cannot be opened to other sizes: "
            f"export it with a --size of {LEAST_SIDE}x{LEAST_SIDE} or more"
        )
    if contract.mask_size not in (None, contract.size, contract.grid.of(contract.size)):
        assert contract.mask_size is not None
        raise ContractError(
            f"a mask of {format_size(contract.mask_size)} does not follow the image's size: "
            "pass --mask-size input or network"
        )


class _Opening:
    def __init__(self, graph: ir.Graph, equal_parts: bool) -> None:
        self._graph = graph
        self._order = {node: place for place, node in enumerate(graph)}
        self._equal_parts = equal_parts
        self._shapes: dict[ir.Value, Dims] = {}
        self._numbers: dict[ir.Value, Dims] = {}
        """What computed shapes hold."""
        self._homes: dict[Dim, list[tuple[ir.Value, int]]] = {}
        """Values that have a dimension, and at which axis, in the order of the graph."""
        self._read: dict[Dims, ir.Value] = {}
        """What has been read off a shape already."""
        self._halved: dict[Dim, Dim] = {}
        """What is there once and a half of it twice, by twice that half."""

    def run(self, contract: Contract) -> None:
        """Open every shape."""
        image = self._graph.inputs[0]
        count, *sides = dims(image)[:3]
        images = dim(Unknown("batch", count if isinstance(count, int) else _MANY, "batch"))
        height, width = (dim(Unknown(side, int(n), side)) for side, n in zip(_SIDES, sides, strict=True))
        self._shapes[image] = (images if contract.batch == DYNAMIC else dim(contract.batch), height, width, dim(3))
        image.shape = ir.Shape(named(self._shapes[image]))
        for node in self._order:
            try:
                self._open(node)
            except Unclear as reason:
                raise ContractError(
                    f"{node.name} ({node.op_type}) does not follow the image's size: {reason}; build for fixed sizes"
                ) from None

    def _open(self, node: ir.Node) -> None:
        shapes = [self._shape(value) for value in node.inputs]
        numbers = numbers_of(node, shapes, [self._held(value) for value in node.inputs])
        if numbers is not None:
            self._numbers[node.outputs[0]] = numbers
            self._shapes[node.outputs[0]] = (dim(len(numbers)),)
            return
        if all(one.known for shape in shapes for one in shape):
            return  # it is a constant's, and the same at every size
        if node.op_type in _TARGETS:
            made: Sequence[Dims] = [self._retarget(node, shapes[0])]
            if node.op_type == "Reshape" and not self._equal_parts:
                made = [self._uneven(node, shapes[0], made[0])]
        else:
            require(node.domain == "" and node.op_type in RULES, "what it makes of an open shape is not known")
            made = RULES[node.op_type](node, shapes)
        for value, shape in zip(node.outputs, made, strict=False):
            self._record(value, shape)

    def _shape(self, value: ir.Value | None) -> Dims:
        if value is None:
            return ()
        if value not in self._shapes:
            tensor = ir.convenience.get_const_tensor(value)
            require(tensor is not None or value.shape is not None, f"the shape of {value.name} is not known")
            sizes = dims(value) if tensor is None else tensor.shape.numpy()
            self._shapes[value] = tuple(dim(int(size)) for size in sizes)
        return self._shapes[value]

    def _held(self, value: ir.Value | None) -> Dims | None:
        """What `value` holds, if it is whole numbers that are constant or come from a shape."""
        if value is None or value in self._numbers:
            return None if value is None else self._numbers[value]
        found = constant_ints(value) if value.dtype == ir.DataType.INT64 else None
        return None if found is None else tuple(dim(n) for n in found)

    def _record(self, value: ir.Value, shape: Dims) -> None:
        for before, one in zip(dims(value) if value.shape is not None else (), shape, strict=False):
            require(isinstance(before, str) or before == one.value, f"{one} was {one.value}, and {before} is recorded")
        for one in shape:
            cells = [unknown for unknown in one.unknowns if unknown.side != "batch" and unknown.value == 1]
            require(not cells, f"{one} is a single one at the size the graph was made for")
        self._shapes[value] = shape
        value.shape = ir.Shape(named(shape))
        for axis, one in enumerate(shape):
            if not one.known:
                self._homes.setdefault(one, []).append((value, axis))

    def _retarget(self, node: ir.Node, source: Dims) -> Dims:
        """What a node makes that is told the shape; it is told it anew."""
        index = _TARGETS[node.op_type]
        told = self._held(node.inputs[index]) if len(node.inputs) > index else None
        if told is None:
            raise Unclear("the shape it makes is not told in numbers that are known")
        if node.op_type == "Reshape":
            made = reshaped(node, source, [one.value for one in told])
            target: list[Dim | int] = [0 if one in source[axis : axis + 1] else one for axis, one in enumerate(made)]
            left = [axis for axis, one in enumerate(target) if isinstance(one, Dim) and not one.known]
            if len(left) == 1:
                target[left[0]] = -1
        elif node.op_type == "Expand":
            made, target = expanded(source, told)
        else:
            made = tuple(self._resized(one, size) for one, size in zip(source, told, strict=True))
            target = list(made)
        if not all(one.known for one in made):
            node.replace_input_with(index, self._write(node, target))
        return made

    def _uneven(self, node: ir.Node, source: Dims, made: Dims) -> Dims:
        """What a Reshape into halves, or of halves into one, makes once it serves odd numbers too."""
        parts = [one for one in made if any(unknown.exact for unknown in one.unknowns)]
        if parts and parts[0] not in source:
            return self._in_halves(node, source, made, parts[0])
        axis = next((axis for axis, one in enumerate(made) if one in self._halved), None)
        return made if axis is None else self._joined(node, made, axis)

    def _in_halves(self, node: ir.Node, source: Dims, made: Dims, part: Dim) -> Dims:
        whole = [one for one in source if one == dim(*part.unknowns[0].whole)]
        count = part.unknowns[0].parts
        require(
            len(whole) == 1 and count == 2,
            f"{part} is whole at some sizes only (halves follow, which a --size of multiples of 8 has)",
        )
        more = dim(_half(whole[0], up=True))
        twice, axis = dim(2, *more.factors), source.index(whole[0])
        self._halved[twice] = whole[0]
        writer = self._writer(node, before=node)
        shapes = [named((*source[:axis], one, *source[axis + 1 :])) for one in (more, twice)]
        (total,) = self._reading(writer, (whole[0],))
        assert node.inputs[0] is not None
        node.replace_input_with(0, repeat_middle(writer, node.inputs[0], axis, total, shapes))
        return tuple(more if one == part else one for one in made)

    def _joined(self, node: ir.Node, made: Dims, axis: int) -> Dims:
        whole = self._halved[made[axis]]
        result = (*made[:axis], whole, *made[axis + 1 :])
        sizes = (dim(_half(whole, up=False)), dim(_half(whole, up=True)), whole)
        value, readers = node.outputs[0], list(node.outputs[0].uses())
        writer = self._writer(node, before=min((use.node for use in readers), key=self._order.__getitem__))
        (total,) = self._reading(writer, (whole,))
        shapes = [named((*made[:axis], one, *made[axis + 1 :])) for one in sizes]
        once = drop_middle(writer, value, axis, total, shapes)
        for use in readers:
            use.node.replace_input_with(use.idx, once)
        self._record(value, made)
        self._record(once, result)
        return made

    def _resized(self, source: Dim, size: Dim) -> Dim:
        """The one dimension along `source`'s side that has `size` at the size the graph was made for."""
        if source.known or not size.known:
            return size
        sides = {unknown.side for unknown in source.unknowns}
        alike = [
            one
            for one in self._homes
            if one.value == size.value and len(one.factors) == 1 and {one.unknowns[0].side} == sides
        ]
        require(len(alike) == 1, f"{size} along {source} is {' or '.join(map(str, alike)) or 'no size known'}")
        return alike[0]

    def _write(self, node: ir.Node, target: Sequence[Dim | int]) -> ir.Value:
        """A shape as a value: constants, and what is read off other values' shapes."""
        writer = self._writer(node, before=node)
        pieces = []
        for known, group in itertools.groupby(target, lambda one: isinstance(one, int) or one.known):
            if known:
                numbers = [one if isinstance(one, int) else one.value for one in group]
                pieces.append(writer.constant(numbers, "shape", np.int64))
            else:
                pieces += self._reading(writer, tuple(one for one in group if isinstance(one, Dim)))
        if len(pieces) == 1:
            return pieces[0]
        return writer.op("Concat", pieces, dtype=ir.DataType.INT64, shape=[len(target)], axis=0, name="shape")

    def _reading(self, writer: Writer, wanted: Dims) -> list[ir.Value]:
        """`wanted` from the shape of the first value that has all of them side by side, or one by one."""
        if wanted in self._read:
            return [self._read[wanted]]
        for value, axis in self._homes.get(wanted[0], ()):
            end = axis + len(wanted)
            if self._shapes[value][axis:end] == wanted:
                size = [len(wanted)]
                found = writer.op("Shape", [value], dtype=ir.DataType.INT64, shape=size, start=axis, end=end)
                self._read[wanted] = found
                return [found]
        require(len(wanted) > 1, f"nothing before it has {wanted[0]}")
        return [piece for one in wanted for piece in self._reading(writer, (one,))]

    def _writer(self, node: ir.Node, before: ir.Node) -> Writer:
        return Writer(self._graph, (node.name or "").rpartition("/")[0] or "size", before)


def _half(whole: Dim, *, up: bool) -> Unknown:
    value = (whole.value + up) // 2
    return Unknown(f"{'ceil' if up else 'floor'}({whole}/2)", value, "both", whole.unknowns if up else (), 2)
