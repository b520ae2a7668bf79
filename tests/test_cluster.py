"""--mode=evaluate by real processes: shares, the loss of a process, hosts with own networks.

The oracle is one process: any number of processes, killed or not, must give its results.json.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from program import ROOT, SIZE, tiny_card, tiny_params, tiny_prior

from sdedit_jax.weights import store

COUNT = 16
"""Pictures; two edits each, in 8 shards."""


def pictures(folder, count=COUNT):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        pixels = rng.integers(0, 256, (SIZE // 4, SIZE // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((SIZE, SIZE), 0).save(folder / f"p{k:02d}.png")
    return folder


def command(data, out, *more):
    fields = {
        "prior": tiny_prior(), "input": data, "samples": 2, "batch": 4, "shard_size": 4,
        "sampler.steps": 2, "features.prior": "", "cache": "", "measures.subsets": 4,
    }  # fmt: skip
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    return [
        *(sys.executable, "main.py", "--mode=evaluate", "--config=evaluate_strokes"),
        *(f"--workdir={out}", *given, *more),
    ]


def start(line, prefix=()):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*prefix, *line], cwd=ROOT, env=env, **streams)


def finished(process, code=0):
    out, error = process.communicate(timeout=180)
    assert process.returncode == code, (out[-2000:], error[-2000:])
    return out + error


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def members(count, coordinator, timeout=60):
    """The flags of each process of a cluster."""
    shared = {"coordinator": coordinator, "processes": count, "timeout": timeout}
    flags = [f"--config.cluster.{name}={value}" for name, value in shared.items()]
    return [[*flags, f"--config.cluster.process={k}"] for k in range(count)]


def wait_for_shards(out, least, seconds=120):
    end = time.monotonic() + seconds
    while len(list((out / "shards").glob("*.jsonl"))) < least:
        assert time.monotonic() < end, "no shard was written"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """results.json of one process."""
    out = tmp_path_factory.mktemp("alone")
    finished(start(command(data, out)))
    found = (out / "results.json").read_bytes()
    assert json.loads(found)["edits"] == {"planned": 2 * COUNT, "made": 2 * COUNT, "failed": 0}
    return found


def test_two_processes_give_the_results_of_one(data, alone, tmp_path):
    flags = members(2, f"127.0.0.1:{free_port()}")
    both = [start(command(data, tmp_path, *own)) for own in flags]
    texts = [finished(process) for process in both]
    assert (tmp_path / "results.json").read_bytes() == alone
    assert all("share     " in text for text in texts)


def test_shares_without_a_runtime_are_joined(data, alone, tmp_path):
    """Two shares at the same time; joining before both are done is refused."""
    first = start(command(data, tmp_path, "--config.shard=1/2"))
    finished(first)
    text = finished(start(command(data, tmp_path, "--config.merge=True")), code=1)
    assert "merge: 4 shards of 8 not computed yet: [1, 3, 5, 7]" in text
    finished(start(command(data, tmp_path, "--config.shard=2/2")))
    (tmp_path / "results.json").unlink()
    finished(start(command(data, tmp_path, "--config.merge=True")))
    assert (tmp_path / "results.json").read_bytes() == alone


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_process_loses_nothing_that_is_finished(data, alone, tmp_path, victim):
    """Of three processes one is killed; the others go on, except without process 0; two processes
    then finish the rest."""
    flags = members(3, f"127.0.0.1:{free_port()}")
    every = [start(command(data, tmp_path, *own)) for own in flags]
    wait_for_shards(tmp_path, 1)
    every[victim].send_signal(signal.SIGKILL)
    for process in every:
        process.communicate(timeout=180)
    kept = {file.name: file.read_bytes() for file in (tmp_path / "shards").glob("*-of-*")}
    if victim:
        other = 3 - victim
        assert every[other].returncode == 0
        shards = {int(name[:5]) for name in kept if name.endswith("jsonl")}
        assert {k for k in range(8) if k % 3 != victim} <= shards
    flags = members(2, f"127.0.0.1:{free_port()}")
    both = [start(command(data, tmp_path, *own)) for own in flags]
    for process in both:
        finished(process)
    whole = [name for name in kept if name.replace(name.split(".")[-1], "jsonl") in kept]
    for name in whole:
        assert (tmp_path / "shards" / name).read_bytes() == kept[name]
    assert (tmp_path / "results.json").read_bytes() == alone


@pytest.mark.long
def test_twenty_kills_at_any_moment_give_the_same_results(data, alone, tmp_path):
    rng = np.random.default_rng(1)
    for _ in range(20):
        process = start(command(data, tmp_path))
        time.sleep(rng.uniform(2, 9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished(start(command(data, tmp_path)))
    assert (tmp_path / "results.json").read_bytes() == alone
    assert not list((tmp_path / "shards").glob(".*"))


@pytest.mark.long
def test_four_processes_give_the_results_of_one(data, alone, tmp_path):
    flags = members(4, f"127.0.0.1:{free_port()}")
    every = [start(command(data, tmp_path, *own)) for own in flags]
    for process in every:
        finished(process)
    assert (tmp_path / "results.json").read_bytes() == alone


def test_an_unreachable_coordinator_is_one_line(data, tmp_path):
    address = f"127.0.0.1:{free_port()}"
    own = members(2, address, timeout=3)[1]
    text = finished(start(command(data, tmp_path, *own)), code=1)
    assert f"error: cluster: the coordinator {address}" in text and "3 s" in text
    assert "Traceback" not in text and "***" not in text


def test_a_host_with_other_weights_is_refused(data, tmp_path):
    """Both hosts refuse before any edit."""
    other = tmp_path / "other"
    store.save(other, jax.tree.map(lambda a: 2 * a, tiny_params()), tiny_card())
    flags = members(2, f"127.0.0.1:{free_port()}")
    out = tmp_path / "out"
    first = start(command(data, out, *flags[0]))
    second = start(command(data, out, *flags[1], f"--config.prior={other}"))
    for k, process in enumerate((first, second)):
        text = finished(process, code=1)
        assert f"process {1 - k} on {socket.gethostname()} has other code, weights" in text
    assert not list(out.glob("shards/*"))


needs_namespaces = pytest.mark.skipif(
    not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip")),
    reason="network namespaces need root and the command ip",
)


@pytest.fixture
def hosts():
    """Three network namespaces on a bridge, each with a host name of its own: their prefixes."""
    names = [f"sdedit{os.getpid()}n{k}" for k in range(3)]
    bridge = f"sde{os.getpid()}"[:15]

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("link", "add", bridge, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bridge can be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "set", bridge, "up")
        for k, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"v{k}{bridge}"[:15], "type", "veth", "peer", "eth0", "netns", name)
            ip("link", "set", f"v{k}{bridge}"[:15], "master", bridge, "up")
            ip("-n", name, "addr", "add", f"10.79.0.{k + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        shell = 'hostname "$0"; exec "$@"'
        yield [
            ("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", shell, f"host{k}")
            for k, name in enumerate(names)
        ]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True)


@needs_namespaces
@pytest.mark.long
def test_three_hosts_with_networks_of_their_own(data, alone, tmp_path, hosts):
    flags = members(3, "10.79.0.1:8476")
    every = [
        start(command(data, tmp_path, *own), prefix)
        for own, prefix in zip(flags, hosts, strict=True)
    ]
    for process in every:
        finished(process)
    assert (tmp_path / "results.json").read_bytes() == alone
