"""The README's Python and that of the guides, run from top to bottom as a reader types it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks):
        code = compile(block, f"README.md, block {number}", "exec")
        exec(code, names)
    assert len(blocks) >= 6
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"graph.svg", "page.html", "history.png", "boundary.png"}
    printed = capsys.readouterr().out
    assert "tensor([2., 4., 6.])" in printed
    report = text.partition("teach.check(step")[2].partition("```text\n")[2].partition("```")[0]
    assert report.count("\n") == 3 and report in printed
    picture = re.sub("<[^>]*>", " ", (tmp_path / "graph.svg").read_text("utf-8"))
    assert "∇ —" not in picture  # as of a loss whose parameters the optimiser has changed since
    assert {"⊞", "Linear", "labels", "cross_entropy"} <= {*picture.split()}  # folded: a card each


def printed_by(page, capsys):
    """What the Python of a page prints; blocks whose names come from elsewhere are left out."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if "dlogits" not in block:
            exec(compile(block, page, "exec"), names)
    return capsys.readouterr().out


def test_the_code_about_rules_runs(capsys):
    printed = printed_by("rules.md", capsys)
    assert "tensor([0.2500, 1.0000, 0.0625])" in printed  # 1/(1 + |x|)²
    assert "softsign" in printed and "1 / z ** 2" in printed


def test_the_code_about_teaching_runs(capsys):
    printed = printed_by("teaching.md", capsys)
    assert printed.count("proved:") == 2
    assert "∂L/∂logits = (p − onehot) / N" in printed
    assert "softmax before cross_entropy" in printed
