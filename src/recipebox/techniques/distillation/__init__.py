"""Distillation: the student learns from a teacher that sees the same augmented batch."""
