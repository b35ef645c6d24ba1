"""The demonstration as people see it, and what it leaves behind: nothing, however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMESPACES = Path("/run/netns")
HANGS = 30

FROM_POD_4 = "pod web-1 -> cluster IP 10.96.0.80:80"
FROM_POD_6 = "pod web-1 -> cluster IP [fd00:96::80]:80"
FROM_CLIENT_4 = "client 198.51.100.10 -> node port 192.0.2.11:30080"
FROM_CLIENT_6 = "client 2001:db8:100::10 -> node port [2001:db8::11]:30080"
RUNNING = f"requests: {FROM_POD_4}"

AS_NOBODY = """
import contextlib, io, os
import nftsvc.demo
from nftsvc.cli import make_app

app = make_app()
for arguments in (["render", os.devnull], ["demo", "--requests", "0"]):
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), contextlib.suppress(SystemExit):
        app(arguments)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
app(["demo", "--requests", "1"])
"""


def command(requests: int) -> list[str]:
    return [sys.executable, "-m", "nftsvc", "demo", "--requests", str(requests)]


def namespaces_of(pid: int) -> set[str]:
    return {path.name for path in NAMESPACES.glob(f"nftsvc-{pid}-*")}


@contextmanager
def demo(requests: int, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a session of its own, with its temporary files where they can be looked at."""
    env = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(requests), cwd=temporary, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True
    ) as program:
        try:
            yield program
        finally:
            if program.poll() is None:
                program.kill()


def read_until(program: subprocess.Popen[str], words: str) -> None:
    assert program.stdout is not None
    seen = []
    for line in program.stdout:
        seen.append(line)
        if words in line:
            return
    assert program.stderr is not None
    pytest.fail("".join(seen) + program.stderr.read())


def ended(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what the program printed once it has ended; one that never would is an error, not a test that hangs."""
    return program.communicate(timeout=HANGS)


def wait_for_namespace(program: subprocess.Popen[str]) -> None:
    while not namespaces_of(program.pid):
        assert program.poll() is None


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a whole demo prints, after checking how it ended and that it left nothing."""
    temporary = tmp_path_factory.mktemp("demo")
    with demo(60, temporary) as program:
        out, error = ended(program)
    assert (program.returncode, error) == (0, "")
    assert namespaces_of(program.pid) == set()
    assert list(temporary.iterdir()) == []
    return out


def rounds(shown: str) -> dict[str, str]:
    """Return what was printed for each way in: `client 198.51.100.10 -> 192.0.2.11:30080` and so on."""
    parts = re.split(r"^60 requests: (.*)$", shown.partition("1 request to")[0], flags=re.MULTILINE)
    return dict(zip(map(str.strip, parts[1::2]), parts[2::2], strict=True))


def test_demo_prints_the_services(shown: str) -> None:
    assert re.search(r"^SERVICE +PROTOCOL +ADDRESS +NODE PORT +ENDPOINTS *$", shown, re.MULTILINE)
    assert re.search(r"^demo/web:http +TCP +10\.96\.0\.80:80 +30080 +10\.244\.1\.11:8080 *$", shown, re.MULTILINE)
    assert re.search(r"^demo/empty +TCP +10\.96\.0\.99:80 +- +none: rejected *$", shown, re.MULTILINE)


def test_demo_asks_a_cluster_ip_and_a_node_port_in_both_families_and_every_pod_answers(shown: str) -> None:
    assert set(rounds(shown)) == {FROM_POD_4, FROM_CLIENT_4, FROM_POD_6, FROM_CLIENT_6}
    for text in rounds(shown).values():
        bars = dict(re.findall(r"^(web-\d) +(\d+)  #+ *$", text, re.MULTILINE))
        assert bars.keys() == {"web-1", "web-2", "web-3"}
        assert sum(map(int, bars.values())) == 60


def test_demo_says_which_sources_the_pods_saw(shown: str) -> None:
    seen = {way: text.split("the pods saw requests from: ")[1].splitlines()[0] for way, text in rounds(shown).items()}
    assert seen[FROM_CLIENT_4] == "10.244.1.1 (60)"
    assert seen[FROM_CLIENT_6] == "fd00:244:1::1 (60)"
    for way, node, pod in ((FROM_POD_4, "10.244.1.1", "10.244.1.11"), (FROM_POD_6, "fd00:244:1::1", "fd00:244:1::11")):
        assert dict(re.findall(r"(\S+) \((\d+)\)", seen[way])).keys() == {node, pod}


def test_demo_shows_a_refused_request(shown: str) -> None:
    assert "refused at once, as it should be: Connection refused" in shown


def test_demo_moves_traffic_without_a_failed_request(shown: str) -> None:
    found = re.search(r"(\d+) requests during the change, 0 failed", shown)
    assert found is not None
    assert int(found[1]) >= 30
    after = shown.partition("60 requests afterwards")[2]
    bars = {pod: int(count) for pod, count in re.findall(r"^(web-\d) +(\d+)", after, re.MULTILINE)}
    assert bars["web-3"] == 0
    assert bars["web-1"] + bars["web-2"] == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_cleans_up_when_it_is_interrupted_in_the_middle(number: signal.Signals, tmp_path: Path) -> None:
    with demo(100_000, tmp_path) as program:
        read_until(program, RUNNING)
        assert namespaces_of(program.pid)
        program.send_signal(number)
        _, error = ended(program)
    assert namespaces_of(program.pid) == set()
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in error
    assert program.returncode in ((130,) if number == signal.SIGINT else (130, 128 + number))


def test_demo_cleans_up_on_ctrl_c_while_it_builds_the_cluster(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group, the `ip` command that is just running included."""
    with demo(100_000, tmp_path) as program:
        wait_for_namespace(program)
        os.killpg(program.pid, signal.SIGINT)
        _, error = ended(program)
    assert namespaces_of(program.pid) == set()
    assert list(tmp_path.iterdir()) == []
    assert (program.returncode, error) == (130, "")


def test_next_demo_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    with demo(100_000, tmp_path) as killed:
        read_until(killed, RUNNING)
        killed.kill()
        ended(killed)
    assert len(namespaces_of(killed.pid)) == 5
    with demo(1, tmp_path) as program:
        _, error = ended(program)
    assert (program.returncode, error) == (0, "")
    assert namespaces_of(killed.pid) == namespaces_of(program.pid) == set()


def test_demo_says_that_the_ip_command_is_missing(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command(1), cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "the command ip is missing" in done.stderr
    assert "iproute2" in done.stderr


def test_demo_says_that_it_takes_root(tmp_path: Path) -> None:
    """Privileges are dropped after a first run: not everybody may read where the interpreter is installed."""
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "takes root" in done.stderr
    assert "Traceback" not in done.stderr
