"""What must be forwarded, masqueraded, rejected and dropped, in words of the domain: no nft here.

In: the State and the settings of one node. Out: a Plan: for each Service port and family its frontends (where clients
knock) and its endpoints (who answers). Every claim of an address or node port has one owner: the older Service. Next in
the route: `nftsvc.ruleset`, which puts the plan into nftables, and `nftsvc.explain`, which puts it into words.
"""

from nftsvc.plan.planner import Planner, Replanned, make_plan
from nftsvc.plan.service import AFFINITY_SECONDS, why_skipped
from nftsvc.plan.values import (
    HealthCheck,
    Masquerade,
    Plan,
    PortPlan,
    Refusal,
    ServicePlan,
    cluster_ip_masquerade,
    external_masquerade,
)

__all__ = [
    "AFFINITY_SECONDS",
    "HealthCheck",
    "Masquerade",
    "Plan",
    "Planner",
    "PortPlan",
    "Refusal",
    "Replanned",
    "ServicePlan",
    "cluster_ip_masquerade",
    "external_masquerade",
    "make_plan",
    "why_skipped",
]
