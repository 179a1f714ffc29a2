"""Work on another machine, or in the devbox, over ssh with Fabric: docs/devbox.md."""
