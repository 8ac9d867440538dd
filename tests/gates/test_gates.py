"""The gates pass on this tree, and each of them fails on a tree made to be wrong."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def gate(name, *arguments):
    done = subprocess.run([ROOT / "scripts" / name, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_format():
    status, output = gate("check-format")
    assert status == 0, output


def test_format_can_fail(tmp_path):
    (tmp_path / ".clang-format").write_text((ROOT / ".clang-format").read_text())
    bad = tmp_path / "bad.c"
    bad.write_text("int  main( void ){return 0;}\n")
    assert gate("check-format", bad)[0] == 1


def test_layers():
    status, output = gate("check-layers")
    assert status == 0, output


def test_layers_can_fail(tmp_path):
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy/pump.c").write_text('#include "tunnel/tunnel.h"\n')
    status, output = gate("check-layers", tmp_path)
    assert status == 1 and "pump.c:1: proxy must not use tunnel" in output


def test_layers_fail_on_nothing(tmp_path):
    assert gate("check-layers", tmp_path)[0] == 1


def test_docs():
    status, output = gate("check-docs")
    assert status == 0, output


def test_docs_can_fail(tmp_path):
    (tmp_path / "README.md").write_text("see `src/nowhere.c`\n")
    (tmp_path / "src/wire").mkdir(parents=True)
    (tmp_path / "src/wire/frame.def").write_text("FRAME(LOST, 0x77, none, 0)\n")
    status, output = gate("check-docs", tmp_path)
    assert status == 1 and "README.md:1: src/nowhere.c" in output and "LOST" in output


def test_rest_docs():
    status, output = gate("rest-docs", "--check")
    assert status == 0, output


def test_rest_docs_can_fail(tmp_path):
    for name in ("src/console/api_routes.c", "src/console/openapi.c", "docs/REST.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    assert gate("rest-docs", "--check", tmp_path)[0] == 0
    table = tmp_path / "src/console/api_routes.c"
    table.write_text(table.read_text().replace('{"GET", "/api/v1/status", SCOPE_VIEWER', '{"GET", "/api/v1/status", SCOPE_ADMIN'))
    status, output = gate("rest-docs", "--check", tmp_path)
    assert status == 1 and "docs/REST.md" in output
    gate("rest-docs", tmp_path)
    assert gate("rest-docs", "--check", tmp_path)[0] == 0
    table.write_text(table.read_text().replace("api_routes[]", "roots[]"))
    assert gate("rest-docs", "--check", tmp_path)[0] == 1


def test_markers():
    status, output = gate("check-markers")
    assert status == 0, output


def test_markers_can_fail(tmp_path):
    """Also in a file that no other gate reads, and only in what is tracked."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "untracked").write_text("<" * 7 + " ours\n")
    assert gate("check-markers", tmp_path) == (0, "")
    for marker in ("<" * 7 + " ours", "|" * 7 + " base", ">" * 7 + " theirs", "<" * 7):
        (tmp_path / "notes.md").write_text(f"# Title\n=======\n{marker}\n")
        subprocess.run(["git", "add", "notes.md"], cwd=tmp_path, check=True)
        status, output = gate("check-markers", tmp_path)
        assert status == 1 and output == "notes.md:3: mark of an unfinished merge\n", output
    (tmp_path / "notes.md").write_text(f"# Title\n=======\na {'<' * 7} b\n{'<' * 8}\n")
    assert gate("check-markers", tmp_path) == (0, "")


def test_markers_fail_without_git(tmp_path):
    assert gate("check-markers", tmp_path)[0] == 2


def test_the_picture_is_small():
    assert (ROOT / "docs/console.png").stat().st_size <= 200 * 1024


def test_no_generated_files_in_git():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in tracked if name.endswith((".pb.c", ".pb.h", ".o")) or name.startswith("build")]
