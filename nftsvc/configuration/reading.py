"""One KubeProxyConfiguration, as a YAML parser gives it, to settings and a report on every field."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nftsvc.configuration import fields
from nftsvc.configuration.agent import AgentSettings, ClientSettings, ConntrackSettings, LogSettings
from nftsvc.configuration.fields import API_VERSION, FIELDS, FORMER, KIND, SECTIONS, Field, Values
from nftsvc.configuration.readers import WrongEntries, is_unspecified, node_address
from nftsvc.configuration.verdict import Verdict
from nftsvc.configuration.verdicts import healthz_of, judge, judge_gate, metrics_of
from nftsvc.errors import Problem, Severity
from nftsvc.objects import NodeConfigurationSpec
from nftsvc.values import DetectLocalMode, quoted

_NAME = re.compile(r"[-\w]{1,100}", re.ASCII)
_MOST_SUGGESTIONS = 50
_MOST_CHARACTERS = 100
_MOST_LEVELS = 10
_HUGE = 2**63

# Left out they mean something else here than in the mode of kube-proxy that the configuration is for.
_TOLD_WHEN_MISSING = (fields.MODE, fields.NODE_PORT_ADDRESSES, fields.LOCALHOST_NODE_PORTS, fields.SCHEDULER)
_DEFAULT_COUNTS = (
    fields.MIN_SYNC_PERIOD,
    fields.SYNC_PERIOD,
    fields.MAX_PER_CORE,
    fields.MIN_CONNTRACK,
    fields.TCP_ESTABLISHED,
    fields.TCP_CLOSE_WAIT,
    fields.OOM_SCORE_ADJ,
    fields.LOG_FORMAT,
    fields.LOCALHOST_NODE_PORTS,
    fields.SCHEDULER,
)


@dataclass(frozen=True, slots=True)
class FieldReport:
    """What becomes of one field.

    `value` is what the file says, in types that JSON has; `given` is False for a field that the file leaves out and
    that means something else here when it is left out.
    """

    path: str
    value: object
    verdict: Verdict
    text: str
    given: bool = True


@dataclass(frozen=True, slots=True)
class Configuration:
    """What became of a document.

    `settings` is None if it has errors; then there are no reports either. `problems` are all errors and, as warnings,
    the fields that nobody knows.
    """

    settings: AgentSettings | None
    reports: tuple[FieldReport, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make the configuration unusable."""
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)

    @property
    def summary(self) -> str:
        """How many fields there are of each verdict, in one line."""
        given = [one.verdict for one in self.reports if one.given]
        missing = len(self.reports) - len(given)
        counts = ", ".join(f"{given.count(verdict)} {verdict}" for verdict in Verdict)
        more = f"; left out and different: {missing}" if missing else ""
        return f"{len(given)} {'field' if len(given) == 1 else 'fields'}: {counts}{more}"


def read_configuration(raw: Mapping[object, object]) -> Configuration:
    """Read a document of kind KubeProxyConfiguration.

    Never raises. A field that Kubernetes does not know is a warning (kube-proxy logs it and goes on), a value that it
    would refuse is an error.
    """
    version = raw.get("apiVersion")
    if version != API_VERSION or raw.get("kind") != KIND:
        message = f"{quoted(version)} {quoted(raw.get('kind'))} is not supported, use {API_VERSION} {KIND}"
        return Configuration(None, problems=(Problem(message, "apiVersion"),))
    given: dict[str, object] = {}
    unknown: dict[str, object] = {}
    problems = list(_take_apart(raw, "", given, unknown))
    values, wrong = _understood(given)
    problems += wrong
    problems += _broken_rules(values, {one.field for one in wrong})
    warnings = tuple(_unknown_fields(unknown))
    if problems:
        return Configuration(None, problems=(*problems, *warnings))
    reports = (*_reports(given, values), *_unknown_reports(unknown, warnings))
    return Configuration(_settings(values), reports, warnings)


def _take_apart(
    section: Mapping[object, object], path: str, given: dict[str, object], unknown: dict[str, object]
) -> Iterator[Problem]:
    """Sort what a section holds into known and unknown fields, by path; yield sections that are none."""
    for key, value in section.items():
        plain = isinstance(key, str) and _NAME.fullmatch(key) is not None
        inner = (f"{path}.{key}" if path else str(key)) if plain else f"{path}[{quoted(key)}]"
        if inner in _BY_PATH:
            given[inner] = value
        elif inner not in SECTIONS:
            if path or key not in ("apiVersion", "kind"):
                unknown[inner] = value
        elif isinstance(value, dict):
            yield from _take_apart(value, inner, given, unknown)
        elif value is not None:
            yield Problem(f"{quoted(value)} is not a mapping", inner)


_BY_PATH = {field.path: field for field in FIELDS}


def _understood(given: Mapping[str, object]) -> tuple[Values, list[Problem]]:
    read: dict[str, object] = {}
    problems: list[Problem] = []
    for field in FIELDS:
        if field.path in given:
            try:
                read[field.path] = field.value_of(given[field.path])
            except WrongEntries as error:
                problems += [Problem(message, field.path + place) for place, message in error.entries]
            except ValueError as error:
                problems.append(Problem(str(error), field.path))
    return Values(read), problems


def _broken_rules(values: Values, wrong: set[str]) -> Iterator[Problem]:
    """Yield what no single field can tell, unless one of the fields that it takes is wrong itself."""
    least, period = fields.MIN_SYNC_PERIOD, fields.SYNC_PERIOD
    if values[least] > values[period] and not {least.path, period.path} & wrong:
        yield Problem(f"{values[period]} is less than {least.path}, which is {values[least]}", period.path)
    for mode, name in (
        ("BridgeInterface", fields.BRIDGE_INTERFACE),
        ("InterfaceNamePrefix", fields.INTERFACE_NAME_PREFIX),
    ):
        if values.detect_local_mode == mode and values[name] is None and name.path not in wrong:
            yield Problem(f"missing, but required with detectLocalMode {mode}", name.path)


def _settings(values: Values) -> AgentSettings:
    return AgentSettings(
        node=_node(values),
        node_name=values[fields.HOSTNAME_OVERRIDE],
        mode=values.mode,
        min_sync_period=values[fields.MIN_SYNC_PERIOD],
        sync_period=values[fields.SYNC_PERIOD],
        config_sync_period=values[fields.CONFIG_SYNC_PERIOD],
        healthz=healthz_of(values),
        metrics=metrics_of(values),
        hard_fail=values[fields.BIND_ADDRESS_HARD_FAIL],
        enable_profiling=values[fields.ENABLE_PROFILING],
        client=ClientSettings(kubeconfig=values[fields.KUBECONFIG], qps=values[fields.QPS], burst=values[fields.BURST]),
        conntrack=ConntrackSettings(
            max_per_core=values[fields.MAX_PER_CORE],
            minimum=values[fields.MIN_CONNTRACK],
            tcp_established_timeout=values[fields.TCP_ESTABLISHED],
            tcp_close_wait_timeout=values[fields.TCP_CLOSE_WAIT],
            tcp_be_liberal=values[fields.TCP_BE_LIBERAL],
            udp_timeout=values[fields.UDP_TIMEOUT],
            udp_stream_timeout=values[fields.UDP_STREAM_TIMEOUT],
        ),
        oom_score_adj=values[fields.OOM_SCORE_ADJ],
        log=LogSettings(format=values[fields.LOG_FORMAT], verbosity=values[fields.LOG_VERBOSITY]),
        feature_gates=values[fields.FEATURE_GATES],
    )


def _node(values: Values) -> NodeConfigurationSpec:
    """Return what decides about packets; what only says a default is left to whoever says more."""
    bound = values[fields.BIND_ADDRESS]
    address = None if is_unspecified(bound) else node_address(bound)
    mode = values[fields.DETECT_LOCAL_MODE]
    return NodeConfigurationSpec(
        addresses=(address,) if address is not None else None,
        cluster_cidrs=values[fields.CLUSTER_CIDR] or None,
        detect_local_mode=DetectLocalMode(mode) if mode else None,
        bridge_interface=values[fields.BRIDGE_INTERFACE],
        interface_name_prefix=values[fields.INTERFACE_NAME_PREFIX],
        masquerade_all=values[fields.MASQUERADE_ALL] or None,
        node_port_addresses=values[fields.NODE_PORT_ADDRESSES].served or None,
    )


# Reports -------------------------------------------------------------------------------------------------------------


def _reports(given: Mapping[str, object], values: Values) -> Iterator[FieldReport]:
    for field in FIELDS:
        if field.path not in given and field not in _TOLD_WHEN_MISSING:
            continue
        if field is fields.FEATURE_GATES:
            for name, enabled in sorted(values[fields.FEATURE_GATES].items()):
                yield FieldReport(f"{field.path}.{name}", enabled, *judge_gate(name, enabled=enabled))
            continue
        verdict, text = judge(field, values)
        if field.path in given:
            value = given[field.path]
            text += _default_note(field, value) if verdict is not Verdict.IGNORED else ""
            yield FieldReport(field.path, _plain(value), verdict, text)
        elif verdict is Verdict.DIFFERENT:
            yield FieldReport(field.path, None, verdict, text, given=False)


def _default_note(field: Field[object], given: object) -> str:
    """Say which default counts, where a field that matters is given and says nothing."""
    if field in _DEFAULT_COUNTS and field.says_nothing(given):
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        return f" Empty here: the default, {default}, counts."
    return ""


def _unknown_fields(unknown: Mapping[str, object]) -> Iterator[Problem]:
    known = {path.lower(): path for path in _BY_PATH}
    for number, path in enumerate(sorted(unknown)):
        message = f"no such field in {KIND}"
        if path in FORMER:
            message = f"no field of {KIND} any more, Kubernetes has removed it"
        elif number < _MOST_SUGGESTIONS and len(path) <= _MOST_CHARACTERS:
            close = difflib.get_close_matches(path.lower(), known, 1, cutoff=0.8)
            message += "".join(f" (is {known[one]} meant?)" for one in close)
        yield Problem(message, path, severity=Severity.WARNING)


def _unknown_reports(unknown: Mapping[str, object], warnings: Iterable[Problem]) -> Iterator[FieldReport]:
    for one in warnings:
        text = f"{one.message[0].upper()}{one.message[1:]}. It changes nothing."
        yield FieldReport(one.field, _plain(unknown[one.field]), Verdict.UNKNOWN, text)


def _plain(value: object, levels: int = _MOST_LEVELS) -> object:
    """Return a value in types that JSON has; what is nested deeper is told in a word."""
    match value:
        case float():
            return value if math.isfinite(value) else str(value)
        case None | bool() | str():
            return value
        case int() if abs(value) < _HUGE:
            return value
        case list() if levels:
            return [_plain(one, levels - 1) for one in value]
        case dict() if levels:
            return {key if isinstance(key, str) else quoted(key): _plain(one, levels - 1) for key, one in value.items()}
        case _:
            return quoted(value)
