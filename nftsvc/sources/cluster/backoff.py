"""How long to wait before the next attempt."""

from collections.abc import Callable
from dataclasses import dataclass

# A server that asks for more is not believed: nobody would know why a node is an hour behind.
MOST_PATIENCE = 120.0


@dataclass(slots=True)
class Backoff:
    """Doubles from `first` to `most` seconds with every failure in a row; `random` gives numbers in [0, 1).

    Waits are spread between half and all of that, so that a thousand nodes do not come back at the same moment.
    """

    random: Callable[[], float]
    first: float = 1.0
    most: float = 30.0
    failures: int = 0

    def wait(self, asked: float | None = None) -> float:
        """Count a failure and return the seconds to wait; at least what the server asked for (Retry-After)."""
        limit = min(self.most, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        least = min(asked or 0.0, MOST_PATIENCE)
        return least + limit * self.random() / 2 if least >= limit / 2 else limit * (1 + self.random()) / 2

    def reset(self) -> None:
        """Begin anew: it worked for a while."""
        self.failures = 0
