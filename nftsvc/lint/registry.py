"""All rules by their codes, and the checks that apply them."""

from collections.abc import Callable, Iterator, Mapping

from nftsvc.lint import (
    addresses,
    claims,
    endpoints,
    ignoring,
    policies,
    reading,
    slices,
    sources,
    topology,
)
from nftsvc.lint.cluster import Cluster, Subject
from nftsvc.lint.findings import Finding, Rule

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (
            rule
            for module in (addresses, claims, endpoints, ignoring, policies, reading, slices, sources, topology)
            for rule in module.RULES
        ),
        key=lambda rule: rule.code,
    )
)
BY_CODE: Mapping[str, Rule] = {rule.code: rule for rule in RULES}

# What no annotation can ignore: findings about objects that are not there, and about the annotation itself.
ALWAYS_SAID = frozenset(rule.code for rule in (*reading.RULES, *ignoring.RULES) if rule is not reading.NO_SUCH_NODE)

CheckOfService = Callable[[Cluster, Subject], Iterator[Finding]]
CheckOfAll = Callable[[Cluster], Iterator[Finding]]

OF_SERVICES: tuple[CheckOfService, ...] = (
    endpoints.unreached,
    endpoints.named_targets,
    slices.ports,
    slices.addresses,
    slices.labels,
    slices.endpoints_objects,
    addresses.node_ports,
    addresses.external_ips,
    addresses.other_families,
    addresses.outside_networks,
    addresses.balancer_type,
    policies.local_policies,
    policies.external_policy,
    topology.wishes,
    topology.hints,
    sources.affinity,
    sources.annotation,
    sources.ranges,
)
OF_ALL: tuple[CheckOfAll, ...] = (
    claims.conflicts,
    slices.owners,
    addresses.open_families,
    addresses.hidden_processes,
    addresses.headless,
    reading.configurations,
)
