"""Sentences about results: one for each thing that a result may claim, and for what it may not."""

import pytest

from goals.experiments.results import Comparison, ResultClaim
from goals.experiments.sentences import Outlook, percent, say, say_all
from goals.experiments.statistics import compare
from goals.experiments.sums import VariationSums, sum_rate

pytestmark = pytest.mark.promise("N-12")

REFERENCE = sum_rate(10_000, 1_000)


def compare_rates(*converting: int, is_ratio_off: bool = False) -> list[tuple[str, Comparison]]:
    pairs = [(REFERENCE, sum_rate(10_000, count)) for count in converting]
    results = compare(pairs, is_ratio_off=is_ratio_off)
    return [(f"Checkout {number}", result) for number, result in enumerate(results, 2)]


def say_one(reference: VariationSums, variation: VariationSums, outlook: Outlook | None = None) -> str:
    result = compare([(reference, variation)])[0]
    return say(result, goal="Order Completed", variation="Checkout 2", outlook=outlook or Outlook())


def test_sentence__of_a_rise__names_it_with_its_interval() -> None:
    assert say_one(REFERENCE, sum_rate(10_000, 1_300)) == "Checkout 2 raises Order Completed by 30 % (14.9 to 47.4)."


def test_sentence__of_harm__names_the_fall_without_minus_signs() -> None:
    assert say_one(REFERENCE, sum_rate(10_000, 700)) == "Checkout 2 lowers Order Completed by 30 % (19 to 39.8)."


def test_sentence__of_no_difference__names_the_days_that_a_change_needs() -> None:
    outlook = Outlook(visitors_a_day=8_000)

    assert say_one(REFERENCE, REFERENCE, outlook) == (
        "No difference of Checkout 2 in Order Completed seen yet; a change of 10 % would need 6 more days."
    )


def test_sentence__of_no_difference__names_the_change_that_its_owner_wants() -> None:
    wanted = Outlook(visitors_a_day=8_000, change=0.02)
    large = Outlook(visitors_a_day=8_000, change=0.3)

    assert say_one(REFERENCE, REFERENCE, wanted).endswith("a change of 2 % would need 234 more days.")
    assert say_one(REFERENCE, REFERENCE, large).endswith("a change of 16.8 % would probably show by now.")


def test_sentence__of_no_difference_at_the_end__names_the_change_that_would_show() -> None:
    assert say_one(REFERENCE, REFERENCE) == (
        "No difference of Checkout 2 in Order Completed seen yet; a change of 16.8 % would probably show by now."
    )


def test_sentence__of_too_few__claims_nothing() -> None:
    assert say_one(sum_rate(100, 2), sum_rate(100, 9)) == (
        "Too few visitors converted on Order Completed to say anything about Checkout 2 yet."
    )


def test_sentence__without_conversions_of_the_reference__claims_nothing() -> None:
    assert say_one(sum_rate(1_000, 0), sum_rate(1_000, 3)) == (
        "No visitor of the reference converted on Order Completed yet, so Checkout 2 has nothing to compare with."
    )


def test_sentence__of_a_rise_from_nothing__has_no_percentage() -> None:
    assert say_one(sum_rate(1_000, 0), sum_rate(1_000, 300)) == (
        "Checkout 2 raises Order Completed, on which the reference has nothing."
    )


@pytest.mark.parametrize("converting", [(1_300,), (1_300, 700)], ids=["one", "several"])
def test_sentence__with_a_sample_ratio_off__claims_nothing(converting: tuple[int, ...]) -> None:
    sentence = say_all(compare_rates(*converting, is_ratio_off=True), goal="Order Completed")

    assert sentence == "Visitors are not shared as configured, so nothing is claimed about Checkout 2."


@pytest.mark.parametrize(
    ("converting", "expected"),
    [
        ((1_300,), "Checkout 2 raises Order by 30 % (14.9 to 47.4)."),
        (
            (1_010, 1_300),
            "Checkout 3 raises Order by 30 % (13.9 to 48.7); of the others, 1 shows no difference yet.",
        ),
        (
            (1_300, 1_400),
            "Checkout 3 raises Order by 40 % (24.1 to 58.4); of the others, 1 raises it less.",
        ),
        (
            (600, 1_300, 700),
            "Checkout 3 raises Order by 30 % (14.9 to 47.4); of the others, 2 lower it.",
        ),
        (
            (600, 1_000, 700),
            "Checkout 2 lowers Order by 40 % (29.6 to 49.2); of the others, 1 lowers it and 1 shows no difference yet.",
        ),
        (
            (1_000, 1_010),
            "No difference of the 2 variations in Order seen yet; a change of 17.8 % would probably show by now.",
        ),
    ],
    ids=["one", "one_of_two", "two", "best_of_three", "worst_of_three", "none"],
)
def test_sentence__of_several_variations__names_the_one_that_decides(
    converting: tuple[int, ...], expected: str
) -> None:
    assert say_all(compare_rates(*converting), goal="Order") == expected


def test_sentence__of_several_variations_too_few__claims_nothing() -> None:
    results = compare([(sum_rate(100, 2), sum_rate(100, 9)), (sum_rate(100, 2), sum_rate(100, 2))])
    nothing = compare([(sum_rate(100, 0), sum_rate(100, 9)), (sum_rate(100, 0), sum_rate(100, 2))])

    assert say_all([("a", results[0]), ("b", results[1])], goal="Purchase") == (
        "Too few visitors converted on Purchase to say anything about the 2 variations yet."
    )
    assert say_all([("a", nothing[0]), ("b", nothing[1])], goal="Purchase") == (
        "No visitor of the reference converted on Purchase yet, so the 2 variations have nothing to compare with."
    )


def test_sentences__of_all_claims__exist() -> None:
    for claim in ResultClaim:
        sentence = say(Comparison(claim=claim, reference=None, variation=None), goal="G", variation="V")
        assert sentence.endswith(".")


def test_percent__of_shares__has_one_decimal_at_most() -> None:
    assert [percent(share) for share in (0.0414, 0.02, 12, 0.9999)] == ["4.1", "2", "1,200", "100"]
