"""The saga as a dialogue: what is heard, and what is decided. No database, no broker."""

from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed, PaymentRefunded
from orderwright.kernel.clock import FrozenClock
from orderwright.kernel.saga import (
    Abandon,
    Decision,
    SagaState,
    SagaStatus,
    Signal,
    StepStatus,
    TimedOut,
    advance,
    begin,
)
from orderwright.services.order.sagas import CONFIRM, DEDUCT, PAY, RESERVE, OrderSaga
from orderwright.services.order.settings import OrderSettings

SAGA = OrderSaga(OrderSettings(), "USD", FrozenClock()).saga


def after(*signals: Signal, skip: tuple[str, ...] = ()) -> Decision:
    """The decision on the last of `signals`."""
    decision = begin(SAGA, skip=skip)
    for signal in signals:
        decision = advance(SAGA, decision.state, signal)
    return decision


def steps(state: SagaState) -> dict[str, StepStatus]:
    return {step.name: step.status for step in state.steps}


def test_the_steps_follow_each_other() -> None:
    assert begin(SAGA).do == (RESERVE,)
    assert after(StockReserved).do == (PAY,)
    assert after(StockReserved, PaymentCompleted).do == (DEDUCT,)
    done = after(StockReserved, PaymentCompleted, StockDeducted)
    assert (done.do, done.state.status) == ((CONFIRM,), SagaStatus.COMPLETED)


def test_an_order_of_an_amount_skips_the_goods() -> None:
    assert begin(SAGA, skip=(RESERVE, DEDUCT)).do == (PAY,)
    assert after(PaymentCompleted, skip=(RESERVE, DEDUCT)).state.status is SagaStatus.COMPLETED


def test_messages_in_the_wrong_order_end_the_same_way() -> None:
    early = after(StockDeducted, PaymentCompleted, StockReserved)
    assert early.state.status is SagaStatus.COMPLETED
    assert steps(early.state) == steps(after(StockReserved, PaymentCompleted, StockDeducted).state)


def test_hearing_it_twice_changes_nothing() -> None:
    assert not after(StockReserved, StockReserved).changed
    assert not after(StockReserved, PaymentCompleted, StockDeducted, StockDeducted).changed


def test_no_stock_ends_it_with_nothing_to_undo() -> None:
    failed = after(StockReservationFailed)
    assert (failed.undo, failed.state.status) == ((), SagaStatus.COMPENSATED)


def test_a_failed_payment_gives_the_stock_back() -> None:
    failed = after(StockReserved, PaymentFailed)
    assert (failed.undo, failed.state.status) == ((RESERVE,), SagaStatus.COMPENSATING)
    undone = after(StockReserved, PaymentFailed, StockReleased)
    assert undone.state.status is SagaStatus.COMPENSATED
    assert steps(undone.state)[RESERVE] is StepStatus.COMPENSATED


def test_goods_that_are_gone_after_payment_undo_in_reverse() -> None:
    gone = after(StockReserved, PaymentCompleted, StockReservationFailed)
    assert gone.undo == (PAY, RESERVE)


def test_a_completed_order_is_undone_in_reverse_and_only_when_all_is_confirmed() -> None:
    story: tuple[Signal, ...] = (StockReserved, PaymentCompleted, StockDeducted, Abandon("customer_request"))
    assert after(*story).undo == (DEDUCT, PAY, RESERVE)
    assert after(*story, StockReleased).state.status is SagaStatus.COMPENSATING
    assert after(*story, StockReleased, PaymentRefunded).state.status is SagaStatus.COMPENSATED


def test_a_step_in_doubt_is_undone_too() -> None:
    assert after(Abandon("customer_request")).undo == (RESERVE,)
    assert after(TimedOut(RESERVE)).undo == (RESERVE,)


def test_a_payment_in_doubt_is_left_to_payment_and_undone_when_it_comes_after_all() -> None:
    waiting = after(StockReserved, TimedOut(PAY))
    assert waiting.undo == (RESERVE,)
    late = after(StockReserved, TimedOut(PAY), StockReleased, PaymentCompleted)
    assert (late.undo, late.state.status) == ((PAY,), SagaStatus.COMPENSATING)
    back = after(StockReserved, TimedOut(PAY), StockReleased, PaymentCompleted, PaymentRefunded)
    assert back.state.status is SagaStatus.COMPENSATED


def test_a_deadline_of_a_step_that_is_over_means_nothing() -> None:
    assert not after(StockReserved, TimedOut(RESERVE)).changed
    assert not after(StockReserved, PaymentCompleted, StockDeducted, TimedOut(DEDUCT)).changed
