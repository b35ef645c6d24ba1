"""Packets of users' cases: read strictly wherever they are sent, judged by what `explain` says."""

import json
from pathlib import Path

import pytest

from nftsvc.errors import InputError
from nftsvc.golden import Case, Packet, judge, read_packets
from tests.support.cases import write_shop

PASS: dict[str, object] = {"from": "8.8.8.8", "to": "10.1.2.3:443", "expect": "pass"}
FORWARD: dict[str, object] = {
    "from": "172.16.0.1",
    "to": "10.96.7.1:80",
    "expect": "forward",
    "endpoints": ["10.244.1.1:8080", "10.244.1.2:8080"],
    "masquerade": False,
}


def written(folder: Path, *rows: dict[str, object]) -> Path:
    text = ""
    for row in rows:
        text += "[[packet]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items())
    (folder / "packets.toml").write_text(text)
    return folder


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_packets(folder)
    return [str(one) for one in caught.value.problems]


def test_packets_may_come_from_and_go_anywhere(tmp_path: Path) -> None:
    rows = (PASS, FORWARD, {"from": "fe80::1", "to": "[2001:db8::1]:53/UDP", "expect": "drop", "interface": "eth0"})
    first, second, third = read_packets(written(tmp_path, *rows))
    assert first == Packet("8.8.8.8", "10.1.2.3", 443, "TCP", "pass")
    assert second.endpoints == {("10.244.1.1", 8080), ("10.244.1.2", 8080)}
    assert (third.protocol, third.interface, third.destination) == ("UDP", "eth0", ("2001:db8::1", 53))


def test_all_bad_rows_are_named_by_row_and_field(tmp_path: Path) -> None:
    bad = (
        PASS | {"from": "10.0.0"},
        PASS,
        PASS | {"to": "10.1.2.3:444", "interface": "a b"},
        FORWARD | {"endpoints": ["10.244.1.1"]},
        FORWARD | {"to": "10.96.7.1:81/TCP", "endpoints": "10.244.1.1:80"},
        PASS,
    )
    found = problems_of(written(tmp_path, *bad))
    interface = "'a b' is not the name of a network interface (letters, digits, '-', '_', '.'; at most 15 characters)"
    assert found == [
        "packets.toml: packet 1: from: '10.0.0' does not appear to be an IPv4 or IPv6 address",
        f"packets.toml: packet 3: interface: {interface}",
        "packets.toml: packet 4: endpoints: '10.244.1.1' is not like 10.96.0.10:80/UDP or [fd00:96::10]:80",
        "packets.toml: packet 5: endpoints must be a list of address:port",
        "packets.toml: packet 6: packet 6 is packet 2 again",
    ]


def test_nothing_strange_gets_to_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "packets.toml").write_text(
        '[[packet]]\n"\\u001b[31m" = 1\n[[packet]]\nfrom = "\\u001b[31m"\nto = "10.0.0.1:1"\nexpect = "pass"\n'
    )
    found = problems_of(tmp_path)
    assert len(found) == 2
    assert all(one.isprintable() for one in found)
    assert str(Packet("10.0.0.1", "10.0.0.2", 1, "TCP", "pass", note="\x1b[31m")).isprintable()


def test_rows_that_are_no_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / "packets.toml").write_text('packet = [{from = "10.0.0.1", to = "10.0.0.2:1", expect = "drop"}, 7]')
    assert problems_of(tmp_path) == ["packets.toml: packet 2: is no table"]


def test_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "packets.toml").write_text("[[packet]\n")
    (found,) = problems_of(tmp_path)
    assert found.startswith("packets.toml: not TOML: ")


NODE = """\
apiVersion: nftsvc/v1
kind: NodeConfiguration
spec: {nodePortAddresses: [0.0.0.0/0], addresses: [192.0.2.1]}
"""


def test_own_addresses_that_no_object_names_are_told_apart(tmp_path: Path) -> None:
    """The second address of a node is known from `local` only; node ports answer there."""
    folder = write_shop(tmp_path)
    manifest = folder / "web.json"
    text = manifest.read_text().replace('"port": 80}', '"port": 80, "nodePort": 30080}')
    manifest.write_text(text.replace("ClusterIP", "NodePort"))
    (folder / "node.yaml").write_text(NODE)
    planned = Case(folder).planned()
    packet = Packet("198.51.100.1", "192.0.2.2", 30080, "TCP", "forward")
    assert judge(planned.state, planned.plan, packet).verdict == "pass"
    there = judge(planned.state, planned.plan, packet, ["192.0.2.2"])
    assert there.verdict == "forward"
    assert there.endpoints == there.masqueraded == {("10.244.1.1", 8080), ("10.244.1.2", 8080)}
