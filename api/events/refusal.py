"""The refusal of a request, which every endpoint answers with the API's one error body."""

from dataclasses import dataclass


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - an answer, not a defect
    """An HTTP status, a code of the documented list, and a message that says what was wrong and what to do."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def as_header(self) -> tuple[str, str]:
        """Return the reason as a header, for a response whose body cannot hold it."""
        # A header holds latin-1 at most, and proxies less.
        return "Goalpost-Error", f"{self.code}: {self.message}".encode("ascii", "replace").decode()
