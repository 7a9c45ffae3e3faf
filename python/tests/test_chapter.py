"""The chapter docs/file-io.md, run as a reader runs it, for every framework that is installed."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cairnfile
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _runner():
    loader = importlib.machinery.SourceFileLoader("chapter_runner", str(DOCS / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    # The checkout is no place for what the interpreter caches.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


RUNNER = _runner()
BLOCKS = RUNNER.blocks((DOCS / "file-io.md").read_text(encoding="utf-8"))
FRAMEWORKS = ("torch", "tensorflow", "mxnet", "jax", "numpy")


def run(*arguments):
    # The package that is tested here, installed or not.
    python_path = [str(Path(cairnfile.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, python_path))}
    command = [sys.executable, str(DOCS / "run"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def steps_of(output):
    """What each step printed, by its title."""
    parts = output.split("\n== ")[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_chapter_runs(framework):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    done = run(framework)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = steps_of(done.stdout)
    assert list(steps) == list(dict.fromkeys(block.step for block in BLOCKS))
    assert "outputs equal: True\n" in steps["4 The parameters of a network"]
    assert "two layers reused: True\n" in steps["6 Reusing the first two layers"]
    assert "outputs equal: True\n" in steps["7 The architecture beside the parameters"]
    assert "goes on as if it had not stopped: True\n" in steps["8 A whole training, and going on"]
    assert ": False" not in done.stdout


def test_steps_are_numbered():
    titles = list(dict.fromkeys(block.step for block in BLOCKS))
    assert [title.split()[0] for title in titles] == [str(n) for n in range(1, 9)]


def test_frameworks_have_the_same_steps():
    assert set(RUNNER.frameworks(BLOCKS)) == set(FRAMEWORKS)
    for step in dict.fromkeys(block.step for block in BLOCKS):
        own = [block.framework for block in BLOCKS if block.step == step and block.framework is not None]
        # Each has as many blocks of its own in a step as the others.
        assert len({own.count(framework) for framework in FRAMEWORKS}) == 1, step


def test_every_block_of_python_is_run_or_names_a_framework():
    fences = [line for line in (DOCS / "file-io.md").read_text(encoding="utf-8").splitlines() if line.startswith("```") and line != "```"]
    assert len(fences) == len(BLOCKS)
    assert set(fences) == {"```python", *(f"```python {framework}" for framework in FRAMEWORKS)}


@pytest.fixture
def chapter(tmp_path):
    def write(text):
        path = tmp_path / "chapter.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_block_that_fails_is_named_by_its_line(chapter):
    text = "# A\n\n## 1 One\n\n```python\nx = 1\n```\n\n## 2 Two\n\n```python torch\nprint('before')\nassert x == 2\n```\n"
    done = run("torch", chapter(text))
    assert done.returncode == 1
    assert done.stdout == "\n== 1 One\n\n== 2 Two\nbefore\n"
    assert "chapter.md:12: this block failed for torch, in step '2 Two'" in done.stderr
    # The line in it that failed, with its text.
    assert "line 13" in done.stderr and "assert x == 2" in done.stderr


def test_a_block_that_is_no_python_is_named_by_its_line(chapter):
    done = run("torch", chapter("## 1 One\n\n```python torch\nx = = 1\n```\n"))
    assert done.returncode == 1
    assert "chapter.md:4: this block failed" in done.stderr


def test_blocks_of_other_frameworks_are_not_run(chapter):
    done = run("torch", chapter("## 1 One\n```python torch\nx = 1\n```\n```python jax\nx = 2\n```\n```text\nx = 3\n```\n```python\nprint(x)\n```\n"))
    assert (done.returncode, done.stdout) == (0, "\n== 1 One\n1\n")


def test_files_of_a_run_are_gone(chapter, tmp_path):
    done = run("torch", chapter("## 1 One\n```python torch\nimport os\nopen('left', 'w').close()\nprint(os.getcwd())\n```\n"))
    folder = Path(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and folder.is_absolute() and not folder.exists()


@pytest.mark.parametrize("text", ["## 1 One\n```python\nx = 1\n", "```python\nx = 1\n```\n", "## 1 One\n```python a b\n```\n"])
def test_a_chapter_that_is_malformed_is_refused(text):
    with pytest.raises(ValueError, match="^line [12]: "):
        RUNNER.blocks(text)


def test_a_framework_without_code_is_refused(chapter):
    done = run("theano", chapter("## 1 One\n```python torch\nx = 1\n```\n"))
    assert done.returncode == 2 and "one of torch" in done.stderr
