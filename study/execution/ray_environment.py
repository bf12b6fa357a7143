"""Ray's settings, which it reads when it is imported; so nothing here imports it."""

from __future__ import annotations

import importlib.util
import os
import secrets
from pathlib import Path


class SessionError(RuntimeError):
    """Ray cannot be started or joined."""


def set_ray_environment(*, joins: bool = False) -> None:
    """Choose Ray's settings before it is imported: silent, no files, token authentication.

    Parameters
    ----------
    joins : bool
        Whether an existing cluster is joined: its token is then taken from where Ray keeps it.
    """
    settings = {
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        # Ctrl-C is handled by study.execution.stopping.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # Workers are the parallelism. Ray would set it when work arrives, after they loaded torch.
        "OMP_NUM_THREADS": "1",
    }
    if not joins:
        # While the driver loads Tune, idle workers load what their first unit needs.
        settings["RAY_preload_python_modules"] = "torch,study.trial.stack"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if joins:
        use_known_token()
    elif "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def use_known_token() -> None:
    """Turn token authentication on if there is a token: a client does not do so by itself."""
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def check_address_form(address: str, *, given_as: str = "--address ") -> None:
    """Refuse an address that no cluster can be joined at.

    Parameters
    ----------
    address : str
        "auto", "local" or HOST:PORT.
    given_as : str
        What stood before it where it was given, such as "RAY_ADDRESS=".

    Raises
    ------
    SessionError
        The address is of another kind; the message says what to write instead.
    """
    if address.startswith("ray://"):
        raise SessionError(
            f"{given_as}{address}: through Ray Client a driver sees neither its workers' progress "
            "nor their rows; run on a node of the cluster with --address auto, or from anywhere "
            "with python -m study.submit FILE --to ray --address http://127.0.0.1:8265"
        )
    if address.startswith(("http://", "https://")):
        unset = "; to run here, unset RAY_ADDRESS" if given_as.startswith("RAY_ADDRESS") else ""
        raise SessionError(
            f"{given_as}{address}: that is a job server, which a sweep is sent to with "
            f"python -m study.submit FILE --to ray --address {address}{unset}"
        )
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local") and not (host and port.isdecimal()):
        raise SessionError(f"{given_as}{address}: write auto, or HOST:PORT such as 10.0.0.7:6379")


def known_address(given: str | None) -> str | None:
    """Return the address of an existing cluster, from the option or RAY_ADDRESS; None if neither.

    Raises
    ------
    SessionError
        As `check_address_form`.
    """
    if given is not None:
        check_address_form(given)
        return given
    # Ray itself takes an empty variable as none.
    address = os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        check_address_form(address, given_as="RAY_ADDRESS=")
    return address


def check_dashboard() -> None:
    """Make sure that Ray's dashboard is installed.

    Raises
    ------
    SessionError
        It is not.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise SessionError(
            "--dashboard: Ray's dashboard is not installed; pip install 'ray[default]'"
        )
