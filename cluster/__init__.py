"""Topology stores and the supervisor of a cluster on one host."""
