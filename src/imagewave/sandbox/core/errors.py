"""Errors as Google words them, which each API then words as its own."""

from typing import Any

_GRPC = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}


_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


class ApiError(Exception):
    """An answer in Google's error format."""

    def __init__(self, status: str, message: str, details: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details or []

    @property
    def http_code(self) -> int:
        """The HTTP status."""
        return _HTTP[self.status]

    @property
    def grpc_code(self) -> int:
        """The code as it stands in a batch's result line."""
        return _GRPC[self.status]

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {
            "code": self.http_code,
            "message": self.message,
            "status": self.status,
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


def answer_to(error: Exception) -> ApiError:
    """The error as it is answered: what the disk refused is told as the server's own fault."""
    if isinstance(error, ApiError):
        return error
    return ApiError("INTERNAL", f"Internal error encountered: {error}.")
