"""What can go wrong between Headwater and a wiki, as errors that say when to try again.

To a client of ours all of them are one thing, a dependency that does not serve us now: they share the code `unavailable`. Metrics and
logs tell them apart by `outcome`.
"""

from typing import ClassVar

from headwater.kernel.errors import Retry, Unavailable


class WikiError(Unavailable):
    """A request to a wiki failed; nothing happened there."""

    outcome: ClassVar[str] = "error"


class WikiUnavailable(WikiError):
    """The wiki did not answer in time, or not with an answer of the action API.

    Refused or broken connections, redirects, 5xx, 429, truncated answers and answers that are no JSON are all this.
    """

    outcome = "unavailable"


class WikiBusy(WikiError):
    """The wiki answered that it cannot serve this now: its replicas lag (`maxlag`), it is read-only, a rate limit, its database."""

    outcome = "busy"


class WikiRefused(WikiError):
    """The wiki answered with an error that the same request would meet again.

    Attributes:
        api_code: the wiki's own code of the error, e.g. `nosuchrevid`.
    """

    outcome = "refused"
    retry = Retry.NEVER

    def __init__(self, detail: str, *, api_code: str) -> None:
        super().__init__(detail)
        self.api_code = api_code


class AnswerTooLarge(WikiError):
    """The wiki's answer exceeds `answer_bytes_max`; the rest was not read."""

    outcome = "too-large"
    retry = Retry.NEVER
