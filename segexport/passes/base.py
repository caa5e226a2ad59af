"""What a pass is: it rewrites a graph in place and accounts for what it did and what it left alone."""

from __future__ import annotations

from typing import Protocol

from segexport.graph.graph import Graph
from segexport.spec import Claim, PassResult


class Pass(Protocol):
    """A rewrite. Called with a graph, it changes it in place, and declines with a reason instead of failing."""

    name: str
    claim: Claim

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite `graph` in place."""
        ...


class Decline(Exception):
    """Raised while matching; becomes a `Declined`."""
