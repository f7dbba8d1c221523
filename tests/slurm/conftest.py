"""One Slurm for all tests of this folder."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Unavailable, cluster
from user import User


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """The user of two idle nodes, whose jobs find: no GPU, one address for both nodes, the Python of these tests."""
    settings = {
        "ACCELERATE_USE_CPU": "true",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "WILDSR_VENV": str(Path(sys.executable).parents[1]),
        "WILDSR_SITE": "tests/slurm/site.sh",
    }
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "logs").mkdir()
    try:
        with cluster(folder / "cluster") as environment:
            yield User({**environment, **settings}, folder / "logs")
    except Unavailable as reason:
        pytest.skip(f"no Slurm: {reason}")
