"""Text that is valid by construction, and how a manifest's value is shown in a message."""

from typing import ClassVar, Self

MOST_DIGITS = 40


def quoted(value: object, limit: int = 60) -> str:
    """Show a manifest's value in a message: quoted if text, cut if long, in one line."""
    text = _written(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _written(value: object) -> str:
    """Write a value as manifests write it; text in quotes, so that control characters show and end nothing."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return repr(str(value))
        case int() | float():
            huge = isinstance(value, int) and abs(value) >= 10**MOST_DIGITS
            return f"a number of more than {MOST_DIGITS} digits" if huge else str(value)
        case _:
            return "a list" if isinstance(value, list) else "a mapping"


def as_text(value: object, expected: str) -> str:
    """Return the value if it is text; ValueError says that it is not what was expected."""
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not {expected}")  # noqa: TRY004 - one error type for decoding
    return value


class Scalar(str):
    """A validated piece of text; subclasses say which text is valid."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the value if it is valid; ValueError otherwise."""
        raise NotImplementedError


class Choice(Scalar):
    """One of a few words."""

    __slots__ = ()
    choices: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the word; ValueError lists the known ones."""
        if not isinstance(value, str) or value not in cls.choices:
            raise ValueError(f"{quoted(value)} is not one of {', '.join(cls.choices)}")
        return cls(value)
