"""The two realms: real pictures for real money, and the sandbox's stand-ins.

A store is of one realm, from its first job on. Content addresses do not tell a stand-in from a real
picture, so facts of both in one store would be taken for each other: delivered, reused, and counted
in estimates and budgets.
"""

from enum import StrEnum


class Realm(StrEnum):
    """Whose pictures these are, and whether their dollars are real."""

    LIVE = "live"
    SANDBOX = "sandbox"

    @property
    def other(self) -> "Realm":
        """The one that it is kept apart from."""
        return Realm.SANDBOX if self is Realm.LIVE else Realm.LIVE

    @property
    def pictures(self) -> str:
        """What messages call its pictures."""
        return "real pictures" if self is Realm.LIVE else "the sandbox's stand-ins"

    @property
    def default_store(self) -> str:
        """Where commands keep them when nobody names a store."""
        return "imagewave-data" if self is Realm.LIVE else "imagewave-sandbox"


NO_REAL_MONEY = "sandbox: no real money"
"""What stands beside every sum of a store of the sandbox."""


def money_note(realm: Realm | None) -> str:
    """What follows a sum or the title of a bill of that realm: " (sandbox: …)", or nothing."""
    return f" ({NO_REAL_MONEY})" if realm is Realm.SANDBOX else ""
