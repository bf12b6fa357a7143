"""Ray's job server: submit, follow, ask, stop; every failure as one message.

Whoever reaches a job server runs code on its cluster. So plain http goes to this machine only,
unless a person insists, and the token is read from where Ray keeps it and never shown.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from study.cluster.command import JobError
from study.execution.ray_environment import use_known_token
from study.results.address import shown_address
from study.results.folder import first_line

ANSWER_S = 10.0
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_TALKATIVE = (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
)
POLL_S, SETTLE_S = 1.0, 30.0


def check_address(address: str, *, insecure: bool) -> None:
    """Refuse an address that would show the token and the code to the network.

    Raises
    ------
    JobError
        It is not an http(s) URL, or is plain http to another machine without `insecure`.
    """
    url = urllib.parse.urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise JobError(
            f"--address {shown_address(address)}: write http://127.0.0.1:8265 or https://HOST"
        )
    if "@" in address or url.query or url.fragment:
        raise JobError("--address: no user, password or option in it; Ray's token is used instead")
    if url.scheme == "http" and not is_loopback(url.hostname) and not insecure:
        raise JobError(
            f"--address {address}: plain http would show token and code to the network; forward "
            f"the port (ssh -L 8265:127.0.0.1:8265 {url.hostname}, or kubectl port-forward) and "
            "use http://127.0.0.1:8265, or add --insecure"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def leave_proxies_out(address: str) -> None:
    """Reach a server by plain http without a proxy, which would read token and code.

    For this process: the check of the server, uploads and the log all read the environment. An
    https address goes through a proxy as a sealed tunnel, so there the user's settings hold.

    Parameters
    ----------
    address : str
        A URL; only http is changed.
    """
    url = urllib.parse.urlsplit(address)
    if url.scheme != "http" or not url.hostname:
        return
    for name in ("no_proxy", "NO_PROXY"):
        known = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if url.hostname not in known:
            os.environ[name] = ",".join([*known, url.hostname])


def check_server(address: str) -> dict[str, Any]:
    """Ask a job server for its version, within seconds.

    Raises
    ------
    JobError
        Nothing answers, it is not a job server, or it wants a token that we do not have.
    """
    use_known_token()
    leave_proxies_out(address)
    request = urllib.request.Request(f"{address.rstrip('/')}/api/version", headers=_headers())
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            version = json.loads(answer.read())
            return {"ray_version": str(version["ray_version"])}
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise JobError(
                f"{address} wants a token ({error.code}): set RAY_AUTH_TOKEN, or "
                "RAY_AUTH_TOKEN_PATH to a file with it, as on the head"
            ) from None
        raise JobError(f"{address} is not a Ray job server (HTTP {error.code})") from None
    except (http.client.HTTPException, ValueError, KeyError, TypeError):
        raise JobError(f"{address} is not a Ray job server") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise JobError(
            f"nothing answers at {address} ({reason}): is the head running with its dashboard "
            "on this port, and is the port forwarded?"
        ) from None


def _headers() -> dict[str, str]:
    token = _token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _token() -> str:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"]
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
    try:
        return Path(place).read_text().strip()
    except OSError:
        return ""


class JobServer:
    """The jobs of one cluster.

    Parameters
    ----------
    address : str
        Such as http://127.0.0.1:8265.
    insecure : bool
        Whether plain http may go to another machine.

    Raises
    ------
    JobError
        As `check_address` and `check_server`.
    """

    def __init__(self, address: str, *, insecure: bool = False) -> None:
        check_address(address, insecure=insecure)
        version = check_server(address)["ray_version"]
        try:
            import ray
            from ray.job_submission import JobSubmissionClient

            if version.split(".")[:2] != ray.__version__.split(".")[:2]:
                raise JobError(
                    f"{address} runs Ray {version}, here is {ray.__version__}; install the same"
                )
            self._client = JobSubmissionClient(address)
            # Its notes on uploads and sockets would stand between the lines of the log.
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
        except (ImportError, RuntimeError, ConnectionError) as error:
            raise JobError(f"{address}: {first_line(error)}; pip install 'ray[default]'") from None
        self.address = address

    def submit(
        self, job_id: str, entrypoint: str, runtime_env: Mapping[str, Any], **metadata: str
    ) -> None:
        """Start a job.

        Raises
        ------
        JobError
            A job of this name exists, or the server refuses it.
        """
        if self._find(job_id) is not None:
            raise JobError(
                f"a job named {job_id} exists ({self.status(job_id)}); use another --name, or "
                f"look at it: python -m study.submit status {job_id}"
            )
        try:
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env=dict(runtime_env),
                metadata=dict(metadata),
            )
        except (RuntimeError, ValueError, ConnectionError, OSError) as error:
            raise JobError(f"{self.address} refused the job: {first_line(error)}") from None

    def _find(self, job_id: str) -> Any:
        try:
            return self._client.get_job_info(job_id)
        except RuntimeError:
            return None
        except (ConnectionError, OSError) as error:
            raise JobError(f"{self.address} no longer answers: {first_line(error)}") from None

    def info(self, job_id: str) -> Any:
        """Describe a job.

        Raises
        ------
        JobError
            There is none of this name.
        """
        found = self._find(job_id)
        if found is None:
            known = [job.submission_id for job in self._client.list_jobs() if job.submission_id]
            shown = ", ".join(sorted(known)[-5:]) or "none"
            raise JobError(f"{self.address} has no job named {job_id}; its last: {shown}")
        return found

    def status(self, job_id: str) -> str:
        """Return PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
        status = self.info(job_id).status
        return str(getattr(status, "value", status))

    def logs(self, job_id: str) -> str:
        """Read what a job has printed so far."""
        self.info(job_id)
        return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str) -> Iterator[str]:
        """Yield the lines that a job prints, from its first, until it ends.

        Raises
        ------
        JobError
            The server went away.
        """
        self.info(job_id)
        waiting = ""
        for text in self._chunks(job_id):
            *lines, waiting = (waiting + text).split("\n")
            yield from lines
        if waiting:
            yield waiting
        # The stream ends a little before the job does.
        give_up_at = time.monotonic() + SETTLE_S
        while self.status(job_id) not in ENDED and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
        if self.status(job_id) not in ENDED:
            raise JobError(
                f"the log of {job_id} broke off while it was {self.status(job_id)}; "
                f"continue with: python -m study.submit logs {job_id}"
            )

    def _chunks(self, job_id: str) -> Iterator[str]:
        """Yield text as it arrives; the client's own iterator is asynchronous."""
        loop = asyncio.new_event_loop()
        stream: Any = self._client.tail_job_logs(job_id)
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(stream))
                except StopAsyncIteration:
                    return
                except (RuntimeError, OSError) as error:
                    raise JobError(f"lost {self.address}: {first_line(error)}") from None
        finally:
            loop.run_until_complete(stream.aclose())
            loop.close()

    def stop(self, job_id: str, *, timeout_s: float = 60.0) -> str:
        """Ask a job to stop and wait for it; its last status."""
        self.info(job_id)
        self._client.stop_job(job_id)
        give_up_at = time.monotonic() + timeout_s
        while (status := self.status(job_id)) not in ENDED and time.monotonic() < give_up_at:
            time.sleep(POLL_S / 2)
        return status
