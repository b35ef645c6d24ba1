"""A command line with no more than a deployment gives it: few powers, a read-only file system, files where it has them.

In: a command and what it finds. Out: a process in a network namespace and a mount namespace of its own. Nothing of it
is left when the process has ended.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nftsvc.lab import Namespace
from tests.deploy.deployment import ROOT

NET_ADMIN = 1 << 12  # CAP_NET_ADMIN, as /proc/PID/status writes sets of capabilities

_KEPT = "/mnt/kept"
_COVERED = ("/mnt", "$(readlink -f /var/run)", "/var/lib")
_SEALED = ("/proc/sys", "/sys", "/tmp", "/")  # noqa: S108 - so that nothing can be put there


@dataclass(frozen=True)
class Confinement:
    """`user` and `groups` by number; `files` are copied, by the folder that they are to be in."""

    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = ()
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def confined(namespace: Namespace, confinement: Confinement, command: Sequence[str]) -> list[str]:
    """Return the command that runs the program `nftsvc` of this checkout with these arguments, confined."""
    script = "\n".join(("set -e", *_stage(confinement.files), *_seal(), _started(confinement, command)))
    return ["nsenter", f"--net={namespace.path}", "unshare", "--mount", "sh", "-c", script]


def _stage(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Cover folders of the machine with empty ones and put files there; let everybody reach the program."""
    lines = ["mount --make-rprivate /", *(f"mount -t tmpfs -o mode=755 none {one}" for one in _COVERED)]
    for number, path in enumerate(_hidden()):
        lines += [f"mkdir -p {_KEPT}/{number}", f"mount --rbind {path} {_KEPT}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {one}" for one in dict.fromkeys(f"/{p.parts[1]}" for p in _hidden())]
    for number, path in enumerate(_hidden()):
        lines += [f"mkdir -p {path}", f"mount --rbind {_KEPT}/{number} {path}"]
    for folder, sources in files.items():
        lines += [f"mkdir -p {folder}", *(f"cp -r {shlex.quote(str(one))} {folder}/" for one in sources)]
    return lines


def _hidden() -> list[Path]:
    """Return the folders of the program that users other than root cannot get to."""
    wanted = dict.fromkeys(Path(one).resolve() for one in (sys.base_prefix, ROOT))
    return [one for one in wanted if not all(part.stat().st_mode & 0o005 == 0o005 for part in (one, *one.parents))]


def _seal() -> list[str]:
    """Make everything read-only, /proc/sys and /sys too, as container runtimes do."""
    return [
        line
        for one in (*_SEALED, *_COVERED)
        for line in (f"mount --bind {one} {one}" if one != "/" else "", f"mount -o remount,bind,ro {one}")
        if line
    ]


def _started(confinement: Confinement, command: Sequence[str]) -> str:
    ambient = "--inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin" if confinement.user else "--inh-caps=-all"
    groups = ",".join(map(str, confinement.groups))
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **confinement.environment}
    return " ".join(
        (
            f"cd {ROOT}; exec setpriv",
            f"--reuid={confinement.user} --regid={confinement.group}",
            f"--groups={groups}" if groups else "--clear-groups",
            f"{ambient} --bounding-set=-all,+net_admin --no-new-privs",
            f"env -i {' '.join(shlex.quote(f'{name}={value}') for name, value in environment.items())}",
            shlex.join((sys.executable, "-m", "nftsvc", *command)),
        )
    )
