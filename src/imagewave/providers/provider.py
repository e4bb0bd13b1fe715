"""What the rest of imagewave knows of a provider: one record, found by its entry point.

A distribution names its record under the entry point group `imagewave.providers`; ours are
registered in the same way. A module that holds a record imports nothing heavy: clients are
imported by the functions that need them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Lane
from imagewave.storage.store import Store

# It brings an HTTP client along.
if TYPE_CHECKING:
    from imagewave.providers.caller import Caller

Environ = Mapping[str, str]


class NoKey(ImagewaveError):
    """No API key is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The environment variables by which a service is reached.

    `service` is what messages call it. Of the variables `keys` the first that is set holds the key;
    `keys_from` is where keys are made. `address` points clients elsewhere, as at the sandbox.
    """

    service: str
    keys: tuple[str, ...]
    address: str
    keys_from: str = ""

    def key(self, environ: Environ) -> str:
        """The key in the environment; "" without one."""
        return next(filter(None, (environ.get(name, "").strip() for name in self.keys)), "")

    def base_url(self, environ: Environ) -> str | None:
        """The address in the environment; None: the provider's own."""
        return environ.get(self.address, "").strip() or None

    def require(self, environ: Environ) -> tuple[str, str | None]:
        """The key and the address in the environment.

        Raises:
            NoKey: no variable holds a key.
        """
        key = self.key(environ)
        if not key:
            made = f"; keys are made at {self.keys_from}" if self.keys_from else ""
            raise NoKey(
                f"There is no key for the {self.service} API.", f"Set {self.keys[0]}{made}."
            )
        return key, self.base_url(environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider, as it is found under its name in the catalog.

    `access` is None for what has none of its own. `yours` says that it is servers of your own: they
    need no key, an address sets them up, and the catalog does not say what they hold. `lanes` open
    each lane of the provider for a store and an environment. `caller` makes what single calls are
    made with, of key and address. `list_models` asks for the ids of the models that the key of an
    environment may use, and raises Rejected where it is refused, Unavailable where nobody answers.
    """

    name: str
    access: Access | None = None
    yours: bool = False
    lanes: Mapping[str, Callable[[Store, Environ], Lane]] = field(default_factory=dict)
    caller: "Callable[[str, str | None], Caller] | None" = None
    list_models: Callable[[Environ], list[str]] | None = None

    def is_set_up(self, environ: Environ) -> bool:
        """Whether the environment has its key or address.

        An address without a key is a mistake that the lane will name, no wish for the sandbox.
        """
        if self.access is None:
            return False
        has_key = bool(self.access.key(environ)) and not self.yours
        return has_key or self.access.base_url(environ) is not None
