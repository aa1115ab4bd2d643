"""Real pages: the excerpt of an encyclopedia that the gensim package carries as test data (CC BY-SA text, fetched to a cache, never kept
here).

Up to PAGES_MAX only pages that are no redirects are taken, beyond that all pages; the excerpt's own order stays.
"""

import bz2
import os
import pathlib
import subprocess
import sys
import zipfile

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "headwater"
_MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_PACKAGE = "gensim==4.4.0"
PAGES_MAX = 106  # how many pages of the excerpt are no redirects
PAGES_ALL = 206


def _excerpt() -> bytes:
    CACHE.mkdir(parents=True, exist_ok=True)
    unpacked = CACHE / "excerpt" / _MEMBER
    wheels = sorted(CACHE.glob("gensim-*.whl"))
    if unpacked.exists():
        return bz2.decompress(unpacked.read_bytes())
    if wheels:
        with zipfile.ZipFile(wheels[-1]) as wheel:
            return bz2.decompress(wheel.read(_MEMBER))
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(CACHE / "excerpt"), _PACKAGE], check=True
    )
    return bz2.decompress(unpacked.read_bytes())


def real_pages(count: int) -> bytes:
    """A dump (MediaWiki's export XML) of the first `count` pages of the excerpt; of those that are no redirects, while they suffice."""
    assert 0 < count <= PAGES_ALL
    head, *pages = _excerpt().split(b"<page>")
    pages[-1] = pages[-1].split(b"</mediawiki>")[0]
    chosen = [page for page in pages if count > PAGES_MAX or b"<redirect" not in page][:count]
    return head + b"".join(b"<page>" + page for page in chosen) + b"</mediawiki>\n"
