"""Sample work."""


def fill(url: str, *, seconds: float | None) -> int:
    return 0
