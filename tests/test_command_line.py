"""The command line as a user has it: scripts in a folder, what is printed and written."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

import tinygrad_ce as tg
from tests.interrupted import HEARS

ROOT = Path(tg.__file__).parents[1]

SCRIPTS = {
    "folder/helper.py": "SCALE = 2.0\n",
    "folder/net.py": """
import sys
big = {"graphviz", "pygraphviz", "tinygrad_ce.nn", "tinygrad_ce.program", "tinygrad_ce.random"}
print("heavy:", *big & {*sys.modules})
import helper
import tinygrad_ce as tg
from tinygrad_ce import nn

class Net(nn.Module):
    def __init__(self):
        self.fc1 = nn.Linear(2, 3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 1))

    def forward(self, x):
        return self.rest(self.fc1(x))

def step(x, y):
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    return loss

def wrong(x):
    return x @ tg.ones(7, 7)

def looks(x):
    return x.sum().item()

tg.manual_seed(0)
model = Net()
x, y = tg.randn(4, 2), tg.zeros(4, 1)
loss = ((model(x) - y) ** 2).mean() * helper.SCALE
number = loss.item()
found = {"a:b": [loss, loss + 1]}
print("ran", __name__, *sys.argv[1:])
""",
    "many.py": "import tinygrad_ce as tg\nlosses = [tg.ones(1) for _ in range(30)]\n",
    "none.py": "_hidden = 1\n",
    "empty.py": "nothing = None\n",
    "blocks.py": """
import os
import tinygrad_ce as tg
loss = tg.ones(2, requires_grad=True).sum()
os.mkdir("blocked.svg")
""",
    "fails.py": "def f():\n    return 1 / 0\nf()\n",
    "syntax.py": "x = (\n",
    "leaves.py": """
import sys
import tinygrad_ce as tg

def main():
    global loss
    loss = tg.ones(2, requires_grad=True).sum()
    return int(sys.argv[1]) if len(sys.argv) > 1 else None

sys.exit(main())
""",
    "moves.py": """
import json
import os
import tinygrad_ce as tg
loss = tg.ones(2, requires_grad=True).sum()
os.mkdir("elsewhere")
os.chdir("elsewhere")
""",
    "deep.py": """
import tinygrad_ce as tg
names = [f"x{i}" for i in range(1600)]
globals().update((name, tg.ones(1, requires_grad=True)) for name in names)
loss = sum(globals()[name] for name in names)
""",
    "bare.py": """
import os, sys
import tinygrad_ce as tg
os.environ["PATH"] = ""
sys.modules["pygraphviz"] = None
loss = tg.ones(2, requires_grad=True).sum()
""",
    "sleeps.py": "import time\nprint('asleep', flush=True)\ntime.sleep(60)\n",
}

GOOD = """
--version
--help
draw --help
draw folder/net.py:loss --out graph.svg
draw folder/net.py:loss --depth 0 --out folded.svg -- --epochs 3
draw folder/net.py:loss --depth 9 --theme dark --out dark.dot
draw folder/net.py:loss --out light.dot
draw folder/net.py:loss --out graph.PNG
draw folder/net.py:loss --out graph.pdf
draw folder/net.py:loss
draw folder/net.py:loss --depth 0 --out -
draw 'folder/net.py:found["a:b"][-1]'
draw folder/net.py:model.rest[1].weight
draw leaves.py:loss
draw moves.py:loss --out moved.svg
trace folder/net.py:step x y
trace folder/net.py:step x --backward y
trace folder/net.py:step --level primitive x y
trace folder/net.py:step x y --table
trace folder/net.py:model x
"""

BAD = {
    # the script and the name
    "draw nowhere.py:loss": (2, "there is no file nowhere.py"),
    "draw folder:loss": (2, "folder is a folder; wanted a Python script"),
    "draw none.py": (2, "'none.py' is no script and name; write none.py:loss"),
    "draw none.py:": (2, "'none.py:' is no script and name; write none.py:loss"),
    "draw :loss": (2, "':loss' is no script and name; write script.py:loss"),
    "draw 'none.py:loss + 1'": (2, "cannot look up 'loss + 1'; wanted a name, such as loss, "
        'model.fc1.weight, losses[-1] or state["loss"]'),
    "draw 'none.py:exit()'": (2, "cannot look up 'exit()'; wanted a name, such as loss, "
        'model.fc1.weight, losses[-1] or state["loss"]'),
    "draw 'none.py:loss[f()]'": (2, "cannot look up 'loss[f()]'; wanted a name, such as loss, "
        'model.fc1.weight, losses[-1] or state["loss"]'),
    "draw none.py:loss": (2, "none.py has no loss; no global variable holds Tensors"),
    # --out
    "draw none.py:loss --out graph.jpg": (2,
        "--out graph.jpg ends in '.jpg'; wanted .svg, .png, .pdf, .dot, .html or .txt"),
    "draw none.py:loss --out no/graph.svg": (2,
        "--out no/graph.svg: there is no folder no; make it first"),
    "draw none.py:loss --out folder.svg": (2, "--out folder.svg is a folder; wanted a file"),
    "draw none.py:loss --theme dark": (2, "--theme is for pictures; add --out graph.svg"),
    "play none.py:loss --out page.svg": (2, None),
    "draw blocks.py:loss --out blocked.svg": (1, "cannot write blocked.svg: Is a directory"),
    # what does not draw or trace
    "draw empty.py:nothing": (2, "nothing of empty.py is None; no global variable holds Tensors"),
    "draw deep.py:loss --depth 9 --out deep.svg": (1, None),
    "draw bare.py:loss --out bare.svg": (1, None),
    "trace folder/net.py:step x": (2, "step(x, y) is called with (x): missing a required "
        "argument: 'y'; example Tensors stand after folder/net.py:step"),
    **{
        f"{command} folder/net.py:model x y": (2, "model(x) is called with (x, y): too many "
            "positional arguments; example Tensors stand after folder/net.py:model")
        for command in ("trace", "exercise --out e.ipynb")
    },
    "trace folder/net.py:model": (2, "model(x) is called with (): missing a required argument: "
        "'x'; example Tensors stand after folder/net.py:model"),
    "trace folder/net.py:model x --backward": (1,
        "backward_source: the function calls no backward(): write loss.backward() in it"),
    "trace folder/net.py:looks x": (1, None),
    "trace folder/net.py:step x y --table --level primitive": (2, "--table has no --level"),
}  # fmt: skip

LISTS = """
draw folder/net.py:los
draw folder/net.py:number
draw folder/net.py:model.fc3.weight
draw many.py:loses
trace folder/net.py:stp x y
trace folder/net.py:step x z
trace folder/net.py:x
"""

OTHER = """
draw fails.py:loss
draw syntax.py:loss
draw leaves.py:loss -- 3
trace folder/net.py:wrong x
draw none.py:loss --nonsense
draw folder/net.py:loss --depth 0 more
trace folder/net.py:step x y --backward --table
"""

COMMANDS = [
    *GOOD.strip().splitlines(), *BAD, *LISTS.strip().splitlines(), *OTHER.strip().splitlines(),
]  # fmt: skip


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **more}


def call(folder, words, **more):
    done = subprocess.run(
        [sys.executable, "-W", "error", *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command line")
    (folder / "folder").mkdir()
    (folder / "folder.svg").mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(folder):
    """What each of COMMANDS gave."""

    def run(command):
        return call(folder, ["-m", "tinygrad_ce", *shlex.split(command)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(COMMANDS, pool.map(run, COMMANDS)))


def drawn(path):
    """The ids in an SVG, and its text."""
    root = ElementTree.fromstring(path.read_bytes())
    return {element.get("id") for element in root.iter()}, "".join(root.itertext())


# --- what is done ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", GOOD.strip().splitlines())
def test_good_calls_are_quiet_about_errors(command, done):
    assert done[command].err == ""
    assert done[command].status == 0


def test_version_and_help(done):
    assert done["--version"].out == f"tinygrad_ce {tg.__version__}\n"
    assert "python -m tinygrad_ce draw script.py:loss --out graph.svg" in done["--help"].out
    assert "draw      the graph of a Tensor" in done["--help"].out
    assert "--depth DEPTH" in done["draw --help"].out


def test_the_picture_is_written_and_its_path_is_the_last_line(folder, done):
    result = done["draw folder/net.py:loss --out graph.svg"]
    assert result.out.splitlines()[-2:] == ["ran __main__", "graph.svg"]
    ids, text = drawn(folder / "graph.svg")
    assert {"n0", "n1", "e0"} <= ids
    for name in ("fc1.weight", "rest.1.bias", "loss", "∇"):
        assert name in text


def test_nothing_heavy_is_imported_before_the_script_runs(done):
    assert done["draw folder/net.py:loss"].out.splitlines()[0] == "heavy:"


def test_folded_and_with_arguments_for_the_script(folder, done):
    result = done["draw folder/net.py:loss --depth 0 --out folded.svg -- --epochs 3"]
    assert result.out.splitlines()[-2:] == ["ran __main__ --epochs 3", "folded.svg"]
    ids, text = drawn(folder / "folded.svg")
    assert "Linear 1" in text
    assert "fc1.weight" not in text
    assert len(ids) < len(drawn(folder / "graph.svg")[0])


def test_dark_and_every_suffix(folder, done):
    dark, light = (folder / f"{name}.dot" for name in ("dark", "light"))
    assert dark.read_text(encoding="utf-8") != light.read_text(encoding="utf-8")
    assert light.read_text(encoding="utf-8").startswith("digraph")
    assert (folder / "graph.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "graph.pdf").read_bytes().startswith(b"%PDF-")


def test_without_a_file_the_graph_is_printed(done):
    lines = done["draw folder/net.py:loss"].out.splitlines()
    assert re.fullmatch(r"loss = \S+ · 10 operations", lines[2])
    assert lines[3].split()[:3] == ["n0", "input", "x"]
    assert lines[-1].split()[1:] == [
        "loss", "×", "2", "loss", "←", "n14", "scalar", lines[2].split()[2], "∇", "1",
        "net.py:31",
    ]  # fmt: skip
    folded = done["draw folder/net.py:loss --depth 0 --out -"].out.splitlines()
    assert [line.split()[1:3] for line in folded if "module" in line] == [
        ["module", "fc1"], ["module", "ReLU"], ["module", "Linear"],
    ]  # fmt: skip


def test_names_go_on_with_attributes_and_subscripts(done):
    assert "+ 1" in done["""draw 'folder/net.py:found["a:b"][-1]'"""].out.splitlines()[-1]
    assert "rest.1.weight" in done["draw folder/net.py:model.rest[1].weight"].out.splitlines()[-1]


def test_a_script_that_leaves_well_is_drawn_and_one_that_fails_is_not(done):
    assert done["draw leaves.py:loss"].out.startswith("loss = 2 · 1 operation\n")
    failed = done["draw leaves.py:loss -- 3"]
    assert (failed.status, failed.out, failed.err) == (3, "", "")


def test_the_file_stands_where_the_call_was_made(folder, done):
    assert done["draw moves.py:loss --out moved.svg"].out == "moved.svg\n"
    assert (folder / "moved.svg").is_file()


def test_trace_prints_the_function_as_numpy(folder, done):
    listing = done["trace folder/net.py:step x y"].out.partition("ran __main__\n")[2]
    names = {}
    exec(compile(listing, "<listing>", "exec"), names)
    assert "# backward of" in listing
    assert names["step"].__code__.co_varnames[:2] == ("x", "y")
    assert "def backward(" in done["trace folder/net.py:step x --backward y"].out
    assert "np.dot(" in done["trace folder/net.py:step --level primitive x y"].out
    assert "FLOPs" in done["trace folder/net.py:step x y --table"].out
    assert "def Net(" in done["trace folder/net.py:model x"].out


# --- what is not ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", BAD)
def test_a_wrong_call_gets_one_line(command, done):
    status, message = BAD[command]
    result = done[command]
    assert result.status == status
    assert result.err.count("\n") == 1
    assert result.err.startswith("tinygrad_ce: ")
    if message is not None:
        assert result.err == f"tinygrad_ce: {message}\n"


def test_what_cannot_be_drawn_or_traced_says_why(folder, done):
    assert re.search(r"3,\d\d\d cards", done["draw deep.py:loss --depth 9 --out deep.svg"].err)
    assert not (folder / "deep.svg").exists()
    looks = done["trace folder/net.py:looks x"].err
    assert re.search(r"net\.py:\d+ in looks\)\. Return the tensor", looks)


def test_without_an_engine_the_line_says_what_was_written_and_what_to_install(folder, done):
    result = done["draw bare.py:loss --out bare.svg"]
    assert "so bare.dot was written; pip install pygraphviz" in result.err
    assert result.out == ""
    assert (folder / "bare.dot").read_text(encoding="utf-8").startswith("digraph")


def test_a_missing_name_lists_the_tensors_the_closest_spelling_first(done):
    result = done["draw folder/net.py:los"]
    assert result.status == 2
    lines = result.err.splitlines()
    assert lines[0] == "tinygrad_ce: folder/net.py has no los; its Tensors:"
    assert lines[1].split() == ["loss", "()", "float32"]
    assert sorted(line[2:].split("  ")[0] for line in lines[1:]) == [
        "found['a:b'][1]", "loss", "model.fc1.bias", "model.fc1.weight", "model.rest[1].bias",
        "model.rest[1].weight", "x", "y",
    ]  # fmt: skip
    assert "  model.fc1.weight      (3, 2)  float32" in lines
    lines = done["draw folder/net.py:model.fc3.weight"].err.splitlines()
    assert re.fullmatch(
        r"tinygrad_ce: folder/net\.py has no model\.fc3\.weight \(AttributeError: .*fc3.*\); "
        "its Tensors:",
        lines[0],
    )
    assert lines[1].split()[0] == "model.fc1.weight"


def test_a_long_list_is_cut(done):
    lines = done["draw many.py:loses"].err.splitlines()
    assert len(lines) == 22
    assert lines[1] == "  losses[0]   (1,)  float32"
    assert lines[-1] == "  and 10 more"


def test_a_name_that_is_no_tensor_says_what_it_is(done):
    result = done["draw folder/net.py:number"]
    assert result.status == 2
    assert re.match(
        r"tinygrad_ce: number of folder/net\.py is the float [\d.]+; its Tensors:\n", result.err
    )


def test_trace_lists_functions_and_examples(done):
    result = done["trace folder/net.py:stp x y"]
    assert (result.status, result.err) == (2, (
        "tinygrad_ce: folder/net.py has no stp; its functions:\n"
        "  step   (x, y)\n  looks  (x)\n  wrong  (x)\n  model  Net\n"
    ))  # fmt: skip
    result = done["trace folder/net.py:step x z"]
    assert result.status == 2
    assert result.err.startswith("tinygrad_ce: folder/net.py has no z; its Tensors:\n")
    result = done["trace folder/net.py:x"]
    assert result.status == 2
    assert result.err.startswith(
        "tinygrad_ce: x of folder/net.py is of type Tensor; its functions:\n"
    )


def test_an_error_in_the_script_shows_the_scripts_own_traceback(done):
    for command, lines, last in [
        ("draw fails.py:loss", ["3, in <module>", "2, in f"], "ZeroDivisionError"),
        ("draw syntax.py:loss", ["1"], "SyntaxError"),
        ("trace folder/net.py:wrong x", ["23, in wrong"], "ValueError: matmul"),
    ]:
        result = done[command]
        assert result.status == 1
        places = re.findall(r'File ".*?([^/\\]*\.py)", line (.*)', result.err)
        script = re.search(r"[a-z]+\.py", command)[0]
        assert [line for file, line in places if file == script] == lines
        assert places[0][0] == script
        assert "runpy" not in result.err
        assert "__main__.py" not in result.err
        assert result.err.splitlines()[-1].startswith(last)


@pytest.mark.parametrize("command", OTHER.strip().splitlines()[-3:])
def test_unknown_options_are_refused(command, done):
    assert done[command].status == 2
    assert done[command].err.splitlines()[0].startswith("usage: python -m tinygrad_ce")
    assert "error: " in done[command].err.splitlines()[-1]


def test_no_command_prints_the_help(folder, done):
    result = call(folder, ["-m", "tinygrad_ce"])
    assert (result.status, result.out, result.err) == (2, done["--help"].out, "")


def test_a_terminal_without_the_characters_gets_escapes(folder):
    words = ["-m", "tinygrad_ce", "draw", "leaves.py:loss"]
    result = call(folder, words, PYTHONIOENCODING="ascii")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("loss = 2 \\xb7 1 operation\n")


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_ctrl_c_and_a_reader_that_leaves(folder):
    words = [*HEARS, "-m", "tinygrad_ce", "draw"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [*words, "sleeps.py:x"], cwd=folder, env=environment(), **pipes
    ) as process:
        try:
            assert process.stdout.readline() == "asleep\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
        finally:
            process.kill()
        assert process.returncode == 130
    with subprocess.Popen(
        [*words, "leaves.py:loss"], cwd=folder, env=environment(), **pipes
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# --- play -----------------------------------------------------------------------------------


def test_play_writes_a_page_with_the_lines_of_the_script(folder):
    words = ["play", "folder/net.py:loss", "--out", "page.html", "--theme", "dark", "--depth", "0"]
    result = call(folder, ["-m", "tinygrad_ce", *words])
    assert (result.status, result.out.splitlines()[-1], result.err) == (0, "page.html", "")
    text = (folder / "page.html").read_text("utf-8")
    told = json.loads(re.search(r'id="story">(.*?)</script>', text, re.DOTALL)[1])
    assert told["theme"] == "dark"
    source = (folder / "folder" / "net.py").read_text().splitlines()
    assert told["files"]
    for file, line, shown, start, stop in told["files"]:
        assert file == "net.py" and shown == source[line - 1].strip() and shown[start:stop]


def test_draw_writes_the_same_page(folder):
    for command in ("draw", "play"):
        words = [command, "folder/net.py:loss", "--out", f"{command}.html"]
        assert call(folder, ["-m", "tinygrad_ce", *words]).status == 0
    assert (folder / "draw.html").read_bytes() == (folder / "play.html").read_bytes()
