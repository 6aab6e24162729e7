"""Steps: the few things an actor can do, of which every mechanism is made.

A mechanism does not simulate. It is a generator of steps, reads like the sentence that describes
it, and knows no engine::

    def port_write(host):
        yield acquire(host.config_lock, WAIT_CONFIG_LOCK)
        yield spend(EMULATE, Column("emulate"))
        yield release(host.config_lock)

Every actor (a vCPU, a back end, a batch timer) runs steps. It has a clock, registers of its own
and a place in its program. Actors share only *queues* and integer *cells*: a lock is a queue that
holds a token, a doorbell a queue of capacity one, a timer a `take` that times out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Literal, TypeAlias

from vmexit_sim.distributions import Duration


class Role(Enum):
    """Whose time a stage is."""

    GUEST = "guest"  # compute between accesses, and idling: no part of any access
    POLL = "poll"  # idling that keeps a CPU busy
    DELAY = "delay"  # between accesses: the guest is late for its next one (wake-up, refill, steal)
    ACCESS = "access"  # the guest's own instructions for an access: a load, a descriptor
    HYPERVISOR = "hypervisor"  # exit handling on the vCPU's thread
    WAIT = "wait"  # the vCPU can't go on: locks, answers
    BACK = "back"  # of posted work, while the vCPU has gone on


@dataclass(frozen=True)
class Stage:
    """A named part of an access's time.

    Attributes:
        name: as tables and figures show it.
        role: whose time it is; front stages (access, hypervisor, wait) sum to the stall.
    """

    name: str
    role: Role

    @property
    def is_front(self) -> bool:
        """Whether the vCPU stands still for it."""
        return self.role in (Role.ACCESS, Role.HYPERVISOR, Role.WAIT)


@dataclass(frozen=True)
class Queue:
    """Items in order, and those who wait for one.

    Attributes:
        name: unique within a program.
        tokens: items it holds at first: 1 for a lock, c for c servers, 0 for a mailbox.
        capacity: the most items it can hold; a `put` beyond that is refused, and says so.
        discipline: who gets the next item: the longest waiting, or the lowest priority number.
        per_vcpu: one such queue for every vCPU; an actor means that of its own vCPU.
        whose: the register that says whose is meant, if not the actor's own vCPU's.
    """

    name: str
    tokens: int = 0
    capacity: int = 2**31
    discipline: Literal["fifo", "priority"] = "fifo"
    per_vcpu: bool = False
    whose: Register | None = None

    def of(self, vcpu: Register) -> Queue:
        """This queue, of the vCPU whose number stands in a register."""
        return replace(self, whose=vcpu)


@dataclass(frozen=True)
class Cell:
    """A shared integer, 0 at first; `per_vcpu` and `whose` as for a queue."""

    name: str
    per_vcpu: bool = False
    whose: Register | None = None

    def of(self, vcpu: Register) -> Cell:
        """This cell, of the vCPU whose number stands in a register."""
        return replace(self, whose=vcpu)


@dataclass(frozen=True)
class Register:
    """An integer of the actor's own, 0 at first."""

    name: str


@dataclass(frozen=True)
class Column:
    """A column of the access table, at the current access or at the one a register names."""

    name: str
    of: Register | None = None


@dataclass(frozen=True)
class Length:
    """How many items a queue holds now."""

    queue: Queue


@dataclass(frozen=True)
class Clock:
    """The actor's own time, in ps."""


class Moment(IntEnum):
    """A moment in an access's life, which `stamp` records.

    An access may stall its vCPU more than once (a batch that a timer flushes): each `START` opens
    a stall and each `RESUME` closes it. The first of each says when it was issued, and when the
    vCPU first went on.
    """

    START = 0  # the vCPU issues it; compute is over
    RESUME = 1  # the vCPU goes on
    POSTED = 2  # its work is left for later; the vCPU need not wait for it
    DONE = 3  # its effect has happened in the device
    EXIT = 4  # the vCPU leaves the guest, for a reason
    ENTRY = 5  # the vCPU is in the guest again


@dataclass(frozen=True)
class PostedAt:
    """When the access that a register names was posted, in ps."""

    of: Register


Operand: TypeAlias = int | Register | Column | Cell | Length | Clock | PostedAt
Cost: TypeAlias = Operand | Duration
"""What `spend` takes. A random duration becomes a column: its draw belongs to (stage, occurrence
in the program, access), so a policy that skips a stage shifts no other draw."""

ACCESS = Register("access")
"""The access on which time is booked; accesses are numbered per vCPU, in program order."""

NOBODY = -1
"""The access of an actor that works for none: its time is booked where nobody looks."""

FAR = 2**62
"""The number of an access beyond all others: what a result that nobody waits for is needed by."""

TIMED_OUT = -(2**62)
"""What a `take` that ran out of time leaves in its register; no item has this value."""


@dataclass(frozen=True)
class Spend:
    """The actor's clock advances by `cost`, booked on the current access as `stage`.

    `whose` names the access that a random cost's draw belongs to (None: the current one). `aside`
    tells steps that others have put into a path from the path's own, so that these meet the same
    draws with and without them.
    """

    stage: Stage
    cost: Cost
    whose: Register | None
    aside: str = ""


@dataclass(frozen=True)
class Take:
    """The first item of a queue, into a register; if there is none, wait for one.

    Waiting is booked as `stage`. Who waits is served by priority, then arrival. After `timeout`
    picoseconds (None: never) the register holds `TIMED_OUT` and nothing is left behind.
    """

    queue: Queue
    stage: Stage
    into: Register | None
    timeout: Operand | None
    priority: Operand


@dataclass(frozen=True)
class Put:
    """An item for the first waiter, who wakes now; without one it is stored.

    `refused` becomes 1 if the queue was full (the item is dropped), else 0.
    """

    queue: Queue
    item: Operand
    refused: Register | None


Operator: TypeAlias = Literal["+", "-", "*", "min", "max", "//", "%"]
"""What `let` can do; a divisor is a positive constant, and the quotient is rounded down."""


@dataclass(frozen=True)
class Let:
    """``target = x operator y``, on integers."""

    target: Register | Cell
    x: Operand
    operator: Operator
    y: Operand


@dataclass(frozen=True)
class When:
    """Branch on ``x relation y``."""

    x: Operand
    relation: Literal["==", "!=", "<", "<=", ">", ">="]
    y: Operand
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True)
class Loop:
    """The body again and again, until a `Leave` inside it."""

    body: tuple[Step, ...]


@dataclass(frozen=True)
class Leave:
    """Go on behind the innermost loop."""


@dataclass(frozen=True)
class Stamp:
    """Record the actor's clock as a moment of an access's life.

    Only `Moment.POSTED` and `Moment.DONE` can be another access's than the current one. `reason`
    goes with `Moment.EXIT`: the exit reason, as ``perf kvm stat`` names it.
    """

    moment: Moment
    access: Register
    reason: str | None


@dataclass(frozen=True)
class Book:
    """Book an amount of time on any access, without spending it."""

    stage: Stage
    amount: Operand
    access: Register


@dataclass(frozen=True)
class NextAccess:
    """Go on with the next row of this vCPU, by its class's program; after the last: the end."""


@dataclass(frozen=True)
class Halt:
    """Nothing left to do."""


Step: TypeAlias = Spend | Take | Put | Let | When | Loop | Leave | Stamp | Book | NextAccess | Halt
Steps: TypeAlias = Generator[Step, None, None]


def spend(stage: Stage, cost: Cost, *, whose: Register | None = None) -> Spend:
    """Take time."""
    return Spend(stage, cost, whose)


def take(
    queue: Queue,
    stage: Stage,
    *,
    into: Register | None = None,
    timeout: Operand | None = None,
    priority: Operand = 0,
) -> Take:
    """Get an item, waiting for it if need be."""
    return Take(queue, stage, into, timeout, priority)


def acquire(lock: Queue, stage: Stage, *, priority: Operand = 0) -> Take:
    """Get a lock or a server; waiting for it is booked as `stage`."""
    return Take(lock, stage, None, None, priority)


def put(queue: Queue, item: Operand, *, refused: Register | None = None) -> Put:
    """Hand over an item."""
    return Put(queue, item, refused)


def release(lock: Queue) -> Put:
    """Give back a lock or a server."""
    return Put(lock, 0, None)


def let(
    target: Register | Cell,
    x: Operand,
    operator: Operator = "+",
    y: Operand = 0,
) -> Let:
    """Set a register or a cell."""
    return Let(target, x, operator, y)


def when(
    x: Operand,
    relation: Literal["==", "!=", "<", "<=", ">", ">="],
    y: Operand,
    then: Iterable[Step],
    otherwise: Iterable[Step] = (),
) -> When:
    """Do one thing or the other."""
    return When(x, relation, y, tuple(then), tuple(otherwise))


def loop(body: Iterable[Step]) -> Loop:
    """Repeat until `leave`."""
    return Loop(tuple(body))


def leave() -> Leave:
    """Leave the innermost loop."""
    return Leave()


def stamp(moment: Moment, access: Register = ACCESS, *, reason: str | None = None) -> Stamp:
    """Record a moment."""
    return Stamp(moment, access, reason)


def book(stage: Stage, amount: Operand, access: Register) -> Book:
    """Book time on another access."""
    return Book(stage, amount, access)


def aside(steps: Iterable[Step], name: str) -> Steps:
    """Steps that somebody puts into another's path; random costs in them have draws of their own.

    Args:
        steps: what is done.
        name: for whom; part of the names of the streams of random costs.
    """
    for step in steps:
        match step:
            case Spend():
                yield replace(step, aside=name)
            case When():
                then, otherwise = aside(step.then, name), aside(step.otherwise, name)
                yield replace(step, then=tuple(then), otherwise=tuple(otherwise))
            case Loop(body):
                yield Loop(tuple(aside(body, name)))
            case _:
                yield step
