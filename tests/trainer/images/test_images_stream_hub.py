"""A streamed dataset on a hub that a local server stands for: only what is read is downloaded."""

import ast
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import datasets
import pytest
from PIL import Image

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """The part of the hub's API that is needed to read the dataset tester/tiles."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*.parquet"))}
        self.read: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Ignored: a reader may close the connection half way."""


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if re.fullmatch(r"/api/datasets/tester/tiles(/revision/.+)?", path):
            return self.send(json.dumps({"id": "tester/tiles", "sha": COMMIT, "tags": [], "siblings": []}).encode())
        if tree := re.fullmatch(r"/api/datasets/tester/tiles/tree/[^/]+(/data)?", path):
            folder = [{"type": "directory", "path": "data", "oid": COMMIT, "size": 0}]
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": COMMIT}
                for name, content in self.server.files.items()
            ]
            return self.send(json.dumps(entries if tree[1] else folder).encode())
        if file := re.fullmatch(r"/datasets/tester/tiles/resolve/[^/]+/(data/.+)", path):
            self.server.read.append(file[1])
            return self.send(self.server.files[file[1]])
        return self.send(b"{}", 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, content: bytes, code: int = 200) -> None:
        if code == 200 and (wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
            first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
            whole, content, code = len(content), content[first : last + 1], 206
            self.send_response(code)
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
        else:
            self.send_response(code)
        headers = {"ETag": '"x"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}
        for name, value in (headers | ({"X-Error-Code": "EntryNotFound"} if code == 404 else {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    for shard in range(5):
        pictures = []
        for number in range(shard + 2):
            buffer = BytesIO()
            Image.new("RGB", (8, 8), (shard, number, 0)).save(buffer, "PNG")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
        table = datasets.Dataset.from_dict({"image": pictures}).cast_column("image", datasets.Image())
        (tmp_path / "data").mkdir(exist_ok=True)
        table.to_parquet(tmp_path / "data" / f"train-0000{shard}-of-00005.parquet")
    with Hub(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


PROGRAM = """
from itertools import islice
from trainer.images.crops import TrainingImagesConfig
from trainer.images.loader import ImageLoader
from trainer.images.streaming.dataset import StreamedDataset
from trainer.images.streaming.order import shard_schedule
from trainer.images.streaming.reader import TrainingStream

if __name__ == "__main__":
    source = StreamedDataset(path="tester/tiles", logical_streams=2)
    shards = source.open()
    print(shards.names[3], len(shards.names))
    config = TrainingImagesConfig(source=source, crop_size=8, dataloader_num_workers=1)
    samples = TrainingStream(shards, shard_schedule(5, 2, 4, seed=0), config, 0, {})
    loader = ImageLoader(samples, [list(range(0, 4)), list(range(4, 8))], pin_memory=False)
    for batch in loader:
        print(*(tuple(pixels[:, 0, 0].tolist()) for pixels in batch.pixels))
"""


def test_a_dataset_on_the_hub_is_read_by_shards_in_a_worker(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, *batches = done.stdout.splitlines()
    assert first == "hf://datasets/tester/tiles/data/train-00003-of-00005.parquet 5"
    places = [ast.literal_eval(text) for line in batches for text in re.findall(r"\(.*?\)", line)]
    assert len(set(places)) == 8
    assert all(number < shard + 2 for shard, number, _ in places)
    assert len(set(hub.read)) < 5  # the rest of the shards was not even opened
