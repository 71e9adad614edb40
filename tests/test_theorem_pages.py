"""docs/theorems.md: its theorems are proved here again, and it says what came out."""

import pytest
import theorems

PAGE = theorems.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("theorem", theorems.THEOREMS, ids=lambda t: t.title)
def test_a_theorem_is_proved_and_stands_on_the_page(theorem):
    found = theorems.proof(theorem)
    assert found.status == "proved", found
    section = PAGE.partition(f"## {theorem.title}\n")[2].partition("\n## ")[0]
    assert f"**{theorem.statement}**" in section
    assert "proved:" + theorems.said(found) in section, "run python docs/theorems.py"


@pytest.mark.parametrize("title", ["Cross-entropy", "A linear layer"])
def test_its_derivation_is_up_to_date(title):
    theorem = next(t for t in theorems.THEOREMS if t.title == title)
    assert theorems.derivation(theorem) in PAGE, "run python docs/theorems.py"
