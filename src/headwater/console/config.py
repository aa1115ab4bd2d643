"""Section `console`: where the status page listens and whom it asks."""

from typing import Annotated

from headwater.kernel.config import Bytes, Seconds, Secret, Section, doc


class ConsoleConfig(Section, frozen=True):
    """The status page."""

    listen: Annotated[str, doc("Address of the status page as host:port.")] = "127.0.0.1:8900"
    addresses: Annotated[
        dict[str, str], doc("Addresses of roles that run elsewhere, by role, as host:port; the others are asked where they listen here.")
    ] = {}
    token: Annotated[Secret | None, doc("Bearer token that the roles are asked with, where clients are configured; or `token_file`.")] = (
        None
    )
    poll_interval: Annotated[Seconds, doc("The roles are asked at most this often, and only while somebody looks.")] = Seconds.of("1s")
    timeout: Annotated[Seconds, doc("Longest wait for one answer of a role; then it counts as down.")] = Seconds.of("2s")
    answer_bytes_max: Annotated[Bytes, doc("Largest answer of a role that is read.")] = Bytes.of("4MiB")
    edits_max: Annotated[int, doc("Recent edits shown.")] = 20

    def __post_init__(self) -> None:
        """Refuse a page without edits."""
        if not 1 <= self.edits_max <= 200:
            raise ValueError("edits_max is 1 to 200")
