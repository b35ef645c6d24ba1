"""The cluster's KubeProxyConfiguration: what nftsvc takes from it, and a report on every field.

In: a document as a parser gave it. Out: AgentSettings, a FieldReport for every field, every problem found. Reads no
file: whoever does asks `configurations_in` for the configurations in it. docs/configuration.md has the whole table.
"""

from nftsvc.configuration.agent import AgentSettings, ClientSettings, ConntrackSettings, LogSettings
from nftsvc.configuration.durations import Duration
from nftsvc.configuration.fields import API_VERSION, FIELDS, KIND
from nftsvc.configuration.holders import Document, Text, configurations_in
from nftsvc.configuration.readers import Listen
from nftsvc.configuration.reading import Configuration, FieldReport, read_configuration
from nftsvc.configuration.verdict import Verdict

__all__ = [
    "API_VERSION",
    "FIELDS",
    "KIND",
    "AgentSettings",
    "ClientSettings",
    "Configuration",
    "ConntrackSettings",
    "Document",
    "Duration",
    "FieldReport",
    "Listen",
    "LogSettings",
    "Text",
    "Verdict",
    "configurations_in",
    "read_configuration",
]
