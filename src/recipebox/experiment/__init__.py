"""Proving that levers act, and comparing their settings over seeds."""
