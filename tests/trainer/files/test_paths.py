"""Paths that the system refuses to look up: one sentence that names the key or the option, never a traceback."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import import_options, push, runs
from trainer.command import execute
from trainer.export import __main__ as export
from trainer.files.paths import check_path
from trainer.images.hub_dataset import HubDataset
from trainer.images.lists import read_list
from trainer.losses.perceptual import PerceptualLoss
from trainer.mistakes import Mistake
from trainer.networks.loading.state_dicts import read_state_dict
from trainer.run import parse

LONG = "x" * 300
ROOT = Path(__file__).parents[3]


def test_what_is_there_or_is_not_may_be_asked_about(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", Path(__file__) / "below a file", "user/name"):
        check_path(path, "key")


def test_what_nobody_can_ask_about_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in ((LONG, "File name too long"), (tmp_path / "loop" / "x", "Too many levels"), ("a\0b", "the c")):
        with pytest.raises(Mistake, match=rf"^key: '.* {reason}"):
            check_path(path, "key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_looked_into(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(Mistake, match=r"^key: .* cannot be looked at: Permission denied\.$"):
        check_path(tmp_path / "closed" / "x.pth", "key")


@pytest.mark.parametrize(
    ("ask", "key"),
    [
        (lambda: execute(parse([LONG])), "CONFIG"),
        (
            lambda: execute(parse([str(ROOT / "configs/quickstart.yaml"), "--check", "1", f"output_dir={LONG}"])),
            "output_dir",
        ),
        (lambda: read_state_dict(LONG, "init.generator"), "init.generator"),
        (lambda: PerceptualLoss(weights=LONG).fetch("losses.perceptual"), "losses.perceptual.weights"),
        (lambda: read_list(LONG), "list"),
        (lambda: HubDataset(path=LONG).open(), "path"),
    ],
)
def test_configurations(ask: Callable[[], object], key: str) -> None:
    with pytest.raises(Mistake, match=rf"^{key}: 'x+ cannot be looked at: File name too long\.$"):
        ask()


@pytest.mark.parametrize(
    ("main", "arguments", "option"),
    [
        (export.main, [LONG, "--to", "pth"], "RUN"),
        (push.main, [LONG], "RUN"),
        (runs.main, [LONG], "OUTPUT_DIR"),
        (
            import_options.main,
            [str(Path(__file__).parents[1] / "foreign_options" / "realesrgan_options.yml"), "--out", LONG],
            "--out",
        ),
    ],
)
def test_commands(
    main: Callable[[list[str]], int], arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {option}: 'xxx")
