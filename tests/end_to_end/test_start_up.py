"""What the command line imports, and does not: how soon it answers is mostly that."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nftsvc import settings
from nftsvc.agent.log import LogFormat
from nftsvc.cli import make_app
from nftsvc.cli.agent_options import LogForm
from nftsvc.cli.commands import COMMANDS, Panel
from nftsvc.cli.explain import Expected
from nftsvc.cli.golden import AskKernel
from nftsvc.cli.options import SETTING_NAMES
from nftsvc.cli.program import wanted
from nftsvc.explain import Outcome
from nftsvc.golden import KernelChoice
from tests.support.cases import EXAMPLES

ROOT = EXAMPLES.parent
CLASSIC = EXAMPLES / "100-my-service"

# Modules by what they are for; those that they import come with them.
AGENT = ("aiohttp", "asyncio", "kubernetes", "prometheus_client", "watchfiles", "nftsvc.agent.start", "nftsvc.sync")
KERNEL = ("ctypes", "nftables", "nftsvc.kernel", "nftsvc.reading")
OTHERS = ("logging", "multiprocessing", "nftsvc.comparison", "nftsvc.golden", "nftsvc.lint", "nftsvc.sides")
OBJECTS = ("jinja2", "msgspec", "yaml", "nftsvc.pipeline", "nftsvc.ruleset", "nftsvc.settings", "nftsvc.values")
HELP = ("markdown_it", "pygments", "typer.rich_utils")

# Runs the program and writes down which modules it has come to need.
PROGRAM = """
import atexit, sys
from pathlib import Path
noted = Path(sys.argv.pop(1))
atexit.register(lambda: noted.write_text("\\n".join(sys.modules)))
sys.argv[0] = "nftsvc"
from nftsvc.cli import main
main()
"""


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    return {**kept, "COLUMNS": "100", "PYTHONPATH": str(ROOT), **extra}


def imported(folder: Path, *arguments: str | Path, code: int = 0, **env: str) -> set[str]:
    """Run the program in a fresh interpreter; return the modules that it has at the end."""
    noted = folder / "modules"
    command = [sys.executable, "-c", PROGRAM, noted, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment(**env))
    assert done.returncode == code, done.stderr
    assert done.stdout
    return set(noted.read_text().split())


def completing(words: str, shell: str = "bash") -> dict[str, str]:
    return {
        "_NFTSVC_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
    }


# What is imported ----------------------------------------------------------------------------------------------------


def test_all_modules_that_must_not_be_imported_could_be() -> None:
    """A name that no module has would guard nothing."""
    for name in (*AGENT, *KERNEL, *OTHERS, *OBJECTS, *HELP):
        assert importlib.util.find_spec(name) is not None, name


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_the_front_page_needs_neither_typer_nor_the_commands(arguments: list[str], code: int, tmp_path: Path) -> None:
    found = imported(tmp_path, *arguments, code=code)
    assert found.isdisjoint({"typer", *AGENT, *KERNEL, *OTHERS, *OBJECTS, *HELP})
    assert {"rich.panel", "nftsvc.cli.front_page"} <= found


@pytest.mark.parametrize("command", ["", *(name for name in COMMANDS if name != "run")])
def test_completion_needs_no_more_than_the_options(command: str, tmp_path: Path) -> None:
    found = imported(tmp_path, **completing(f"nftsvc {command} --" if command else "nftsvc "))
    assert found.isdisjoint({"rich.console", *AGENT, *KERNEL, *OTHERS, *OBJECTS, *HELP})
    modules = {one.module for name, one in COMMANDS.items() if name == command}
    assert {one.module for one in COMMANDS.values() if f"nftsvc.cli.{one.module}" in found} == modules


def test_completion_of_run_needs_no_agent(tmp_path: Path) -> None:
    found = imported(tmp_path, **completing("nftsvc run --"))
    assert found.isdisjoint({"rich.console", *AGENT, *KERNEL, *OTHERS, *HELP})


@pytest.mark.parametrize("command", ["render", "diff", "lint", "golden", "apply"])
def test_a_commands_help_needs_only_its_options(command: str, tmp_path: Path) -> None:
    assert imported(tmp_path, command, "--help").isdisjoint({*AGENT, *KERNEL, *OBJECTS, "nftsvc.sides", "nftsvc.lint"})


def test_rendering_needs_no_kernel_no_agent_and_nothing_for_colours(tmp_path: Path) -> None:
    found = imported(tmp_path, "render", CLASSIC)
    assert found.isdisjoint({"rich.console", *AGENT, *KERNEL, *OTHERS, *HELP})
    assert {"jinja2", "yaml", "nftsvc.ruleset"} <= found


def test_what_compares_files_needs_no_kernel(tmp_path: Path) -> None:
    found = imported(tmp_path, "diff", CLASSIC, EXAMPLES / "600-dual-stack", code=1)
    assert found.isdisjoint({*AGENT, "nftables", "nftsvc.kernel", "nftsvc.lint"})
    found = imported(tmp_path, "golden", "check", CLASSIC)
    assert found.isdisjoint({"aiohttp", "kubernetes", "nftables", "nftsvc.kernel", "nftsvc.lint"})


# What is known without being imported --------------------------------------------------------------------------------


def test_commands_are_known_by_what_they_say_themselves() -> None:
    group: Any = typer.main.get_command(make_app())
    assert set(group.commands) == set(COMMANDS)
    for name, command in COMMANDS.items():
        made = group.commands[name]
        assert " ".join(made.help.split("\n\n")[0].split()) == command.summary
        assert made.rich_help_panel == command.panel
        assert hasattr(made, "commands") == command.is_group


def test_commands_that_are_not_imported_are_listed_all_the_same() -> None:
    whole: Any = typer.main.get_command(make_app())
    mentioned: Any = typer.main.get_command(make_app(()))
    for name, command in whole.commands.items():
        assert mentioned.commands[name].get_short_help_str() == command.get_short_help_str()
    assert list(mentioned.commands) == list(whole.commands)


def test_a_mistyped_command_is_told_from_those_that_are_not_imported() -> None:
    done = CliRunner().invoke(make_app(()), ["rendre"])
    assert done.exit_code == 2
    assert "Did you mean 'render'?" in done.output


@pytest.mark.parametrize(
    ("arguments", "environment", "names"),
    [
        (["render", "check"], {}, {"render"}),
        (["--version"], {}, set()),
        (["--", "diff", "--help"], {}, {"diff"}),
        (["rendre"], {}, set()),
        ([], completing("nftsvc 'golden' check --"), {"golden", "check"}),
        ([], completing("nftsvc re"), set()),
        (["lint"], {"COMP_WORDS": "nftsvc diff"}, {"lint"}),
    ],
)
def test_commands_are_imported_that_the_arguments_may_be_about(
    arguments: list[str], environment: dict[str, str], names: set[str]
) -> None:
    assert wanted(arguments, environment) == names


def test_choices_are_those_of_what_they_are_for() -> None:
    for mine, theirs in ((Expected, Outcome), (AskKernel, KernelChoice), (LogForm, LogFormat)):
        assert [one.value for one in mine] == [one.value for one in theirs]
    assert SETTING_NAMES == settings.SETTING_NAMES


# The front page ------------------------------------------------------------------------------------------------------


def front_page(**env: str) -> str:
    command = [sys.executable, "-m", "nftsvc", "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment(**env)).stdout


def words(page: str) -> list[str]:
    """Return the words of a page, without frames, and without the type that typer 0.29 gives to flags."""
    return re.sub(r"[─│╭╮╰╯]|<bool>", " ", page).split()


@pytest.mark.parametrize("columns", ["60", "100", "180"])
def test_the_front_page_says_what_typer_would(columns: str) -> None:
    program = "from nftsvc.cli import make_app\nmake_app()(['--help'], prog_name='python -m nftsvc')"
    command = [sys.executable, "-c", program]
    env = environment(COLUMNS=columns)
    typers = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=env).stdout
    assert words(front_page(COLUMNS=columns)) == words(typers)


def test_the_front_page_has_panels_with_commands_in_colour() -> None:
    plain, coloured = front_page(), front_page(FORCE_COLOR="1")
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert re.findall(r"^╭─ (.*?) ─+╮$", plain, re.MULTILINE) == ["Options", *Panel]
    for name in (*COMMANDS, "--version"):
        assert re.search(rf"\x1b\[1;36m{name} *\x1b", coloured), name
    assert all(len(line) == 100 for line in plain.splitlines())
