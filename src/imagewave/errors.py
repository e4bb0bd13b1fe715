"""The root of every error that a user is meant to read."""


class ImagewaveError(Exception):
    """A fault with an owner: what went wrong and, where there is one, the way out.

    The command line prints it as one message and exits non-zero; anything that is not an
    `ImagewaveError` is a defect of imagewave and keeps its traceback.
    """

    exit_code = 1
    """What the command ends with."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".rstrip()
