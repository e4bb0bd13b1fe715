"""Words for people."""


def counted(number: int, noun: str) -> str:
    """So many of something: "1 job", "12 jobs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
