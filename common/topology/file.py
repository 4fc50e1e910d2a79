"""The topology file of a cluster on one host: its format, and reading it.

One JSON object ``{"format": 1, "checksum": HEX, "topology": {...}}``; the checksum is xxh3_64 of the compact JSON of
the topology with sorted keys, so that a flipped bit cannot hand a key to the wrong shard. The supervisor owns the
file and replaces it atomically (``sherd.cluster.topology_file``); every other process only reads it, at any time.
"""

import json

import xxhash

from sherd.common.disk import Disk
from sherd.common.errors import ConfigError, StoreCorrupt, StoreFormat
from sherd.common.topology.state import Topology

FORMAT = 1


def encode_topology(topology: Topology) -> bytes:
    """The file's bytes."""
    body = topology.to_json()
    return json.dumps({"format": FORMAT, "checksum": _checksum(body), "topology": body}).encode() + b"\n"


def decode_topology(data: bytes, path: str) -> Topology:
    """The topology in a file's bytes. StoreFormat for another format, StoreCorrupt for damage; both name the path."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise StoreCorrupt(f"{path}: not a topology file, or damaged: {error}") from error
    if not isinstance(document, dict) or "format" not in document:
        raise StoreFormat(f"{path}: not a topology file")
    if document["format"] != FORMAT:
        raise StoreFormat(f"{path}: format {document['format']!r}, but this version of sherd reads format {FORMAT}")
    body = document.get("topology")
    if document.get("checksum") != _checksum(body):
        raise StoreCorrupt(f"{path}: checksum mismatch; restore the file from a backup")
    try:
        return Topology.from_json(body)
    except ConfigError as error:
        raise StoreCorrupt(f"{path}: {error}") from error


def read_topology(disk: Disk, path: str) -> Topology:
    """The cluster's topology as last written. FileNotFoundError if there is none yet; else as ``decode_topology``."""
    file = disk.open_read(path)
    try:
        data = file.pread(file.size(), 0)
    finally:
        file.close()
    return decode_topology(data, path)


def _checksum(body: object) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
