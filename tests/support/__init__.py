"""Tools that several test rooms share."""
