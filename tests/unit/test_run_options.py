"""What `nftsvc run` makes of its options and of a configuration: the values that the agent is started with."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nftsvc.agent.start
from nftsvc.agent.options import ClusterAccess, Options, Pace
from nftsvc.cli import make_app
from nftsvc.configuration import AgentSettings, Listen
from nftsvc.errors import ExitCode
from nftsvc.values import FAMILIES, Family

app = make_app()

Run = Callable[..., Options]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command sets up the log of the whole process."""
    root, own = logging.getLogger(), logging.getLogger("nftsvc")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Have an agent that only takes note of what it is started with, in every test: no other may run here."""
    started: list[Options] = []

    async def note(options: Options, now: Callable[[], float]) -> None:
        assert now() > 0
        started.append(options)

    monkeypatch.setattr(nftsvc.agent.start, "run_agent", note)
    monkeypatch.delenv("NODE_NAME", raising=False)
    return started


@pytest.fixture
def run(started: list[Options]) -> Run:
    """Run the command and return what the agent was started with."""

    def run(*arguments: object) -> Options:
        done = CliRunner().invoke(app, ["run", *map(str, arguments)])
        assert done.exit_code == ExitCode.FINE, done.output
        return started.pop()

    return run


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["run", *map(str, arguments)])
    assert done.exit_code == ExitCode.USAGE, done.output
    return " ".join(done.output.replace("│", " ").split())


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{text}\n")
        return file

    return write


def test_a_folder_alone(run: Run, tmp_path: Path) -> None:
    options = run("--manifests", tmp_path)
    assert options.manifests == tmp_path
    assert options.cluster is None
    assert options.node == ""
    assert options.families == FAMILIES
    assert options.pace == Pace(0.01, 3600.0)
    assert options.sync_period == 30.0
    assert not options.tune, "a folder of manifests changes no sysctls that nobody has spoken of"
    assert not options.takeover
    assert not options.with_endpoints
    assert options.healthz == Listen("0.0.0.0", 10256)  # noqa: S104
    assert options.metrics == Listen("127.0.0.1", 10249)


def test_a_cluster(run: Run, tmp_path: Path) -> None:
    assert run().cluster == ClusterAccess()
    options = run("--kubeconfig", tmp_path / "k", "--context", "c", "--server", "https://192.0.2.1:6443", "--node", "a")
    assert options.cluster == ClusterAccess(tmp_path / "k", "c", "https://192.0.2.1:6443")
    assert options.node == "a"
    assert options.manifests is None
    assert options.tune


@pytest.mark.parametrize("option", ["--kubeconfig", "--context", "--server"])
def test_a_folder_is_instead_of_a_cluster(option: str, tmp_path: Path) -> None:
    assert "instead of a cluster" in refused("--manifests", tmp_path, option, "x")


def test_everything_that_can_be_said(run: Run, tmp_path: Path) -> None:
    options = run(
        *("--manifests", tmp_path, "--family", "ipv6", "--set", "zone=a", "--set", "masqueradeAll=true"),
        *("--min-sync-period", "1s", "--sync-period", "10s", "--verify-period", "1h30m", "--templates", tmp_path),
        *("--healthz-bind-address", "127.0.0.1:1234", "--metrics-bind-address", "", "--endpoints", "--takeover"),
    )
    assert options.families == (Family.IPV6,)
    assert options.overrides == ("zone=a", "masqueradeAll=true")
    assert options.pace == Pace(1.0, 5400.0)
    assert options.sync_period == 10.0
    assert options.templates == tmp_path
    assert options.healthz == Listen("127.0.0.1", 1234)
    assert options.metrics is None
    assert options.with_endpoints
    assert options.takeover


def test_the_node_may_be_told_by_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node-b")
    assert run().node == "node-b"
    assert run("--node", "node-c").node == "node-c"


def test_a_configuration_holds_where_no_option_says_otherwise(
    run: Run, config: Callable[[str], Path], tmp_path: Path
) -> None:
    file = config(
        "mode: nftables\nhostnameOverride: Node-A\nhealthzBindAddress: 127.0.0.1:1\nmetricsBindAddress: 127.0.0.1:2\n"
        "bindAddressHardFail: true\nclientConnection: {kubeconfig: /k}\n"
        "nftables: {minSyncPeriod: 2s, syncPeriod: 7s, masqueradeAll: true}\nconntrack: {min: 5}"
    )
    options = run("--config", file)
    assert options.node == "node-a"
    assert options.cluster == ClusterAccess(Path("/k"))
    assert options.pace.minimum == 2.0
    assert options.sync_period == 7.0
    assert (options.healthz, options.metrics) == (Listen("127.0.0.1", 1), Listen("127.0.0.1", 2))
    assert options.settings.hard_fail
    assert options.settings.node.masquerade_all
    assert options.settings.conntrack.minimum == 5
    assert options.tune
    options = run(
        "--config", file, "--manifests", tmp_path, "--node", "b", "--min-sync-period", "3s", "--sync-period", "8s"
    )
    assert (options.cluster, options.node, options.tune) == (None, "b", True)
    assert (options.pace.minimum, options.sync_period) == (3.0, 8.0)


def test_a_configuration_that_says_nothing_is_as_good_as_none(run: Run, config: Callable[[str], Path]) -> None:
    told, untold = run("--config", config("mode: nftables")), run()
    assert told.pace == untold.pace
    assert (told.healthz, told.metrics, told.sync_period) == (untold.healthz, untold.metrics, untold.sync_period)
    assert untold.settings == AgentSettings()


@pytest.mark.parametrize("option", ["--min-sync-period", "--sync-period", "--verify-period"])
@pytest.mark.parametrize("value", ["", "soon", "5", "-1s", "1d"])
def test_spans_of_time_that_are_none(option: str, value: str, tmp_path: Path) -> None:
    assert option in refused("--manifests", tmp_path, option, value)


@pytest.mark.parametrize("option", ["--sync-period", "--verify-period"])
def test_periods_without_length_are_refused(option: str, tmp_path: Path) -> None:
    assert option in refused("--manifests", tmp_path, option, "0s")


def test_no_distance_between_passes_may_be_wanted(run: Run, tmp_path: Path) -> None:
    assert run("--manifests", tmp_path, "--min-sync-period", "0s").pace.minimum == 0.0


@pytest.mark.parametrize("option", ["--healthz-bind-address", "--metrics-bind-address"])
@pytest.mark.parametrize("value", ["somewhere", "127.0.0.1:99999", "1.2.3:80"])
def test_addresses_that_are_none(option: str, value: str, tmp_path: Path) -> None:
    said = refused("--manifests", tmp_path, option, value)
    assert option in said
    assert value.removeprefix("127.0.0.1:") in said
