"""Globs: patterns of paths and URLs, matched while their folders are walked."""

from __future__ import annotations

import re

from detserve.errors import SetupError

WILD = re.compile(r"[*?[]")
_PART = re.compile(r"\*+|\?|\[!?\]?[^]]*\]|.", re.DOTALL)


class Glob:
    """A pattern: `*` and `?` within a name, `[abc]`, `[!abc]`, and `**` as a whole name for any folders.

    top: the folder above its first wildcard. A folder that it matches stands for all below it. Raises SetupError where
    it is none.
    """

    def __init__(self, pattern: str) -> None:
        self.top = pattern[: WILD.search(pattern).start()].rpartition("/")[0] or "/"  # type: ignore[union-attr]
        # From its end. A folder on the way to a match fits the pattern's first names, whatever comes below `**`.
        whole, way = "", ".*"
        for name in reversed(pattern.rstrip("/").split("/")):
            if name == "**":
                whole, way = (f"(?:.*/)?{whole}" if whole else ".*"), ".*"
            else:
                whole, way = _expression(name) + (f"/{whole}" if whole else ""), f"{_expression(name)}(?:/{way})?"
        try:
            self._whole, self._way = (re.compile(each, re.DOTALL) for each in (f"{whole}(?:/.*)?", way))
        except re.error as error:
            raise SetupError(f"{pattern} is no glob: {error}") from error

    def matches(self, path: str) -> bool:
        """Whether it stands for the path."""
        return bool(self._whole.fullmatch(path))

    def leads_to(self, folder: str) -> bool:
        """Whether it may stand for something below the folder."""
        return bool(self._way.fullmatch(folder))


def _expression(name: str) -> str:
    """One name of a pattern as a regular expression."""
    return "".join(map(_one, _PART.findall(name)))


def _one(part: str) -> str:
    if part[0] in "*?":
        return "[^/]*" if part[0] == "*" else "[^/]"
    if len(part) < 3:  # a letter, or a bracket that holds nothing
        return re.escape(part)
    inside = part[1:-1]
    negated, inside = inside[0] == "!", inside.removeprefix("!")
    return f"(?!/)[{'^' * negated}{re.escape(inside).replace(chr(92) + '-', '-')}]"
