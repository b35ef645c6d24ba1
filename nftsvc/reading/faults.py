"""What cannot be read, and where."""


class Unreadable(Exception):
    """Text that is no ruleset of ours: `where` it is (`line 12`, `nftables[3]`, "" for nowhere in particular)."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.message = message
