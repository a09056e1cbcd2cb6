"""Read a page back as a browser would: elements, texts and the figures' specifications."""

import base64
import gzip
import json
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects tags, visible text, table rows and scripts; fails on elements closed wrongly."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.specs: list[dict[str, Any]] = []
        self._spec: list[str] | None = None
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag == "script" and dict(attrs).get("class") == "spec":
            self._spec = []

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"closes {tag}, nothing is open"
        assert self.open[-1] == tag, f"closes {tag} inside {self.open}"
        self.open.pop()
        if tag == "script" and self._spec is not None:
            packed = base64.b64decode("".join(self._spec))
            self.specs.append(json.loads(gzip.decompress(packed)))
            self._spec = None

    def handle_data(self, data: str) -> None:
        if self._spec is not None:
            self._spec.append(data)
        elif not {"script", "style"} & set(self.open):
            self.text += data
            if self.open and {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells of the first table row that starts with ``name``."""
        return next(row for row in self.rows if row and row[0] == name)

    def figure(self, title: str) -> dict[str, Any]:
        """The specification of the figure with this title."""
        return next(spec for spec in self.specs if spec["title"] == title)


def validate(spec: dict[str, Any]) -> None:
    """Hold a specification against plotly's own schema; theme colours stand for any colour."""

    def coloured(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("@"):
            return "#123456"
        if isinstance(value, dict):
            return {key: coloured(item) for key, item in value.items()}
        return [coloured(item) for item in value] if isinstance(value, list) else value

    go.Figure(data=coloured(spec["traces"]), layout=coloured(spec["layout"]))
