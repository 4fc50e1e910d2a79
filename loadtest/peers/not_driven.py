"""Peers that have targets and no figures, with the reason why."""

from peers.targets import VSHARD

NOT_COMPARED = {VSHARD: "not driven: its Lua module, vshard, is no part of Debian"}
"""What nothing here starts."""
