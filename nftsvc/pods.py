"""Pods, and the Services that choose them by their labels.

In: Pods that come, change and go, and Services. Out: which Services that touches, and which Pods a selector may mean.
Only input without a control plane has Pods; until the first one comes nothing is filed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from nftsvc.objects import Pod, Service
from nftsvc.values import ServiceKey

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")


_Label = tuple[str, str, str]  # namespace, key, value


class PodIndex:
    """Pods by namespace and name, and by label; Services by one label of their selectors."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, Pod]] = {}
        self._labelled: dict[_Label, dict[str, Pod]] = {}
        self._selecting: dict[_Label, dict[str, None]] = {}
        self._label_of: dict[ServiceKey, _Label] = {}

    @property
    def names(self) -> list[tuple[str, str]]:
        """Namespace and name of each Pod."""
        return [(namespace, name) for namespace, group in self._pods.items() for name in group]

    @property
    def by_namespace(self) -> Mapping[str, tuple[Pod, ...]]:
        """The Pods of each namespace, sorted by name."""
        return {namespace: _by_name(group) for namespace, group in self._pods.items()}

    def candidates(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """Return the Pods of a namespace that may match a selector: those with the rarest of its labels."""
        groups = (self._labelled.get((namespace, key, value), {}) for key, value in selector.items())
        return _by_name(min(groups, key=len, default={}))

    def put(
        self, namespace: str, name: str, pod: Pod | None, services: Mapping[ServiceKey, Service]
    ) -> Iterable[ServiceKey]:
        """Put a Pod, or take it out, and return which of all Services choose it or have chosen it."""
        before = self._pods.get(namespace, {}).get(name)
        if pod == before:
            return ()
        if not self._pods:
            for key, service in services.items():
                self._file(key, service)
        for label in before.labels.items() if before is not None else ():
            _take_out(self._labelled, (namespace, *label), name)
        _take_out(self._pods, namespace, name)
        if pod is not None:
            self._pods.setdefault(namespace, {})[name] = pod
            for label_key, value in pod.labels.items():
                self._labelled.setdefault((namespace, label_key, value), {})[name] = pod
        labels = [one.labels for one in (before, pod) if one is not None]
        chosen = {key for one in labels for key in self._choosing(namespace, one, services)}
        if not self._pods:
            self._selecting, self._label_of = {}, {}
        return chosen

    def file(self, key: ServiceKey, service: Service) -> None:
        """Take note of a Service that is new or has changed."""
        if self._pods:
            self._file(key, service)

    def forget(self, key: ServiceKey) -> None:
        """Take a Service out of what is filed."""
        label = self._label_of.pop(key, None)
        if label is not None:
            _take_out(self._selecting, label, key.name)

    def _file(self, key: ServiceKey, service: Service) -> None:
        """File a Service under one of its selector's labels, all of which its Pods have: the one with fewest so far."""
        self.forget(key)
        selector = (service.spec.selector if service.spec is not None else None) or {}
        labels = [(key.namespace, *item) for item in selector.items()]
        if labels:
            label = self._label_of[key] = min(labels, key=lambda one: len(self._selecting.get(one, ())))
            self._selecting.setdefault(label, {})[key.name] = None

    def _choosing(
        self, namespace: str, labels: Mapping[str, str], services: Mapping[ServiceKey, Service]
    ) -> Iterator[ServiceKey]:
        """Yield the Services that choose a Pod with such labels."""
        for item in labels.items():
            for name in self._selecting.get((namespace, *item), ()):
                key = ServiceKey(namespace, name)
                spec = services[key].spec
                if spec is not None and (spec.selector or {}).items() <= labels.items():
                    yield key


def _take_out(groups: dict[_Key, dict[str, _Item]], key: _Key, name: str) -> None:
    """Take a name out of a group, if it is there, and the group where that was all of it."""
    group = groups.get(key, {})
    group.pop(name, None)
    if not group:
        groups.pop(key, None)


def _by_name(group: Mapping[str, Pod]) -> tuple[Pod, ...]:
    return tuple(group[name] for name in sorted(group))
