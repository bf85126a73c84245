import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.errors import PublicationError
from export.publication import STAGING_PREFIX, check_name, next_version, publish, remove_stale, staging, versions


def write(number: int) -> None:
    """Nothing depends on the version here."""


def test_a_published_bundle_is_whole_and_the_staging_folder_gone(tmp_path: Path) -> None:
    with staging(tmp_path, "model") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("content")
        assert versions(tmp_path / "model") == []
        published = publish(folder, None, write)
    assert published == tmp_path / "model" / "1"
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["1"]
    assert (published / "sub" / "file").read_text() == "content"


def test_the_next_version_is_one_more_than_the_newest_in_any_spelling(tmp_path: Path) -> None:
    for name in ("3", "00000012", "notes", "7.bak", ".hidden"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [3, 12]
    assert next_version(tmp_path) == 13


@pytest.mark.parametrize(
    ("version", "message"), [(12, "Version 12 of 'model' exists"), (-1, r"in \[0, 2\^63 - 1\]"), (1 << 63, "in")]
)
def test_versions_that_exist_or_are_none_are_refused(tmp_path: Path, version: int, message: str) -> None:
    (tmp_path / "model" / "00000012").mkdir(parents=True)
    with staging(tmp_path, "model") as folder, pytest.raises(PublicationError, match=message):
        publish(folder, version, write)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["00000012"]


def test_a_version_taken_in_the_meantime_is_never_replaced(tmp_path: Path) -> None:
    def another_export(number: int) -> None:
        taken = tmp_path / "model" / "1"
        if not taken.exists():
            taken.mkdir()
            (taken / "file").write_text("theirs")

    with staging(tmp_path, "model") as folder:
        (folder / "file").write_text("ours")
        published = publish(folder, None, another_export)
    assert published.name == "2"
    assert (tmp_path / "model" / "1" / "file").read_text() == "theirs"
    assert (published / "file").read_text() == "ours"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failed_export_leaves_no_trace(tmp_path: Path, error: type[BaseException]) -> None:
    def failing_export() -> None:
        with staging(tmp_path / "new" / "repository", "model") as folder:
            (folder / "file").write_text("half")
            raise error

    with pytest.raises(error):
        failing_export()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from export.publication import staging\n"
        "with staging(Path(sys.argv[1]), 'model') as folder:\n"
        "    (folder / 'file').write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        remove_stale(tmp_path / "model")
        assert len(list((tmp_path / "model").glob(f"{STAGING_PREFIX}*/bundle/file"))) == 1
        process.kill()
    assert versions(tmp_path / "model") == []
    assert len(list((tmp_path / "model").iterdir())) == 1
    with staging(tmp_path, "model"):
        assert len(list((tmp_path / "model").iterdir())) == 1  # our own
    assert list((tmp_path / "model").iterdir()) == []


def test_folders_without_a_lock_are_kept_until_they_are_old(tmp_path: Path) -> None:
    folder = tmp_path / f"{STAGING_PREFIX}0"
    folder.mkdir()
    remove_stale(tmp_path)
    assert folder.exists()
    os.utime(folder, (time.time() - 7200,) * 2)
    remove_stale(tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a:b", "a b", "é"])
def test_names_that_are_no_folder_or_url_are_refused(name: str) -> None:
    with pytest.raises(PublicationError, match="The name of a model must start with a letter or digit"):
        check_name(name)


def test_a_repository_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(PublicationError, match="must be a folder that can be written to"),
        staging(tmp_path / "file", "m"),
    ):
        pass
