"""What must never be shown, taken out of what is shown: credentials in messages and in settings.

Sources report their errors without credentials, and settings are not made of them; this is the second lock.
"""

import re
from collections.abc import Mapping

HIDDEN = "(hidden)"

_SECRETS = re.compile(
    r"""
    (?P<before> ://[^\s/@:]*: ) [^\s/@]+ (?=@)                           # the password in a URL
    | (?P<scheme> \b(?:bearer|basic)\s+ ) [\w.~+/=-]{8,}                 # an Authorization header
    | \bey[\w-]{8,}\.ey[\w-]{8,}\.[\w-]*                                 # a JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END[^-]*-----|\Z)   # a key
    | (?P<name> (?<![/.\w-])[\w-]*(?:token|password|secret)["']?\s*[=:]\s*["']? ) [^\s"'&,;]+
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_PATHS = ("file", "path")
_NAMES = re.compile(r"token|passw|secret|credential|authorization|key-?data|private-?key|client-?key$", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Return the text with what looks like a credential replaced by `(hidden)`."""
    return _SECRETS.sub(_hide, text)


def shown(value: object) -> object:
    """Return a setting's value fit for a page: mappings, lists, text, numbers; credentials hidden, also by their names.

    A file that holds a credential (`tokenFile`) is not one. Anything but JSON's kinds of values is shown as text.
    """
    match value:
        case Mapping():
            return {str(name): _shown_field(str(name), one) for name, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown(one) for one in value]
        case None | bool() | int() | float():
            return value
        case _:
            return without_credentials(str(value))


def _hide(match: re.Match[str]) -> str:
    kept = next((part for part in match.groups() if part), "")
    return f"{kept}{HIDDEN}"


def _shown_field(name: str, value: object) -> object:
    is_secret = _NAMES.search(name) and not name.lower().endswith(_PATHS)
    return HIDDEN if is_secret and value not in (None, "", [], {}) else shown(value)
