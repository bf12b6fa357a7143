"""Large parts of a page, packed: gzip and base64, unpacked by the page's script."""

from __future__ import annotations

import base64
import gzip


def packed(content: bytes | str) -> str:
    """Pack text for a page. The same text gives the same packing."""
    raw = content.encode() if isinstance(content, str) else content
    return base64.b64encode(gzip.compress(raw, compresslevel=9, mtime=0)).decode()
