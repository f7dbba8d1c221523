"""Comparison of exports with the network: a file that differs, or cannot be compared, is not kept."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.export.__main__ import main
from trainer.export.check import largest_difference, pictures_for
from trainer.export.source import Source
from trainer.export.weights_file import results_of_weights
from trainer.mistakes import Failure
from trainer.networks import ImportedNetwork, RRDBNet, SRVGGNetCompact


class Windows(nn.Conv2d):
    """Like networks with attention, it accepts sides that are multiples of 8 only, and its `multiple` is 1."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).unflatten(3, (-1, 8)).flatten(3)


def test_a_network_that_refuses_a_picture_is_a_failure_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ImportedNetwork(f"{__name__}.Windows", {}).save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--trust", __name__, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ImportedNetwork takes no picture of 29x17 (RuntimeError: ")
    assert len(said.splitlines()) == 1
    ImportedNetwork(f"{__name__}.Windows", {}, multiple=8).save_pretrained(tmp_path / "net")
    assert main([str(tmp_path / "net"), "--trust", __name__, "--out", str(tmp_path / "out")]) == 0


def test_files_are_compared_at_sizes_that_no_multiple_divides() -> None:
    sides = [side for picture in pictures_for(RRDBNet(2, num_feat=4, num_block=1)) for side in picture.shape[2:]]
    assert any(side % 2 for side in sides)
    assert any(side % 2 == 0 for side in sides)


class Drifting(nn.Module):
    """A network with a random result."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.weight * self.calls


def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImportedNetwork(f"{__name__}.Drifting", {}).save_pretrained(tmp_path / "net")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1x-net.safetensors").write_text("what was there before")
    assert main([str(tmp_path / "net"), "--trust", __name__, "--out", str(tmp_path / "out")]) == 1
    assert "1x-net.safetensors does not compute what the network does: the largest diff" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1x-net.safetensors"]
    assert (tmp_path / "out" / "1x-net.safetensors").read_text() == "what was there before"


@pytest.mark.parametrize(
    ("got", "fits"),
    [
        (torch.full((2, 2), 1.00009), True),
        (torch.full((2, 2), 1.0002), False),
        (torch.full((2, 2), float("nan")), False),
        (torch.ones(2, 3), False),
    ],
)
def test_what_counts_as_the_same(got: Tensor, fits: bool) -> None:
    if fits:
        assert largest_difference([torch.ones(2, 2)], [got], torch.float32, Path("f")) == pytest.approx(9e-5, rel=0.01)
        return
    with pytest.raises(Failure, match="f does not compute what the network does"):
        largest_difference([torch.ones(2, 2)], [got], torch.float32, Path("f"))


def test_a_file_with_other_weights_is_a_failure(tmp_path: Path) -> None:
    one, other = (SRVGGNetCompact(4, num_feat=8, num_conv=1) for _ in range(2))
    torch.save({"params_ema": other.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(Failure, match=r"net\.pth does not hold the weights"):
        results_of_weights(Source(one, "net", "2026-01-01"), torch.float32, tmp_path / "net.pth", [])
