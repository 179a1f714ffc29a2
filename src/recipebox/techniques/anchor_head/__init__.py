"""A head with anchors and objectness. Card: docs/techniques/anchor_head.md."""
