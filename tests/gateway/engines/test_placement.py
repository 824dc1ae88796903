"""Proves the properties of placement that gateways rely on, for any nodes and any models."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engines.placement import (
    GROW_ABOVE,
    SHRINK_BELOW,
    Candidate,
    PlacementCache,
    choose,
    order,
    replicas,
)
from workers.protocol.messages import ModelKey

KEYS = st.builds(ModelKey, st.text(), st.text(), st.text())
WEIGHTS = st.floats(1e6, 1e13)
CANDIDATES = st.builds(Candidate, st.text(min_size=1), WEIGHTS)
MEMBERSHIPS = st.lists(CANDIDATES, min_size=1, max_size=12, unique_by=lambda node: node.name)
LOADS = st.floats(0, 1000)
COUNTS = st.integers(1, 200)
MANY = 20_000


def numbered(count: int) -> list[ModelKey]:
    """Return keys of as many different models."""
    return [ModelKey(f"model-{number}", "1", "0") for number in range(count)]


@given(KEYS, MEMBERSHIPS)
def test_an_order_is_a_permutation(key: ModelKey, nodes: list[Candidate]) -> None:
    """No node is lost and none is there twice."""
    assert Counter(order(key, nodes)) == Counter(nodes)


@given(KEYS, MEMBERSHIPS, st.randoms())
def test_every_gateway_finds_the_same_order(
    key: ModelKey, nodes: list[Candidate], shuffled: random.Random
) -> None:
    """Gateways learn of members in different orders."""
    others = list(nodes)
    shuffled.shuffle(others)
    assert order(key, others) == order(key, nodes)


def test_the_order_is_the_same_in_every_process_and_release() -> None:
    """A gateway of another release, with another hash seed, must find the same nodes."""
    nodes = [Candidate(f"10.0.0.{number}:8090", 64e9) for number in range(1, 6)]
    names = [node.name for node in order(ModelKey("wine", "3", "0123abcd"), nodes)]
    assert [name.removeprefix("10.0.0.").removesuffix(":8090") for name in names] == list("15234")


@given(KEYS, MEMBERSHIPS, st.data())
def test_a_death_moves_only_the_models_of_the_dead_node(
    key: ModelKey, nodes: list[Candidate], data: st.DataObject
) -> None:
    """The order without a node is the old one, less that node: for homes, replicas and later choices."""
    dead = data.draw(st.sampled_from(nodes))
    before = order(key, nodes)
    after = order(key, [node for node in nodes if node != dead])
    assert after == tuple(node for node in before if node != dead)


@given(KEYS, MEMBERSHIPS, CANDIDATES)
def test_a_joining_node_takes_only_what_becomes_its_own(
    key: ModelKey, nodes: list[Candidate], joining: Candidate
) -> None:
    """A model's first node stays, unless it is now the joining one; so for any number of replicas."""
    nodes = [node for node in nodes if node.name != joining.name]
    before, after = order(key, nodes), order(key, [*nodes, joining])
    assert tuple(node for node in after if node != joining) == before
    for count in range(1, len(nodes) + 1):
        assert set(after[:count]) - set(before[:count]) <= {joining}


@given(KEYS, MEMBERSHIPS, st.floats(1.0, 100.0), st.data())
def test_more_memory_only_attracts(
    key: ModelKey, nodes: list[Candidate], factor: float, data: st.DataObject
) -> None:
    """If a node's budget rises, no model moves between other nodes, and none leaves that node."""
    small = data.draw(st.sampled_from(nodes))
    large = Candidate(small.name, small.weight * factor)
    before = order(key, nodes)
    after = order(key, [large if node == small else node for node in nodes])
    assert [node for node in after if node != large] == [node for node in before if node != small]
    assert after.index(large) <= before.index(small)


@settings(max_examples=4, derandomize=True)
@given(st.lists(st.floats(1, 2.5), min_size=2, max_size=4))
def test_each_node_gets_its_share_of_models(weights: list[float]) -> None:
    """Within 10 %: five standard deviations for the smallest share here, a ninth. The keys are fixed."""
    nodes = [Candidate(f"node-{number}", weight) for number, weight in enumerate(weights)]
    first = Counter(order(key, nodes)[0] for key in numbered(MANY))
    for node in nodes:
        assert first[node] == pytest.approx(MANY * node.weight / sum(weights), rel=0.1)


def test_parts_of_a_key_are_kept_apart() -> None:
    """Keys whose parts join to one text are different models, and are not placed alike."""
    nodes = [Candidate(f"node-{number}", 1) for number in range(30)]
    assert order(ModelKey("a1", "2", ""), nodes) != order(ModelKey("a", "12", ""), nodes)
    assert order(ModelKey("a", "1", "2"), nodes) != order(ModelKey("a", "12", ""), nodes)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_that_orders_nothing_is_refused(weight: float) -> None:
    """A node that tells a budget of nothing must not stop the orders of all others."""
    with pytest.raises(ValueError, match="weight of node a"):
        Candidate("a", weight)


def test_a_node_needs_a_name() -> None:
    """Names are what an order distinguishes nodes by."""
    with pytest.raises(ValueError, match="no name"):
        Candidate("", 1.0)


@given(st.lists(KEYS, min_size=1, max_size=30), MEMBERSHIPS)
def test_the_cache_answers_as_the_function_and_stays_small(
    keys: list[ModelKey], nodes: list[Candidate]
) -> None:
    """It keeps at most as many keys as it was given room for, whatever is asked."""
    cache = PlacementCache(nodes, most=4)
    for key in [*keys, *keys]:
        assert cache.order(key) == order(key, nodes)
        assert len(cache) <= 4


def test_the_cache_keeps_what_is_used() -> None:
    """A further key drops the one that was not used for the longest time."""
    first, second, third = numbered(3)
    cache = PlacementCache([Candidate("a", 1), Candidate("b", 1)], most=2)
    kept = cache.order(first)
    dropped = cache.order(second)
    assert cache.order(first) is kept
    cache.order(third)
    assert cache.order(first) is kept
    assert cache.order(second) is not dropped


def test_the_cache_refuses_two_nodes_of_one_name() -> None:
    """In-flight requests are counted by name."""
    with pytest.raises(ValueError, match="same name"):
        PlacementCache([Candidate("a", 1), Candidate("a", 2)])


@given(LOADS, COUNTS, COUNTS, COUNTS)
def test_a_constant_load_never_flaps(load: float, current: int, least: int, most: int) -> None:
    """What is returned for a load is returned again for the same load."""
    found = replicas(load, current, least=least, most=most)
    assert replicas(load, found, least=least, most=most) == found


@given(LOADS, LOADS, COUNTS, COUNTS, COUNTS)
def test_replicas_never_fall_as_the_load_rises(
    one: float, other: float, current: int, least: int, most: int
) -> None:
    """Nor do they fall if there are more of them now, or more are allowed."""
    low, high = sorted((one, other))
    found = replicas(low, current, least=least, most=most)
    assert found <= replicas(high, current, least=least, most=most)
    assert found <= replicas(low, current + 1, least=least, most=most)
    assert found <= replicas(low, current, least=least, most=most + 1)


@given(LOADS, COUNTS, COUNTS, COUNTS)
def test_replicas_are_within_the_limits(load: float, current: int, least: int, most: int) -> None:
    """The most wins over the least: there may be fewer nodes than the operator wants replicas."""
    found = replicas(load, current, least=least, most=most)
    assert min(least, most) <= found <= most


@given(st.integers(2, 100), st.floats(0.01, 0.99))
def test_a_load_that_varies_between_the_limits_changes_nothing(current: int, place: float) -> None:
    """The range without a change is as wide as documented."""
    lowest, highest = SHRINK_BELOW * (current - 1), GROW_ABOVE * current
    load = lowest + (highest - lowest) * place
    assert replicas(load, current, most=1000) == current


def test_replicas_follow_the_load() -> None:
    """From an idle model to one that keeps two and a half nodes busy, and back."""
    assert replicas(0.0, 1, most=100) == 1
    assert replicas(0.2, 1, most=100) == 1
    assert replicas(0.3, 1, most=100) == 2
    assert replicas(2.5, 2, most=100) == 10
    assert replicas(2.5, 2, most=3) == 3
    assert replicas(0.2, 10, most=100) == 2
    assert replicas(0.0, 10, most=100) == 1
    assert replicas(0.0, 10, least=3, most=100) == 3


@pytest.mark.parametrize("load", [-0.1, math.nan, math.inf])
def test_a_load_that_is_none_is_refused(load: float) -> None:
    """It would become any number of copies."""
    with pytest.raises(ValueError, match="a load cannot be"):
        replicas(load, 1, most=3)


def test_no_replica_at_all_is_refused() -> None:
    """A fleet without nodes places nothing."""
    with pytest.raises(ValueError, match="at most 0 replicas"):
        replicas(0.5, 1, most=0)


NAMES = [Candidate(name, 1) for name in "abcde"]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=5), st.randoms())
def test_the_busiest_of_several_is_never_chosen(counts: list[int], source: random.Random) -> None:
    """Any two nodes have one that is not alone the busiest."""
    nodes = NAMES[: len(counts)]
    in_flight = {node.name: count for node, count in zip(nodes, counts, strict=True)}
    chosen = choose(nodes, in_flight, draw=source.random)
    busiest = [node for node in nodes if in_flight[node.name] == max(counts)]
    assert chosen in nodes
    assert busiest != [chosen]


def test_each_idle_node_is_chosen_alike() -> None:
    """Equal nodes share the load: 20 000 draws, of a fixed sequence."""
    source = random.Random(1)  # noqa: S311 - no secret
    chosen = Counter(choose(NAMES, {}, draw=source.random).name for _ in range(MANY))
    assert all(chosen[node.name] == pytest.approx(MANY / 5, rel=0.1) for node in NAMES)


@pytest.mark.parametrize("drawn", [0.0, math.nextafter(1.0, 0.0)])
def test_the_ends_of_the_draw_are_two_nodes(drawn: float) -> None:
    """Two choices are never one and the same, nor beyond the last."""
    first, second = NAMES[:2]
    assert choose([first, second], {"a": 1}, draw=lambda: drawn) == second
    assert choose([first, second], {"b": 1}, draw=lambda: drawn) == first


def test_one_node_is_chosen_and_none_is_refused() -> None:
    """Without a draw: most models have one node."""
    assert choose(NAMES[:1], {"a": 9}) == NAMES[0]
    with pytest.raises(ValueError, match="no node to choose"):
        choose([], {})
