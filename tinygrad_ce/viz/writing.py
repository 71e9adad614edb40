"""Writing what was drawn to a file."""

from pathlib import Path

from tinygrad_ce.serialization import checked_target, write_whole


def write(path: Path, content: bytes) -> Path:
    """Write a file, or the one that a link leads to, completely, or leave what was there."""
    write_whole(checked_target(path), content)
    return path
