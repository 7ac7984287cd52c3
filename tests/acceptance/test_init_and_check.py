"""`foreshock init` and `foreshock check`, as a person runs them in an empty folder."""

from __future__ import annotations

from run_rig import foreshock


def test_what_init_writes_is_found_good_by_check_and_is_not_written_over(tmp_path):
    assert foreshock("init", cwd=tmp_path).returncode == 0
    written = (tmp_path / "foreshock.yaml").read_text()
    assert "\n# " in written
    assert foreshock("check", cwd=tmp_path).returncode == 0
    again = foreshock("init", cwd=tmp_path)
    assert again.returncode != 0
    assert "exists already" in again.stderr
    assert (tmp_path / "foreshock.yaml").read_text() == written


def test_check_exits_78_and_names_file_line_key_and_what_to_write(tmp_path):
    (tmp_path / "foreshock.yaml").write_text("runbooks: [books/]\npolicy:\n  mode: actt\n")
    (tmp_path / "books").mkdir()
    said = foreshock("check", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (78, "")
    (tmp_path / "foreshock.yaml").write_text("policy:\n  mode: actt\n")
    said = foreshock("check", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (78, "")
    assert "foreshock.yaml:2: policy.mode" in said.stderr
    assert "'observe', 'suggest' or 'act'" in said.stderr


def test_check_says_how_many_files_a_pattern_matches(tmp_path):
    for name in ("a.log", "b.log"):
        (tmp_path / name).touch()
    paths = "".join(f"  - path: {tmp_path}/{name}\n" for name in ("*.log", "a.*", "*.txt", "a.log"))
    (tmp_path / "foreshock.yaml").write_text(f"inputs:\n{paths}")
    said = foreshock("check", cwd=tmp_path)
    assert said.returncode == 0
    assert said.stderr.splitlines()[1:] == [
        f"{tmp_path}/*.log matches 2 files now",
        f"{tmp_path}/a.* matches 1 file now",
        f"{tmp_path}/*.txt matches no file now: it is waited for; with --once that is an error",
    ]


def test_check_names_the_line_of_a_broken_runbook(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "restart.yaml").write_text("id: restart\nversion: one\n")
    (tmp_path / "foreshock.yaml").write_text("runbooks: [books/]\n")
    said = foreshock("check", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (78, "")
    assert "restart.yaml:" in said.stderr
