"""The planted mistakes still fit the source, two of them are found, and the page lists them all."""

from __future__ import annotations

import ast

import pytest

from tests.planted.mistakes import MISTAKES
from tests.planted.planting import ROOT, Verdict, copied, edited, judge

QUICK = ("a trade after the end is not counted", "work that fails is tried again at once")


def test_every_mistake_fits_the_source_and_its_finders_are_there() -> None:
    assert len({one.name for one in MISTAKES}) == len(MISTAKES) >= 20
    for one in MISTAKES:
        wrong = edited(one, (ROOT / one.path).read_text())
        ast.parse(wrong)
        for finder in one.finders:
            path, _, name = finder.partition("::")
            assert name.partition("[")[0] in (ROOT / path).read_text(), f"{one.name}: {finder}"


def test_the_page_lists_every_mistake() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    assert [one.name for one in MISTAKES if f"| {one.name} |" not in page] == []


@pytest.mark.timeout(300)
def test_a_few_mistakes_are_found_by_the_tests_they_name() -> None:
    with copied() as tree:
        for one in MISTAKES:
            if one.name in QUICK:
                result = judge(one, tree)
                assert result.verdict is Verdict.FOUND, result
