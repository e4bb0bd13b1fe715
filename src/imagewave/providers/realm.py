"""Whether a real provider answers at an address, or a sandbox."""

import json
from http.client import HTTPException
from ipaddress import ip_address
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import urlopen

from imagewave.storage.realms import Realm

# A sandbox that draws on a busy machine may take its time.
_TIMEOUT_S = 10.0
_MOST_BYTES = 10_000


def realm_of(base_url: str | None) -> Realm:
    """The realm of who answers there; None or "" is the provider's own address.

    A sandbox says that it is one. Where nobody answers, an address of this very machine is taken
    for that of a sandbox which is not up.
    """
    try:
        parts = urlsplit(base_url or "")
    except ValueError:  # no address; whoever needs one will say so
        return Realm.LIVE
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Realm.LIVE
    try:
        with urlopen(_question(parts), timeout=_TIMEOUT_S) as answer:
            said = json.loads(answer.read(_MOST_BYTES))
    except (HTTPError, ValueError):  # somebody is there, and does not know the question
        return Realm.LIVE
    except (OSError, HTTPException):
        return Realm.SANDBOX if _is_this_machine(parts.hostname) else Realm.LIVE
    is_sandbox = isinstance(said, dict) and said.get("sandbox") == "imagewave"
    return Realm.SANDBOX if is_sandbox else Realm.LIVE


def _question(parts: SplitResult) -> str:
    """Where a sandbox says what it is; without a name and password that the address may hold."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/sandbox"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
