"""What a stranger meets before any code: licence, citation, image, workflow, commands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def dockerfile() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.M))
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


def test_every_place_names_one_version_and_one_licence() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    heading = re.search(r"^## (\S+) \((.+)\)$", read("CHANGELOG.md"), flags=re.M)
    assert heading is not None
    assert PROJECT["version"] == str(citation["version"]) == heading[1]
    assert heading[2] in ("unreleased", str(citation["date-released"]))
    assert read("LICENSE").startswith("MIT License")
    assert PROJECT["license"] == citation["license"] == "MIT"
    (developers,) = citation["authors"]
    assert PROJECT["authors"] == [developers]
    assert developers["name"] in read("LICENSE")


def test_the_first_screen_of_the_readme() -> None:
    text = read("README.md")
    head = text[: text.index("\n## ")]
    title, sentence = head.split("\n\n")[:2]
    assert title == f"# {PROJECT['name']}"
    assert sentence.count(". ") == 0
    assert len(sentence.split()) <= 25
    assert re.findall(r"```sh\nmake quickstart", head)
    (picture,) = re.findall(r'<img src="([^"]+)" width="\d+" alt="[^"]+">', head)
    assert (ROOT / picture).is_file()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(name))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_image_copies_what_there_is() -> None:
    sent = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = {
        source
        for instruction, arguments in dockerfile()
        if instruction == "COPY"
        for source in shlex.split(arguments)[:-1]
    }
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= copied


def test_the_image_installs_as_the_makefile_does() -> None:
    def installs(text: str) -> list[str]:
        return re.findall(r"-m (pip install .*--editable) '\.\[(\w+)", text)

    (of_image,) = installs(read("Dockerfile"))
    of_makefile = installs(read("Makefile"))
    assert of_image[0] == of_makefile[0][0]
    assert of_image[1] in PROJECT["optional-dependencies"]


def test_the_image_is_of_a_python_that_the_project_takes() -> None:
    ((_, image),) = [line for line in dockerfile() if line[0] == "FROM"]
    version = re.match(r"python:3\.(\d+)-", image)
    assert version is not None
    assert f">=3.{version[1]}" == PROJECT["requires-python"]


def test_the_workflow_runs_what_a_developer_runs() -> None:
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    (steps,) = [job["steps"] for job in jobs.values()]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), flags=re.M))
    called = {
        word
        for line in read(".ci/run").splitlines()
        if line.startswith("make ")
        for word in line.split()[1:]
    }
    assert called <= targets


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")))
def test_an_issue_form_is_one_that_the_host_takes(form: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= content.keys()
    names = [field["id"] for field in content["body"]]
    assert len(names) == len(set(names))
    assert all(field["attributes"]["label"] for field in content["body"])


def test_the_command_knows_every_command() -> None:
    modules = {module for module, _ in COMMANDS.values()}
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()
    package, _, function = PROJECT["scripts"]["mode-study"].partition(":")
    assert (package, function) == ("study.__main__", "main")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "--" in capsys.readouterr().out


def test_a_wrong_command_is_an_error_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweeps", "x.yaml"]) == 2
    assert "no command sweeps; did you mean sweep?" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "usage: mode-study COMMAND" in capsys.readouterr().out


def test_help_loads_no_command() -> None:
    code = "import sys; from study.__main__ import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"argparse", "numpy", "yaml", *(module for module, _ in COMMANDS.values())} & loaded


@pytest.mark.slow
def test_a_wheel_holds_every_package_and_its_data(tmp_path: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "study", "analysis", "pyproject.toml", "README.md", "LICENSE"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    names = tracked.stdout.split()
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "."]
    subprocess.run([*command, "--wheel-dir", tmp_path], check=True, cwd=tmp_path / "tree")
    (wheel,) = tmp_path.glob("*.whl")
    wanted = {name for name in names if name.startswith(("study/", "analysis/"))}
    assert len(wanted) > 100
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
