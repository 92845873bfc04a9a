"""What a person gets who installs fanout, and that the files which say so agree with each other."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from email.parser import Parser
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import fanout

ROOT = Path(__file__).parents[2]
SETUP = ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
NAME = SETUP["metadata"]["name"]
INFO = f"{NAME.replace('-', '_')}-{fanout.__version__}.dist-info"
# Folders and files that are no part of the project; every pattern there is the pattern of a name.
IGNORED = [".git", *re.findall(r"^([^#\s]+?)/?$", (ROOT / ".gitignore").read_text("utf-8"), re.MULTILINE)]


def project_files(folder: Path = ROOT) -> list[Path]:
    """Every file of the project under `folder`, committed or about to be. Needs no git."""
    found = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in IGNORED):
            continue
        found += project_files(path) if path.is_dir() else [path]
    return found


def listed(section: str, key: str) -> list[Requirement]:
    """The requirements under one key of setup.cfg, in its order."""
    lines = SETUP[section][key].splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def module(wanted: Requirement) -> str:
    """The name under which a requirement is imported."""
    return wanted.name.replace("-", "_")


def imports(path: Path) -> set[str]:
    """The top-level packages that a module imports by absolute name."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    return {name.partition(".")[0] for name in plain | from_}


def locked(name: str) -> dict[str, str]:
    """Package to version in a lock file, each known to carry at least one hash."""
    text = (ROOT / name).read_text("utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)(?: ;[^\n]*)? \\\n +--hash=sha256:", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^\w", text, re.MULTILINE)), "a line without a hash"
    return dict(pins)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's own files."""
    folder = tmp_path_factory.mktemp("source")
    for path in project_files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder


def run_hooks(source: Path, *hooks: str) -> None:
    """Call hooks of the build backend. What they make is in `dist`."""
    build = "; ".join(
        ["from setuptools import build_meta", *(f"build_meta.{hook}('dist')" for hook in hooks)]
    )
    environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    (source / "dist").mkdir(exist_ok=True)
    command = [sys.executable, "-c", build]
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stderr


@pytest.fixture(scope="module")
def packages(source: Path) -> Path:
    """Wheel and sdist as a release builds them. `tests/deploy/packages` is about their bytes."""
    run_hooks(source, "build_sdist", "build_wheel")
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Iterator[ZipFile]:
    with ZipFile(next(packages.glob("*.whl"))) as opened:
        yield opened


def test_the_version_has_one_source(wheel: ZipFile) -> None:
    """`fanout.__version__` is the version of the wheel; no other file states it."""
    metadata = Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())

    assert metadata["Version"] == fanout.__version__
    assert SETUP["metadata"]["version"] == "attr: fanout.__version__"


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: ZipFile) -> None:
    """Data files are in (py.typed, the vendored pages), tests and tools are not."""
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert shipped == {path.relative_to(ROOT).as_posix() for path in project_files(ROOT / "fanout")}
    assert "fanout/py.typed" in shipped


def test_the_wheel_brings_the_command_and_the_licence(wheel: ZipFile) -> None:
    """`fanout` is on PATH after an installation, and the licence travels with the code."""
    found = re.search(
        r"^fanout = ([\w.]+):(\w+)$", wheel.read(f"{INFO}/entry_points.txt").decode(), re.MULTILINE
    )

    assert found
    assert callable(getattr(import_module(found[1]), found[2]))
    assert wheel.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    readme = (ROOT / "README.md").read_text("utf-8")
    for vendored in (ROOT / "fanout").rglob("*.LICENSE"):
        name = vendored.relative_to(ROOT).as_posix()
        assert wheel.read(f"{INFO}/licenses/{name}") == vendored.read_bytes()
        assert f"]({name})" in readme


def test_the_metadata_names_the_licences(wheel: ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())
    vendored = [path.relative_to(ROOT).as_posix() for path in (ROOT / "fanout").rglob("*.LICENSE")]

    assert metadata["License-Expression"] == "MIT"
    assert metadata["License"] is None
    assert metadata.get_all("License-File") == ["LICENSE", *vendored]
    assert "fanout/admin/live/static/uplot.LICENSE" in vendored


def test_the_sdist_has_what_the_wheel_is_built_from_and_no_test(packages: Path, wheel: ZipFile) -> None:
    shipped = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(next(packages.glob("*.tar.gz"))) as sdist:
        members = {member.name.partition("/")[2]: member for member in sdist if member.isfile()}
        content = {name: sdist.extractfile(members[name]) for name in shipped}
        assert {name: file and file.read() for name, file in content.items()} == shipped

    assert {name for name in members.keys() - shipped.keys() if ".egg-info/" not in name} == {
        *("CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
        *("pyproject.toml", "setup.cfg", "setup.py"),
    }


ADDRESSES = {
    "": None,
    "https://example.org/some/fanout/": [
        "Source, https://example.org/some/fanout",
        "Documentation, https://example.org/some/fanout/blob/HEAD/docs/README.md",
        "Changelog, https://example.org/some/fanout/blob/HEAD/CHANGELOG.md",
        "Issues, https://example.org/some/fanout/issues",
    ],
}


@pytest.mark.parametrize(("address", "urls"), ADDRESSES.items())
def test_project_urls_come_from_one_address(source: Path, address: str, urls: list[str] | None) -> None:
    """Without it there are none: no address is made up."""
    own = (source / "setup.cfg").read_text("utf-8")
    changed = re.sub(r"^repository =.*$", f"repository = {address}", own, flags=re.MULTILINE)
    (source / "setup.cfg").write_text(changed, encoding="utf-8")
    try:
        run_hooks(source, "prepare_metadata_for_build_wheel")
    finally:
        (source / "setup.cfg").write_text(own, encoding="utf-8")
    metadata = Parser().parsestr((source / "dist" / INFO / "METADATA").read_text("utf-8"))

    assert metadata.get_all("Project-URL") == urls
    assert metadata["Home-page"] is None


@pytest.fixture(scope="module")
def sbom(wheel: ZipFile) -> dict[str, Any]:
    # Here, because this takes a second, in each process that collects the tests.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = wheel.read(f"{INFO}/sboms/{NAME}.cdx.json").decode()
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(document) is None
    read: dict[str, Any] = json.loads(document)
    return read


def test_the_sbom_says_what_is_in_the_wheel(sbom: dict[str, Any], wheel: ZipFile) -> None:
    """Every file that others have written, with its hash, and the release that these files name."""
    itself, uplot = sbom["metadata"]["component"], sbom["components"][0]
    hashes = {file["name"]: file["hashes"][0]["content"] for file in uplot["components"]}
    vendored = {name for name in wheel.namelist() if re.search(r"/uplot\.(js|css)$", name)}

    assert (itself["name"], itself["version"]) == (NAME, fanout.__version__)
    assert hashes == {name: hashlib.sha256(wheel.read(name)).hexdigest() for name in vendored}
    assert uplot["purl"] == f"pkg:npm/uplot@{uplot['version']}"
    folder = "fanout/admin/live/static/uplot"
    assert f"(v{uplot['version']})" in wheel.read(f"{folder}.js").decode()
    assert f"uPlot {uplot['version']}," in wheel.read(f"{folder}.README.md").decode()


def test_the_sbom_says_what_the_wheel_needs(sbom: dict[str, Any]) -> None:
    """Every requirement, in the versions that it allows: what is installed, only an installation knows."""
    needed = {}
    for component in sbom["components"][1:]:
        assert component["isExternal"]
        parts = component.get("versionRange", "").removeprefix("vers:pypi/").split("|")
        exact = [f"=={component['version']}"] if "version" in component else []
        needed[component["name"]] = SpecifierSet(",".join(exact or parts))

    wanted = {each.name: each.specifier for each in listed("options", "install_requires")}
    assert {name for name, bounds in wanted.items() if needed[name] != bounds} == {"httptools"}
    assert (str(wanted["httptools"]), needed["httptools"]) == ("==0.9.*", SpecifierSet(">=0.9,<0.10"))
    assert needed.keys() == wanted.keys()
    refs = {component["bom-ref"] for component in sbom["components"]}
    assert set(sbom["dependencies"][0]["dependsOn"]) == refs


# On the index, this name is somebody else's package; ours, with each of its extras, is NAME.
TAKEN = "fanout"
INSTALLS_THE_TAKEN = re.compile(
    rf"(?<![\w.-]){TAKEN}\["
    rf"|(?:\bpip3? install|\bpipx (?:install|run)|\buv (?:pip install|tool install|tool run|add)|\buvx)\b"
    rf"[^\n`;&|]*?[ '\"]{TAKEN}(?![\w./-])"
)


def test_no_text_names_an_install_that_would_fetch_somebody_elses_package() -> None:
    """No document, help text or error message, in any file."""
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in project_files()}
    extras = {
        extra
        for text in texts.values()
        for named in re.findall(rf"{NAME}\[([\w,]+)\]", text)
        for extra in named.split(",")
    }

    assert NAME != TAKEN
    assert [
        f"{path}: {found[0]}" for path in texts for found in INSTALLS_THE_TAKEN.finditer(texts[path])
    ] == []
    assert {"load", "otel"} <= extras <= set(SETUP["options.extras_require"])


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (f"pip install '{TAKEN}[load]'", True),
        (f"`uv pip install --quiet {TAKEN}`", True),
        (f"pipx run {TAKEN}==1.3", True),
        (f"uvx {TAKEN} serve", True),
        (f"pip install '{NAME}[load]'", False),
        (f"pip install . && {TAKEN} serve", False),
        (f"pip install --target {TAKEN}/vendored httpx", False),
    ],
)
def test_an_install_of_the_taken_name_is_found(text: str, is_found: bool) -> None:
    assert bool(INSTALLS_THE_TAKEN.search(text)) is is_found


def test_the_locks_hold_what_setup_cfg_asks_for() -> None:
    """Each requirement is locked, by hash, at a version it allows; the runtime is the same in both locks."""
    runtime, everything = locked("requirements.lock"), locked("requirements-dev.lock")
    wanted = listed("options", "install_requires")
    extras = [
        tool
        for extra in ("test", "check", "load", "otel")
        for tool in listed("options.extras_require", extra)
    ]

    assert runtime.items() <= everything.items()
    for requirement in wanted:
        assert requirement.specifier.contains(runtime[requirement.name.lower()]), requirement
    for requirement in extras:
        assert requirement.specifier.contains(everything[requirement.name.lower()]), requirement


def test_the_build_tool_is_locked_at_the_version_it_is_asked_for() -> None:
    """pyproject.toml and requirements-build.lock name the same setuptools."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]

    assert build == [f"{name}=={version}" for name, version in locked("requirements-build.lock").items()]


def test_every_library_that_is_imported_is_asked_for() -> None:
    """Nothing works only because another package needs it too. The test kit may import what tests need."""

    def of(section: str, name: str) -> set[str]:
        return {module(wanted) for wanted in listed(section, name)}

    runtime = {"fanout"} | of("options", "install_requires")
    test, bridge, lab = (of("options.extras_require", extra) for extra in ("test", "asyncio", "lab"))
    optional = {  # by where they are imported, which is on demand
        "fanout/testing/": test,
        "fanout/observe/tracing": {"opentelemetry"},
        "fanout/upstream/asyncio_call.py": bridge,
        "fanout/lab/side_by_side/": bridge | lab,
    }

    for path in (ROOT / "fanout").rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        allowed = runtime.union(*(names for start, names in optional.items() if place.startswith(start)))
        assert imports(path) - sys.stdlib_module_names - {"_typeshed"} <= allowed, path  # of type checkers


def test_the_import_contract_of_the_core_names_every_dependency() -> None:
    """A new dependency cannot slip into race/: the contract forbids all of them but trio."""
    forbidden = SETUP["importlinter:contract:race"]["forbidden_modules"].split()
    dependencies = {module(wanted) for wanted in listed("options", "install_requires")}

    assert dependencies - {"trio"} <= set(forbidden)


def test_every_make_target_that_is_mentioned_exists() -> None:
    """`make X` in a document or in CI is a command that works."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    documents = [path for path in project_files() if path.suffix == ".md" or path.match(".ci/run")]
    mentioned = {
        target
        for document in documents
        for target in re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]*)", document.read_text("utf-8"), re.MULTILINE)
    }

    assert {"check", "test"} <= mentioned <= targets


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    """The project installs from wherever the user's own pip is told to, and runs wherever it is put."""
    hosts, paths = (
        rb"(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com)",
        rb"(?<![\w.-])/(?:work|root|home|tmp)/\w",
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in project_files()
        for match in re.finditer(hosts + rb"|" + paths, path.read_bytes())
    ]

    assert not found
