"""The README's Python and that of the guides, run from top to bottom as a reader types it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page, opening):
    """The code of a page, block by block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{opening}[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("README.md", "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    picture = re.sub("<[^>]*>", " ", (tmp_path / "graph.svg").read_text("utf-8"))
    assert "∇ —" not in picture
    assert {"⊞", "Linear", "cross_entropy"} <= {*picture.split()}  # folded: a card each
    assert f"loss = {names['loss']:.4f}" in (tmp_path / "page.html").read_text("utf-8")


def test_what_the_first_quarter_of_an_hour_says_is_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks("docs/start.md", r"\{code-cell\}"):
        exec(code, names)
    assert {path.name for path in tmp_path.iterdir()} >= {"page.html", "model.safetensors"}
    printed = capsys.readouterr().out
    assert "32 times too large: the 1/N of the mean over the 32 samples is missing" in printed
    assert "the slope of relu is missing" in printed


def printed_by(page, capsys):
    """What the Python of a page prints; blocks whose names come from elsewhere are left out."""
    names = {}
    for block in blocks(f"docs/{page}", "python"):
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
