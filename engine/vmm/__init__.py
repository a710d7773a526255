"""The port to SCVMM and Hyper-V, and its implementation over PSRP."""
