"""What is packed is what a machine without network unpacks."""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
from pathlib import Path

import offline_pack
import pytest
import slim_library

ROOT = Path(__file__).resolve().parents[2]


def entry(arch: int, code: bytes) -> bytes:
    head = struct.pack("<HHIQ12xI", 2, 1, 64, len(code), arch)
    return head.ljust(64, b"\0") + code


def fat_binary(*entries: bytes) -> bytes:
    content = b"".join(entries)
    return struct.pack("<4sHHQ", b"\x50\xed\x55\xba", 1, 16, len(content)) + content


def library() -> tuple[bytes, bytes]:
    """A library with three fat binaries, and what is left for architecture 90: the second has no code for it, the
    third is broken off."""
    magic = b"\x50\xed\x55\xba"
    first = fat_binary(entry(75, b"seven"), entry(90, b"nine"))
    others = b"host" + fat_binary(entry(75, b"other")) + magic + b"\1\0\x10\0" + b"\xff" * 8
    return first + others, first.replace(b"seven", bytes(5)) + others


def test_code_of_other_architectures_is_left_out() -> None:
    stock, expected = library()
    slimmed = bytearray(stock)
    assert slim_library.slim(slimmed, 90) == len(b"seven")
    assert bytes(slimmed) == expected


def test_a_pack_is_unpacked_once_into_a_project_and_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stock, expected = library()
    wheel = tmp_path / "warp_lang-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("warp/__init__.py", "x = 5")
        archive.writestr("warp/bin/warp.so", stock)
        archive.writestr("warp/bin/warp-clang.so", b"large")
        archive.writestr("warp/tests/test_x.py", "")
        archive.writestr("warp-1.data/purelib/beside.py", "y = 6")
    monkeypatch.setattr(offline_pack, "download", lambda *_: [wheel])
    monkeypatch.setattr(offline_pack, "compile_cache", made_cache)
    pack = tmp_path / "pack"
    assert offline_pack.main([str(pack), "--preset", "0"]) == 0
    assert offline_pack.main([str(pack), "--preset", "0", "--limit", "0.1"]) == 1
    assert "MiB  together, of 0.1" in capsys.readouterr().out
    shell = """
        . "$0"/setup.sh
        echo "$PWD"
        python3 -c 'import warp, beside; print(warp.x + beside.y)'
        ls "$WARP_CACHE_PATH"/*
        echo kept >"$WARP_CACHE_PATH"/module/module.meta
        . "$0"/setup.sh
        cat "$WARP_CACHE_PATH"/module/module.meta
    """
    environment = os.environ | {"PACK_TARGET": str(tmp_path / "there")}
    environment["PYTHONPATH"] = ""
    command = ["bash", "-euc", shell, str(pack)]
    end = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    there = tmp_path / "there"
    listed = ["module.cubin", "module.meta"]
    assert end.stdout.split() == [str(there / "project"), "11", *listed, "kept"]
    committed = ["git", "-C", str(ROOT), "ls-files"]
    names = subprocess.run(committed, capture_output=True, text=True, check=True).stdout.split()
    assert (there / "project" / names[-1]).is_file()
    assert (there / "site/warp/bin/warp.so").read_bytes() == expected
    assert [path.name for path in (there / "site/warp").iterdir()].count("tests") == 0
    assert not (there / "site/warp/bin/warp-clang.so").exists()


def test_a_pack_without_project_serves_the_checkout_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "warp_lang-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("warp/bin/warp.so", b"whole")
    monkeypatch.setattr(offline_pack, "download", lambda *_: [wheel])
    pack, checkout = tmp_path / "pack", tmp_path / "checkout"
    checkout.mkdir()
    options = ["--preset", "0", "--skip-project", "--skip-cache", "--whole-library"]
    assert offline_pack.main([str(pack), *options]) == 0
    command = ["bash", "-euc", '. "$0"/setup.sh; echo "$PWD $PYTHONPATH"', str(pack)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    end = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    (target,) = tmp_path.glob("legged_ppo_*")
    assert end.stdout == f"{checkout} {checkout}:{target}/site\n"
    assert (target / "site/warp/bin/warp.so").read_bytes() == b"whole"


def made_cache(shape: list[str], folder: Path) -> None:
    assert "--arch=90" in shape
    (folder / "module").mkdir(parents=True)
    for suffix in ("cubin", "meta", "cu"):
        (folder / "module" / f"module.{suffix}").write_text("")


def test_the_versions_are_those_for_which_the_kernels_are_compiled() -> None:
    import warp

    assert offline_pack.requirement("warp-lang") == f"warp-lang=={warp.__version__}"
    assert offline_pack.requirement("no-such-package") == "no-such-package"
    assert "mujoco-core" in offline_pack.package_names([])
    assert "tensordict" in offline_pack.package_names(["rsl-rl-lib"])
