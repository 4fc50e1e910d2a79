"""What users of a key-value store do, one scenario a file."""
