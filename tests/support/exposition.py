"""Checks that a text is what Prometheus takes: parsed, and what its own linter says."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}

Labels = frozenset[tuple[str, str]]


class Exposition(NamedTuple):
    types: Mapping[str, str]
    samples: Mapping[str, Mapping[Labels, float]]

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name][frozenset(labels.items())]

    def labels(self, name: str) -> set[str]:
        return {key for one in self.samples[name] for key, _ in one}

    def buckets(self, name: str) -> list[str]:
        found: dict[str, None] = {}
        for one in self.samples[f"{name}_bucket"]:
            found[dict(one)["le"]] = None
        return list(found)


def checked(text: bytes) -> Exposition:
    """Return what a text says, having checked it."""
    lines = text.decode().splitlines()
    assert text.endswith(b"\n")
    helps = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))
    assert len(helps) == len(set(helps)) == len(types)
    assert set(helps) == set(types)
    assert len([line for line in lines if line.startswith("# TYPE ")]) == len(types)
    samples: dict[str, dict[Labels, float]] = {}
    current = ""
    for line in lines:
        if line.startswith("# TYPE "):
            current = line.split()[2]
        elif not line.startswith("#"):
            name = re.split(r"[{ ]", line, maxsplit=1)[0]
            allowed = ("",) if types[current] != "histogram" else _SUFFIXES["histogram"]
            assert name in {current + suffix for suffix in allowed}, line  # each metric's lines are together
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation
        for sample in family.samples:
            assert _NAME.fullmatch(sample.name)
            assert all(_NAME.fullmatch(label) for label in sample.labels)
            assert not sample.name.endswith("_created")
            of_name = samples.setdefault(sample.name, {})
            key = frozenset(sample.labels.items())
            assert key not in of_name, sample
            of_name[key] = sample.value
    for name, kind in types.items():
        assert kind != "counter" or name.endswith("_total"), name
        if kind == "histogram":
            _check_histogram(samples, name)
    return Exposition(types, samples)


def _check_histogram(samples: Mapping[str, Mapping[Labels, float]], name: str) -> None:
    """Buckets are cumulative and end with everything."""
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in samples.get(f"{name}_bucket", {}).items():
        limit = float(dict(labels)["le"])
        groups.setdefault(frozenset(one for one in labels if one[0] != "le"), []).append((limit, value))
    for rest, buckets in groups.items():
        assert [value for _, value in sorted(buckets)] == sorted(value for _, value in buckets)
        assert max(buckets) == (float("inf"), samples[f"{name}_count"][rest])
