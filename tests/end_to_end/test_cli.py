"""The program as people run it: arguments in; text, messages and an exit code out."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nftsvc import __version__
from nftsvc.lab import Namespace, namespaces
from tests.support.builders import endpoint_slice, service
from tests.support.cases import EXAMPLES

Done = subprocess.CompletedProcess[str]

PROGRAM = (sys.executable, "-m", "nftsvc")
INSTALLED = Path(sys.executable).parent / "nftsvc"
TEMPLATES = EXAMPLES.parent / "templates"
COMMANDS = ("render", "check", "explain", "diff", "lint", "golden", "run", "apply", "clean", "demo", "config")
CLASSIC = EXAMPLES / "100-my-service"
CONFLICTS = EXAMPLES / "802-conflicting-claims"
MANY_ERRORS = EXAMPLES / "905-many-errors-in-many-files"
GOLDEN = (CLASSIC / "ruleset.nft").read_text()

_COLOUR_VARIABLES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS")
_SGR = re.compile(r"\x1b\[([0-9;]*)m")

BAD_WEB = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  ports:
    - {port: 80, nodePort: 70000, protocol: HTTP}
"""
EXAMPLE_LINE = "web.yaml #2 Service shop/web: spec.ports[0].nodePort: 70000 is not a port number (1-65535)"


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without what decides about colour and width, with a fixed width instead."""
    kept = {name: value for name, value in os.environ.items() if name not in _COLOUR_VARIABLES}
    return {**kept, "COLUMNS": "120", **extra}


def run(
    *arguments: str | Path, cwd: Path, stdin: str = "", prefix: Sequence[str] = (), env: dict[str, str] | None = None
) -> Done:
    command = [*prefix, *PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False, env=env or environment()
    )


def write(path: Path, *raws: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(raws)}))
    return path


def web(endpoints: int = 2, address: str = "10.96.0.1") -> list[dict[str, Any]]:
    addresses = [f"10.244.1.{number}" for number in range(1, endpoints + 1)]
    return [
        service("web", [address], [{"name": "http", "port": 80, "nodePort": 30080}]),
        endpoint_slice("web", addresses, [{"name": "http", "port": 8080}]),
    ]


def listed_folder(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def broken(folder: Path, **templates: str) -> Path:
    folder.mkdir()
    for name, text in templates.items():
        (folder / f"{name}.nft.j2").write_text(text)
    return folder


def lying_operations(folder: Path) -> Path:
    """Return templates that write an endpoint address which the kernel refuses."""
    text = (TEMPLATES / "operations.nft.j2").read_text()
    changed = text.replace("op.set.data) }}", "op.set.data) | replace('.1.2 ', '.1.999 ') }}")
    assert changed != text
    return broken(folder, operations=changed)


def tables(text: str) -> set[str]:
    return set(re.findall(r"^table (\w+) nftsvc \{$", text, re.MULTILINE))


def elements(text: str, name: str) -> set[str]:
    """Return the elements of a set or map in a rendered ruleset, one string each."""
    block = re.search(rf"\t(?:set|map) {name} \{{.*?^\t\}}$", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    found = re.search(r"elements = \{(.*?)\}", block[0], re.DOTALL)
    return {line.strip(" \t,") for line in found[1].strip().splitlines()} if found else set()


# Help ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_and_names_the_exit_codes(command: str, tmp_path: Path) -> None:
    done = run(*command.split(), "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    for named in [command] if command else ["render", "diff", "run"]:
        assert [line for line in lines if re.search(rf"(^|sudo |\| )nftsvc {named}\b", line)]
    text = " ".join(done.stdout.split())
    for code in ("0 fine", "1 differs", "2 wrong usage", "3 bad input", "4 the kernel", "5 the cluster", "70 a bug"):
        assert code in text
    assert "\x1b" not in done.stdout


def test_help_of_the_program_lists_every_command(tmp_path: Path) -> None:
    text = run("-h", cwd=tmp_path).stdout
    assert all(re.search(rf"^\W*{command}\s+\w", text, re.MULTILINE) for command in COMMANDS)


def test_without_arguments_the_help_is_shown(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).split() == run("--help", cwd=tmp_path).stdout.split()


def test_version_is_the_packages(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nftsvc {__version__}\n", "")


def completed(words: str, tmp_path: Path) -> set[str]:
    env = environment(_NFTSVC_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    done = subprocess.run([INSTALLED], cwd=tmp_path, capture_output=True, text=True, check=True, env=env)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("nftsvc re", {"render"}),
        ("nftsvc ", set(COMMANDS)),
        ("nftsvc render --fam", {"--family"}),
        ("nftsvc render --family ", {"ipv4", "ipv6", "dual"}),
        ("nftsvc apply --dry", {"--dry-run"}),
    ],
)
def test_shell_completion_offers(words: str, offered: set[str], tmp_path: Path) -> None:
    assert completed(words, tmp_path) == offered


def test_wrong_usage_is_exit_2_with_nothing_on_stdout(tmp_path: Path) -> None:
    for arguments in (["rendre"], ["render"], ["render", "--family", "ipx", str(CLASSIC)]):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
        assert arguments[-1] in done.stderr or "PATH" in done.stderr


# render: input -------------------------------------------------------------------------------------------------------


def test_folder_and_files_in_any_order_give_the_golden_bytes(tmp_path: Path) -> None:
    files = sorted(CLASSIC.glob("*.yaml"))
    for paths in ([CLASSIC], files, files[::-1]):
        done = run("render", "--family", "ipv4", *paths, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, GOLDEN)


def test_stdin_gives_the_golden_bytes_alone_and_beside_files(tmp_path: Path) -> None:
    first, second = sorted(CLASSIC.glob("*.yaml"))
    both = f"{first.read_text()}---\n{second.read_text()}"
    for arguments, stdin in ((["-"], both), ([first, "-"], second.read_text())):
        done = run("render", "--family", "ipv4", *arguments, cwd=tmp_path, stdin=stdin)
        assert (done.returncode, done.stdout) == (0, GOLDEN), done.stderr


def test_neither_the_working_directory_nor_the_hash_seed_shows(tmp_path: Path) -> None:
    case = EXAMPLES / "600-dual-stack"
    for seed, cwd in (("0", tmp_path), ("1", case), ("4242", Path("/"))):
        done = run("render", os.path.relpath(case, cwd), cwd=cwd, env=environment(PYTHONHASHSEED=seed))
        assert done.stdout == (case / "ruleset.nft").read_text()


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (("--family", "ipv4"), {"ip"}),
        (("--family", "ipv6"), {"ip6"}),
        (("--family", "dual"), {"ip", "ip6"}),
        ((), {"ip", "ip6"}),
    ],
)
def test_family_decides_which_tables_there_are(arguments: tuple[str, ...], made: set[str], tmp_path: Path) -> None:
    assert tables(run("render", *arguments, EXAMPLES / "600-dual-stack", cwd=tmp_path).stdout) == made


def nodes(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}]},
        }
        for number, name in enumerate(names, 11)
    ]


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    return write(
        tmp_path / "two.json",
        *nodes("node-a", "node-b"),
        service("web", ["10.96.0.1"], [{"port": 80, "nodePort": 30080}]),
        endpoint_slice("web", ["10.244.1.1"], node="node-a", suffix="a"),
        endpoint_slice("web", ["10.244.2.1"], node="node-b", suffix="b"),
    )


@pytest.mark.parametrize(
    ("node", "pod", "address"), [("node-a", "10.244.1.1", "192.0.2.11"), ("node-b", "10.244.2.1", "192.0.2.12")]
)
def test_node_decides_which_endpoints_may_hairpin_and_which_addresses_have_node_ports(
    node: str, pod: str, address: str, two_nodes: Path, tmp_path: Path
) -> None:
    text = run("render", "--family", "ipv4", "--node", node, two_nodes, cwd=tmp_path).stdout
    assert elements(text, "hairpin") == {f"{pod} . {pod}"}
    assert elements(text, "nodeport-ips") == {address}
    assert len(elements(text, "tcp-endpoints")) == 2


def test_without_a_node_every_endpoint_may_hairpin(two_nodes: Path, tmp_path: Path) -> None:
    text = run("render", "--family", "ipv4", two_nodes, cwd=tmp_path).stdout
    assert len(elements(text, "hairpin")) == 2


def test_only_node_of_the_input_is_the_default(tmp_path: Path) -> None:
    write(tmp_path / "one.json", *nodes("node-a"), *web(), endpoint_slice("web", ["10.244.2.1"], node="x", suffix="b"))
    text = run("render", "--family", "ipv4", "one.json", cwd=tmp_path).stdout
    assert elements(text, "hairpin") == {"10.244.1.1 . 10.244.1.1", "10.244.1.2 . 10.244.1.2"}


def test_node_that_the_input_lacks_is_exit_2_and_named(two_nodes: Path, tmp_path: Path) -> None:
    done = run("render", "--node", "node-c", two_nodes, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(name in done.stderr for name in ("node-c", "node-a", "node-b"))


def test_any_node_will_do_where_the_input_has_no_nodes(tmp_path: Path) -> None:
    done = run("render", "--family", "ipv4", "--node", "node-b", CLASSIC, cwd=tmp_path)
    assert done.returncode == 0
    assert elements(done.stdout, "hairpin") == {"10.244.2.12 . 10.244.2.12"}


# render: bad input ---------------------------------------------------------------------------------------------------


def test_every_error_of_every_file_is_reported_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(BAD_WEB)
    (tmp_path / "api.json").write_text("{")
    done = run("render", "web.yaml", "api.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert f"error: {EXAMPLE_LINE}" in lines
    assert [line for line in lines if "spec.ports[0].protocol" in line]
    assert [line for line in lines if line.startswith("error: api.json #1: not JSON")]
    assert len(lines) == 3


def test_errors_are_those_the_golden_case_expects() -> None:
    expected = [f"error: {line}" for line in (MANY_ERRORS / "errors.txt").read_text().splitlines()]
    for command in ("render", "check"):
        done = run(command, ".", cwd=MANY_ERRORS)
        assert (done.returncode, done.stdout, done.stderr.splitlines()) == (3, "", expected)


def test_errors_on_stdin_say_so(tmp_path: Path) -> None:
    done = run("render", "-", cwd=tmp_path, stdin="- a\nb: [\n")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: <stdin> #1: ")


def test_path_that_is_not_there_is_exit_2_and_named(tmp_path: Path) -> None:
    done = run("render", CLASSIC, "no-such.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such.yaml" in done.stderr
    assert "does not exist" in done.stderr


def test_input_without_any_manifest_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("render", "empty", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "empty: no manifests" in done.stderr


# render: output ------------------------------------------------------------------------------------------------------


def test_output_goes_into_the_file_and_nowhere_else(tmp_path: Path) -> None:
    target = tmp_path / "out" / "rules.nft"
    target.parent.mkdir()
    for before in (None, "something else\n" * 10000):
        if before is not None:
            target.write_text(before)
        done = run("render", "-f", "ipv4", CLASSIC, "-o", target, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert target.read_text() == GOLDEN
        assert listed_folder(tmp_path) == ["out", "out/rules.nft"]


@pytest.mark.parametrize("why", ["bad input", "bad template", "template that fails late"])
def test_output_file_is_as_it_was_where_rendering_fails(why: str, tmp_path: Path) -> None:
    target = tmp_path / "rules.nft"
    target.write_text("before\n")
    arguments: list[str | Path] = ["render", CLASSIC]
    if why == "bad input":
        (tmp_path / "web.yaml").write_text(BAD_WEB)
        arguments.append("web.yaml")
    else:
        text = "{% if %}" if why == "bad template" else "text\n" * 10000 + "{{ nothing.here }}"
        arguments += ["--templates", broken(tmp_path / "templates", ruleset=text)]
    before = listed_folder(tmp_path)
    done = run(*arguments, "--output", target, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3 if why == "bad input" else 2, "")
    assert target.read_text() == "before\n"
    assert listed_folder(tmp_path) == before


@pytest.mark.parametrize("target", ["missing/rules.nft", "file/rules.nft", "folder", "/proc/rules.nft"])
def test_output_that_cannot_be_written_is_exit_2_and_leaves_nothing(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = listed_folder(tmp_path)
    done = run("render", CLASSIC, "-o", target, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot write to {target}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert listed_folder(tmp_path) == before


def test_output_to_a_pipe_is_written_to_it_and_does_not_replace_it(tmp_path: Path) -> None:
    """So it is with /dev/null and /dev/stdout."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = run("render", "-f", "ipv4", CLASSIC, "-o", fifo, cwd=tmp_path)
        assert fifo.is_fifo()
        assert done.returncode == 0
        assert os.read(reader, 1 << 16).decode() == GOLDEN
    finally:
        os.close(reader)


def test_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    raws = [service(f"s-{n}", [f"10.96.{n // 250}.{n % 250 + 1}"]) for n in range(1500)]
    write(tmp_path / "many.json", *raws)
    with subprocess.Popen(
        [*PROGRAM, "render", "many.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith("# table ip nftsvc")
        program.stdout.close()
        said = program.stderr.read()
    assert not re.search(r"Traceback|BrokenPipe|Exception", said)
    assert "1500 Services" in said


# render: templates ---------------------------------------------------------------------------------------------------


def test_users_templates_replace_ours_of_the_same_name_only(tmp_path: Path) -> None:
    own = (TEMPLATES / "objects.nft.j2").read_text()
    folder = broken(tmp_path / "templates", objects=own.replace("type {{ hook.type }}", "type  {{ hook.type }}"))
    done = run("render", "-f", "ipv4", CLASSIC, "--templates", folder, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == GOLDEN.replace("type nat hook", "type  nat hook").replace("type filter", "type  filter")
    assert done.stdout != GOLDEN


@pytest.mark.parametrize(
    "text",
    [
        "{% if %}",
        "{{ nothing.here }}",
        '{% include "no-such-file" %}',
        "{{ 1 / 0 }}",
        '{{ "x; flush ruleset" | key }}',
    ],
)
def test_broken_template_is_exit_2_with_a_message(text: str, tmp_path: Path) -> None:
    folder = broken(tmp_path / "templates", ruleset=text)
    done = run("render", CLASSIC, "--templates", folder, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: --templates {folder}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_template_that_is_not_text_is_exit_2(tmp_path: Path) -> None:
    folder = broken(tmp_path / "templates")
    (folder / "ruleset.nft.j2").write_bytes(b"\xff\xfe\x00")
    done = run("render", CLASSIC, "--templates", folder, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_operations_without_a_macro_are_exit_2(tmp_path: Path) -> None:
    folder = broken(tmp_path / "templates", operations="{# nothing #}")
    done = run("check", CLASSIC, "--templates", folder, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_folder_of_templates_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    done = run("render", CLASSIC, "--templates", tmp_path / "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


# render: messages ----------------------------------------------------------------------------------------------------


def test_objects_of_other_kinds_are_counted_and_named_on_request(tmp_path: Path) -> None:
    paths = (EXAMPLES / "122-file-soup", EXAMPLES / "108-headless-and-external-name")
    quiet = run("render", *paths, cwd=tmp_path)
    assert quiet.returncode == 0
    assert "skipped 3 objects of other kinds (-v names them)" in quiet.stderr
    assert "ConfigMap" not in quiet.stderr
    named = run("render", "-v", *paths, cwd=tmp_path)
    lines = named.stderr.splitlines()
    for kind in ("ConfigMap", "Namespace", "NetworkPolicy"):
        assert f"skipped 1 {kind}" in lines
    assert [line for line in lines if line.startswith("skipped Service default/warehouse: ExternalName")]
    assert [line for line in lines if line.startswith("skipped Service default/queue-peers: headless")]
    assert named.stdout == quiet.stdout


def test_warnings_go_to_stderr_and_do_not_stop_anything(tmp_path: Path) -> None:
    done = run("render", "-f", "ipv4", ".", cwd=CONFLICTS)
    assert (done.returncode, done.stdout) == (0, (CONFLICTS / "ruleset.nft").read_text())
    expected = [f"warning: {line}" for line in (CONFLICTS / "warnings.txt").read_text().splitlines()]
    assert [line for line in done.stderr.splitlines() if line.startswith("warning")] == expected
    assert listed_folder(tmp_path) == []


def test_no_terminal_means_no_escape_sequences(tmp_path: Path) -> None:
    for command, path in (("render", MANY_ERRORS), ("check", CONFLICTS)):
        done = run(command, path, cwd=tmp_path, env=environment(TERM="xterm-256color"))
        assert "\x1b" not in done.stdout + done.stderr


def on_terminal(*arguments: str | Path, **extra: str) -> tuple[int, str]:
    """Run the program with a terminal as its standard error; return the exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm-256color", **extra)
    with subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL, env=env
    ) as program:
        os.close(theirs)
        chunks = []
        while chunk := _read(ours):
            chunks.append(chunk)
    os.close(ours)
    return program.returncode, b"".join(chunks).decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody has the other end any more
        return b""


def colours(text: str) -> set[str]:
    codes = {code for sequence in _SGR.findall(text) for code in sequence.split(";")}
    return {code for code in codes if re.fullmatch(r"3[0-8]|4[0-8]|9[0-7]|10[0-7]", code)}


def test_terminal_gets_colour() -> None:
    code, text = on_terminal("render", MANY_ERRORS)
    assert code == 3
    assert colours(text)
    assert "is not a port number (1-65535)" in text


def test_no_color_is_respected_on_a_terminal() -> None:
    for command, path in (("render", MANY_ERRORS), ("check", CONFLICTS)):
        _, text = on_terminal(command, path, NO_COLOR="1")
        assert "Service" in text
        assert not colours(text)


# check ---------------------------------------------------------------------------------------------------------------


def test_check_of_good_input_says_ok(tmp_path: Path) -> None:
    done = run("check", CLASSIC, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("ok")
    assert len(done.stdout.splitlines()) == 1


def test_check_with_warnings_is_fine_unless_strict(tmp_path: Path) -> None:
    assert run("check", CONFLICTS, cwd=tmp_path).returncode == 0
    done = run("check", "--strict", CONFLICTS, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "30802/TCP belongs to Service archive/zulu, which comes first" in done.stderr


def test_check_names_the_service_that_the_kernel_refuses(tmp_path: Path) -> None:
    write(tmp_path / "web.json", *web())
    done = run("check", "web.json", "--templates", lying_operations(tmp_path / "templates"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert "error: Service shop/web: the kernel refused the ruleset" in done.stderr
    assert "10.244.1.999" in done.stderr


def test_check_does_not_run_what_lies_in_the_working_directory(tmp_path: Path) -> None:
    for module in ("msgspec", "json", "nftables"):
        (tmp_path / f"{module}.py").write_text('raise SystemExit("this is not yours to run")')
    done = subprocess.run(
        [INSTALLED, "check", CLASSIC], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stdout[:2]) == (0, "ok"), done.stderr


# In a network namespace ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_namespace() -> Iterator[Namespace]:
    with namespaces("cli") as (made,):
        yield made


@pytest.fixture
def namespace(made_namespace: Namespace) -> Namespace:
    """A namespace with somebody else's table and none of ours."""
    nft(made_namespace, "flush", "ruleset")
    nft(made_namespace, "-f", "-", text='table ip nftsvc-not {\n chain c { counter comment "theirs"\n }\n}\n')
    return made_namespace


def inside(namespace: Namespace) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace.name)


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = [*inside(namespace), "nft", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def listing(namespace: Namespace) -> str:
    return nft(namespace, "list", "ruleset")


def test_stdout_of_render_can_be_piped_to_nft_more_than_once(namespace: Namespace, tmp_path: Path) -> None:
    text = run("render", "-v", CONFLICTS, cwd=tmp_path).stdout
    nft(namespace, "-f", "-", text=text)
    once = listing(namespace)
    assert "table ip nftsvc {" in once
    nft(namespace, "-f", "-", text=text)
    assert listing(namespace) == once
    assert "nothing to do" in run("apply", CONFLICTS, cwd=tmp_path, prefix=inside(namespace)).stdout


def test_check_leaves_the_ruleset_it_is_run_under_alone(namespace: Namespace, tmp_path: Path) -> None:
    before = listing(namespace)
    assert run("check", CLASSIC, cwd=tmp_path, prefix=inside(namespace)).returncode == 0
    assert listing(namespace) == before


def test_second_apply_has_nothing_to_do(namespace: Namespace, tmp_path: Path) -> None:
    write(tmp_path / "web.json", *web())
    first = run("apply", "web.json", cwd=tmp_path, prefix=inside(namespace))
    assert first.returncode == 0
    assert re.fullmatch(r"applied: \+[1-9]\d* -0 elements of 1 Service in 1 transaction\n", first.stdout)
    before = listing(namespace)
    second = run("apply", "web.json", cwd=tmp_path, prefix=inside(namespace))
    assert second.returncode == 0
    assert "nothing to do" in second.stdout
    assert listing(namespace) == before


def test_changed_input_sends_only_the_difference(namespace: Namespace, tmp_path: Path) -> None:
    other = [service("other", ["10.96.0.2"]), endpoint_slice("other", ["10.244.1.9"])]
    write(tmp_path / "v1.json", *web(2), *other)
    write(tmp_path / "v2.json", *web(3), *other)
    run("apply", "-f", "ipv4", "v1.json", cwd=tmp_path, prefix=inside(namespace))
    script = run("apply", "-f", "ipv4", "--dry-run", "v2.json", cwd=tmp_path, prefix=inside(namespace))
    done = run("apply", "-f", "ipv4", "v2.json", cwd=tmp_path, prefix=inside(namespace))
    # a cluster IP and a node port: an endpoint and a changed verdict each; and a hairpin element
    assert done.stdout.startswith("applied: +5 -2 elements of 1 Service in")
    assert "10.96.0.2" not in script.stdout
    assert "10.244.1.1 " not in script.stdout
    assert "10.244.1.3" in script.stdout


@pytest.mark.parametrize("before", ["nothing", "another version"])
def test_dry_run_prints_the_commands_that_apply_would_run_and_writes_nothing(
    before: str, namespace: Namespace, tmp_path: Path
) -> None:
    write(tmp_path / "v1.json", *web(3, "10.96.0.7"))
    write(tmp_path / "v2.json", *web(2))
    if before != "nothing":
        run("apply", "v1.json", cwd=tmp_path, prefix=inside(namespace))
    start = listing(namespace)
    dry = run("apply", "--dry-run", "v2.json", cwd=tmp_path, prefix=inside(namespace))
    assert dry.returncode == 0
    assert "dry run" in dry.stderr
    assert "dry run" not in dry.stdout
    assert listing(namespace) == start
    nft(namespace, "-f", "-", text=dry.stdout)
    by_hand = listing(namespace)
    assert by_hand != start
    nft(namespace, "-f", "-", text="flush ruleset\n" + start)
    assert run("apply", "v2.json", cwd=tmp_path, prefix=inside(namespace)).returncode == 0
    assert listing(namespace) == by_hand
    again = run("apply", "--dry-run", "v2.json", cwd=tmp_path, prefix=inside(namespace))
    assert (again.returncode, again.stdout) == (0, "")


@pytest.mark.parametrize(
    ("garbage", "arguments"),
    [("a: [", ()), ("\x00\x01", ()), (BAD_WEB, ("--dry-run",))],
)
def test_garbage_is_exit_3_and_the_kernel_is_as_it_was(
    garbage: str, arguments: tuple[str, ...], namespace: Namespace, tmp_path: Path
) -> None:
    nft(namespace, "-f", str(CLASSIC / "ruleset.nft"))
    before = listing(namespace)
    write(tmp_path / "good.json", *web())
    (tmp_path / "bad.yaml").write_text(garbage)
    done = run("apply", ".", *arguments, cwd=tmp_path, prefix=inside(namespace))
    assert (done.returncode, done.stdout) == (3, "")
    assert "bad.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert listing(namespace) == before


@pytest.mark.parametrize("before", ["nothing", "another version"])
def test_apply_that_the_kernel_refuses_is_exit_4_and_changes_nothing(
    before: str, namespace: Namespace, tmp_path: Path
) -> None:
    write(tmp_path / "v1.json", *web(1))
    write(tmp_path / "v2.json", *web(2))
    if before != "nothing":
        run("apply", "v1.json", cwd=tmp_path, prefix=inside(namespace))
    start = listing(namespace)
    folder = lying_operations(tmp_path / "templates")
    done = run("apply", "v2.json", "--templates", folder, cwd=tmp_path, prefix=inside(namespace))
    assert (done.returncode, done.stdout) == (4, "")
    assert "error: Service shop/web: the kernel refused the ruleset" in done.stderr
    assert listing(namespace) == start


def test_clean_removes_both_tables_and_no_other(namespace: Namespace, tmp_path: Path) -> None:
    before = listing(namespace)
    run("apply", CLASSIC, cwd=tmp_path, prefix=inside(namespace))
    assert "table ip nftsvc {" in listing(namespace)
    assert "table ip6 nftsvc {" in listing(namespace)
    done = run("clean", cwd=tmp_path, prefix=inside(namespace))
    assert (done.returncode, done.stdout) == (0, "removed: IPv4 and IPv6\n")
    assert listing(namespace) == before
    again = run("clean", cwd=tmp_path, prefix=inside(namespace))
    assert (again.returncode, again.stdout) == (0, "nothing to remove\n")
    assert listing(namespace) == before
