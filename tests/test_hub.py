"""Models by hub name, from a server of this test that speaks the few routes a download needs."""

import hashlib
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sdedit_jax.weights.readers import hub

constants = pytest.importorskip("huggingface_hub.constants")
save_file = pytest.importorskip("safetensors.numpy").save_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with the repositories in `server.repositories`: name -> {file: bytes}."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].lstrip("/")
        self.server.asked.append((self.command, path))
        name = re.match(r"(?:api/models/)?([^/]+/[^/]+)", path)[1]
        files = self.server.repositories.get(name)
        if name == "owner/gated":
            return self.refuse(403, "GatedRepo")
        if files is None:
            return self.refuse(404, "RepoNotFound")
        rest = path.partition(name + "/")[2].split("/", 2)
        if rest[0] in ("revision", "tree", "resolve") and rest[1] not in ("main", "v1", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if rest[0] == "revision":
            return self.send(json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())
        if rest[0] == "tree":
            return self.send(json.dumps([entry(n, b) for n, b in files.items()]).encode())
        return self.send(files[rest[2]])

    def send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{git_hash(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def entry(name, body):
    return {"type": "file", "path": name, "size": len(body), "oid": git_hash(body)}


def git_hash(body):
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub on this machine; nothing asks another one, and no token is sent."""
    served = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    served.repositories, served.asked = {}, []
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{served.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address + "/")
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def folder(tmp_path, rng):
    """A model's files as they stand on a hub, with more beside than is wanted."""
    weights = {"conv_in.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32)}
    save_file(weights, tmp_path / "weights")
    data = (tmp_path / "weights").read_bytes()
    return {
        "config.json": json.dumps({"_class_name": "UNet2DModel"}).encode(),
        "scheduler/scheduler_config.json": b"{}",
        "diffusion_pytorch_model.safetensors": data,
        "diffusion_pytorch_model.fp16.safetensors": b"half",
        "diffusion_pytorch_model.bin": b"the same, pickled",
        "README.md": b"words",
        "samples/0.png": b"a picture",
    }


def kept(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_a_local_path_is_returned_as_it_is(tmp_path):
    assert hub.local(tmp_path) == tmp_path
    assert hub.local("some/where.pth").as_posix() == "some/where.pth"


def test_fetches_what_a_model_needs_and_no_more(server, folder, tmp_path):
    server.repositories["owner/model"] = folder
    found = hub.local("hf:owner/model", cache=tmp_path / "cache")
    wanted = [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ]
    assert kept(found) == wanted
    for name in wanted:
        assert (found / name).read_bytes() == folder[name]


def test_of_a_pipeline_that_reads_texts_its_networks_and_tokenizer(server, folder, tmp_path):
    """Neither the checker's weights nor the single files that stand beside the parts."""
    data = folder["diffusion_pytorch_model.safetensors"]
    wanted = {
        "model_index.json": b'{"text_encoder": ["transformers", "CLIPTextModel"]}',
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors": data,
        "unet_ema/diffusion_pytorch_model.safetensors": data,
        "vae/diffusion_pytorch_model.safetensors": data,
        "text_encoder/model.safetensors": data,
        "tokenizer/merges.txt": b"#version: 0.2",
        "tokenizer/vocab.json": b"{}",
        "scheduler/scheduler_config.json": b"{}",
    }
    more = ["safety_checker/model.safetensors", "v1-5.safetensors", "unet/m.bin", "LICENSE.txt"]
    server.repositories["owner/text"] = wanted | dict.fromkeys(more, data)
    found = hub.local("hf:owner/text", cache=tmp_path / "cache")
    assert kept(found) == sorted(wanted)


def test_takes_bin_where_there_is_no_safetensors(server, folder, tmp_path):
    server.repositories["owner/old"] = {n: b for n, b in folder.items() if "safetensors" not in n}
    found = hub.local("hf:owner/old", cache=tmp_path / "cache")
    assert "diffusion_pytorch_model.bin" in kept(found)


def test_takes_half_precision_where_there_is_nothing_else(server, folder, tmp_path):
    server.repositories["owner/half"] = {n: b for n, b in folder.items() if "model." not in n}
    server.repositories["owner/half"]["unet/model.fp16.bin"] = b"half"
    found = hub.local("hf:owner/half", cache=tmp_path / "cache")
    assert (found / "unet/model.fp16.bin").read_bytes() == b"half"


def test_what_was_fetched_serves_without_a_network(server, folder, tmp_path, monkeypatch):
    server.repositories["owner/model"] = folder
    first = hub.local("hf:owner/model@v1", cache=tmp_path / "cache")
    server.asked.clear()
    assert hub.local(f"hf:owner/model@{COMMIT}", cache=tmp_path / "cache") == first
    assert not [path for kind, path in server.asked if "/resolve/" in path], "fetched twice"
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert hub.local("hf:owner/model@v1", cache=tmp_path / "cache") == first


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_each_refusal_is_one_line_that_names_the_repository(server, folder, tmp_path):
    server.repositories |= {"owner/model": folder, "owner/empty": {"config.json": b"{}"}}
    for source, words in {
        "hf:owner/none": "no repository owner/none",
        "hf:owner/gated": "owner/gated .* is gated: accept its terms",
        "hf:owner/model@v9": "owner/model .* has no revision v9",
        "hf:owner/empty": "hf:owner/empty holds neither .*safetensors nor .*bin",
        "hf:model": "must be hf:owner/name",
        "hf:owner/model@": "must be hf:owner/name",
        "hf:owner/model/file.bin": "must be hf:owner/name",
    }.items():
        with pytest.raises(ValueError, match=f"^source: .*{words}") as caught:
            hub.local(source, cache=tmp_path / "cache")
        assert "\n" not in str(caught.value)


def test_no_network_is_said(server, tmp_path, monkeypatch):
    address = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match=f"could not be downloaded from {address}: .*refused"):
        hub.local("hf:owner/model", cache=tmp_path / "cache")


def test_without_the_package_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        hub.local("hf:owner/model")


def test_a_damaged_download_is_not_kept(server, folder, tmp_path, monkeypatch):
    server.repositories["owner/model"] = folder
    whole = Hub.send

    def short(self, body):
        if self.command == "GET" and "/resolve/" in self.path:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
        else:
            whole(self, body)

    monkeypatch.setattr(Hub, "send", short)
    monkeypatch.setattr("time.sleep", lambda s: None)
    with pytest.raises(ValueError, match="owner/model could not be downloaded"):
        hub.local("hf:owner/model", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("snapshots/*/*.safetensors"))
