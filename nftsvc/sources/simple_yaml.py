"""YAML as manifests mostly are, read several times faster than all of YAML can be.

In: text. Out: its documents, as the whole parser would read them; or NotSimple, and then that one has to. Simple are
mappings with plain keys, sequences and scalars; no anchors, no tags, no merges, and nothing that is wrong, because
the whole parser says better what.
"""

from collections.abc import Callable, Iterator
from typing import Any

import yaml

_TEXT = "tag:yaml.org,2002:str"
_DATA = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}
_MOST_KNOWN = 200_000  # words whose meaning is remembered; names and addresses, most of them


class NotSimple(Exception):
    """What comes next takes the whole parser."""


def simple_documents(text: str, loader: Callable[[str], Any], levels: int) -> Iterator[object]:
    """Yield the documents of a text, none of them nested deeper than so many levels."""
    made = loader(text)
    reader = _Reader(made)
    try:
        while True:
            event = made.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    raise NotSimple
                document = reader.value(made.get_event(), levels)
                made.get_event()  # its end, which may turn out to be none
                yield document
    except yaml.YAMLError as error:
        raise NotSimple from error
    finally:
        made.dispose()


class _Reader:
    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - a loader of PyYAML's, which has no types
        self._loader = loader
        self._next = loader.get_event
        self._known: dict[str, object] = {}

    def value(self, event: Any, levels: int) -> object:  # noqa: ANN401
        """Return the value that begins with an event, nested no deeper than so many levels."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self._scalar(event)
        if not levels or event.anchor is not None or kind is yaml.AliasEvent or event.tag is not None:
            raise NotSimple
        return self._mapping(levels - 1) if kind is yaml.MappingStartEvent else self._sequence(levels - 1)

    def _mapping(self, levels: int) -> dict[object, object]:
        found: dict[object, object] = {}
        while True:
            event = self._next()
            if type(event) is yaml.MappingEndEvent:
                return found
            if type(event) is not yaml.ScalarEvent:
                raise NotSimple
            key = self._scalar(event)
            if key in found:
                raise NotSimple
            found[key] = self.value(self._next(), levels)

    def _sequence(self, levels: int) -> list[object]:
        found: list[object] = []
        while True:
            event = self._next()
            if type(event) is yaml.SequenceEndEvent:
                return found
            found.append(self.value(event, levels))

    def _scalar(self, event: Any) -> object:  # noqa: ANN401
        if event.anchor is not None or event.tag is not None:
            raise NotSimple
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block
            return text
        try:
            return self._known[text]
        except KeyError:
            value = self._meaning(text)
            if len(self._known) < _MOST_KNOWN:
                self._known[text] = value
            return value

    def _meaning(self, text: str) -> object:
        """Return what a plain scalar stands for: text, a number, a truth value or nothing."""
        tag = self._loader.resolve(yaml.ScalarNode, text, (True, False))
        if tag == _TEXT:
            return text
        if tag not in _DATA:
            raise NotSimple
        try:
            return self._loader.construct_object(yaml.ScalarNode(tag, text), deep=True)
        except ValueError as error:
            raise NotSimple from error
