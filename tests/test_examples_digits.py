"""The digits example, run as a user runs it, and its gradients by hand."""

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.interrupted import HEARS

SCRIPT = Path(__file__).parent.parent / "examples" / "digits.py"
sys.path.insert(0, str(SCRIPT.parent))

import digits  # noqa: E402


def run(*options, **more):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent), "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **more,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits")
    return run("--out", str(out)), out


def test_the_network_reads_97_percent_of_the_test_digits(result):
    finished, _ = result
    assert finished.returncode == 0, finished.stderr
    last = finished.stdout.strip().split("\n")[-1]
    assert float(last.split()[-1].rstrip("%")) >= 97.0
    assert finished.stdout.count("✓") == 4 and "✗" not in finished.stdout


def test_everything_that_is_promised_is_written_and_named(result):
    finished, out = result
    graphs = {"graph.svg", "graph.dot", "graph.html"}
    names = {"curves.png", "mistakes.png", "weights.safetensors", *graphs}
    assert {path.name for path in out.iterdir()} == names
    for name in names:
        assert str(out / name) in finished.stdout
    for name in ("curves.png", "mistakes.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert ET.parse(out / "graph.svg").getroot().tag.endswith("svg")
    assert "fc1.weight" in (out / "graph.dot").read_text(encoding="utf-8")


def test_the_weights_that_are_saved_have_the_accuracy_that_is_printed(result):
    finished, out = result
    network = digits.TwoLayerNetwork(64)
    network.load_state_dict(tg.load(out / "weights.safetensors"))
    _, _, X, y = digits.load_digits()
    _, accuracy = digits.evaluate(network, X, y)
    assert f"{accuracy:.2%}" == finished.stdout.strip().split()[-1]


def test_the_same_seed_gives_the_same_numbers_in_another_process_too(tmp_path, capsys):
    def losses(text):
        return re.findall(r"loss (\d.*)", text)

    elsewhere = run("--epochs", "1", "--seed", "1", "--out", str(tmp_path)).stdout
    for seed in "13":
        assert digits.main(["--epochs", "1", "--seed", seed, "--out", str(tmp_path)]) == 0
    here = losses(capsys.readouterr().out)
    assert len(here) == 4 and here[:2] == losses(elsewhere)
    assert not set(here[2:]).intersection(here[:2])


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.000001, "the ratio is the same over all elements"),
     (32, "32 times too large: the 1/N of the mean over the 32 samples is missing")],
)  # fmt: skip
def test_a_wrong_gradient_stops_the_run(factor, said, monkeypatch, tmp_path, capsys):
    honest = digits.gradients_by_hand

    def wrong(*args):
        found = honest(*args)
        found["fc2.bias"] = found["fc2.bias"] * factor
        return found

    monkeypatch.setattr(digits, "gradients_by_hand", wrong)
    assert digits.main(["--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "✗" in out and "gradient of fc2.bias is wrong; nothing was trained" in err
    assert f"\nfc2.bias: {said}" in err or "\nfc2.bias: no change that is known" in err
    assert said in err
    assert not list(tmp_path.iterdir())


def test_the_check_sees_a_difference_that_is_wrong():
    assert digits.difference(np.array([1.0, 2.0]), np.array([1.0, 2.5])) == (0.5, 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "argument --epochs: got '0'; wanted a whole number of at least 1"),
        (["--epochs", "many"], "argument --epochs"),
        (["--lr", "-1"], "argument --lr"),
        (["--lr", "nan"], "argument --lr"),
        (["--hidden", "1.5"], "argument --hidden"),
        (["--seed", "-3"], "argument --seed"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--out", str(SCRIPT)], "argument --out: File exists"),
    ],
)
def test_a_wrong_value_gets_one_line(options, message, capsys):
    assert digits.main(options) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_a_loss_that_runs_away_gets_one_line(tmp_path, capsys):
    with np.errstate(all="ignore"):
        assert digits.main(["--lr", "1e30", "--epochs", "2", "--out", str(tmp_path)]) == 1
    assert "try a smaller --lr than 1e+30" in capsys.readouterr().err


def test_ctrl_c_says_what_was_written_and_exits_with_130(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*HEARS, str(SCRIPT), "--epochs", "100000", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        while "difference" not in (line := process.stdout.readline()):  # then training begins
            assert line
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted; written so far: nothing" in err and "Traceback" not in err
