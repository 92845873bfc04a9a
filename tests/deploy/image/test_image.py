"""What can be held without building the image. `make image` builds it, compares two builds, and runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import fanout
from deploy.image import build, sbom
from deploy.image.build import ROOT, Image, ImageError, Origin, Pip
from tests.deploy.image.__main__ import main

pytestmark = pytest.mark.same_on_every_python

DOCKERFILE = (ROOT / "Dockerfile").read_text()
BUILD_STAGE, FINAL_STAGE = DOCKERFILE.split("\nFROM ")[1:]
LABELS = ("title", "description", "licenses", "version", "revision", "source", "created")


def hadolint(dockerfile: Path) -> tuple[int, str]:
    """Its exit code and what it found, as `make check` runs it."""
    program = Path(sys.executable).with_name("hadolint")
    command = (program, "--no-color", "--config", ROOT / "deploy/image/hadolint.yaml", dockerfile)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("label", LABELS)
def test_hadolint_requires_each_label(label: str, tmp_path: Path) -> None:
    without = tmp_path / "Dockerfile"
    without.write_text(DOCKERFILE.replace(f"org.opencontainers.image.{label}=", "another="))

    code, found = hadolint(without)

    assert hadolint(ROOT / "Dockerfile") == (0, "")
    assert code == 1
    assert f"Label `org.opencontainers.image.{label}` is missing" in found


def test_the_build_stage_fixes_dates_and_the_order_of_sets_before_it_runs_anything() -> None:
    """Two builds are the same bytes: these two variables decide about compiled modules and the wheel."""
    before = BUILD_STAGE[: BUILD_STAGE.index("\nRUN ")]

    assert "\nENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \\\n    PYTHONHASHSEED=0 \\\n" in before
    assert "RUN " not in FINAL_STAGE  # nothing is made there that these would have to reach
    assert "compileall -q -f --invalidation-mode unchecked-hash" in BUILD_STAGE


def test_every_wheel_is_locked_by_hash() -> None:
    """Each pip that may fetch something requires hashes; the others may not fetch anything."""
    script = re.sub(r" *\\\n *", " ", BUILD_STAGE)
    commands = re.findall(r"/opt/tools/bin/pip (?:--python \S+ )?(?:install|wheel) [^&\n]*", script)

    assert len(commands) == 4
    for command in commands:
        assert ("--require-hashes" in command) is ("--no-deps" not in command), command


@pytest.mark.parametrize("extras", ["", "otel"])
def test_each_choice_of_extras_has_its_lock_file(extras: str) -> None:
    """`requirements-otel.lock` is `requirements.lock` and what the extra adds, at the tests' versions."""

    def locked(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    lock = f"requirements{extras and '-' + extras}.lock"
    assert f" {lock} " in BUILD_STAGE
    assert "ARG EXTRAS=otel\n" in BUILD_STAGE
    assert locked("requirements.lock") <= locked(lock) <= locked("requirements-dev.lock")
    assert any(each.startswith("opentelemetry-sdk==") for each in locked(lock)) is (extras == "otel")


def test_the_build_sees_every_file_it_copies_and_no_other() -> None:
    """.dockerignore lets through exactly what the build stage copies."""
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", BUILD_STAGE, re.MULTILINE)
        for word in line.split()
    }
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == let_through
    assert all(list(ROOT.glob(pattern)) for pattern in copied)
    assert not any(fnmatch(".git", pattern) for pattern in let_through)


PRIVATE = "https://me:secret@index.example/simple"


@pytest.mark.parametrize(
    ("listed", "conf"),
    [
        ("", "[global]\n"),
        (f"global.index-url='{PRIVATE}'", f"[global]\nindex-url = {PRIVATE}\n"),
        (
            f"global.index-url='https://other.example/'\n:env:.index-url='{PRIVATE}'",
            f"[global]\nindex-url = {PRIVATE}\n",
        ),
        (
            f"global.index-url='https://other.example/'\ninstall.index-url='{PRIVATE}'",
            f"[global]\nindex-url = {PRIVATE}\n",
        ),
        (
            "global.cert='/etc/ca.pem'\nglobal.extra-index-url='https://a.example/ file:///b\\nhttps://c.example/'",
            "[global]\ncert = /etc/pip-ca.pem\nextra-index-url = https://a.example/\n    https://c.example/\n",
        ),
        (
            "global.find-links='/opt/wheels'\nglobal.constraint='/etc/c.txt'\nfreeze.timeout='10'",
            "[global]\n",
        ),
    ],
)
def test_the_build_asks_the_package_index_that_the_users_pip_asks(listed: str, conf: str) -> None:
    """A variable wins over a file, as in pip; what only this machine has is left out."""
    assert build.pip_settings(listed).conf == conf


def test_the_package_index_is_shown_to_the_build_as_a_secret() -> None:
    """Options that docker takes, too. The file with the password is gone when the build is over."""
    pip = build.pip_settings(f"global.index-url='{PRIVATE}'\nglobal.cert='/etc/ca.pem'")

    with build.secrets_of(pip) as shown:
        conf = Path(shown[0].removeprefix("--secret=id=pip.conf,src="))
        assert PRIVATE in conf.read_text()
    assert shown[1:] == ["--secret=id=pip-ca,src=/etc/ca.pem"]
    assert not conf.exists()
    assert pip.secrets == (PRIVATE,)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a small image."""
    for folder in ("opt/fanout/bin", "etc", "var/lib/dpkg"):
        (tmp_path / folder).mkdir(parents=True)
    for command in ("fanout", "python", "python3"):
        (tmp_path / "opt/fanout/bin" / command).touch()
    (tmp_path / "opt/fanout/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.13.5\n")
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\n')
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: libc++1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:19~rc1-2\n"
        "Description: a library\n of C++\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    return tmp_path


def test_an_image_as_it_should_be_passes(root: Path) -> None:
    build.check_content(root, "{}", Pip("", None, (PRIVATE,)))


@pytest.mark.parametrize(
    ("path", "content", "inspected", "why"),
    [
        ("opt/fanout/bin/httpx", "", "{}", "more than fanout and python"),
        ("etc/pip.conf", "", "{}", "left of the build"),
        ("opt/fanout/direct_url.json", PRIVATE, "{}", "package index is in opt/fanout/direct_url.json"),
        ("opt/fanout/harmless", "", PRIVATE, "package index is in the image's metadata"),
    ],
)
def test_what_does_not_belong_into_an_image_is_found(
    root: Path, path: str, content: str, inspected: str, why: str
) -> None:
    (root / path).write_text(content)

    with pytest.raises(ImageError, match=why):
        build.check_content(root, inspected, Pip("", None, (PRIVATE,)))


def test_the_sbom_names_debians_packages_and_the_interpreter(root: Path) -> None:
    """As package URLs, whose escapes scanners expect; a removed package is not in the image."""
    found = [each["purl"] for each in (*sbom.interpreter(root), *sbom.debian_packages(root))]

    assert found == [
        "pkg:generic/python@3.13.5",
        "pkg:deb/debian/libc%2B%2B1@1%3A19~rc1-2?arch=amd64&distro=debian-13",
    ]


def test_the_sbom_names_what_wheels_carry(tmp_path: Path) -> None:
    """By their own SBOMs: what is in them, once, and not what they only need."""
    uplot = {"type": "library", "name": "uplot", "version": "1.6", "purl": "pkg:npm/uplot@1.6"}
    needed = {"type": "library", "name": "trio", "purl": "pkg:pypi/trio", "isExternal": True}
    for wheel in ("one-1.dist-info", "two-2.dist-info"):
        (tmp_path / wheel / "sboms").mkdir(parents=True)
        document = {"components": [{**uplot, "bom-ref": wheel, "components": []}, needed]}
        (tmp_path / wheel / "sboms/its.cdx.json").write_text(json.dumps(document))

    assert list(sbom.vendored(tmp_path)) == [{**uplot, "bom-ref": "pkg:npm/uplot@1.6"}]


def test_a_base_that_is_not_debian_has_no_debian_packages(root: Path) -> None:
    (root / "var/lib/dpkg/status").unlink()

    assert list(sbom.debian_packages(root)) == []


def test_two_builds_that_differ_are_told_apart() -> None:
    image = Image("fanout", "6", "sha256:1", ("sha256:2",), (3,), 4.0, b"{}")
    other = Image("fanout", "7", "sha256:5", ("sha256:2",), (3,), 4.0, b"{ }")

    assert build.differences(image, image) == []
    assert [line.partition(":")[0] for line in build.differences(image, other)] == ["OCI digest", "SBOM"]


def test_the_labels_say_where_the_image_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")

    found = build.origin()

    assert (found.version, found.created) == (fanout.__version__, "2026-05-28T20:26:40Z")
    assert found == Origin(found.version, found.revision, found.source, 1780000000)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found.revision)


def test_a_wrong_date_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")

    with pytest.raises(ImageError, match=r"SOURCE_DATE_EPOCH is 'yesterday': .*seconds since 1970"):
        build.origin()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "no image was built: needs buildah, mmdebstrap: apt-get install buildah mmdebstrap\n"),
        (["--base", "python:3.13-slim"], "no image was built: needs buildah: apt-get install buildah\n"),
    ],
)
def test_make_image_says_what_the_machine_lacks(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main(words) == 3
    assert capsys.readouterr().out == line
