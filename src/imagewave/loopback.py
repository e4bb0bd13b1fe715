"""Keeps proxies out of what this machine says to itself.

Where `HTTP_PROXY` is set, HTTP clients would ask the proxy for 127.0.0.1 as well, which has another
machine by that name: the embedded sandbox, or a Prefect server here, would not be found.
"""

import os
from collections.abc import Iterable

# requests reads the network; the other clients know only whole names.
_OWN = ("localhost", "127.0.0.1", "::1", "127.0.0.0/8")
# Libraries read one or the other, and the small one first.
_VARIABLES = ("no_proxy", "NO_PROXY")


def spare_loopback(hosts: Iterable[str] = ()) -> None:
    """Has all HTTP clients of this process and its children reach this machine without a proxy.

    `hosts` are further names or addresses of it. What was spared before stays so.
    """
    said = [os.environ[name] for name in _VARIABLES if os.environ.get(name)]
    spared = [host.strip() for value in said for host in value.split(",") if host.strip()]
    both = ",".join(dict.fromkeys([*spared, *_OWN, *hosts]))
    os.environ.update(dict.fromkeys(_VARIABLES, both))
