"""What can go wrong between Headwater and a wiki, as errors that say when to try again."""

from headwater.kernel.errors import HeadwaterError, TooLarge, Unavailable


class WikiUnavailable(Unavailable):
    """The wiki did not answer in time, or not with an answer of the action API.

    Refused or broken connections, redirects, 5xx, 429, truncated answers and answers that are no JSON are all this.
    """

    code = "wiki-unavailable"


class WikiBusy(Unavailable):
    """The wiki answered that it cannot serve this now: its replicas lag (`maxlag`), it is read-only, a rate limit, its database."""

    code = "wiki-busy"


class WikiRefused(HeadwaterError):
    """The wiki answered with an error that the same request would meet again.

    Attributes:
        api_code: the wiki's own code of the error, e.g. `nosuchrevid`.
    """

    code = "wiki-refused"

    def __init__(self, detail: str, *, api_code: str) -> None:
        super().__init__(detail)
        self.api_code = api_code


class AnswerTooLarge(TooLarge):
    """The wiki's answer exceeds `answer_bytes_max`; the rest was not read."""

    code = "wiki-answer-too-large"
