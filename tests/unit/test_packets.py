"""The reader of `packets.toml` takes what is meant and refuses what contradicts itself."""

import json
from pathlib import Path

import pytest

from tests.support.packets import Outcome, Packet, disagreement, expected_outcome, packets_of

FORWARD: dict[str, object] = {
    "from": "10.244.1.7",
    "to": "10.96.0.10:80",
    "expect": "forward",
    "endpoints": ["10.244.1.7:8080", "10.244.2.9:8080"],
    "masquerade": False,
}
PASS: dict[str, object] = {"from": "198.51.100.10", "to": "203.0.113.5:443", "expect": "pass"}


def written(folder: Path, *rows: dict[str, object]) -> Path:
    text = ""
    for row in rows:
        text += "[[packet]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items())
    (folder / "packets.toml").write_text(text)
    return folder


def test_rows_become_packets(tmp_path: Path) -> None:
    udp: dict[str, object] = {
        "note": "a name",
        "from": "fd00:244:1::200",
        "to": "[fd00:96::10]:53/UDP",
        "expect": "reject",
        "interface": "cbr0",
    }
    forward, refused = packets_of(written(tmp_path, FORWARD, udp))
    endpoints = frozenset({("10.244.1.7", 8080), ("10.244.2.9", 8080)})
    assert forward == Packet("10.244.1.7", "10.96.0.10", 80, "TCP", "forward", endpoints, masquerade=False)
    assert refused == Packet("fd00:244:1::200", "fd00:96::10", 53, "UDP", "reject", interface="cbr0", note="a name")


def test_case_without_the_file_has_none(tmp_path: Path) -> None:
    assert packets_of(tmp_path) == ()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (PASS | {"form": "x"}, "unknown form"),
        ({"to": "10.96.0.10:80", "expect": "pass"}, "from missing"),
        ({"from": "10.244.1.7", "to": "10.96.0.10:80", "expect": "forward"}, "endpoints, masquerade missing"),
        (PASS | {"expect": "accept"}, "expect must be one of"),
        (PASS | {"masquerade": False}, "masquerade goes with forward, not with pass"),
        (PASS | {"to": "10.96.0.10"}, "is not like"),
        (PASS | {"to": "10.96.0.10:0"}, "is not like"),
        (PASS | {"to": "10.96.0.10:80/udp"}, "is not like"),
        (PASS | {"to": "10.96.0.300:80"}, "does not appear to be"),
        (PASS | {"to": "[fd00:96::10]:80"}, "two families"),
        (PASS | {"from": "2001:db8:100:0::10", "to": "[fd00:96::10]:80"}, "is spelled 2001:db8:100::10"),
        (PASS | {"from": "192.0.2.111"}, "nobody sends from 192.0.2.111"),
        (PASS | {"from": "172.16.0.1"}, "nobody sends from 172.16.0.1"),
        (PASS | {"to": "8.8.8.8:53"}, "in no range"),
        (PASS | {"interface": "cbr0"}, "do not come in through cbr0"),
        (PASS | {"note": "two\nlines"}, "note must be text in one line"),
        (FORWARD | {"endpoints": []}, "forward to no endpoint"),
        (FORWARD | {"endpoints": ["10.244.1.7:8080"] * 2}, "an endpoint twice"),
        (FORWARD | {"endpoints": ["10.244.1.7:8080/TCP"]}, "the protocol is that of the packet"),
        (FORWARD | {"endpoints": ["203.0.113.5:8080"]}, "203.0.113.5 is no Pod's and no node's"),
        (FORWARD | {"masquerade": "hairpin", "from": "10.244.1.8"}, "the sender is none of the endpoints"),
        (FORWARD | {"masquerade": "always"}, "masquerade must be"),
        (FORWARD | {"affinity": 1}, "affinity must be"),
        (FORWARD | {"interface": "cbr0"}, "do not come in through cbr0"),
    ],
)
def test_bad_row_is_named(tmp_path: Path, row: dict[str, object], complaint: str) -> None:
    with pytest.raises(AssertionError) as caught:
        packets_of(written(tmp_path, PASS | {"to": "203.0.113.6:443"}, row))
    assert str(caught.value).startswith(f"{tmp_path.name}/packets.toml: packet 2: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["", "[packet]\nfrom = 'x'\n", "[[packets]]\n", "packet = 1\n", "packet = [1]\n", "?"])
def test_other_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "packets.toml").write_text(text)
    with pytest.raises(AssertionError, match=r"packets\.toml"):
        packets_of(tmp_path)


def test_row_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="packet 2 is packet 1 again"):
        packets_of(written(tmp_path, PASS, PASS | {"expect": "drop"}))


def test_hairpin_expects_only_the_sender_to_be_masqueraded(tmp_path: Path) -> None:
    (packet,) = packets_of(written(tmp_path, FORWARD | {"masquerade": "hairpin"}))
    expected = expected_outcome(packet)
    assert expected == Outcome("forward", packet.endpoints, frozenset({("10.244.1.7", 8080)}))
    assert disagreement(packet, expected) == ""
    assert "masqueraded {} instead of {10.244.1.7 8080}" in disagreement(packet, Outcome("forward", packet.endpoints))


def test_with_affinity_one_endpoint_is_enough(tmp_path: Path) -> None:
    (packet,) = packets_of(written(tmp_path, FORWARD | {"affinity": True, "masquerade": True}))
    one = frozenset({("10.244.2.9", 8080)})
    assert disagreement(packet, expected_outcome(packet)) == ""
    assert disagreement(packet, Outcome("forward", one, one, sticky=True)) == ""
    assert "sticky" in disagreement(packet, Outcome("forward", one, one))
    assert "masqueraded" in disagreement(packet, Outcome("forward", one, sticky=True))
    assert "endpoints" in disagreement(packet, Outcome("forward", frozenset({("10.244.3.4", 8080)}), sticky=True))
