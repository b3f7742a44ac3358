"""The installed package: `graduand.gateway`, `graduand.training`, `graduand.rollout` and `graduand.monitoring`.

In the repository the four are folders of their own at the top, and stand here as links: Python imports each module by one
name only, and your own `training/` folder is never shadowed. See docs/decisions/0001-one-import-name.md.
"""

__version__ = "0.1.0"
