"""Bytes to a file, all or nothing."""

import secrets
from contextlib import suppress
from pathlib import Path

from restorer.errors import ImageError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` under a hidden name, then move it over ``path`` in one step.

    A reader sees the old file or the new one, never a part, and a failure leaves the old one untouched. The file's mode
    follows the umask. Raises `ImageError`.
    """
    temporary = path.with_name(f".restorer-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
            temporary.replace(path)
        except BaseException:  # an interruption too must not leave the hidden file behind
            with suppress(OSError):
                temporary.unlink()
            raise
    except FileNotFoundError:
        raise ImageError(
            f"{path} cannot be written: the folder {path.parent} does not exist; create it first."
        ) from None
    except OSError as fault:
        raise ImageError(
            f"{path} cannot be written ({fault.strerror or fault}); check the folder and the disk."
        ) from fault
