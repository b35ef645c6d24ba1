"""What `nftsvc explain` found out, as text and as JSON."""

import json

from rich.console import Console
from rich.text import Text

from nftsvc.endpoints import Endpoint
from nftsvc.errors import printable
from nftsvc.explain import Explanation, Outcome
from nftsvc.report.problems import print_line
from nftsvc.values import authority

_OUTCOME_STYLES = {Outcome.FORWARD: "bold green", Outcome.REJECT: "bold red", Outcome.DROP: "bold red"}


def print_explanation(console: Console, found: Explanation) -> None:
    """Print what happens to a packet: the outcome, the steps that led there, then every endpoint."""
    packet = found.packet
    asked = f"{packet.source} -> {authority(packet.destination, packet.port)}/{packet.protocol}"
    print_line(console, found.outcome, asked, _OUTCOME_STYLES.get(found.outcome, "bold"))
    for topic, text in found.steps:
        _print_step(console, topic, text)
    for one in found.reached:
        source = "an address of this node" if one.masqueraded else packet.source
        share = f"1/{one.share.denominator}" if one.share.denominator > 1 else "always"
        _print_step(console, "", f"{_at(one.endpoint)}  {share}  sees {source} ({one.why})")
    for left in found.left_out:
        _print_step(console, "", f"{_at(left.endpoint)}  not used: {left.reason}")


def _print_step(console: Console, topic: str, text: str) -> None:
    console.print(Text.assemble((f"  {topic:<15}", "dim"), printable(text)), soft_wrap=True)


def _at(endpoint: Endpoint) -> str:
    return authority(endpoint.address, endpoint.port)


def explanation_json(found: Explanation) -> str:
    """Return the same as JSON, for scripts; shares are numbers from 0 to 1."""
    packet, frontend = found.packet, found.frontend
    return json.dumps(
        {
            "from": packet.source,
            "to": authority(packet.destination, packet.port),
            "protocol": packet.protocol,
            "outcome": found.outcome,
            "service": found.service or None,
            "frontend": frontend.kind if frontend is not None else None,
            "affinitySeconds": found.affinity or None,
            "endpoints": [
                {
                    "address": one.endpoint.address,
                    "port": one.endpoint.port,
                    "share": round(float(one.share), 6),
                    "masqueraded": one.masqueraded,
                    "why": one.why,
                }
                for one in found.reached
            ],
            "leftOut": [
                {"address": one.endpoint.address, "port": one.endpoint.port, "reason": one.reason}
                for one in found.left_out
            ],
            "steps": [{"topic": topic, "text": text} for topic, text in found.steps],
        },
        indent=2,
    )
