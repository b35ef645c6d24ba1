"""What the user said about an agent."""

from dataclasses import dataclass, field
from pathlib import Path

from nftsvc.configuration import AgentSettings, Listen
from nftsvc.values import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: the least between two passes under load, and after which everything is verified."""

    minimum: float = AgentSettings().min_sync_period.seconds
    verify: float = 3600.0


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """The way to a cluster: by a kubeconfig and a context of it, or as the Pod that this is.

    `server` takes the place of the API server that these know.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that was said.

    `node` is "" where nobody said which one it is: in manifests that is then the only Node, in a cluster the host's
    name. Objects come from the folder `manifests`, or else from the `cluster` (None: that of the Pod that this is).
    `settings` are those of kube-proxy's configuration or its defaults, `tune` says that conntrack and the OOM score are
    to be set as they want. `takeover` says that what kube-proxy has left is to be removed once our own is in place.
    """

    node: str = ""
    families: tuple[Family, ...] = FAMILIES
    overrides: tuple[str, ...] = ()
    templates: Path | None = None
    manifests: Path | None = None
    cluster: ClusterAccess | None = None
    with_endpoints: bool = False
    settings: AgentSettings = field(default_factory=AgentSettings)
    pace: Pace = field(default_factory=Pace)
    sync_period: float = 30.0
    healthz: Listen | None = None
    metrics: Listen | None = None
    tune: bool = False
    takeover: bool = False
