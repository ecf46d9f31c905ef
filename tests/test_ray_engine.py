"""The same shards from a cluster: two nodes, actors that decode and actors that read, one of them killed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authentic_dubber.librarian import BuildJob
from authentic_dubber.reading import read_footage
from library_builder.ray_engine import RayOptions

from .test_shards import SMALL, content, read
from .toy_readers import DEATHS, LOG, draw_films

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'authentic-dubber[ray]'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two nodes of two cores; returns the folder that its workers write their log and look for deaths in."""
    from ray.cluster_utils import Cluster

    scratch = tmp_path_factory.mktemp("ray")
    (scratch / "deaths").mkdir()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 10**8})
    nodes.add_node(num_cpus=2, object_store_memory=10**8)
    seen_by_workers = {LOG: str(scratch / "log"), DEATHS: str(scratch / "deaths")}
    ray.init(address=nodes.address, runtime_env={"env_vars": seen_by_workers}, log_to_driver=False)
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    yield scratch
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.parametrize(("decoders", "deaths"), [(0, 1), (2, 2)], ids=["one dies", "decoders, shard lost"])
def test_a_cluster_makes_the_same_shards(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: int, deaths: int
) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    films = draw_films(tmp_path / "films", 6)
    alone = read(films, tmp_path / "alone")
    for number in range(deaths):
        (cluster / "deaths" / str(number)).touch()
    told: list[int] = []
    job = BuildJob(tmp_path / "ray", (films,), licence="ours")
    sizes: Any = RayOptions(decoders=decoders, reader_cpus=0.5, decoder_cpus=0.5)
    options = SMALL(engine="ray", workers=2, ray=sizes)
    found = read_footage(job, None, lambda what, done, total: told.append(done), options)
    assert not any((cluster / "deaths").iterdir())
    assert (found.digest, content(found)) == (alone.digest, content(alone))
    assert told[-1] == 18 and found.counts == {"ok": 18, "skipped": 0, "failed": 0}
