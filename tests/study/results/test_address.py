"""Secrets in addresses: refused or hidden wherever an address is kept or shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import study.__main__
import study.rescore
import study.status
import study.submit
import study.sweep
import study.verify
from study.__main__ import COMMANDS
from study.cluster.command import JobError
from study.cluster.ray_jobs import check_address
from study.results.address import find_secret, shown_address, shown_command, without_secrets
from study.results.folder import ResultsError, open_folder
from study.results.lock import hold

SECRET = "wJalrXUtnFEMI"
CARRIERS = [
    f"s3://KEY:{SECRET}@bucket/results",
    f"S3://KEY:{SECRET}@bucket/results",
    f"s3://{SECRET}@bucket/results",
    f"s3://KEY:K7/{SECRET}@bucket/results",
    f"s3://KEY:{SECRET}%2Fx@bucket/results",
    f"s3://KEY:{SECRET}/bPx/@bucket",
    f"s3://bucket/results?secret_key={SECRET}",
    f"s3://bucket/results?region=x&secret_key={SECRET}",
    f"s3://bucket/results?region=x;secret_key={SECRET}@",
    f"s3://bucket/results?Secret_Key={SECRET}&region=x",
    f"s3://bucket/results?session_token={SECRET}",
    f"s3://bucket/results?endpoint_override=http://me:{SECRET}@host",
    f"s3://bucket/results#{SECRET}",
    f"s3:/KEY:{SECRET}@bucket/results",
    f"abfs://container:{SECRET}@account.dfs.core.windows.net/x",
    f"abfs://container@account.dfs.core.windows.net/x?sas_token={SECRET}",
    f"gs://me:{SECRET}@bucket/x",
    f"https://me:{SECRET}@host/code.zip",
    f"https://host/code.zip?X-Amz-Signature={SECRET}",
    f"s3://[{SECRET}",
]
HARMLESS = [
    "results",
    "/data/a@b/results:1",
    "s3://bucket/results",
    "s3://bucket/a@b/results",
    "s3://bucket/results?region=eu-west-1&endpoint_override=localhost:9000&scheme=http",
    "gs://anonymous@bucket/results",
    "abfs://container@account.dfs.core.windows.net/results",
    "hdfs://me@node:8020/results",
]


@pytest.mark.parametrize("address", CARRIERS)
def test_a_results_address_with_a_secret_is_refused_unquoted(address: str) -> None:
    with pytest.raises(ResultsError) as refused:
        open_folder(address)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("address", HARMLESS)
def test_addresses_without_secrets_stay(address: str) -> None:
    assert find_secret(address) is None


@pytest.mark.parametrize("address", CARRIERS)
def test_no_command_repeats_it(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text("name: tiny\ngrid: {model.latent_dim: [1, 2]}\n")
    submit = [str(file), "--print", "--to"]
    ends = [
        study.sweep.main([str(file), "--dry-run", "--results", address]),
        study.status.main([address]),
        study.rescore.main([address]),
        study.submit.main([*submit, "slurm", "--results", address]),
        study.submit.main([*submit, "ray", "--results", address]),
        study.submit.main([*submit, "kubernetes", "--image", "x", "--results", address]),
        study.submit.main(
            [*submit, "kubernetes", "--image", "x", "--results", "s3://b/x", "--code", address]
        ),
    ]
    printed = capsys.readouterr()
    assert ends == [2] * len(ends)
    assert SECRET not in printed.out + printed.err


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("address", CARRIERS[:3])
def test_no_command_repeats_what_it_cannot_parse(
    command: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = [
        ["--no-such-option", address],
        [f"--no-such-option={address}"],
        [f"--help={address}"],
    ]
    for words in ways:
        with pytest.raises(SystemExit) as ended:
            study.__main__.main([command, *words])
        assert ended.value.code == 2
    with pytest.raises(SystemExit):
        study.verify.main(["x", f"-n{address}"])
    assert study.__main__.main([address]) == 2
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    assert "..." in printed.err


DATABASES = [
    f"postgresql://me:{SECRET}@host/x",
    f"postgresql://me:p@{SECRET}@host/x",
    f"postgresql://me:p/{SECRET}@host/x",
    f"postgresql://me:p#{SECRET}@host/x",
    f"postgresql://me:p?{SECRET}@host/x",
    f"postgresql+psycopg2://me:{SECRET}@[::1]:5432/x",
    f"postgresql:///x?host=h&password={SECRET}",
    f"mysql://host/x?user=me&password={SECRET}&ssl=1",
    f"mysql://{SECRET}@host/x",
    f"me:{SECRET}@host/x",
]


@pytest.mark.parametrize("address", [*DATABASES, *CARRIERS])
@pytest.mark.parametrize("form", ["--storage {}", "--storage={}", "--stor={}", "--set x={}"])
def test_a_lock_names_its_command_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, form: str
) -> None:
    words = [word.format(address) for word in form.split()]
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    assert SECRET not in shown_command(words)
    with hold(open_folder(tmp_path)):
        text = (tmp_path / "lock.json").read_text()
    assert SECRET not in text
    assert json.loads(text)["command"].startswith("sweep ")


@pytest.mark.parametrize("address", DATABASES)
def test_what_a_driver_says_is_repeated_without_secrets(address: str) -> None:
    messages = [f"could not connect to {address}", f"bad option password={SECRET}: refused"]
    for message in messages:
        assert SECRET not in without_secrets(message, address)


def test_what_is_no_secret_is_shown() -> None:
    assert shown_address("sqlite:////data/x.db") == "sqlite:////data/x.db"
    assert shown_address("postgresql://me:x1@host:5432/db") == "postgresql://...@host:5432/db"
    assert without_secrets("host down", "postgresql://me:x1@host/db") == "host down"
    assert shown_command(["a b", "--results", "s3://b/x"]) == "'a b' --results s3://b/x"


@pytest.mark.parametrize(
    "address",
    [
        f"https://me:{SECRET}@host",
        f"https://{SECRET}@host",
        f"https://host?token={SECRET}",
        f"ftp://me:{SECRET}@host",
        f"ray://me:{SECRET}@host:10001",
    ],
)
def test_a_cluster_has_no_secret_in_its_address(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JobError) as refused:
        check_address(address, insecure=True)
    assert SECRET not in str(refused.value)
    if "@" in address:
        with pytest.raises(SystemExit):
            study.sweep.main([str(tmp_path / "x.yaml"), "--address", address])
        assert SECRET not in capsys.readouterr().err
