"""The documentation runs, and says what the code says."""

import argparse
import doctest
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import quantlib
from quantlib import cli, errors
from quantlib.recipes import PRESETS, Recipe, from_toml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
IDS = [page.relative_to(DOCS).as_posix() for page in PAGES]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: `python` and `quantlib` in a shell block are those under test, installed or not.
PRELUDE = 'python() { "$PYTHON" "$@"; }\nquantlib() { "$PYTHON" -m quantlib "$@"; }\n'
LANGUAGES = {"python", "console", "toml", "sh", "text"}

every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def load_generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Block:
    """A fenced block: its language, its text and the line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(text):
    """Fenced blocks of a page, in order."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in fence.finditer(text)]


def run_python(block, name, session):
    """Run a block as part of a page's doctest session; return what went wrong."""
    report = []
    test = doctest.DocTestParser().get_doctest(block.text, {}, name, name, block.line - 1)
    if not test.examples:
        return [f"{name}, line {block.line}: a Python block without a prompt\n"]
    test.globs = session
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    return report


def commands(block):
    """Yield (command, expected output) of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        end = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
        yield "\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :])


def run_console(block, name):
    """Run a block's commands in the current folder; return what went wrong."""
    report = []
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    for command, expected in commands(block):
        done = subprocess.run(
            ["sh", "-c", PRELUDE + command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=60,
        )
        if not doctest.OutputChecker().check_output(expected.strip() + "\n", done.stdout.strip() + "\n", FLAGS):
            report.append(f"{name}, line {block.line}: $ {command}\nExpected:\n{expected}\nGot:\n{done.stdout}\n")
    return report


def run_page(text, name):
    """Run all blocks of a page in one session and in the current folder; return what went wrong."""
    session, report = {}, []
    for block in blocks(text):
        if block.language == "python":
            report += run_python(block, name, session)
        elif block.language == "console":
            report += run_console(block, name)
        elif block.language == "toml":
            from_toml(block.text, f"{name}, line {block.line}")
            if file := re.match(r"# (\S+\.toml)\n", block.text):
                Path(file[1]).write_text(block.text, encoding="utf-8")
    return report


def litert_missing():
    """Why figures measured with LiteRT can't be measured again here; empty where they can."""
    try:
        version = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        return "ai-edge-litert isn't installed"
    machine = platform.machine().lower()
    if not version.startswith("2.3.") or machine not in ("x86_64", "amd64"):
        return f"figures are of ai-edge-litert 2.3 on x86-64; this is {version} on {machine}"
    return ""


@pytest.mark.skipif(shutil.which("sh") is None, reason="shell blocks need a POSIX shell")
@every_page
def test_every_block_runs(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    if "ai_edge_litert" in text and (reason := litert_missing()):
        pytest.skip(reason)
    if "from distributed import" in text:
        pytest.importorskip("distributed", reason="Dask is not installed (the extra 'dask')")
    monkeypatch.chdir(tmp_path)
    report = run_page(text, page.name)
    assert not report, "\n" + "".join(report)


def test_the_session_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session, report = {}, []
    for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        if block.language == "python":
            report += run_python(block, "README.md", session)
    assert session, "no Python block was found"
    assert not report, "\n" + "".join(report)


@every_page
def test_every_block_has_a_known_language(page):
    text = page.read_text(encoding="utf-8")
    assert {block.language for block in blocks(text)} <= LANGUAGES
    assert text.count("\n```") == 2 * len(blocks(text))


@every_page
def test_shell_blocks_that_are_not_run_only_install(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            assert [line for line in block.text.splitlines() if not line.startswith("python -m pip install ")] == []


def test_a_wrong_block_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right = "```python\n>>> x = 1\n```\n```python\n>>> x\n1\n```\n```console\n$ echo a; echo b\na\nb\n$ exit 1\n```\n"
    assert run_page(right, "page") == []
    assert len(run_page(right.replace("\n1\n", "\n2\n"), "page")) == 1
    assert len(run_page(right.replace("\nb\n", "\nc\n"), "page")) == 1
    assert len(run_page("```python\nx = 1\n```\n", "page")) == 1
    with pytest.raises(errors.InvalidRecipe, match="unknown key 'mod'"):
        run_page('```toml\nmod = "dynamic"\n```\n', "page")


MODULES = sorted(m.name for m in pkgutil.walk_packages(quantlib.__path__, "quantlib.") if "__main__" not in m.name)


@pytest.mark.parametrize("name", ["quantlib", *MODULES])
def test_doctests_of_the_library_run(name):
    report = []
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert not report, "\n" + "".join(report)


@every_page
def test_generated_parts_are_in_step(page):
    generator, text = load_generator(), page.read_text(encoding="utf-8")
    assert generator.filled(text) == text, "run: python docs/generate.py"


def test_every_part_is_used_once():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    used = re.findall(r"<!-- generated: (\S+) -->", text)
    assert sorted(used) == sorted(load_generator().PARTS)
    assert re.findall(r"<!-- end of (\S+) -->", text) == used


def page(name):
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


def test_every_public_name_is_in_the_api_page():
    text = page("api.md")
    assert [name for name in quantlib.__all__ if f"`ql.{name}`" not in text] == []


def test_every_option_is_in_the_command_line_page():
    parser = cli._parser(())
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    text = page("command-line.md")
    assert len(subparsers.choices) > 2
    for name, command in subparsers.choices.items():
        section = text.split(f"### quantlib {name}\n")[1].split("\n### ")[0]
        flags = [flag for a in command._actions for flag in a.option_strings if a.dest != "help"]
        assert [flag for flag in flags if not re.search(rf"`[^`]*{flag}\b", section)] == []
    assert all(flag in text for a in parser._actions for flag in a.option_strings)


def test_every_field_and_preset_is_in_the_recipes_page():
    text = page("recipes.md")
    assert [f.name for f in fields(Recipe) if f"| `{f.name}` |" not in text] == []
    assert [name for name in PRESETS if f"| `{name}` |" not in text] == []


def test_every_exception_is_in_the_errors_page():
    names = [name for name, thing in vars(errors).items() if inspect.isclass(thing)]
    assert len(names) > 5
    assert [name for name in names if f"`{name}`" not in page("errors.md")] == []
    assert [name for name in names if name not in errors.__doc__] == []


def links(text):
    """Targets of a page's links, fenced blocks left out."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text):
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@every_page
def test_links_resolve(page):
    broken = []
    for link in links(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_index():
    reached = {(DOCS / link).resolve() for link in links((DOCS / "index.md").read_text(encoding="utf-8"))}
    assert {page for page in PAGES if page.name != "index.md"} - reached == set()


@every_page
def test_prose_lines_are_short(page):
    inside = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in inside.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_fences_are_found():
    text = "a\n```python\n>>> 1\n1\n```\n"
    assert blocks(text) == [Block("python", ">>> 1\n1\n", 3)]
