"""`headwater dead-letters`: what was given up, by propagation (pages) and by purging (addresses)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.output import print_json, print_table
from headwater.cli.roles import RoleClient, role_clients, segment, wikis_of
from headwater.kernel.clock import iso_utc
from headwater.kernel.errors import InvalidInput, NotFound

LETTERS_PER_ANSWER = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of either kind. `id` is `WIKI:PAGE` for a page, and purging's own id for an address."""

    id: str
    kind: str
    what: str
    reason: str
    attempts: int
    since_ms: int

    @property
    def wiki_and_page(self) -> tuple[str, int]:
        """The wiki and page id of a page's letter."""
        wiki, _, page = self.id.rpartition(":")
        return wiki, int(page)


def _letters_of_pages(client: RoleClient, wiki: str) -> Iterator[Letter]:
    found = client.fetch(f"/v1/{segment(wiki)}/dead-letters?limit={LETTERS_PER_ANSWER}")
    for one in found["dead_letters"]:
        yield Letter(f"{wiki}:{one['page']}", "page", one["title"], one["reason"], one["attempts"], one["time_ms"])


def _letters_of_purging(client: RoleClient) -> Iterator[Letter]:
    after = ""
    while True:
        found = client.fetch(f"/v1/dead-letters?limit={LETTERS_PER_ANSWER}{after}")
        for one in found["letters"]:
            yield Letter(one["id"], f"purge of {one['target']}", one["url"], one["reason"], one["attempts"], one["parked_ms"])
        if found["next"] is None:
            return
        after = f"&after={found['next']}"


def _all_letters(path: Path | None, token: str | None, wiki: str | None) -> tuple[dict[str, RoleClient], list[Letter]]:
    _, clients = role_clients(path, token)
    letters = [letter for one in wikis_of(clients["propagation"], wiki) for letter in _letters_of_pages(clients["propagation"], one)]
    if wiki is None:
        letters += _letters_of_purging(clients["purging"])
    return clients, letters


def show_letters(path: Path | None, *, wiki: str | None, token: str | None, as_json: bool) -> None:
    """List what was given up. Raises NotFound, Unavailable."""
    _, letters = _all_letters(path, token, wiki)
    if as_json:
        print_json([_plain(letter) for letter in letters])
    elif letters:
        rows = [(one.id, one.kind, one.what, one.reason, one.attempts, iso_utc(one.since_ms)) for one in letters]
        print_table("Dead letters", ("id", "kind", "what", "reason", "attempts", "since"), rows)
    else:
        sys.stdout.write("no dead letters\n")


def settle_letters(
    path: Path | None, ids: Sequence[str], *, retry: bool, every: bool, dry_run: bool, token: str | None, as_json: bool
) -> None:
    """Try letters again, or drop them.

    Raises:
        InvalidInput: neither ids nor `every`; or a page is to be dropped, which only ends with its next render.
        NotFound: no letter has such an id.
        Unavailable: a role does not answer.
    """
    if every == bool(ids):
        raise InvalidInput("name dead letters by id, or give --all")
    clients, letters = _all_letters(path, token, None)
    by_id = {letter.id: letter for letter in letters}
    unknown = [identity for identity in ids if identity not in by_id]
    if unknown:
        raise NotFound(f"no dead letter has the id {unknown[0]}")
    chosen = letters if every else [by_id[identity] for identity in ids]
    if not retry:
        kept = [letter for letter in chosen if letter.kind == "page"]
        if kept and not every:
            raise InvalidInput(f"{kept[0].id} is a page: it stays until it is rendered or deleted; use `retry`")
        chosen = [letter for letter in chosen if letter.kind != "page"]
    if not dry_run:
        for letter in chosen:
            _settle(clients, letter, retry=retry)
    verb = "retry" if retry else "drop"
    if as_json:
        print_json({"action": verb, "dry_run": dry_run, "letters": [_plain(letter) for letter in chosen]})
        return
    if not chosen:
        sys.stdout.write(f"no dead letters to {verb}\n")
    for letter in chosen:
        sys.stdout.write(f"{'would ' if dry_run else ''}{verb} {letter.id}  {letter.what}\n")


def _settle(clients: dict[str, RoleClient], letter: Letter, *, retry: bool) -> None:
    if letter.kind == "page":
        client = clients["propagation"]
        wiki, page = letter.wiki_and_page
        client.checked(client.call("POST", f"/v1/{segment(wiki)}/dead-letters/retry", {"pages": [page]}))
        return
    client = clients["purging"]
    address = f"/v1/dead-letters/{segment(letter.id)}"
    client.checked(client.call("POST", f"{address}/retry") if retry else client.call("DELETE", address))


def _plain(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "what": letter.what,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "since": iso_utc(letter.since_ms),
    }
