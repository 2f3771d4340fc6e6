"""Sagas as data: steps with what completes, fails and undoes each, and a pure function that moves them.

`advance(saga, state, signal)` decides and does nothing; the service carries the decision out in the transaction that
stores the new state. Invariants: a failed or timed-out step undoes the completed ones in reverse; an undo is asked for
again until it is confirmed, it is never skipped; a saga that has ended as completed or compensated never leaves that
end, except that a completed saga may still be undone on request while the service allows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from orderwright.kernel.messages import Event

TIMED_OUT = "timed out"


class StepStatus(StrEnum):
    """The four states of a step (seed 001)."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"


class SagaStatus(StrEnum):
    """Where the saga as a whole stands."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: events that decide it, and how long it may take before it counts as failed."""

    name: str
    completed_by: type[Event] | None
    """None: the step is completed by being done."""
    failed_by: tuple[type[Event], ...] = ()
    undone_by: type[Event] | None = None
    """The event that confirms the undo; None: there is nothing to undo."""
    undo_in_doubt: bool = True
    """Ask for the undo also when it is not known whether the step happened. False when its owner undoes it by itself as
    soon as it turns out that it did."""
    timeout_s: float | None = None
    """None: the step is driven until it is done, and never failed by the clock."""
    timeout_reason: str = "timeout"


@dataclass(frozen=True, slots=True)
class Saga:
    """The steps in their order."""

    name: str
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


class StepState(msgspec.Struct, frozen=True):
    """What became of a step in one instance."""

    name: str
    status: StepStatus = StepStatus.PENDING
    begun: bool = False
    undo_attempts: int = 0
    undoing: bool = False
    reason: str | None = None


class SagaState(msgspec.Struct, frozen=True):
    """One instance."""

    status: SagaStatus
    steps: tuple[StepState, ...]
    reason: str | None = None
    """Why it is being undone."""

    def step(self, name: str) -> StepState:
        """The state of the step of that name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def current(self) -> StepState | None:
        """The step that is waited for."""
        return next((step for step in self.steps if step.status is StepStatus.PENDING), None)

    @property
    def undos(self) -> tuple[StepState, ...]:
        """The steps whose undo is not confirmed yet, last first."""
        return tuple(step for step in reversed(self.steps) if step.undoing)

    def with_undo_asked_again(self) -> "SagaState":
        """The same, with one more attempt counted for every undo that is not confirmed."""
        steps = tuple(replace(s, undo_attempts=s.undo_attempts + 1) if s.undoing else s for s in self.steps)
        return replace(self, steps=steps)


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The current step took too long."""

    step: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """Undo it: somebody asked for it, or the service knows that it cannot succeed."""

    reason: str


Signal = type[Event] | TimedOut | Abandon


class Decision(msgspec.Struct, frozen=True):
    """What to do now that the signal was heard."""

    state: SagaState
    do: tuple[str, ...] = ()
    """Steps to begin."""
    undo: tuple[str, ...] = ()
    """Steps to undo, in this order."""
    completed: tuple[str, ...] = ()
    """Steps that the signal completed."""
    changed: bool = True


def begin(saga: Saga, *, skip: Sequence[str] = ()) -> Decision:
    """A new instance, without the steps in `skip`, which this one does not need."""
    states = tuple(StepState(step.name) for step in saga.steps if step.name not in skip)
    return _go_on(saga, SagaState(SagaStatus.RUNNING, states), completed=())


def advance(saga: Saga, state: SagaState, signal: Signal) -> Decision:
    """What `signal` means for an instance in `state`. Pure."""
    match signal:
        case TimedOut(step=name):
            return _time_out(saga, state, name)
        case Abandon(reason=reason):
            return _abandon(saga, state, reason)
        case _:
            return _hear(saga, state, signal)


def _hear(saga: Saga, state: SagaState, event: type[Event]) -> Decision:
    undone = [step.name for step in state.steps if step.undoing and saga.step(step.name).undone_by is event]
    if undone:
        return _undone(state, undone)
    for current in state.steps:
        step = saga.step(current.name)
        pending = current.status is StepStatus.PENDING
        if step.completed_by is event and (pending or current.reason == TIMED_OUT):
            return _complete(saga, state, step)
        if event in step.failed_by and pending and state.status is SagaStatus.RUNNING:
            return _abandon(saga, _with(state, step.name, status=StepStatus.FAILED), f"{step.name} failed")
    return Decision(state, changed=False)


def _complete(saga: Saga, state: SagaState, step: Step) -> Decision:
    if state.status is SagaStatus.RUNNING:
        return _go_on(saga, _with(state, step.name, status=StepStatus.COMPLETED), completed=(step.name,))
    # Too late: it was abandoned meanwhile, so what has just been done must be undone too.
    undoing = state.step(step.name).undoing
    late = _with(state, step.name, status=StepStatus.COMPLETED, reason=None)
    if step.undone_by is None or undoing:
        return Decision(late, completed=(step.name,))
    late = replace(_with(late, step.name, undoing=True, undo_attempts=1), status=SagaStatus.COMPENSATING)
    return Decision(late, undo=(step.name,), completed=(step.name,))


def _go_on(saga: Saga, state: SagaState, completed: tuple[str, ...]) -> Decision:
    begun: list[str] = []
    while (current := state.current) is not None:
        if not current.begun:
            begun.append(current.name)
            state = _with(state, current.name, begun=True)
        if saga.step(current.name).completed_by is not None:
            return Decision(state, do=tuple(begun), completed=completed)
        state = _with(state, current.name, status=StepStatus.COMPLETED)
        completed = (*completed, current.name)
    return Decision(replace(state, status=SagaStatus.COMPLETED), do=tuple(begun), completed=completed)


def _time_out(saga: Saga, state: SagaState, name: str) -> Decision:
    if state.status is not SagaStatus.RUNNING or state.current is None or state.current.name != name:
        return Decision(state, changed=False)
    # It may have happened all the same: a step that timed out is in doubt.
    failed = _with(state, name, status=StepStatus.FAILED, reason=TIMED_OUT)
    return _abandon(saga, failed, saga.step(name).timeout_reason)


def _abandon(saga: Saga, state: SagaState, reason: str) -> Decision:
    if state.status in {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}:
        return Decision(state, changed=False)
    undo = tuple(step.name for step in reversed(state.steps) if _needs_undo(saga.step(step.name), step))
    for name in undo:
        state = _with(state, name, undoing=True, undo_attempts=1)
    status = SagaStatus.COMPENSATING if undo else SagaStatus.COMPENSATED
    return Decision(replace(state, status=status, reason=reason), undo=undo)


def _needs_undo(step: Step, current: StepState) -> bool:
    if step.undone_by is None:
        return False
    if current.status is StepStatus.COMPLETED:
        return True
    in_doubt = current.begun and (current.status is StepStatus.PENDING or current.reason == TIMED_OUT)
    return in_doubt and step.undo_in_doubt


def _undone(state: SagaState, names: Sequence[str]) -> Decision:
    for name in names:
        state = _with(state, name, status=StepStatus.COMPENSATED, undoing=False)
    if not state.undos:
        state = replace(state, status=SagaStatus.COMPENSATED)
    return Decision(state)


def _with(state: SagaState, name: str, **changes: object) -> SagaState:
    steps = tuple(replace(step, **changes) if step.name == name else step for step in state.steps)
    return replace(state, steps=steps)
