"""Elimination along flows gives what a dense solve of the same equations gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.mixing import Diagonal, Elimination

EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [1, 3], [3, 4], [4, 5], [2, 5]])


def dense(
    flows: np.ndarray, slack: np.ndarray, sources: np.ndarray, diagonal: Diagonal
) -> np.ndarray:
    total = flows.sum(axis=1 if diagonal is Diagonal.INFLOW else 0) + slack
    return np.linalg.solve(np.diag(total) - flows, sources)


@pytest.mark.parametrize("diagonal", list(Diagonal))
@given(seed=st.integers(0, 2**31))
def test_a_mesh_with_flows_both_ways_equals_the_dense_solve(diagonal, seed):
    random = np.random.default_rng(seed)
    steps = 3
    flows = {}
    for f, t in EDGES.tolist():
        flows[t, f] = random.uniform(0.1, 1, steps)
        flows[f, t] = random.uniform(0.1, 1, steps) * random.integers(0, 2, steps)
    slack, sources = random.uniform(0, 1, (6, steps)), random.uniform(0, 1, (2, 6, steps))
    found = Elimination.of(6, EDGES[:, 0], EDGES[:, 1]).solve(flows, slack, sources, diagonal)
    for t in range(steps):
        matrix = np.zeros((6, 6))
        for (to, at), flow in flows.items():
            matrix[to, at] = flow[t]
        for case in range(2):
            expected = dense(matrix, slack[:, t], sources[case, :, t], diagonal)
            np.testing.assert_allclose(found[case, :, t], expected, rtol=1e-10)


def test_a_tree_fills_nothing_in():
    first = np.array([0, 0, 1, 1, 2, 5])
    second = np.array([1, 2, 3, 4, 5, 6])
    assert Elimination.of(7, first, second).fill == 6


def test_a_loop_that_no_source_feeds_holds_nothing():
    """Rounding can leave a circular flow; it must not become 0/0 and spread."""
    noise = np.array([1e-12])
    flows = {(1, 0): noise, (2, 1): noise, (0, 2): noise, (4, 3): np.array([1.0])}
    slack, sources = np.zeros((5, 1)), np.zeros((1, 5, 1))
    slack[3], sources[0, 3] = 1.0, 600.0
    graph = Elimination.of(5, np.array([0, 1, 2, 3, 2]), np.array([1, 2, 0, 4, 3]))
    found = graph.solve(flows, slack, sources, Diagonal.INFLOW)
    assert found[0, :, 0].tolist() == [0, 0, 0, 600, 600]


def test_nearly_everything_in_circles_is_still_the_mean_of_its_sources():
    """1 MW goes round, one microwatt is fed in: subtracting would lose all digits."""
    flows = {(1, 0): np.array([1.0]), (0, 1): np.array([1.0])}
    slack = np.array([[1e-12], [0.0]])
    sources = (slack * 536.6)[None]
    found = Elimination.of(2, np.array([0]), np.array([1])).solve(
        flows, slack, sources, Diagonal.INFLOW
    )
    np.testing.assert_allclose(found[0, :, 0], 536.6, rtol=1e-12)
