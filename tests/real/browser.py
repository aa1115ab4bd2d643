"""A person at a real MediaWiki: pages and forms over HTTP with a cookie jar of their own, as a browser sends them.

Nothing here uses the action API: what is logged in, and what is logged out, is read from the pages that a person would see.
"""

import copy
import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

TIMEOUT_S = 60
_ATTRIBUTE = re.compile(r"""\b([a-zA-Z-]+)=(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True, slots=True)
class Page:
    """What came back: status, final address, text."""

    status: int
    url: str
    text: str

    def hidden_fields(self) -> dict[str, str]:
        """All hidden fields of the page's forms."""
        found = {}
        for tag in re.findall(r"<input[^>]*>", self.text):
            attributes = {name: html.unescape(one or other) for name, one, other in _ATTRIBUTE.findall(tag)}
            if attributes.get("type") == "hidden" and "name" in attributes:
                found[attributes["name"]] = attributes.get("value", "")
        return found

    def field(self, name: str) -> str:
        """The value of a hidden field."""
        fields = self.hidden_fields()
        assert name in fields, f"no field {name} at {self.url}: {self.status}"
        return fields[name]

    @property
    def user(self) -> str | None:
        """Who is logged in, as the page's own script is told; None is nobody."""
        found = re.search(r'"wgUserName":\s*(null|"[^"]*")', self.text)
        assert found is not None, f"{self.url} is no page of a wiki: {self.status} {self.text[:300]}"
        return None if found[1] == "null" else found[1].strip('"')


@dataclass
class Browser:
    """One person with one cookie jar. Two tabs are two threads that use the same object.

    Attributes:
        url: of the wiki.
    """

    url: str
    jar: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def cookies(self) -> dict[str, str]:
        """All cookies by name."""
        return {cookie.name: cookie.value or "" for cookie in self.jar}

    def session_id(self) -> str | None:
        """The value of the session cookie."""
        return next((value for name, value in self.cookies().items() if name.endswith("_session")), None)

    def give_cookies(self, other: "Browser", *, session_id: str | None = None) -> None:
        """Put this browser's cookies into another one, with `session_id` in place of its own."""
        for cookie in self.jar:
            given = copy.copy(cookie)
            if session_id is not None and given.name.endswith("_session"):
                given.value = session_id
            other.jar.set_cookie(given)

    def forget_session(self) -> None:
        """Lose the session cookie alone."""
        for cookie in [cookie for cookie in self.jar if cookie.name.endswith("_session")]:
            self.jar.clear(cookie.domain, cookie.path, cookie.name)

    def open(self, path: str, form: Mapping[str, str] | None = None, *, jar: http.cookiejar.CookieJar | None = None) -> Page:
        """Follow a link, or send a form. A status of 400 and more is an answer like any other."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar if jar is None else jar))
        data = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            with opener.open(self.url + path, data=data, timeout=TIMEOUT_S) as answer:
                return Page(answer.status, answer.url, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.url or path, error.read().decode(errors="replace"))

    def who(self) -> str | None:
        """Who the wiki takes this browser for."""
        return self.open("/index.php?title=Special:BlankPage").user

    def log_in(self, name: str, password: str, *, remember: bool = False) -> Page:
        """Open the form and send it; the page that follows."""
        form = self.open("/index.php?title=Special:UserLogin")
        fields = {"wpName": name, "wpPassword": password, "wpLoginToken": form.field("wpLoginToken"), "authAction": "login"}
        if remember:
            fields["wpRemember"] = "1"
        return self.open("/index.php?title=Special:UserLogin", {**fields, "wpLoginAttempt": "1", "title": "Special:UserLogin"})

    def log_out(self) -> Page:
        """Open the form and send it."""
        form = self.open("/index.php?title=Special:UserLogout")
        return self.open("/index.php?title=Special:UserLogout", {"wpEditToken": form.field("wpEditToken"), "title": "Special:UserLogout"})

    def edit(self, title: str, text: str) -> bool:
        """Save a page through the edit form; whether it was saved."""
        address = f"/index.php?title={urllib.parse.quote(title)}"
        form = self.open(f"{address}&action=edit")
        fields = {name: value for name, value in form.hidden_fields().items() if name != "title"}  # that of the search box
        assert "wpEditToken" in fields, form.text[:500]
        saved = self.open(f"{address}&action=submit", {**fields, "wpTextbox1": text, "wpSummary": "test", "wpSave": "Save"})
        return saved.status == 200 and "action=submit" not in saved.url and "wpTextbox1" not in saved.text
