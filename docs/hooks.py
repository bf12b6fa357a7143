"""What the site changes in a page: links out of docs/ lead to files that a site does not have."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Write a link to a file of the repository as its text with the file's path."""
    return _OUTSIDE.sub(r"\1 (`\2` in the repository)", markdown)
