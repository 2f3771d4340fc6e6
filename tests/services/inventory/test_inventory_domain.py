"""The rules of stock on their own: plans, and what the catalog's words mean."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orderwright.services.inventory.domain import Levels, Product, Shortage, Stated, Take, reason_of, totals

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)

AMOUNTS = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 5)))
WISHES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 8), min_size=1)


def levels(**by_product: dict[str, int]) -> Levels:
    return Levels({product: dict(places) for product, places in by_product.items()})


@given(AMOUNTS, WISHES)
def test_a_plan_takes_exactly_what_was_wanted_or_nothing(
    there: dict[str, dict[str, int]], wanted: dict[str, int]
) -> None:
    before = {product: dict(places) for product, places in there.items()}
    free = Levels(there)
    planned = free.take(wanted)
    if isinstance(planned, list):
        assert free.by_product == before
        assert all(short.available < short.requested for short in planned)
        return
    assert totals((take.product_id, take.quantity) for take in planned) == wanted
    assert all(take.quantity > 0 for take in planned)
    assert all(n >= 0 for places in free.by_product.values() for n in places.values())
    free.give(planned)
    assert free.by_product == before


@given(AMOUNTS, WISHES)
def test_one_warehouse_serves_whoever_it_has_everything_for(
    there: dict[str, dict[str, int]], wanted: dict[str, int]
) -> None:
    able = [w for w in "xyz" if all(there.get(p, {}).get(w, 0) >= n for p, n in wanted.items())]
    planned = Levels(there).take(wanted)
    if able:
        assert isinstance(planned, tuple)
        assert len({take.warehouse_id for take in planned}) == 1


def test_goods_of_several_warehouses_are_taken_in_the_order_of_use() -> None:
    free = levels(a={"near": 2, "far": 9})
    assert free.take({"a": 4}) == (Take("a", "far", 4),)
    free = levels(a={"near": 2, "far": 3})
    assert free.take({"a": 4}) == (Take("a", "near", 2), Take("a", "far", 2))


def test_what_comes_back_to_a_closed_warehouse_cannot_be_taken() -> None:
    free = levels(a={"open": 1})
    free.give([Take("a", "closed", 5), Take("b", "open", 5), Take("a", "open", 1)])
    assert (free.available("a"), free.available("b")) == (2, 0)


def test_a_shortage_names_every_product_that_is_short() -> None:
    planned = levels(a={"x": 1}, b={"x": 9}).take({"a": 2, "b": 1, "c": 3})
    assert planned == [Shortage("a", 2, 1), Shortage("c", 3, 0)]
    assert isinstance(planned, list)
    assert reason_of(planned) == (
        "Insufficient inventory for a: 2 requested, 1 available; Insufficient inventory for c: 3 requested, 0 available"
    )


def test_a_word_of_the_catalog_counts_when_it_is_newer() -> None:
    product = Product("a", "A", catalog_time=NOON)
    assert product.after(Stated("a", NOON, quantity=5)) is None
    assert product.after(Stated("a", LATER, quantity=5)) == Product("a", "A", catalog_time=LATER)


def test_a_word_on_the_price_alone_does_not_make_an_earlier_word_on_the_quantity_old() -> None:
    product = Product("a", "A", catalog_time=NOON)
    after = product.after(Stated("a", LATER + timedelta(hours=1), name="B"))
    assert after == Product("a", "B", catalog_time=NOON)
    assert after is not None
    assert after.after(Stated("a", LATER, quantity=5)) is not None


def test_a_deletion_is_final_whatever_the_clocks_say() -> None:
    gone = Product("a", catalog_time=LATER).after(Stated("a", NOON, deleted=True))
    assert gone is not None
    assert gone.deleted
    assert gone.after(Stated("a", LATER + timedelta(days=1), "A", 5, created=True)) is None
