"""Check the links of the built documentation, without a network: ``python docs/check_links.py FOLDER``.

Every link to another page, to a picture or to an anchor must lead to something in the folder. Addresses of other hosts are
not checked. Each broken link is printed with its page, and the exit code is 1.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links = list[str]()
        self.anchors = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)
            elif value and name in {"href", "src"}:
                self.links.append(value)


def broken_links(folder: Path) -> list[str]:
    """Return each link that leads nowhere, with its page."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    return [
        f"{path.relative_to(folder.resolve())}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not leads_somewhere(link, path, pages)
    ]


def leads_somewhere(link: str, page: Path, pages: dict[Path, Page]) -> bool:
    """Return whether a link is to another host, or to a file and an anchor that exist."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target in pages:
        return not parts.fragment or unquote(parts.fragment) in pages[target].anchors
    return target.is_file()


if __name__ == "__main__":
    broken = broken_links(Path(sys.argv[1]))
    print("\n".join(broken) or "every link leads somewhere")
    sys.exit(1 if broken else 0)
