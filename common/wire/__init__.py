"""The MessagePack-RPC profile as a core without I/O; the profile stands in FORMAT.md beside it."""
