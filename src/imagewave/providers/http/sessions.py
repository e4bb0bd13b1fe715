"""HTTP sessions that carry a key."""

from requests import PreparedRequest, Response, Session


class KeyedSession(Session):
    """Sends a header with the key to the host that was asked, and to none that it redirects to."""

    def __init__(self, header: str, value: str) -> None:
        super().__init__()
        self._header = header
        self.headers.update({header: value, "Accept-Encoding": "identity"})
        # With an auth of its own, requests does not look for another key in a .netrc file.
        self.auth = lambda request: request

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Drops the key where a redirect leads elsewhere."""
        super().rebuild_auth(prepared_request, response)
        old, new = response.request.url, prepared_request.url
        if old is None or new is None or self.should_strip_auth(old, new):
            prepared_request.headers.pop(self._header, None)
