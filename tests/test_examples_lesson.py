"""The lesson on cross-entropy: what it claims, what it draws, and how it ends."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

PATH = Path(__file__).parents[1] / "examples" / "cross_entropy.py"


@pytest.fixture(scope="module")
def story() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cross_entropy_lesson", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lesson(story: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> object:
    lesson = story.Lesson(tmp_path_factory.mktemp("lesson"), seed=0)
    assert story.teach(lesson) is lesson.claims
    return lesson


@pytest.fixture(scope="module")
def claims(lesson) -> dict:
    return lesson.claims


def test_every_claim_holds(claims) -> None:
    assert len(claims) > 50
    assert [claim.text for claim in claims.values() if not claim.holds] == []


@pytest.mark.parametrize(
    ("key", "wanted", "within"),
    [
        ("half", 0.5, 0.0),
        ("log 2", math.log(2), 1e-15),
        ("underflow", 0.0, 0.0),
        ("exponent", -443.697, 1e-3),
        ("stuck", 5e-324, 0.0),
        ("log-likelihood", -1021.651, 1e-3),
        ("kept slope", 2000 / 0.6, 1e-9),
        ("maximum", 0.7, 1e-12),
        ("minimum", 0.7, 1e-12),
        ("descent", 0.7, 1e-9),
        ("shares", 0.7, 1e-9),
        ("entropy", 0.801819, 1e-6),
        ("steep", -0.99995, 5e-6),
        ("flat", -4.54e-5, 1e-7),
        ("steps back", 11, 1),
        ("steps lost", 22_058.5, 50),
    ],
)
def test_number(claims, key: str, wanted: float, within: float) -> None:
    assert abs(claims[key].number - wanted) <= within


@pytest.mark.parametrize(
    "key",
    [
        "sigmoid slope", "slopes in h", "slopes in z", "two values", "two slopes", "two logits",
        "logistic gradient", "softmax gradient", "network gradient", "counts",
    ],
)  # fmt: skip
def test_autograd_and_formula_agree_to_the_last_digits(claims, key: str) -> None:
    assert 0 <= claims[key].number < 1e-14


@pytest.mark.parametrize("case", ["float64 -800", "float64 +800", "float32 -100", "float32 +100"])
def test_naive_overflows_where_stable_does_not(claims, case: str) -> None:
    assert claims[f"naive {case}"].number == math.inf
    assert claims[f"stable {case}"].number == float(case[-3:])


@pytest.mark.parametrize("remedy", ["label smoothing", "weight decay", "early stopping"])
def test_remedy_narrows_the_gap(claims, remedy: str) -> None:
    gap = claims[f"{remedy} gap"].number
    assert 0 < gap < claims["plain gap"].number
    assert claims[f"{remedy} test"].holds


@pytest.mark.parametrize("model", ["logistic", "softmax", "network"])
def test_model_has_learnt(claims, model: str) -> None:
    assert claims[f"{model} accuracy"].number > 0.9


def test_two_figures_and_nothing_else_are_written(lesson) -> None:
    assert sorted(lesson.out.iterdir()) == sorted(lesson.figures)
    assert len(lesson.figures) == 2
    for path in lesson.figures:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_claim_that_fails_is_marked_and_ends_with_1(
    story: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def wrong(lesson) -> None:
        lesson.claim("wrong", "two is three", 2.0, story.near(2.0, 3.0))
        lesson.claim("nan", "nan is nan", math.nan, story.near(math.nan, math.nan))

    monkeypatch.setattr(story, "teach", wrong)
    assert story.main(["--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("✗") == 2 and "✓" not in out
    assert "0 of 2 claims hold" in out


def test_ctrl_c_says_what_was_written(
    story: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def interrupted(lesson) -> None:
        story.sigmoid_and_its_price(lesson)
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "teach", interrupted)
    assert story.main(["--out", str(tmp_path)]) == 130
    assert f"written: {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "-1"], "'-1' is no integer from 0 to 4294967295"),
        (["--seed", "4294967296"], "'4294967296' is no integer"),
        (["--out", str(PATH)], "cannot write to"),
        (["--sed", "x", "y"], "unrecognized arguments"),
    ],
)
def test_wrong_option_gets_one_line(story: ModuleType, arguments, words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        story.main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_what_is_missing_is_named(
    story: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(story, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        story.main([])
    assert stop.value.code == 2
    assert 'scikit-learn and matplotlib: pip install "tinygrad_ce[examples]"' in (
        capsys.readouterr().err
    )


def test_from_the_command_line_a_wrong_seed_gets_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(PATH), "--seed", "two"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "cross_entropy.py: argument --seed: 'two' is no integer from 0 to 4294967295"
    ]
