"""Who may decide on powered-down VMs, and who reviews it."""
