"""Small files with secrets, which are there as a whole or not at all, also after a power cut."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

KEPT_KEY: Final = re.compile(rb"[!-~]{32,}")  # the key that is made has 67


def write_secret(path: Path, text: str, *, replace: bool) -> None:
    """Write a file that only its owner reads, durably.

    Without `replace` an existing file stays as it is. Raises OSError, in that case FileExistsError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    unfinished.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            unfinished.replace(path)
        else:
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_secret_key(data_dir: Path, *, given: str) -> tuple[str, str]:
    """Return the key that signs sessions and tokens, and where it is from.

    `given` is GOALPOST_SECRET_KEY. If it is empty, a key is made once and kept with the data. Raises
    ImproperlyConfigured.
    """
    if given:
        if not given.strip() or not given.isprintable():
            raise ImproperlyConfigured("GOALPOST_SECRET_KEY must be printable text, without a line end")
        return given, "GOALPOST_SECRET_KEY"
    path = data_dir / "secret-key"
    try:
        if not path.exists():
            with suppress(FileExistsError):  # another process of the same start was faster
                write_secret(path, secrets.token_urlsafe(50), replace=False)
        kept = path.read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(
            f"cannot keep a secret key in {data_dir} ({error.strerror}): set GOALPOST_SECRET_KEY or GOALPOST_DATA_DIR"
        ) from error
    if not KEPT_KEY.fullmatch(kept.strip()):
        raise ImproperlyConfigured(
            f"{path} holds no secret key (32 or more printable characters; it has {len(kept)} bytes): restore it from "
            "a backup. On a new installation, and if it is lost, remove it; the next start makes another key and says "
            "what that means"
        )
    return kept.decode(), str(path)
