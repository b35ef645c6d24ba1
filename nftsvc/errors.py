"""Everything that can go wrong, as one tree, each branch with its exit code.

    NftsvcError
    |-- UsageError (2)          the arguments do not fit together or do not fit the input
    |-- InputError (3)          one or more manifests are bad; carries every problem found
    |-- KernelError (4)
    |   |-- KernelUnavailable   no libnftables, no permission, no private namespace
    |   |-- FeatureMissing      this kernel or this nft lacks something that the ruleset needs
    |   `-- KernelRefused       a transaction was refused; carries nft's message and the object it came from
    `-- ClusterUnreachable (5)  how to reach the cluster is not told, or told in a way that cannot work

An expected outcome (a Service without endpoints, a kind we do not read) is a value, not an exception.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process tells the shell; documented in `nftsvc --help`."""

    FINE = 0
    DIFFERS = 1
    USAGE = 2
    BAD_INPUT = 3
    KERNEL_REFUSED = 4
    CLUSTER_UNREACHABLE = 5
    BUG = 70


def printable(text: str) -> str:
    """Return text that cannot do more to a terminal than be read: control characters and the like are spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class Severity(StrEnum):
    """Whether a problem makes the input unusable or is only worth saying."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Names one Kubernetes object: `Service shop/web`, `Node node-a`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Write the object the way messages name it."""
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {path}".rstrip()


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where an object was read: the file (or `<stdin>`), the document in it, the item of a list in that."""

    file: str
    document: int
    item: int | None = None

    def __str__(self) -> str:
        """Write the place as `web.yaml #2` or `all.json #1 items[3]`."""
        item = "" if self.item is None else f" items[{self.item}]"
        return f"{self.file} #{self.document}{item}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong or odd, with as much of its place as is known.

    `field` is a path from the object's root (`spec.ports[0].nodePort`); `origin` and `ref` are None where the trouble
    is not inside a document or an object.
    """

    message: str
    field: str = ""
    ref: ObjectRef | None = None
    origin: Origin | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Write `web.yaml #2 Service shop/web: spec.ports[0].nodePort: 70000 is not a port number (1-65535)`."""
        place = " ".join(str(part) for part in (self.origin, self.ref) if part is not None)
        return printable(": ".join(part for part in (place, self.field, self.message) if part))


class NftsvcError(Exception):
    """Anything nftsvc reports to its caller on purpose."""

    exit_code: ClassVar[ExitCode]


class UsageError(NftsvcError):
    """The arguments do not fit together, or do not fit the input."""

    exit_code = ExitCode.USAGE


class InputError(NftsvcError):
    """The input is bad; `problems` holds every error found, in the order of the input."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class KernelError(NftsvcError):
    """The kernel's side did not do what was asked."""

    exit_code = ExitCode.KERNEL_REFUSED


class KernelUnavailable(KernelError):
    """The kernel cannot be asked at all: no library, no permission, no private namespace. Says what helps."""


class FeatureMissing(KernelError):
    """This kernel or this nft lacks something that the ruleset needs. Names it."""


class Occupied(KernelError):
    """Another Service proxy's rules are on this machine. Names them and what helps."""


class KernelRefused(KernelError):
    """A transaction was refused, so none of it took effect.

    `reason` is nft's own message, `line` the refused line of the script (or ""), `source` what that line was made from
    (`Service shop/web`, `chain services`), as far as known.
    """

    def __init__(self, reason: str, line: str = "", source: str = "") -> None:
        what = f"{source}: " if source else ""
        where = f"\n  in: {line.strip()}" if line else ""
        super().__init__(f"{what}the kernel refused the ruleset: {reason}{where}")
        self.reason = reason
        self.line = line
        self.source = source


class ClusterUnreachable(NftsvcError):
    """How to reach the cluster is not told, or told in a way that cannot work: trying again is of no use.

    A server that does not answer is none of this: it is asked again. The message carries no credentials.
    """

    exit_code = ExitCode.CLUSTER_UNREACHABLE
