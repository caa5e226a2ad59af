"""Nothing half-written: outputs appear whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from segexport.bundle import Bundle
from segexport.errors import OutputError
from segexport.files import new_folder, require_absent, sha256_of, write_file

FULL = Path("/dev/full")
CLI = [sys.executable, "-m", "segexport"]


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every path below, hidden ones too, with its content (None for folders)."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def old_bundle(path: Path) -> Path:
    (path / "golden").mkdir(parents=True)
    (path / "segexport.json").write_text("old")
    (path / "golden" / "image.png").write_bytes(b"old")
    return path


def run_with_small_files(*command: str, limit: int = 50_000) -> subprocess.CompletedProcess[str]:
    """Run with files limited to `limit` bytes, so that writes fail half-way as on a full disk."""
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    expected = subprocess.run(["sha256sum", tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    assert sha256_of(tmp_path / "file") == expected.split()[0]


class TestNewFolder:
    def test_appears_whole_and_with_its_parents(self, tmp_path: Path) -> None:
        target = tmp_path / "some" / "where"
        with new_folder(target) as folder:
            (folder / "file").write_text("content")
            assert not target.exists()
        assert everything(tmp_path) == {"some": None, "some/where": None, "some/where/file": b"content"}

    def test_has_the_permissions_of_an_ordinary_folder(self, tmp_path: Path) -> None:
        (tmp_path / "ordinary").mkdir()
        with new_folder(tmp_path / "target"):
            pass
        assert (tmp_path / "target").stat().st_mode == (tmp_path / "ordinary").stat().st_mode

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_leaves_nothing_after_an_exception(self, tmp_path: Path, error: type, overwrite: bool) -> None:
        if overwrite:
            old_bundle(tmp_path / "target")
        before = everything(tmp_path)

        def write_and_fail() -> None:
            with new_folder(tmp_path / "target", overwrite=overwrite) as folder:
                (folder / "file").write_text("content")
                raise error

        with pytest.raises(error):
            write_and_fail()
        assert everything(tmp_path) == before

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
    def test_no_room_is_said_with_a_remedy(self, tmp_path: Path, code: int) -> None:
        expected = pytest.raises(OutputError, match=r"no room to write .*target .*free some space")
        with expected, new_folder(tmp_path / "target"):
            raise OSError(code, os.strerror(code))

    def test_overwrite_replaces_a_bundle(self, tmp_path: Path) -> None:
        target = old_bundle(tmp_path / "target")
        with new_folder(target, overwrite=True) as folder:
            (folder / "segexport.json").write_text("new")
        assert everything(tmp_path) == {"target": None, "target/segexport.json": b"new"}

    def test_overwrite_takes_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        with new_folder(tmp_path / "target", overwrite=True) as folder:
            (folder / "file").write_text("new")
        assert everything(tmp_path) == {"target": None, "target/file": b"new"}

    @pytest.mark.parametrize(
        ("kind", "overwrite"),
        [
            ("bundle", False),
            *product(["photos", "file", "link to a bundle", "dangling link"], [False, True]),
        ],
    )
    def test_refuses_what_exists(self, tmp_path: Path, kind: str, overwrite: bool) -> None:
        target = tmp_path / "target"
        if kind == "bundle":
            old_bundle(target)
        elif kind == "photos":
            target.mkdir()
            (target / "photo.jpg").write_bytes(b"dear")
        elif kind == "file":
            target.write_bytes(b"dear")
        else:
            target.symlink_to(old_bundle(tmp_path / "real") if kind == "link to a bundle" else tmp_path / "nowhere")
        before = everything(tmp_path)
        complaint = "so --overwrite leaves it alone" if overwrite else "pass --overwrite to replace it"
        for attempt in (new_folder(target, overwrite=overwrite).__enter__, lambda: require_absent(target, overwrite)):
            with pytest.raises(OutputError, match=f"target exists.*{complaint}"):
                attempt()
        assert everything(tmp_path) == before

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("content")
        with pytest.raises(OutputError, match=r"cannot write .*target"), new_folder(tmp_path / "file" / "target"):
            pytest.fail("there is no such folder")
        assert everything(tmp_path) == {"file": b"content"}


class TestWriteFile:
    def test_writes_and_replaces(self, tmp_path: Path) -> None:
        for content in (b"first", b"second"):
            write_file(tmp_path / "some" / "file", content)
            assert everything(tmp_path) == {"some": None, "some/file": content}
        (tmp_path / "ordinary").write_bytes(b"")
        assert (tmp_path / "some" / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode

    def test_leaves_nothing_after_an_exception(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(TypeError):
            write_file(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
        assert everything(tmp_path) == {"file": b"old"}

    def test_a_link_stays_and_what_it_names_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "link").symlink_to("real")
        write_file(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    @pytest.mark.parametrize("redirected", [True, False])
    def test_standard_output_by_name(self, tmp_path: Path, redirected: bool) -> None:
        """A link of our own to where /dev/stdout leads, since a mistake would replace the system's."""
        link = tmp_path / "stdout"
        link.symlink_to("/proc/self/fd/1")
        script = (
            f"from pathlib import Path; from segexport import files; files.write_file(Path({str(link)!r}), b'data')"
        )
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-c", script], stdout=out if redirected else subprocess.PIPE, check=True
            )
        assert ((tmp_path / "out").read_bytes() if redirected else done.stdout) == b"data"
        assert link.is_symlink()
        assert set(everything(tmp_path)) == {"stdout", "out"}

    @pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
    def test_a_full_device(self) -> None:
        with pytest.raises(OutputError, match=r"no room to write /dev/full .*free some space"):
            write_file(FULL, b"content")
        assert FULL.is_char_device()

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        with pytest.raises(OutputError, match=r"cannot write .*target"):
            write_file(tmp_path / "target", b"content")
        assert everything(tmp_path) == {"target": None}


WRITERS = {
    "write_file": "files.write_file(target / 'segexport.json', bytes(1_000_000))",
    "new_folder": "with files.new_folder(target, overwrite=True) as f: (f / 'a').write_bytes(bytes(1_000_000))",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk(tmp_path: Path, writer: str) -> None:
    target = old_bundle(tmp_path / "target")
    before = everything(tmp_path)
    script = f"from pathlib import Path; from segexport import files; target = Path({str(target)!r})\n{WRITERS[writer]}"
    done = run_with_small_files(sys.executable, "-c", script)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("segexport.errors.OutputError: no room to write"), done.stderr
    assert everything(tmp_path) == before


@pytest.mark.bundle
class TestFullDiskOnTheCommandLine:
    @pytest.mark.parametrize("exists", [False, True])
    def test_build(self, tmp_path: Path, bundle: Bundle, exists: bool) -> None:
        if exists:
            shutil.copytree(bundle.folder, tmp_path / "target")
        before = everything(tmp_path)
        command = [*CLI, "build", "--from-bundle", bundle.folder, "--out", tmp_path / "target", "--overwrite"]
        done = run_with_small_files(*map(str, command))
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: no room to write {tmp_path / 'target'}")
        assert "Traceback" not in done.stderr
        assert everything(tmp_path) == before

    def test_predict(self, tmp_path: Path, bundle: Bundle, data: Path) -> None:
        old = tmp_path / "0000_mask.png"
        old.write_bytes(b"old")
        image = data / "images" / "0000.png"
        command = [*CLI, "predict", bundle.folder, image, "--out", tmp_path, "--overwrite"]
        done = run_with_small_files(*map(str, command), limit=64)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"error: no room to write {old} (File too large): free some space or write elsewhere"
        ]
        assert everything(tmp_path) == {old.name: b"old"}

    def test_a_disk_that_really_is_full(self, tmp_path: Path, bundle: Bundle) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", disk]
        if not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting a small tmpfs needs root and the right to mount")
        try:
            old_bundle(disk / "target")
            (disk / "filler").write_bytes(bytes(200_000))
            before = everything(disk)
            command = [*CLI, "build", "--from-bundle", bundle.folder, "--out", disk / "target", "--overwrite"]
            done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
            assert done.returncode == 2
            assert done.stderr.splitlines()[-1].startswith("error: no room to write"), done.stderr
            assert "No space left on device" in done.stderr
            assert everything(disk) == before
        finally:
            subprocess.run(["umount", disk], check=True)
