"""The port to SCVMM and Hyper-V, and what stands behind it."""
