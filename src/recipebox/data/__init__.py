"""Data sets: found, fetched, prepared, checked and turned into views."""
