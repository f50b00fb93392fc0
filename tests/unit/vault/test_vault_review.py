"""The attack review names a test for each answer; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "tests" / "integration" / "vault"


def test_every_test_that_the_review_names_exists() -> None:
    text = (ROOT / "docs" / "vault.md").read_text()
    review = text[text.index("## Attack review") :]
    rows = [line for line in review.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 12
    for row in rows:
        proofs = re.findall(r"`([\w/]*)(?:\.py)?(?:::(\w+))?`", row.split("|")[-2])
        named = [(file, name) for file, name in proofs if file.endswith(tuple("abcdefghijklmnopqrstuvwxyz")) or name]
        assert named, row
        path = HOME
        for file, name in named:
            if file:
                path = ROOT / f"{file}.py" if "/" in file else HOME / f"{file}.py"
            assert path.is_file(), (row, file)
            assert not name or f"def {name}(" in path.read_text(), (row, name)
