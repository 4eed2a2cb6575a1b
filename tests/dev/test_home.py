"""Where root puts things for a user without rights."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.dev.bootstrap import remove_data
from app.dev.home import Home, can_read

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="about what root has to do")


@pytest.fixture
def home(tmp_path):
    tmp_path.chmod(0o700)
    yield Home(tmp_path / "var")
    remove_data(tmp_path / "var")


@pytest.fixture
def binaries(tmp_path) -> Path:
    """Programs as installed under a strict umask in a folder that only root can enter."""
    folder = tmp_path / "package" / "bin"
    folder.mkdir(parents=True)
    (folder / "server").write_text("#!/bin/sh\n")
    (folder / "server").chmod(0o700)
    (folder / "data").write_text("1")
    (folder / "data").chmod(0o600)
    return folder


def test_closed_binaries_are_copied_to_where_the_services_can_read_them(home, binaries):
    copy = home.reachable(binaries, "data", within="package")

    assert copy == home.folder / "binaries" / "package" / "bin"
    assert can_read(home.identity, copy / "data")
    assert stat.S_IMODE((copy / "server").stat().st_mode) == 0o755
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((binaries / "data").stat().st_mode) == 0o600


def test_a_copy_is_made_once_and_again_for_another_version(home, binaries):
    copy = home.reachable(binaries, "data", within="package")
    inode = (copy / "data").stat().st_ino
    assert home.reachable(binaries, "data", within="package") == copy
    assert (copy / "data").stat().st_ino == inode

    (binaries / "data").write_text("22")
    home.reachable(binaries, "data", within="package")

    assert (copy / "data").read_text() == "22"


def test_a_copied_link_does_not_lead_to_another_checkouts_data(home, tmp_path):
    other = tmp_path / "other" / "var"
    other.mkdir(parents=True)
    (other / "services").symlink_to(home.folder)

    second = Home(other)

    assert second.folder != home.folder
    remove_data(other)
    assert home.folder.is_dir()
