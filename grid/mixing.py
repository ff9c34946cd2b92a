"""Mixing along flows, for many steps of one network at once.

    diagonal_v x_v = source_v + sum over j of flow_vj x_j        for each node v and step

is what a mixture obeys that is carried along by flows: each node mixes what flows in and passes
the mixture on. The nodes are eliminated in an order that suits every step, and each operation runs
over all steps. A tree is eliminated from its leaves, so that nothing fills in; a mesh by least
degree, with the few fill-ins its loops need.

The diagonal is never subtracted from: it is summed anew from what is left (Grassmann, Taksar,
Heyman, "Regenerative analysis and steady state distributions for Markov chains", Operations
Research 33(5), 1985). So nothing cancels, ``x`` stays a mean of its sources, and a loop of flows
that no source feeds gives 0 instead of a division by zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Diagonal(StrEnum):
    """What the diagonal of a node is the sum of, besides ``slack``."""

    INFLOW = "inflow"  # flows into it: x is a mean, weighted by what arrives
    OUTFLOW = "outflow"  # flows out of it: what arrives leaves completely


@dataclass(frozen=True)
class Elimination:
    """An order of elimination: of each step its node and the neighbours left by then."""

    order: tuple[tuple[int, tuple[int, ...]], ...]
    nodes: int

    @classmethod
    def of(cls, nodes: int, first: np.ndarray, second: np.ndarray) -> Elimination:
        """For a graph of ``nodes`` whose edges join ``first`` and ``second``; shapes (edge,)."""
        near: list[set[int]] = [set() for _ in range(nodes)]
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            if one != other:
                near[one].add(other)
                near[other].add(one)
        queue: list[set[int]] = [set() for _ in range(nodes + 1)]
        for node in range(nodes):
            queue[len(near[node])].add(node)
        order = []
        degree = 0
        for _ in range(nodes):
            while not queue[degree]:
                degree += 1
            node = min(queue[degree])  # the least number: the order is the same in every run
            queue[degree].discard(node)
            around = tuple(sorted(near[node]))
            order.append((node, around))
            for one in around:
                queue[len(near[one])].discard(one)
                near[one].discard(node)
                near[one].update(other for other in around if other != one)
                queue[len(near[one])].add(one)
                degree = min(degree, len(near[one]))
        return cls(tuple(order), nodes)

    @property
    def fill(self) -> int:
        """Pairs of nodes that the elimination has to hold; nodes - 1 for a tree."""
        return sum(len(around) for _, around in self.order)

    def solve(
        self,
        flows: dict[tuple[int, int], np.ndarray],
        slack: np.ndarray,
        sources: np.ndarray,
        diagonal: Diagonal,
    ) -> np.ndarray:
        """x, shape (case, node, time).

        flows: by (to, from) what flows over an edge of the graph, >= 0, shape (time,); absent
        pairs are 0. slack: what the diagonal has beyond the flows, >= 0, (node, time).
        sources: >= 0, (case, node, time). Nodes whose diagonal is 0 get 0.
        """
        by_inflow = diagonal is Diagonal.INFLOW
        left = dict(flows)
        slack, x = slack.copy(), sources.copy()
        zero = np.zeros(slack.shape[1])
        inverse = np.empty_like(slack)
        for node, around in self.order:
            into = [left.get((node, j), zero) for j in around]
            out = [left.get((j, node), zero) for j in around]
            total = slack[node] + sum(into if by_inflow else out)
            inverse[node] = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
            for k, to_k in zip(around, out, strict=True):
                share = to_k * inverse[node]
                x[:, k] += share * x[:, node]
                if by_inflow:
                    slack[k] += share * slack[node]
                else:
                    slack[k] += left.get((node, k), zero) * inverse[node] * slack[node]
                for j, from_j in zip(around, into, strict=True):
                    if j != k:
                        left[k, j] = left.get((k, j), zero) + share * from_j
        for node, around in reversed(self.order):
            for j in around:
                x[:, node] += left.get((node, j), zero) * x[:, j]
            x[:, node] *= inverse[node]
        return x
