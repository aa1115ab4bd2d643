"""Parts of the answers of the built-in wiki's action API (`formatversion=2`). Pure over the wiki's state.

Source: https://www.mediawiki.org/wiki/API:Query and the answers of MediaWiki 1.39.
"""

import calendar
import time
from collections.abc import Iterable, Mapping, Sequence

from headwater.app.demo.titles import CATEGORY, NAMESPACES, PageTitle, parse_title
from headwater.app.demo.wiki import DemoWiki, Page, Parsed, Row
from headwater.app.demo.wikitext import redirect_target
from headwater.kernel.errors import InvalidInput
from headwater.mediawiki.timestamps import timestamp_of

LIST_MAX = 500
TITLES_MAX = 50
CACHE_TTL_S = 86_400
WIKI_ID = "rivers"

Object = dict[str, object]
Listed = tuple[list[Object], dict[str, str]]


def _time_s(text: str) -> int:
    """Seconds since the epoch of an ISO or MediaWiki timestamp, or a number."""
    digits = "".join(character for character in text if character.isdecimal())
    try:
        if len(digits) == 14:
            return calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%S"))
        if len(digits) <= 12:
            return int(digits)
    except ValueError as error:
        raise InvalidInput(f"Invalid value {text[:40]!r} for a timestamp.", where="badtimestamp") from error
    raise InvalidInput(f"Invalid value {text[:40]!r} for a timestamp.", where="badtimestamp")


def _limit(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "10")
    if text == "max":
        return LIST_MAX
    if not text.isdecimal() or not 1 <= int(text) <= 5000:
        raise InvalidInput(f"The value {text[:20]!r} for {name} must be between 1 and {LIST_MAX}.", where="badinteger")
    return min(int(text), LIST_MAX)


def continued(answer: Object, following: Mapping[str, str]) -> Object:
    """The answer with `continue`, or with `batchcomplete` where nothing follows."""
    if following:
        return {"batchcomplete": True, "continue": {**following, "continue": "-||"}, **answer}
    return {"batchcomplete": True, **answer}


def siteinfo(server: str, pages: int, now: str) -> Object:
    """`meta=siteinfo` with all properties."""
    general = {
        "mainpage": "Main Page",
        "base": f"{server}/index.php/Main_Page",
        "sitename": "Rivers",
        "generator": "MediaWiki 1.39 (subset, built in)",
        "case": "first-letter",
        "lang": "en",
        "wikiid": WIKI_ID,
        "server": server,
        "servername": server.partition("://")[2],
        "script": "/index.php",
        "articlepath": "/index.php/$1",
        "variantarticlepath": False,
        "time": now,
        "timezone": "UTC",
    }
    namespaces = {
        str(number): {"id": number, "case": "first-letter", "name": name, "canonical": name} for number, name in NAMESPACES.items()
    }
    return {
        "general": general,
        "namespaces": namespaces,
        "namespacealiases": [{"id": 6, "alias": "Image"}],
        "interwikimap": [],
        "dbrepllag": [{"host": "memory", "lag": 0}],
        "statistics": {"pages": pages, "articles": pages, "jobs": 0},
    }


def pages_asked(wiki: DemoWiki, given: Mapping[str, str]) -> tuple[list[Page | Object], Object]:
    """The pages that `titles`, `pageids` or `revids` name, missing ones as objects, and what was normalised and followed on the way."""
    told: Object = {}
    redirects: list[Object] = []
    if given.keys() & {"pageids", "revids"}:
        found = _by_number(wiki, given)
    else:
        found, normalized = _by_title(wiki, given)
        told |= {"normalized": normalized} if normalized else {}
    if "redirects" in given:
        found = [_followed(wiki, page, redirects) for page in found]
    told |= {"redirects": redirects} if redirects else {}
    return found, told


def _by_number(wiki: DemoWiki, given: Mapping[str, str]) -> list[Page | Object]:
    found: list[Page | Object] = []
    for text in _values(given.get("pageids", given.get("revids", ""))):
        if not text.isdecimal():
            raise InvalidInput(f"Invalid value {text[:20]!r} for an id.", where="badinteger")
        number = int(text)
        page = wiki.page_numbered(number) if "pageids" in given else _by_revision(wiki, number)
        found.append(page if page is not None else {"pageid": number, "missing": True})
    return found


def _by_title(wiki: DemoWiki, given: Mapping[str, str]) -> tuple[list[Page | Object], list[Object]]:
    found: list[Page | Object] = []
    normalized: list[Object] = []
    for text in _values(given["titles"]):
        try:
            title = parse_title(text)
        except InvalidInput as error:
            found.append({"title": text, "invalidreason": error.detail, "invalid": True})
            continue
        if title.text != text:
            normalized.append({"fromencoded": False, "from": text, "to": title.text})
        found.append(wiki.page(title) or _missing(title))
    return found, normalized


def _followed(wiki: DemoWiki, page: Page | Object, redirects: list[Object]) -> Page | Object:
    """What a page redirects to in place of it, the step noted; a page that is no redirect stays."""
    target = redirect_target(page.current.text) if isinstance(page, Page) else None
    if target is None or not isinstance(page, Page):
        return page
    redirects.append({"from": page.title.text, "to": target.text})
    return wiki.page(target) or _missing(target)


def _missing(title: PageTitle) -> Object:
    return {"ns": title.namespace, "title": title.text, "missing": True}


def _values(text: str) -> list[str]:
    values = list(dict.fromkeys(text.removeprefix("\x1f").split("\x1f" if text.startswith("\x1f") else "|")))
    if len(values) > TITLES_MAX:
        raise InvalidInput(f"Too many values supplied. The limit is {TITLES_MAX}.", where="toomanyvalues")
    return values


def _by_revision(wiki: DemoWiki, number: int) -> Page | None:
    return next((page for page in wiki.pages() if any(revision.number == number for revision in page.revisions)), None)


def page_object(page: Page, given: Mapping[str, str]) -> Object:
    """A page with the properties that `prop` asks for: `info`, `revisions`."""
    props = given.get("prop", "").split("|")
    answer: Object = {"pageid": page.number, "ns": page.title.namespace, "title": page.title.text}
    current = page.current
    if "info" in props:
        answer |= {"contentmodel": "wikitext", "pagelanguage": "en", "touched": timestamp_of(current.time_s), "lastrevid": current.number}
        answer |= {"length": len(current.text.encode())}
        answer |= {"redirect": True} if redirect_target(current.text) is not None else {}
        answer |= {"new": True} if not current.parent else {}
    if "revisions" in props:
        wanted = {int(text) for text in given.get("revids", "").split("|") if text.isdecimal()}
        shown = [revision for revision in page.revisions if revision.number in wanted] or [current]
        answer["revisions"] = [
            {
                "revid": revision.number,
                "parentid": revision.parent,
                "timestamp": timestamp_of(revision.time_s),
                "sha1": revision.sha1,
                "comment": revision.comment,
                "slots": {"main": {"contentmodel": "wikitext", "contentformat": "text/x-wiki", "content": revision.text}},
            }
            for revision in shown
        ]
    return answer


def allpages(wiki: DemoWiki, given: Mapping[str, str]) -> Listed:
    """`list=allpages`: the pages of one namespace by title."""
    namespace = int(given.get("apnamespace", "0"))
    start = given.get("apcontinue", given.get("apfrom", "")).replace("_", " ")
    chosen = [page for page in wiki.pages() if page.title.namespace == namespace and page.title.name >= start]
    kind = given.get("apfilterredir", "all")
    if kind != "all":
        chosen = [page for page in chosen if (redirect_target(page.current.text) is not None) == (kind == "redirects")]
    limit = _limit(given, "aplimit")
    rows: list[Object] = [{"pageid": page.number, "ns": namespace, "title": page.title.text} for page in chosen[:limit]]
    return rows, {"apcontinue": chosen[limit].title.name.replace(" ", "_")} if len(chosen) > limit else {}


def recentchanges(wiki: DemoWiki, given: Mapping[str, str]) -> Listed:
    """`list=recentchanges`: by time, then by number; `rcdir`, `rcstart`, `rcend`, `rctype`, `rclimit`, `rccontinue`."""
    kinds = given.get("rctype", "edit|new|log|categorize").split("|")
    chosen = [row for row in _between(wiki.rows, given, "rc") if row.kind in kinds]
    limit = _limit(given, "rclimit")
    rows = [_change_object(wiki, row) for row in chosen[:limit]]
    return rows, {"rccontinue": _token(chosen[limit])} if len(chosen) > limit else {}


def logevents(wiki: DemoWiki, given: Mapping[str, str]) -> Listed:
    """`list=logevents`: the rows of the log; `ledir`, `lestart`, `leend`, `letype`, `lelimit`, `lecontinue`."""
    kind = given.get("letype", given.get("leaction", "").partition("/")[0])
    chosen = [row for row in _between(wiki.rows, given, "le") if row.log is not None and kind in ("", row.log[0])]
    limit = _limit(given, "lelimit")
    rows = [_log_object(row) for row in chosen[:limit]]
    return rows, {"lecontinue": _token(chosen[limit])} if len(chosen) > limit else {}


def _token(row: Row) -> str:
    return f"{timestamp_of(row.time_s).translate({ord(c): None for c in '-:TZ'})}|{row.number}"


def _between(rows: Iterable[Row], given: Mapping[str, str], prefix: str) -> Sequence[Row]:
    newer = given.get(f"{prefix}dir", "older") == "newer"
    low, high = (f"{prefix}start", f"{prefix}end") if newer else (f"{prefix}end", f"{prefix}start")
    chosen = list(rows)
    if low in given:
        least_s = _time_s(given[low])
        chosen = [row for row in chosen if row.time_s >= least_s]
    if high in given:
        most_s = _time_s(given[high])
        chosen = [row for row in chosen if row.time_s <= most_s]
    chosen.sort(key=lambda row: (row.time_s, row.number), reverse=not newer)
    token = given.get(f"{prefix}continue")
    if token is None:
        return chosen
    text, _, number = token.partition("|")
    if not number.isdecimal():
        raise InvalidInput("Invalid continue param.", where="badcontinue")
    place = (_time_s(text), int(number))
    return [row for row in chosen if ((row.time_s, row.number) >= place if newer else (row.time_s, row.number) <= place)]


def _change_object(wiki: DemoWiki, row: Row) -> Object:
    page = wiki.page_numbered(row.page)
    answer: Object = {
        "type": row.kind,
        "ns": row.title.namespace,
        "title": row.title.text,
        "pageid": row.page,
        "revid": row.revision,
        "old_revid": row.parent,
        "rcid": row.number,
        "user": "127.0.0.1",
        "anon": True,
        "bot": False,
        "new": row.kind == "new",
        "minor": False,
        "oldlen": 0,
        "newlen": len(page.current.text.encode()) if page is not None else 0,
        "timestamp": timestamp_of(row.time_s),
        "comment": row.comment,
        "redirect": page is not None and redirect_target(page.current.text) is not None,
        "tags": [],
    }
    for revision in page.revisions if page is not None else ():
        if revision.number == row.revision:
            answer["sha1"] = revision.sha1
    if row.log is not None:
        kind, action, number = row.log
        answer |= {"logid": number, "logtype": kind, "logaction": action, "logparams": row.parameters}
    return answer


def _log_object(row: Row) -> Object:
    assert row.log is not None
    kind, action, number = row.log
    return {
        "logid": number,
        "ns": row.title.namespace,
        "title": row.title.text,
        "pageid": row.page,
        "logpage": row.page,
        "revid": row.revision,
        "params": row.parameters,
        "type": kind,
        "action": action,
        "user": "127.0.0.1",
        "timestamp": timestamp_of(row.time_s),
        "comment": row.comment,
        "tags": [],
    }


def parse_object(
    wiki: DemoWiki, parsed: Parsed, given: Mapping[str, str], *, title: PageTitle, number: int, revision: int | None, spent_s: float
) -> Object:
    """`parse` with the properties that `prop` asks for (all by default); `revid` only for a parse of a stored page."""
    report = "" if given.get("disablelimitreport") else f"\n<!-- \nCPU time usage: {spent_s:.3f} seconds\n-->\n"

    def linked(titles: Iterable[PageTitle]) -> list[Object]:
        return [{"ns": one.namespace, "title": one.text, "exists": wiki.page(one) is not None} for one in titles]

    everything: Object = {
        "text": parsed.html + report,
        "templates": linked(parsed.templates),
        "links": linked(parsed.links),
        "images": list(parsed.images),
        "categories": [
            {"sortkey": "", "category": name, "missing": wiki.page(PageTitle(CATEGORY, name.replace("_", " "))) is None}
            for name in parsed.categories
        ],
        "iwlinks": [],
        "properties": {},
        "limitreportdata": [{"name": "limitreport-cputime", "0": round(spent_s, 3)}, {"name": "cachereport-ttl", "0": CACHE_TTL_S}],
    }
    props = given.get("prop", "|".join(everything)).split("|")
    answer: Object = {"title": title.text, "pageid": number}
    if revision is not None:
        answer["revid"] = revision
    return answer | {name: value for name, value in everything.items() if name in props}
