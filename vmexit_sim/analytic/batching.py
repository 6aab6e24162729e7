"""When gathering accesses pays: one vCPU, batches of k that a full batch sends off.

Which break-even counts depends on who waits: the vCPU for its share of a call and an access for its
batch (*burden*), or whoever needs the access's effect (*effect*). For each there is what an access
costs on average, and where batches begin to cost less than single calls::

    burden   single                      S     batched   I + (k - 1) gap / 2
    effect   M/D/1 wait + time to done         batched   time to fill + E_k/D/1 wait + time to done

S is what a single call costs, I an item's part of a batch. Where an exit costs t, whatever it
carries, S = t and I = t/k, and the two have forms of their own (`batching_pays_from`,
`latency_break_even`).
"""

from __future__ import annotations

import math

from vmexit_sim.analytic.queues import erlang_d1_wait, md1_wait


def fill_wait(rate: float, k: int) -> float:
    """Mean time that a Poisson arrival waits for its batch of `k` to fill: (k - 1) / (2 rate).

    The N-policy; the first of a batch waits for k - 1 arrivals, the last for none.
    """
    return (k - 1) / (2 * rate)


def batched_burden(gap: float, k: int, item: float) -> float:
    """Mean vCPU time of an access in batches of `k`, and its wait in the batch.

    Whatever the law of the gaps: that many of them pass, on average, before the batch is full.

    Args:
        gap: mean time from one access's gathering to the next's.
        k: accesses in a batch.
        item: an access's part of what its batch costs the vCPU.
    """
    return item + (k - 1) * gap / 2


def waiting_break_even(single: float, item: float, k: int) -> float | None:
    """The rate beyond which batches of `k` cost less vCPU time plus waiting than single calls.

    A batched access saves S - I and waits (k - 1)/(2 rate): the two are equal at
    (k - 1)/(2 (S - I)).

    Args:
        single: what a single call costs the vCPU, S.
        item: an access's part of what a batch costs it, I.
        k: accesses in a batch, 2 or more.

    Returns:
        The rate, while gathering; None: a batched access saves nothing, so no rate is enough.

    Raises:
        ValueError: a batch of fewer than two.
    """
    _is_batch(k)
    return (k - 1) / (2 * (single - item)) if single > item else None


def batching_pays_from(exit_cost: float, k: int) -> float:
    """The rate beyond which filling batches of `k` lowers vCPU time plus waiting: k / (2 t).

    `waiting_break_even` where a single access costs an exit t and a batched one t/k.

    Raises:
        ValueError: a batch of fewer than two, or an exit that costs nothing.
    """
    rate = waiting_break_even(exit_cost, exit_cost / k, k)
    if rate is None:
        raise ValueError(f"an exit of {exit_cost:.4g} costs nothing that a batch could save")
    return rate


def single_effect(rate: float, call: float, done: float) -> float:
    """Mean time from a Poisson arrival to its effect by single calls; infinite if they saturate.

    Args:
        rate: of arrivals.
        call: how long a call keeps the vCPU.
        done: from a call's begin until the device has changed.
    """
    return md1_wait(rate, call) + done if rate * call < 1 else math.inf


def batched_effect(rate: float, k: int, call: float, done: float) -> float:
    """Mean time from a Poisson arrival to its effect in batches; infinite if they saturate.

    The batch's last arrival sends it off, so batches arrive as every k-th of a Poisson stream, and
    the vCPU serves them as E_k/D/1. Gathering must take no time.

    Args:
        rate: of single arrivals.
        k: accesses in a batch.
        call: how long a batch keeps the vCPU.
        done: from a batch's begin until the device has changed, mean over its items.
    """
    if rate * call >= k:
        return math.inf
    return fill_wait(rate, k) + erlang_d1_wait(rate, call, k) + done


def effect_break_even(
    single: float,
    batch: float,
    k: int,
    *,
    single_done: float | None = None,
    batch_done: float | None = None,
) -> float | None:
    """The rate beyond which batches of `k` have the lower mean effect latency.

    Args:
        single: how long a single call keeps the vCPU.
        batch: how long a batch's call keeps it.
        k: accesses in a batch, 2 or more.
        single_done: from a single call's begin to its effect; None: all of it.
        batch_done: the same of a batch's items, their mean; None: all of the batch's call.

    Returns:
        The rate, between nobody waiting for a batch to fill and single calls' saturation; None:
        batches saturate first, and no rate is sure to favour them.

    Raises:
        ValueError: a batch of fewer than two.
    """
    from scipy.optimize import brentq

    _is_batch(k)
    if batch >= k * single:
        return None
    one, each = (single if single_done is None else single_done,
                 batch if batch_done is None else batch_done)  # fmt: skip

    def excess(load: float) -> float:
        rate = load / single
        batched = batched_effect(rate, k, batch, each)
        return (batched - single_effect(rate, single, one)) / single

    return float(brentq(excess, 1e-3, 1 - 1e-6, xtol=1e-12)) / single


def latency_break_even(k: int) -> float:
    """The load (rate x exit cost) at which batches of `k` have the mean effect latency of singles.

    `effect_break_even` where an exit costs the same whatever it carries: about 0.63 for k = 2 and
    0.79 for k = 4.
    """
    load = effect_break_even(1.0, 1.0, k)
    assert load is not None, "k exits cost more than one"
    return load


def _is_batch(k: int) -> None:
    if k < 2:
        raise ValueError(f"a batch of {k} gathers nothing; give 2 or more")
