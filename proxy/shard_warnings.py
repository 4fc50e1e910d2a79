"""What of a shard's status somebody on call should know, in words that say what it means and what to do."""

from collections.abc import Mapping

RECENT_SECONDS = 3600.0
"""How long a failure that was made up for is still worth a line."""

_MEANS = {
    "flush": (
        "cannot write its memory to tables",
        "nothing is lost, since the log holds it, but writes are slowed and then refused",
    ),
    "compaction": (
        "cannot merge its tables",
        "all data is served, but reads get slower, no space is given back, and in the end writes are refused",
    ),
}
_DAMAGED = "look after its disk; keep the directory, stop the shard and run `sherd verify` on it"
_REMEDIES = {
    "StoreFull": "make room on its disk",
    "Corruption": _DAMAGED,
    "StoreCorrupt": _DAMAGED,
    "OSError": "look after its disk",
}


def shard_warnings(shard: int, status: Mapping[str, object]) -> list[str]:
    """Warnings about one shard, from what it says of itself; what it does not say, or says wrongly, is left out."""
    warnings = []
    if status.get("role") == "follower":
        warnings.append(
            f"shard {shard} has no leader now: replica {status.get('replica')}, the last one, does not lead any more; "
            "requests wait for a while and then fail. Look after the coordinator and the other replicas"
        )
    if status.get("quarantined"):
        warnings.append(f"shard {shard} has records in quarantine, files: {status['quarantined']}")
    followers = status.get("followers")
    if isinstance(followers, Mapping):
        warnings += [
            f"shard {shard}: replica {name} has records in quarantine, files: {told['quarantined']}"
            for name, told in sorted(followers.items())
            if isinstance(told, Mapping) and told.get("quarantined")
        ]
    damaged = status.get("damaged")
    if isinstance(damaged, list) and damaged:
        warnings.append(
            f"shard {shard} cannot read part of its data, and answers reads of that with CORRUPTION. "
            f"What to do: {_DAMAGED}. Met so far: {'; '.join(map(str, damaged))}"
        )
    failing = status.get("jobs_failing")
    if isinstance(failing, list) and failing:
        warnings += [_failing(shard, work) for work in failing if isinstance(work, Mapping)]
    elif status.get("jobs_failed"):
        ago = status.get("last_job_failed_seconds_ago")
        if not isinstance(ago, (int, float)) or ago <= RECENT_SECONDS:
            warnings.append(_made_up_for(shard, status))
    return warnings


def _failing(shard: int, work: Mapping[str, object]) -> str:
    name, error = str(work.get("work")), str(work.get("error"))
    does_not, means = _MEANS.get(name, (f"does not get its work done ({name})", "writes may be refused in the end"))
    remedy = _REMEDIES.get(error.partition(":")[0])
    todo = f" What to do: {remedy}." if remedy else ""
    return (
        f"shard {shard} {does_not}: tried {work.get('times')} times so far, and goes on trying at least once a minute; "
        f"{means}.{todo} The last error: {error}"
    )


def _made_up_for(shard: int, status: Mapping[str, object]) -> str:
    return (
        f"shard {shard} got background work done only when it tried again: {status['jobs_failed']} failures since it "
        "started, the last within an hour. Nothing is lost and nothing has to be done, unless it goes on. The last "
        f"error: {status.get('last_job_error')}"
    )
