"""A private network namespace in a process of its own, where a real kernel says whether it takes a ruleset.

Nothing outside is touched, and a crash of libnftables stays in there. Works for root and, where the system lets
unprivileged users have namespaces, for everybody. Run as `python -m nftsvc.kernel.sandbox` this module is that process:
scripts in on standard input, a Report out on standard output.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence

import msgspec

from nftsvc.errors import FeatureMissing, KernelError, KernelRefused, KernelUnavailable
from nftsvc.kernel.context import Context, Refusal
from nftsvc.kernel.namespaces import unshare_network
from nftsvc.kernel.preflight import missing_feature
from nftsvc.reading import parse_table
from nftsvc.render import Script
from nftsvc.ruleset import NFT_FAMILY, TABLE, Ruleset
from nftsvc.values import Family

# In an unprivileged user namespace the netlink socket's buffer cannot be raised beyond the system's limit; where that
# is low, about 70 kB of text go into a transaction and more is "Message too long".
ELEMENTS_UNPRIVILEGED = 250

_SECONDS = 300
_NO_NAMESPACE = (
    "cannot make a private network namespace to check in: this system does not let you have one.\n"
    "  As root it works: sudo nftsvc check ...; or allow unprivileged user namespaces\n"
    "  (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
)


class Task(msgspec.Struct):
    """What the process is to do: run these transactions, then list these tables of ours."""

    scripts: list[str]
    families: list[str]


class Report(msgspec.Struct):
    """What came of it: the listings in the order asked for, or what went wrong."""

    listings: list[str | None] = []
    unavailable: str = ""
    missing: str = ""
    refused: str = ""
    line: str = ""
    script: int = 0
    number: int = 0


def load_privately(scripts: Iterable[Script], families: Sequence[Family]) -> Ruleset:
    """Load scripts into a private namespace and return what the kernel then has.

    KernelRefused names the object behind the refused line, FeatureMissing what the machine lacks; KernelUnavailable
    says that no private namespace is to be had here.
    """
    made = list(scripts)
    report = _in_child(Task([one.text for one in made], [NFT_FAMILY[family] for family in families]))
    if report.unavailable:
        raise KernelUnavailable(report.unavailable)
    if report.missing:
        raise FeatureMissing(report.missing)
    if report.refused:
        raise KernelRefused(report.refused, report.line, made[report.script].source(report.number))
    listed = zip(families, report.listings, strict=True)
    return Ruleset({family: parse_table(text, family) for family, text in listed if text is not None})


def _in_child(task: Task) -> Report:
    # -P: the folder that the user happens to be in is no place to import from.
    command = [sys.executable, "-P", "-m", "nftsvc.kernel.sandbox"]
    try:
        child = subprocess.run(
            command, input=msgspec.msgpack.encode(task), capture_output=True, check=False, timeout=_SECONDS
        )
    except OSError as error:
        raise KernelUnavailable(f"cannot start the process that checks rulesets: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise KernelUnavailable(f"the process that checks rulesets was not done within {_SECONDS} s") from error
    if child.returncode != 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise KernelError(f"the process that checks rulesets died: {lines[-1]}")
    return msgspec.msgpack.decode(child.stdout, type=Report)


def _work(task: Task) -> Report:
    try:
        unshare_network()
    except KernelUnavailable:
        return Report(unavailable=_NO_NAMESPACE)
    at = 0
    try:
        context = Context()
        missing_feature(context, families=task.families)
        for at, script in enumerate(task.scripts):  # noqa: B007 - used where a refusal is reported
            context.run(script)
        return Report([context.list_table(family, TABLE) for family in task.families])
    except KernelUnavailable as error:
        return Report(unavailable=str(error))
    except FeatureMissing as error:
        return Report(missing=str(error))
    except Refusal as error:
        return Report(refused=error.reason, line=error.line, script=at, number=error.number)


def main() -> None:
    """Do the task on standard input."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(msgspec.msgpack.encode(_work(task)))


def elements_per_transaction(default: int) -> int:
    """Return how many elements a transaction in a private namespace may have."""
    return default if os.geteuid() == 0 else min(default, ELEMENTS_UNPRIVILEGED)


if __name__ == "__main__":
    main()
