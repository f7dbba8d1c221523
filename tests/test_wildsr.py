"""The console script: its commands, their names in usage lines, and the configurations that it copies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wildsr
from trainer.configs import first_sentence, shipped
from trainer.console import CALLED, called

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a shell had found the script."""
    monkeypatch.setenv(CALLED, "wildsr")


@pytest.mark.parametrize("command", wildsr.PROGRAMS)
def test_every_command_explains_itself_by_its_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        wildsr.main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: wildsr {command} [-h]")
    assert "python -m" not in said


def test_a_program_of_its_own_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CALLED)
    assert called("import-options") == "python -m trainer.import_options"
    assert called("train") == "python -m trainer.launcher"


def test_help_needs_no_torch_and_little_time() -> None:
    """CPU time is measured, with a factor of ten to spare; and no import of torch could succeed here."""
    words = [["--help"], ["--version"], *([name, "--help"] for name in wildsr.PROGRAMS)]
    program = (
        "import sys; sys.modules['torch'] = None; import wildsr\n"
        f"for words in {words}:\n    try: wildsr.main(words)\n    except SystemExit as ended: assert not ended.code\n"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 3


def test_a_command_that_does_not_exist_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert wildsr.main(["upscal"]) == 2
    assert capsys.readouterr().err.startswith("error: no command 'upscal'; did you mean 'upscale'? allowed: train, ")
    assert wildsr.main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_the_script_is_named_as_a_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "my programs" / "wildsr"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert wildsr.as_typed(str(script)) == f"'{script}'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert wildsr.as_typed(str(script)) == "wildsr"
    assert wildsr.as_typed(str(ROOT / "wildsr.py")) == "python -m wildsr"


def test_configs_are_listed_with_a_sentence_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert wildsr.main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert {"quickstart", "my_photos", "degradations/bsrgan", "sweeps/rates"} <= shipped().keys()
    assert all(first_sentence(file).endswith(".") for file in shipped().values())


def test_a_copy_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = ["configs", "copy"]
    assert wildsr.main([*copy, "quickstart"]) == 0
    assert Path("quickstart.yaml").read_bytes() == shipped()["quickstart"].read_bytes()
    assert wildsr.main([*copy, "degradations/bsrgan", "mine.yaml"]) == 0
    Path("quickstart.yaml").write_text("mine")
    for words, sentence in (
        (["quickstart"], "quickstart.yaml is there already, and nothing is overwritten"),
        (["quickstart", "."], "quickstart.yaml is there already"),
        (["qickstart"], "no configuration 'qickstart' is shipped; did you mean 'quickstart'?"),
        (["quickstart", "no/where.yaml"], "DEST: no/where.yaml cannot be written: No such file"),
    ):
        assert wildsr.main([*copy, *words]) == 2
        assert f"error: {sentence}" in capsys.readouterr().err
    assert Path("quickstart.yaml").read_text() == "mine"
