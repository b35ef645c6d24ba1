"""What a user without privileges gets: a clear no where it takes root, and a private kernel where it does not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nftsvc.kernel import Kernel
from nftsvc.lab import Namespace
from nftsvc.ruleset import EMPTY
from tests.support.builders import endpoint_slice, service

ROOT = Path(__file__).parents[2]

# Privileges are dropped after the imports, those included that a first run makes: not everybody may read where the
# interpreter is installed. The last line undoes a side effect that such a change of user has and a login has not: the
# process's own /proc files become root's.
DROP = """
import contextlib, ctypes, encodings.ascii, encodings.latin_1, importlib, io, json, os, pkgutil, sys
import nftsvc
from nftsvc.cli import make_app
from nftsvc.changes import ELEMENTS_PER_TRANSACTION, compare
from nftsvc.kernel import elements_per_transaction, kubeproxy, sandbox
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, NFT_FAMILY, make_ruleset
from tests.support.builders import plan_of
from tests.support.cases import EXAMPLES

app = make_app()

for module in pkgutil.walk_packages(nftsvc.__path__, "nftsvc."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

for arguments in (["render", "--node", "x", str(EXAMPLES / "100-my-service")], ["apply"]):
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), contextlib.suppress(SystemExit):
        app(arguments)

def drop():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""

COMMAND = """
drop()
app(sys.argv[1:])
"""

WORK = """
plan = plan_of(*json.load(sys.stdin))
ruleset = make_ruleset(plan)
limit = sandbox.ELEMENTS_UNPRIVILEGED
scripts = [one.text for one in Renderer().scripts(compare(EMPTY, ruleset).transactions(limit))]
drop()
assert elements_per_transaction(ELEMENTS_PER_TRANSACTION) == limit
report = sandbox._work(sandbox.Task(scripts, [NFT_FAMILY[family] for family in ruleset.tables]))
different = False
if not (report.unavailable or report.missing or report.refused):
    listed = zip(ruleset.tables, report.listings, strict=True)
    found = type(ruleset)({family: sandbox.parse_table(text, family) for family, text in listed})
    different = bool(compare(found, ruleset))
json.dump([len(scripts), report.unavailable, report.missing, report.refused, different], sys.stdout)
"""


def as_nobody(
    program: str, *arguments: str, stdin: str = "", namespace: Namespace | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DROP + program, *arguments]
    if namespace is not None:
        command = ["ip", "netns", "exec", namespace.name, *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd="/", env=env)


def work(*raws: dict[str, Any]) -> tuple[int, str]:
    """Load a plan as an unprivileged user in a private namespace; return how many transactions, and what failed."""
    done = as_nobody(WORK, stdin=json.dumps(raws))
    assert done.returncode == 0, done.stderr
    transactions, unavailable, missing, refused, different = json.loads(done.stdout)
    assert not unavailable, unavailable
    assert not missing, missing
    return transactions, refused or ("reads back differently" if different else "")


@pytest.fixture
def manifest() -> Iterator[str]:
    """A manifest that everybody may read."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "web.json")
        file.write_text(json.dumps(service("web", ["10.96.0.1"])))
        file.chmod(0o644)
        yield str(file)


def test_apply_without_privileges_is_exit_4_with_a_clear_message(
    manifest: str, kernel: Kernel, empty_namespace: Namespace
) -> None:
    done = as_nobody(COMMAND, "apply", manifest, namespace=empty_namespace)
    assert (done.returncode, done.stdout) == (4, "")
    assert "root (CAP_NET_ADMIN)" in done.stderr
    assert "Traceback" not in done.stderr
    assert kernel.read() == EMPTY


@pytest.mark.parametrize("command", ["apply --dry-run", "clean"])
def test_what_only_reads_or_removes_takes_privileges_too(
    command: str, manifest: str, empty_namespace: Namespace
) -> None:
    paths = [manifest] if command.startswith("apply") else []
    done = as_nobody(COMMAND, *command.split(), *paths, namespace=empty_namespace)
    assert (done.returncode, done.stdout) == (4, "")
    assert "root (CAP_NET_ADMIN)" in done.stderr


def test_private_kernel_takes_sixty_services_from_an_unprivileged_user() -> None:
    raws = []
    for number in range(60):
        name = f"s-{number}"
        raws.append(service(name, [f"10.96.0.{number + 1}"], [{"port": 80, "nodePort": 30000 + number}]))
        raws.append(endpoint_slice(name, [f"10.244.1.{number + 1}", f"10.244.2.{number + 1}"]))
    transactions, failure = work(*raws)
    assert failure == ""
    assert transactions > 2


def test_private_kernel_takes_long_names_in_both_families_from_an_unprivileged_user() -> None:
    namespace = "n" * 63
    raws = []
    for number in range(60):
        name = f"s{number:02}" + "x" * 60
        ports = [{"name": "p" * 63, "port": 80, "nodePort": 30000 + number}, {"name": "q" * 63, "port": 81}]
        addresses = [f"10.96.0.{number + 1}", f"fd00:96:1234:5678:1234:5678:9abc:{number + 1:x}"]
        raws.append(service(name, addresses, ports, namespace, ipFamilies=["IPv4", "IPv6"]))
        targets = [{"name": port["name"], "port": 8080} for port in ports]
        raws.append(endpoint_slice(name, ["10.244.1.1"], targets, namespace))
    _, failure = work(*raws)
    assert failure == ""


def test_private_kernel_takes_a_service_with_many_endpoints_from_an_unprivileged_user() -> None:
    addresses = [f"10.244.{number // 250}.{number % 250 + 1}" for number in range(2000)]
    _, failure = work(service("web", ["10.96.0.1"]), endpoint_slice("web", addresses))
    assert failure == ""
