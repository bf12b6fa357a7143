"""Addresses that may carry secrets: results in a store, databases, clusters, archives of code.

Whoever gives one may have put a key into it, and it would then be copied: into scripts, job texts,
locks and messages. An address is therefore parsed (RFC 3986), never searched for what looks like a
secret: of a results address only what is known to be harmless is accepted, and of any address only
scheme, host and path are ever shown.

References
----------
Uniform Resource Identifier (URI): Generic Syntax, https://www.rfc-editor.org/rfc/rfc3986
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

# Stands for what is not shown.
HIDDEN = "..."
# What pyarrow's filesystems read from a URI and that is no secret.
HARMLESS_OPTIONS = frozenset(
    [
        "allow_bucket_creation",
        "allow_bucket_deletion",
        "allow_delayed_open",
        "background_writes",
        "blob_storage_authority",
        "blob_storage_scheme",
        "buffer_size",
        "check_directory_existence_before_creation",
        "credential_kind",
        "dfs_storage_authority",
        "dfs_storage_scheme",
        "enable_tls",
        "endpoint_override",
        "region",
        "replication",
        "retry_limit_seconds",
        "scheme",
        "smart_defaults",
        "tls_ca_file_path",
        "user",
    ]
)
# Here the part before "@" is a container, or says that no one signs in.
_NAMES_BEFORE_AT = {"abfs", "abfss", "gs", "gcs", "hdfs", "viewfs", "sftp", "ssh"}


def find_secret(address: str) -> str | None:
    """Return why an address may carry a secret, without quoting it; None if it carries none.

    Parameters
    ----------
    address : str
        A path or URI.

    Examples
    --------
    >>> find_secret("s3://bucket/results?region=eu-west-1") is None
    True
    >>> find_secret("s3://KEY:SECRET@bucket/results")
    'a user or password stands before its host'
    """
    if "://" not in address:
        parts = address.split(":", 1)
        is_store = len(parts) == 2 and parts[0].isalnum() and parts[1].startswith("/")
        return "a user or password stands in it" if is_store and "@" in address else None
    url = _split(address)
    if url is None:
        return "it cannot be taken apart"
    if not _is_plain(url):
        return "a user or password stands before its host"
    for name, value in parse_qsl(url.query, keep_blank_values=True, separator="&"):
        if name not in HARMLESS_OPTIONS:
            return f"its option {name[:40]!r} is not one of {', '.join(sorted(HARMLESS_OPTIONS))}"
        if "@" in value:
            return f"a user or password stands in its option {name!r}"
    return "it has a fragment" if url.fragment else None


def _split(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _is_plain(url: SplitResult) -> bool:
    """Whether nothing before the host, or a key with a slash in it, can be a secret."""
    user, at, host = url.netloc.rpartition("@")
    if ":" in user or (at and url.scheme not in _NAMES_BEFORE_AT):
        return False
    # A key with a slash that was not quoted ends the host too early: s3://KEY:a/b@bucket.
    return (
        not ("@" in unquote(url.path) and ":" in url.netloc)
        and "@" not in user
        and bool(url.scheme != "s3" or ":" not in host)
    )


def shown_address(address: str) -> str:
    """Return an address as it may be shown: scheme, host and path.

    Parameters
    ----------
    address : str
        Of any kind. If where the host begins is in doubt, the scheme alone is shown.

    Examples
    --------
    >>> shown_address("postgresql://me:secret@host/x?password=other")
    'postgresql://...@host/x?...'
    >>> shown_address("postgresql://me:a@b/c@host/x")
    'postgresql://...'
    """
    scheme, mark, _ = address.partition("://")
    url = _split(address)
    if not mark or url is None:
        return HIDDEN
    user, at, host = url.netloc.rpartition("@")
    try:
        is_clear = url.port is None or bool(url.port)
    except ValueError:
        is_clear = False
    if not is_clear or "@" in user or "@" in url.path or "#" in address:
        return f"{scheme}://{HIDDEN}"
    query = f"?{HIDDEN}" if url.query else ""
    return f"{scheme}://{f'{HIDDEN}@' if at else ''}{host}{url.path}{query}"


def secrets_of(address: str) -> list[str]:
    """List the parts of an address that no message may repeat, longest first."""
    url = _split(address)
    if url is None or shown_address(address).endswith(f"://{HIDDEN}"):
        return [address]
    user, _, _ = url.netloc.rpartition("@")
    raw = [address, url.query, user, *user.split(":", 1)[1:]]
    raw += [value for pair in url.query.split("&") for value in pair.split("=", 1)[1:]]
    found = {text for part in raw for text in (part, unquote(part)) if text}
    return sorted(found, key=len, reverse=True)


def without_secrets(message: str, address: str) -> str:
    """Return what another library said of an address, with its secrets hidden."""
    if shown_address(address) in (HIDDEN, f"{address.partition('://')[0]}://{HIDDEN}"):
        # What of it is secret is not known, so nothing that may quote it is repeated.
        return "it cannot be opened"
    for secret in secrets_of(address):
        message = message.replace(secret, HIDDEN)
    return message


def shown_command(words: Sequence[str]) -> str:
    """Write a command line as it may be kept and shown: addresses without their secrets.

    Examples
    --------
    >>> shown_command(["sweep", "--storage=mysql://me:secret@host/x", "--results", "s3://b/x"])
    'sweep --storage=mysql://...@host/x --results s3://b/x'
    """
    return shlex.join(map(_shown_word, words))


def hide_secrets(message: str, words: Sequence[str]) -> str:
    """Return a message about words of a command line without the secrets of their addresses.

    Examples
    --------
    >>> hide_secrets("no option --out=s3://KEY:SECRET@b", ["--out=s3://KEY:SECRET@b"])
    'no option --out=s3://...@b'
    """
    for word in sorted(words, key=len, reverse=True):
        shown = _shown_word(word)
        if shown == word:
            continue
        value = word.partition("=")[2]
        for text, instead in ((word, shown), (value, _shown_word(value))):
            for form in (text, repr(text)[1:-1]):
                message = message.replace(form, instead) if form else message
        # An option and its value in one word, as -nVALUE, is quoted in part.
        _, mark, rest = word.partition("://")
        for secret in secrets_of(f"x{mark}{rest}" if mark else word):
            message = message.replace(secret.removeprefix("x://"), HIDDEN)
    return message


def _shown_word(word: str) -> str:
    option, mark, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if not mark:
        option, value = "", word
    if "://" in value or ("@" in value and ":" in value):
        before, _, _ = value.partition("://")
        # Whatever stands before the scheme, such as FIELD= of --set, is no part of the address.
        scheme = before.rpartition("=")[2]
        start = len(before) - len(scheme)
        value = value[:start] + shown_address(value[start:])
    return f"{option}{mark}{value}"
