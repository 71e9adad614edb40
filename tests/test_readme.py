"""The README's Python and that of the guides, run from top to bottom as a reader types it."""

import re
from pathlib import Path

import tinygrad_ce as tg

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


def told(page, capsys):
    """What the cells of a page print."""
    names = {}
    for code in blocks(f"docs/{page}", r"\{code-cell\}"):
        exec(compile(code, page, "exec"), names)
    return capsys.readouterr().out


def test_a_script_from_pytorch_prints_what_pytorch_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = told("from_pytorch.md", capsys)
    (theirs,) = blocks("docs/from_pytorch.md", "text")  # printed by PyTorch 2.13
    assert printed.startswith(theirs)
    assert printed.count("ValueError: ") == 3 and "changed it in place" in printed
    assert printed.count(": it is left out here; use ") == 4
    assert "dz = (p - onehot) / 32" in printed


MICROGRAD = """\
24.7041 138.8338 645.5773
step  0   loss 0.8958441029
step  1   loss 1.7235905337
step 10   loss 0.2450702385
step 50   loss 0.0987511477
step 99   loss 0.0109783701
"""
"""What micrograd 0.1.0 gives for the expression and for the two moons of the page."""


def test_a_script_from_micrograd_has_the_numbers_that_micrograd_has(capsys):
    printed = told("from_micrograd.md", capsys)
    assert printed.startswith(MICROGRAD)
    assert "None\ntensor(12.)\ntensor(24.)\n" in printed  # 12, then 30 in micrograd
    assert "tensor([[ 7., 11.],\n        [ 9., 13.]])" in printed
    assert "dscores = -((h3 > 0) * y / 100)" in printed
    v = tg.tensor(2.0, requires_grad=True)
    w = (v * v).relu()
    assert w.grad_fn.next_functions[0][0].next_functions and v.data.item() == v.item() == 2.0


def printed_by(page, capsys):
    """What the Python of a page prints, block by block as a reader copies it."""
    names = {}
    for block in blocks(f"docs/{page}", "python"):
        exec(compile(block, page, "exec"), names)
    return capsys.readouterr().out


def test_the_code_about_rules_runs(capsys):
    printed = printed_by("rules.md", capsys)
    assert "tensor([0.2500, 1.0000, 0.0625])" in printed  # 1/(1 + |x|)²
    assert "softsign" in printed and "1 / z ** 2" in printed


def test_the_code_about_teaching_runs(capsys):
    printed = printed_by("teaching.md", capsys)
    (report,) = [text for text in blocks("docs/teaching.md", "text") if "follows" in text]
    assert report in printed
    assert printed.count("proved:") == 2
    assert "∂L/∂logits = (p − onehot) / N" in printed
    assert "softmax before cross_entropy" in printed


def test_the_code_about_programs_prints_the_listings_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, source, backward, *_ = blocks("docs/programs.md", "python")
    exec(code, {})
    printed = capsys.readouterr().out
    assert source in printed and backward in printed
    assert (tmp_path / "step.dot").read_text("utf-8").startswith("digraph")


def test_the_code_about_compiling_and_training_pages_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("docs/compile.md", "python")[0], names)
    assert names["loss"].item() < 0.5  # of ten classes: log 10 at the start
    exec(blocks("docs/pictures.md", "python")[0], {})
    assert "<title>loss = " in (tmp_path / "page.html").read_text("utf-8")
