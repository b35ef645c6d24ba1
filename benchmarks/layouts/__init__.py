"""The layouts that are compared: what each loads for the same cluster, and with which command."""

from benchmarks.layouts.iptables import iptables_text
from benchmarks.layouts.kubeproxy import (
    KUBE_PROXY_130,
    KUBE_PROXY_136,
    Counts,
    Release,
    kube_proxy_counts,
    kube_proxy_text,
)
from benchmarks.layouts.names import Layout

__all__ = [
    "KUBE_PROXY_130",
    "KUBE_PROXY_136",
    "Counts",
    "Layout",
    "Release",
    "iptables_text",
    "kube_proxy_counts",
    "kube_proxy_text",
]
