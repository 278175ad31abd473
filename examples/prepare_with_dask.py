"""Prepare a token store on the workers of a Dask cluster.

    python examples/prepare_with_dask.py midi/ stores/mine --shards 16
    python examples/prepare_with_dask.py midi/ stores/mine --scheduler tcp://192.0.2.1:8786

Every worker needs rwkv-music, and both folders under the same path. Without a scheduler, a cluster
of processes on this machine is started. A shard that was finished before is taken as it is.
"""

import argparse
from pathlib import Path

from distributed import Client, LocalCluster

from rwkv_music.data import Shard, merge_stores, prepare_store


def prepare_shard(folder: str, output: str, index: int, count: int) -> str:
    """Prepare one shard in this worker, with one process of its own; return its store."""
    store = Path(f"{output}-shards") / f"{index}"
    prepare_store(folder, store, shard=Shard(index, count), workers=1)
    return str(store)


def prepare_with_dask(client: Client, folder: str, output: str, *, shards: int) -> str:
    """Prepare all shards on the cluster and merge them; return the store."""
    tasks = [
        client.submit(prepare_shard, folder, output, index, shards, pure=False)
        for index in range(shards)
    ]
    merge_stores(client.gather(tasks), output)
    return output


def main() -> None:
    """Read the command line and prepare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder of music files")
    parser.add_argument("output", help="the store to make")
    parser.add_argument("--shards", type=int, default=8, help="tasks (default: %(default)s)")
    parser.add_argument("--scheduler", help="address of a running scheduler")
    parser.add_argument("--workers", type=int, default=2, help="of the cluster on this machine")
    given = parser.parse_args()
    if given.scheduler:
        with Client(given.scheduler) as client:
            print(prepare_with_dask(client, given.folder, given.output, shards=given.shards))
        return
    with (
        LocalCluster(
            n_workers=given.workers, threads_per_worker=1, dashboard_address=None
        ) as local,
        Client(local) as client,
    ):
        print(prepare_with_dask(client, given.folder, given.output, shards=given.shards))


if __name__ == "__main__":
    main()
