"""Approvals of moves of powered-down VMs, and reviews of break-glass approvals."""
